package azure

import (
	"errors"
	"io"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/batcherr"
)

// readChunk is how much of a body is read at once, so that a wrong or oversized one is refused before it is read whole.
const readChunk = 32 << 10

// scanner reads JSON tokens from a body of limited size, which it keeps while it reads on.
type scanner struct {
	source io.Reader
	limit  int
	data   []byte // what has been read
	pos    int
	ended  bool
	failed error // why the source ended
}

// syntaxError makes the answer to a body that is not JSON.
func (s *scanner) syntaxError(reason string) error {
	if s.failed != nil {
		return s.failed
	}
	return batcherr.Of(batcherr.CodeInvalidRequestBody).
		With(batcherr.ValueReason, reason+" at byte "+strconv.Itoa(s.pos))
}

// more reads on; false at the end, at the limit and on failure, which are then in s.failed.
func (s *scanner) more() bool {
	for !s.ended {
		start := len(s.data)
		if start > s.limit {
			s.ended, s.failed = true, errBodyTooLarge(s.limit)
			return false
		}
		s.data = append(s.data, make([]byte, min(readChunk, s.limit+1-start))...)
		n, err := s.source.Read(s.data[start:])
		s.data = s.data[:start+n]
		if err != nil {
			s.ended = true
			if !errors.Is(err, io.EOF) {
				s.failed = batcherr.Of(batcherr.CodeInvalidRequestBody).With(batcherr.ValueReason, "The body ended early.").Wrap(err)
			}
		}
		if len(s.data) > s.limit {
			s.ended, s.failed = true, errBodyTooLarge(s.limit)
			return false
		}
		if n > 0 {
			return true
		}
	}
	return false
}

func errBodyTooLarge(limit int) error {
	return batcherr.Of(batcherr.CodeRequestBodyTooLarge).
		With("MaxLimit", strconv.Itoa(limit))
}

// peek skips blanks and returns the next byte without consuming it; 0 at the end.
func (s *scanner) peek() byte {
	for {
		for s.pos < len(s.data) {
			switch c := s.data[s.pos]; c {
			case ' ', '\t', '\r', '\n':
				s.pos++
			default:
				return c
			}
		}
		if !s.more() {
			return 0
		}
	}
}

// take consumes the next byte if it is c, after blanks.
func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.pos++
	return true
}

// expect consumes c or fails.
func (s *scanner) expect(c byte) error {
	if !s.take(c) {
		return s.syntaxError("expected " + strconv.QuoteRune(rune(c)))
	}
	return nil
}

// at gives the byte at a position, reading on if need be.
func (s *scanner) at(pos int) (byte, bool) {
	for pos >= len(s.data) {
		if !s.more() {
			return 0, false
		}
	}
	return s.data[pos], true
}

// text reads a string's bytes, which stay valid; its quote is next.
func (s *scanner) text() ([]byte, error) {
	start := s.pos + 1
	for i := start; ; i++ {
		c, ok := s.at(i)
		switch {
		case !ok:
			s.pos = len(s.data)
			return nil, s.syntaxError("a string is not closed")
		case c == '"':
			s.pos = i + 1
			if raw := s.data[start:i]; utf8.Valid(raw) {
				return raw, nil
			}
			return nil, s.syntaxError("a string is not UTF-8")
		case c == '\\':
			return s.escaped(start, i)
		case c < ' ':
			s.pos = i
			return nil, s.syntaxError("a control character in a string")
		}
	}
}

// escaped reads a string from its first backslash at i on.
func (s *scanner) escaped(start, i int) ([]byte, error) {
	out := append([]byte(nil), s.data[start:i]...)
	for {
		c, ok := s.at(i)
		switch {
		case !ok:
			s.pos = len(s.data)
			return nil, s.syntaxError("a string is not closed")
		case c == '"':
			s.pos = i + 1
			if !utf8.Valid(out) {
				return nil, s.syntaxError("a string is not UTF-8")
			}
			return out, nil
		case c < ' ':
			s.pos = i
			return nil, s.syntaxError("a control character in a string")
		case c != '\\':
			out = append(out, c)
			i++
		default:
			var err error
			if out, i, err = s.escape(out, i+1); err != nil {
				return nil, err
			}
		}
	}
}

// escape reads what follows a backslash.
func (s *scanner) escape(out []byte, i int) ([]byte, int, error) {
	c, _ := s.at(i)
	switch c {
	case '"', '\\', '/':
		return append(out, c), i + 1, nil
	case 'b':
		return append(out, '\b'), i + 1, nil
	case 'f':
		return append(out, '\f'), i + 1, nil
	case 'n':
		return append(out, '\n'), i + 1, nil
	case 'r':
		return append(out, '\r'), i + 1, nil
	case 't':
		return append(out, '\t'), i + 1, nil
	case 'u':
		r, ok := s.hex4(i + 1)
		if !ok {
			break
		}
		i += 5
		if utf16.IsSurrogate(r) {
			low, ok := s.lowSurrogate(i)
			if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
				i += 6
			}
		}
		return utf8.AppendRune(out, r), i, nil
	}
	s.pos = i
	return nil, i, s.syntaxError("an unknown escape in a string")
}

func (s *scanner) lowSurrogate(i int) (rune, bool) {
	backslash, _ := s.at(i)
	u, _ := s.at(i + 1)
	if backslash != '\\' || u != 'u' {
		return 0, false
	}
	return s.hex4(i + 2)
}

func (s *scanner) hex4(i int) (rune, bool) {
	var r rune
	for j := range 4 {
		c, _ := s.at(i + j)
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// number reads a number's bytes; its first byte is next.
func (s *scanner) number() ([]byte, error) {
	start := s.pos
	i := start
	for ; ; i++ {
		c, ok := s.at(i)
		if !ok || (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
	}
	if s.failed != nil {
		return nil, s.failed
	}
	if !validNumber(s.data[start:i]) {
		return nil, s.syntaxError("not a number")
	}
	s.pos = i
	return s.data[start:i], nil
}

// validNumber says whether b is a number of JSON's grammar, which is narrower than Go's.
func validNumber(b []byte) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && '0' <= b[i] && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	first := i
	if !digits() || b[first] == '0' && i > first+1 {
		return false
	}
	if i < len(b) && b[i] == '.' {
		if i++; !digits() {
			return false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(b)
}

// word consumes true, false or null.
func (s *scanner) word(w string) error {
	for i := range len(w) {
		if c, ok := s.at(s.pos + i); !ok || c != w[i] {
			return s.syntaxError("an unknown word")
		}
	}
	s.pos += len(w)
	return nil
}

// end fails unless only blanks follow.
func (s *scanner) end() error {
	if s.peek() != 0 || s.pos < len(s.data) || s.failed != nil {
		return s.syntaxError("something follows the value")
	}
	return nil
}

// skip reads a value of any type without keeping it.
func (s *scanner) skip(depth int) error {
	if depth <= 0 {
		return s.syntaxError("nested too deeply")
	}
	switch c := s.peek(); {
	case c == '{':
		return s.members(func(name []byte) error { return s.skip(depth - 1) })
	case c == '[':
		return s.elements(func(int) error { return s.skip(depth - 1) })
	case c == '"':
		_, err := s.text()
		return err
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || '0' <= c && c <= '9':
		_, err := s.number()
		return err
	default:
		return s.syntaxError("expected a value")
	}
}

// members calls each with every member's name when its value is next; a brace is next.
func (s *scanner) members(each func(name []byte) error) error {
	s.pos++
	if s.take('}') {
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.syntaxError("expected a member's name")
		}
		name, err := s.text()
		if err != nil {
			return err
		}
		if err := s.expect(':'); err != nil {
			return err
		}
		if err := each(name); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		return s.expect('}')
	}
}

// elements calls each with every element's index when it is next; a bracket is next.
func (s *scanner) elements(each func(index int) error) error {
	s.pos++
	if s.take(']') {
		return nil
	}
	for i := 0; ; i++ {
		if err := each(i); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		return s.expect(']')
	}
}
