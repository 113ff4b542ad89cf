package formula

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind uint8

const (
	end kind = iota
	number
	text
	name   // with its $, if it has one
	symbol // an operator or a bracket
)

type token struct {
	kind kind
	// text is the name, the symbol, or what is between the quotes.
	text   string
	number float64
	at     position
}

// String names a token in messages.
func (t token) String() string {
	switch t.kind {
	case end:
		return "the end of the formula"
	case number:
		return strconv.FormatFloat(t.number, 'g', -1, 64)
	default:
		return strconv.Quote(t.text)
	}
}

var errTooLong = errors.New("the formula is too long")

// symbols are tried in this order: longer ones before those that they begin with.
var symbols = []string{
	"<=", ">=", "==", "!=", "&&", "||",
	"+", "-", "*", "/", "<", ">", "!", "?", ":", "=", ";", ",", ".", "(", ")", "[", "]",
}

type lexer struct {
	rest string
	at   position
}

func lex(formula string) ([]token, error) {
	if utf8.RuneCountInString(formula) > MaxLength {
		return nil, errTooLong
	}
	l := lexer{rest: formula, at: position{line: 1, column: 1}}
	var out []token
	for {
		l.skipBlanks()
		t, err := l.next()
		if err != nil {
			return nil, err
		}
		out = append(out, t)
		if t.kind == end {
			return out, nil
		}
	}
}

// take moves over the first n bytes.
func (l *lexer) take(n int) string {
	taken := l.rest[:n]
	l.rest = l.rest[n:]
	for i, c := range taken {
		switch {
		case c == '\n' && i > 0 && taken[i-1] == '\r':
		case c == '\n', c == '\r':
			l.at = position{line: l.at.line + 1, column: 1}
		default:
			l.at.column++
		}
	}
	return taken
}

// skipBlanks moves over white space and comments.
func (l *lexer) skipBlanks() {
	for {
		n := len(l.rest) - len(strings.TrimLeftFunc(l.rest, unicode.IsSpace))
		if n == 0 && strings.HasPrefix(l.rest, "//") {
			if n = strings.IndexAny(l.rest, "\r\n"); n < 0 {
				n = len(l.rest)
			}
		}
		if n == 0 {
			return
		}
		l.take(n)
	}
}

func (l *lexer) next() (token, error) {
	t := token{at: l.at}
	if l.rest == "" {
		return t, nil
	}
	c := l.rest[0]
	switch {
	case isDigit(c), c == '.' && len(l.rest) > 1 && isDigit(l.rest[1]):
		return l.number()
	case c == '"':
		return l.text()
	case c == '$', isLetter(c):
		n := 1
		for n < len(l.rest) && (isLetter(l.rest[n]) || isDigit(l.rest[n])) {
			n++
		}
		t.kind, t.text = name, l.take(n)
		if t.text == "$" {
			return t, t.at.errorf("a name follows $")
		}
		return t, nil
	}
	for _, s := range symbols {
		if strings.HasPrefix(l.rest, s) {
			t.kind, t.text = symbol, l.take(len(s))
			return t, nil
		}
	}
	r, _ := utf8.DecodeRuneInString(l.rest)
	return t, t.at.errorf("unexpected character %q", r)
}

func (l *lexer) number() (token, error) {
	t := token{kind: number, at: l.at}
	n := digits(l.rest)
	if strings.HasPrefix(l.rest[n:], ".") && digits(l.rest[n+1:]) > 0 {
		n += 1 + digits(l.rest[n+1:])
	}
	if n < len(l.rest) && (l.rest[n] == 'e' || l.rest[n] == 'E') {
		sign := n + 1
		if sign < len(l.rest) && (l.rest[sign] == '+' || l.rest[sign] == '-') {
			sign++
		}
		if d := digits(l.rest[sign:]); d > 0 {
			n = sign + d
		}
	}
	if n < len(l.rest) && (isLetter(l.rest[n]) || l.rest[n] == '$') {
		return t, t.at.errorf("a number is followed by a name")
	}
	written := l.take(n)
	var err error
	if t.number, err = strconv.ParseFloat(written, 64); err != nil {
		return t, t.at.errorf("the number %s is too large", clipped(written, 40))
	}
	return t, nil
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// text reads what is between quotes; a backslash stands before a quote or a backslash that belongs to the text.
func (l *lexer) text() (token, error) {
	t := token{kind: text, at: l.at}
	var b strings.Builder
	l.take(1)
	for {
		n := strings.IndexAny(l.rest, "\"\\\r\n")
		if n < 0 || l.rest[n] == '\r' || l.rest[n] == '\n' {
			return t, t.at.errorf("the text has no closing quote in its line")
		}
		b.WriteString(l.take(n))
		if l.rest[0] == '"' {
			l.take(1)
			t.text = b.String()
			return t, nil
		}
		if len(l.rest) < 2 || l.rest[1] != '"' && l.rest[1] != '\\' {
			return t, l.at.errorf(`a backslash is followed by \ or "`)
		}
		b.WriteString(l.take(2)[1:])
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

// clipped shortens s for messages and results.
func clipped(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
