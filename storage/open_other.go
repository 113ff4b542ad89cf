//go:build !unix

package storage

const openFlags = 0
