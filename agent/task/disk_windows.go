package task

import (
	"errors"
	"syscall"
)

const errorDiskFull syscall.Errno = 112

func diskFull(err error) bool { return errors.Is(err, errorDiskFull) }
