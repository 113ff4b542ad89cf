//go:build unix

package storage

import "syscall"

// openFlags keep an open from waiting for the other end of a FIFO that a task has put in the file's place.
const openFlags = syscall.O_NONBLOCK
