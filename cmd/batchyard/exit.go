package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/storage"
)

// Exit codes beyond those of package batcherr; a promise to scripts.
const (
	exitTasksFailed = 8
	exitNotStarted  = 125 // run: the command was never started
	exitInterrupted = 130
)

const exitCodesText = `Exit codes of batchyard:

    0  success
    1  a failure without a code of its own
    2  wrong usage or input
    3  a thing that was named does not exist
    4  a conflict: it exists already, or its state forbids the request
    5  not known or not allowed
    6  no connection, or nobody can serve the request now
    7  it took too long
    8  tasks failed (job wait, submit --wait)
  125  run: the command was not started
  130  interrupted

"batchyard run" otherwise exits with the exit code of the command that it ran.`

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "Exit codes of all commands", Long: exitCodesText}
}

// codedError gives a failure an exit code of its own; one without a text has been shown already.
type codedError struct {
	code int
	text string
}

func (e *codedError) Error() string { return e.text }

func exitCode(err error) int {
	var coded *codedError
	var wrong *usageError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &wrong):
		return batcherr.ExitInvalid
	}
	if isBatcherr(err) {
		return batcherr.ExitCode(err)
	}
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrNoBucket):
		return batcherr.ExitNotFound
	case errors.Is(err, storage.ErrForbidden):
		return batcherr.ExitUnauthorized
	case errors.Is(err, storage.ErrExists), errors.Is(err, storage.ErrPrecondition):
		return batcherr.ExitConflict
	case errors.Is(err, storage.ErrInvalid):
		return batcherr.ExitInvalid
	case errors.Is(err, storage.ErrTimeout):
		return batcherr.ExitTimeout
	case errors.Is(err, storage.ErrTemporary):
		return batcherr.ExitUnavailable
	}
	return batcherr.ExitCode(err)
}

func isBatcherr(err error) bool {
	var e *batcherr.Error
	return errors.As(err, &e)
}

// printError writes "error: message (Code)" and a line for each detail.
func printError(w io.Writer, err error) {
	var coded *codedError
	if errors.As(err, &coded) && coded.text == "" {
		return
	}
	var e *batcherr.Error
	if !errors.As(err, &e) {
		lines := strings.Split(err.Error(), "\n")
		for i, line := range lines {
			lines[i] = render.Plain(line)
		}
		fmt.Fprintf(w, "error: %s\n", strings.Join(lines, "\n"))
		return
	}
	fmt.Fprintf(w, "error: %s%s (%s)\n", prefixOf(err, e), render.Plain(strings.TrimSpace(e.Message)), render.Plain(e.Code))
	for _, v := range e.Values {
		fmt.Fprintf(w, "  %s: %s\n", render.Plain(v.Key), render.Plain(v.Value))
	}
}

// prefixOf is what wrappers said before the error itself.
func prefixOf(err error, e *batcherr.Error) string {
	text, own := err.Error(), e.Error()
	if i := strings.Index(text, own); i > 0 && !strings.Contains(text[:i], "\n") {
		return render.Plain(text[:i])
	}
	return ""
}
