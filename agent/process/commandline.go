package process

import (
	"errors"
	"strings"
)

// What can be wrong with a command line.
var (
	ErrEmptyCommand    = errors.New("the command line is empty")
	ErrUnbalancedQuote = errors.New("the command line has an unbalanced quote")
	ErrNUL             = errors.New("the command line contains a NUL byte")
)

// SplitPOSIX splits a command line into a program and its arguments the way a POSIX shell would, without anything else that
// a shell does: no variables, no patterns, no operators. White space separates; single quotes take everything literally;
// in double quotes a backslash escapes a double quote or a backslash and is itself otherwise; outside quotes it escapes
// what follows.
func SplitPOSIX(line string) ([]string, error) {
	if strings.IndexByte(line, 0) >= 0 {
		return nil, ErrNUL
	}
	var argv []string
	var word []byte
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case isSpace(c):
			if inWord {
				argv, word, inWord = append(argv, string(word)), word[:0], false
			}
			continue
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, ErrUnbalancedQuote
			}
			word = append(word, line[i+1:i+1+end]...)
			i += end + 1
		case c == '"':
			var ok bool
			if word, i, ok = doubleQuoted(word, line, i+1); !ok {
				return nil, ErrUnbalancedQuote
			}
		case c == '\\':
			if i++; i == len(line) {
				return nil, ErrUnbalancedQuote
			}
			word = append(word, line[i])
		default:
			word = append(word, c)
		}
		inWord = true
	}
	if inWord {
		argv = append(argv, string(word))
	}
	return checkProgram(argv)
}

// doubleQuoted appends what line holds from i up to the closing quote, whose index it returns.
func doubleQuoted(word []byte, line string, i int) (_ []byte, end int, ok bool) {
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case c == '"':
			return word, i, true
		case c == '\\' && i+1 < len(line) && (line[i+1] == '"' || line[i+1] == '\\'):
			i++
			c = line[i]
		}
		word = append(word, c)
	}
	return word, i, false
}

// QuotePOSIX writes a command line that SplitPOSIX splits into argv again.
func QuotePOSIX(argv []string) string {
	var b strings.Builder
	for i, arg := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		if arg != "" && !strings.ContainsAny(arg, " \t\n\r\v\f'\"\\") {
			b.WriteString(arg)
			continue
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(arg, "'", `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

func isSpace(c byte) bool {
	return c == ' ' || (c >= '\t' && c <= '\r')
}

func checkProgram(argv []string) ([]string, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, ErrEmptyCommand
	}
	return argv, nil
}
