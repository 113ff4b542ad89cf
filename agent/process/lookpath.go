package process

import "errors"

// Why a program cannot be run.
var (
	// ErrProgramNotFound: there is no such program.
	ErrProgramNotFound = errors.New("the program was not found")
	// ErrCannotLaunch: there is one, but it cannot be run.
	ErrCannotLaunch = errors.New("the program cannot be run")
)
