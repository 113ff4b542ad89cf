package filter

import (
	"strconv"
	"strings"
	"time"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenOpen
	tokenClose
	tokenComma
	tokenWord    // a path or a keyword, in text
	tokenLiteral // in value
)

type token struct {
	kind  tokenKind
	at    int
	text  string
	value literal
}

func (t token) String() string {
	if t.kind == tokenEnd {
		return "the end"
	}
	return strconv.Quote(abbreviate(t.text))
}

// is reports whether the token is the keyword, in any case.
func (t token) is(keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

type lexer struct {
	text string
	pos  int
}

func (l *lexer) next() (token, error) {
	for l.pos < len(l.text) && isBlank(l.text[l.pos]) {
		l.pos++
	}
	at := l.pos
	if at == len(l.text) {
		return token{kind: tokenEnd, at: at}, nil
	}
	switch c := l.text[at]; {
	case c == '(':
		return l.single(tokenOpen), nil
	case c == ')':
		return l.single(tokenClose), nil
	case c == ',':
		return l.single(tokenComma), nil
	case c == '\'':
		s, err := l.quoted()
		return token{kind: tokenLiteral, at: at, text: l.text[at:l.pos], value: literal{kind: literalString, text: s}}, err
	case c == '-' || isDigit(c):
		return l.number()
	case isLetter(c):
		return l.word()
	default:
		return token{}, fail(at, "unexpected character %q", abbreviate(l.text[at:]))
	}
}

func (l *lexer) single(kind tokenKind) token {
	l.pos++
	return token{kind: kind, at: l.pos - 1, text: l.text[l.pos-1 : l.pos]}
}

// quoted reads a text in quotes, in which a doubled quote stands for one.
func (l *lexer) quoted() (string, error) {
	start := l.pos + 1
	doubled := false
	for i := start; i < len(l.text); i++ {
		if l.text[i] != '\'' {
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == '\'' {
			doubled = true
			i++
			continue
		}
		l.pos = i + 1
		if s := l.text[start:i]; !doubled {
			return s, nil
		}
		return strings.ReplaceAll(l.text[start:i], "''", "'"), nil
	}
	return "", fail(l.pos, "the text is not closed with a quote")
}

// word reads a keyword or a path; true, false, null and datetime'...' are literals.
func (l *lexer) word() (token, error) {
	at := l.pos
	for l.pos < len(l.text) && isWord(l.text[l.pos]) {
		l.pos++
	}
	t := token{kind: tokenWord, at: at, text: l.text[at:l.pos]}
	switch {
	case t.is("true"), t.is("false"):
		t.kind, t.value = tokenLiteral, literal{kind: literalBool, truth: t.is("true")}
	case t.is("null"):
		t.kind, t.value = tokenLiteral, literal{kind: literalNull}
	case l.pos < len(l.text) && l.text[l.pos] == '\'':
		return l.typed(t)
	}
	return t, nil
}

// typed reads what follows the name of a literal's type.
func (l *lexer) typed(t token) (token, error) {
	name := t.text
	s, err := l.quoted()
	if err != nil {
		return t, err
	}
	t.kind, t.text = tokenLiteral, l.text[t.at:l.pos]
	switch strings.ToLower(name) {
	case "datetime", "datetimeoffset":
		when, ok := parseTime(s)
		if !ok {
			return t, fail(t.at, "%q is not a time such as 2024-01-02T03:04:05Z", abbreviate(s))
		}
		t.value = literal{kind: literalTime, time: when, text: s}
	case "duration", "time", "guid":
		t.value = literal{kind: literalString, text: s}
	default:
		return t, fail(t.at, "unknown type %q of a literal", abbreviate(name))
	}
	return t, nil
}

// number reads an integer, a decimal, or a time without quotes.
func (l *lexer) number() (token, error) {
	at := l.pos
	l.pos++
	for l.pos < len(l.text) && (isWord(l.text[l.pos]) || strings.IndexByte(".-+:", l.text[l.pos]) >= 0) {
		l.pos++
	}
	text := l.text[at:l.pos]
	t := token{kind: tokenLiteral, at: at, text: text}
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		t.value = literal{kind: literalInt, integer: i, real: float64(i)}
		return t, nil
	}
	if f, err := strconv.ParseFloat(strings.TrimRight(text, "fFdDmM"), 64); err == nil && strings.Trim(text, "0123456789.+-eEfFdDmM") == "" {
		t.value = literal{kind: literalReal, real: f}
		return t, nil
	}
	if i, err := strconv.ParseInt(strings.TrimRight(text, "lL"), 10, 64); err == nil {
		t.value = literal{kind: literalInt, integer: i, real: float64(i)}
		return t, nil
	}
	if when, ok := parseTime(text); ok {
		t.value = literal{kind: literalTime, time: when, text: text}
		return t, nil
	}
	return t, fail(at, "%q is neither a number nor a time", abbreviate(text))
}

// parseTime reads ISO 8601; without a zone it is UTC.
func parseTime(text string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", "2006-01-02T15:04", time.DateOnly} {
		if when, err := time.Parse(layout, text); err == nil {
			return when, true
		}
	}
	return time.Time{}, false
}

func isBlank(c byte) bool  { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c == '$' }

// isWord includes the slash and point of paths.
func isWord(c byte) bool { return isLetter(c) || isDigit(c) || c == '/' }

func abbreviate(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
