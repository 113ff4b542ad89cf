package storage

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Source reads the contents of a Put and holds them to what was promised: it fails with ErrTruncated, ErrTooLarge or
// ErrChecksum instead of giving the last bytes or io.EOF, so a store that publishes at the end publishes nothing.
// Implementations of Store read through it; a Source is for one goroutine.
type Source struct {
	key  string
	r    io.Reader
	size int64 // -1: unknown
	want string
	sum  hash.Hash
	read int64
	err  error
}

// NewSource checks r against size (negative: unknown) and a SHA-256 in hexadecimal ("": any).
func NewSource(key string, r io.Reader, size int64, sha256Hex string) (*Source, error) {
	s := &Source{key: key, r: r, size: max(size, -1), want: strings.ToLower(sha256Hex)}
	if s.want != "" {
		if b, err := hex.DecodeString(s.want); err != nil || len(b) != sha256.Size {
			return nil, &Error{Op: "put", Key: key, Kind: ErrInvalid, Err: errors.New("SHA-256 is not 64 hexadecimal digits")}
		}
		s.sum = sha256.New()
	}
	return s, nil
}

// Err is why the source refused its contents, or nil. A client library may hide the error that Read gave it.
func (s *Source) Err() error { return s.err }

// Count is how many bytes were given out.
func (s *Source) Count() int64 { return s.read }

// Read implements io.Reader.
func (s *Source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if s.size >= 0 && s.read == s.size {
		return 0, s.finish()
	}
	n, err := s.r.Read(p)
	if s.size >= 0 && s.read+int64(n) > s.size {
		return 0, s.fail(ErrTooLarge, fmt.Errorf("more than %d bytes", s.size))
	}
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	s.read += int64(n)
	if n > 0 && s.read == s.size {
		// The last bytes are held back until they are known to be right: HTTP does not read a body past its length.
		if err := s.check(); err != nil {
			return 0, err
		}
		return n, nil
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, s.fail(ErrTruncated, fmt.Errorf("after %d bytes", s.read))
	case err == io.EOF:
		return n, s.finish()
	default:
		s.err = Fail("read source of", s.key, err)
		return n, s.err
	}
}

// finish gives io.EOF when everything is as promised.
func (s *Source) finish() error {
	if s.size >= 0 && s.read < s.size {
		return s.fail(ErrTruncated, fmt.Errorf("%d of %d bytes", s.read, s.size))
	}
	if s.size < 0 || s.size == 0 {
		if err := s.check(); err != nil {
			return err
		}
	}
	return io.EOF
}

// check compares the checksum and makes sure that a source of known size ends there.
func (s *Source) check() error {
	if s.size >= 0 {
		var one [1]byte
		n, err := io.ReadFull(s.r, one[:])
		if n > 0 {
			return s.fail(ErrTooLarge, fmt.Errorf("more than %d bytes", s.size))
		}
		if err != io.EOF {
			s.err = Fail("read source of", s.key, err)
			return s.err
		}
	}
	if s.sum != nil {
		if got := hex.EncodeToString(s.sum.Sum(nil)); got != s.want {
			return s.fail(ErrChecksum, fmt.Errorf("SHA-256 is %s, not %s", got, s.want))
		}
	}
	return nil
}

func (s *Source) fail(kind, cause error) error {
	s.err = &Error{Op: "read source of", Key: s.key, Kind: kind, Err: cause}
	return s.err
}
