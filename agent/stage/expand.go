package stage

import "strings"

// expand replaces the variables of a pattern, $NAME and ${NAME}, or %NAME% on Windows, by their values. A variable
// that is not set stays as it is written and is also returned.
func expand(text string, env func(string) (string, bool), windows bool) (string, []string) {
	var out strings.Builder
	var unset []string
	for text != "" {
		name, length := variable(text, windows)
		switch value, ok := lookUp(env, name); {
		case name == "":
			out.WriteByte(text[0])
			length = 1
		case ok:
			out.WriteString(value)
		default:
			out.WriteString(text[:length])
			unset = append(unset, name)
		}
		text = text[length:]
	}
	return out.String(), unset
}

func lookUp(env func(string) (string, bool), name string) (string, bool) {
	if name == "" || env == nil {
		return "", false
	}
	return env(name)
}

// variable gives the name of the variable that text begins with, and how many bytes it is written in.
func variable(text string, windows bool) (name string, length int) {
	if windows {
		name, _, found := strings.Cut(strings.TrimPrefix(text, "%"), "%")
		if text[0] != '%' || !found || name == "" {
			return "", 0
		}
		return name, len(name) + 2
	}
	if text[0] != '$' {
		return "", 0
	}
	if strings.HasPrefix(text, "${") {
		name, _, found := strings.Cut(text[2:], "}")
		if !found || identifier(name) != len(name) {
			return "", 0
		}
		return name, len(name) + 3
	}
	n := identifier(text[1:])
	return text[1 : 1+n], 1 + n
}

// identifier is how long the name at the beginning of s is.
func identifier(s string) int {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (i == 0 || c < '0' || '9' < c) {
			return i
		}
	}
	return len(s)
}
