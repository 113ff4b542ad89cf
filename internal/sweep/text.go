// Package sweep makes many from one: it fills the templates of a task, {{name}}, with what is one task's own.
package sweep

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxText bounds a text after its templates are filled in, in bytes.
const MaxText = 1 << 20

// ValidName says whether a template can use the name: letters, digits and _, not beginning with a digit, at most 64.
func ValidName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// Find says what a name stands for.
type Find func(name string) (value string, found bool, err error)

// Text replaces {{name}} and {{name:04}} (a whole number with leading zeros); {{{{ stands for two braces.
func Text(text string, find Find) (string, error) { return fill(text, find, nil) }

// Partly is Text but for the names that are kept: their templates stay, and so do {{{{, for a later Text. What is filled in is not a template there.
func Partly(text string, find Find, keep func(name string) bool) (string, error) {
	return fill(text, find, keep)
}

func fill(text string, find Find, keep func(name string) bool) (string, error) {
	braces, escape := "{{", strings.NewReplacer()
	if keep != nil {
		braces, escape = "{{{{", strings.NewReplacer("{{", "{{{{")
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after, escaped := strings.CutPrefix(rest, "{{"); escaped {
			b.WriteString(braces)
			text = after
			continue
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", errors.New("{{ has no }}")
		}
		if name, _, _ := strings.Cut(inner, ":"); keep != nil && keep(strings.TrimSpace(name)) {
			b.WriteString("{{" + inner + "}}")
		} else {
			value, err := evaluate(inner, find)
			if err != nil {
				return "", err
			}
			b.WriteString(escape.Replace(value))
		}
		if b.Len() > MaxText {
			return "", fmt.Errorf("the text grows over %d bytes", MaxText)
		}
		text = after
	}
}

func evaluate(inner string, find Find) (string, error) {
	name, format, formatted := strings.Cut(strings.TrimSpace(inner), ":")
	name = strings.TrimSpace(name)
	if !ValidName(name) {
		return "", fmt.Errorf("{{%s}}: expected a name", Abbreviate(inner))
	}
	value, ok, err := find(name)
	if err != nil {
		return "", fmt.Errorf("{{%s}}: %w", name, err)
	}
	if !ok {
		return "", fmt.Errorf("{{%s}}: nothing has this name", name)
	}
	if !formatted {
		return value, nil
	}
	return pad(value, strings.TrimSpace(format), name)
}

// pad writes a whole number with leading zeros, as in {{n:04}}.
func pad(value, format, name string) (string, error) {
	width, err := width(format)
	if err != nil {
		return "", fmt.Errorf("{{%s:%s}}: %w", name, Abbreviate(format), err)
	}
	sign, digits := "", value
	if after, negative := strings.CutPrefix(value, "-"); negative {
		sign, digits = "-", after
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", fmt.Errorf("{{%s:%s}}: %s is not a whole number", name, format, strconv.Quote(Abbreviate(value)))
	}
	return sign + strings.Repeat("0", max(0, width-len(value))) + digits, nil
}

func width(format string) (int, error) {
	n, err := strconv.Atoi(format)
	if err != nil || !strings.HasPrefix(format, "0") || n < 1 || n > 20 {
		return 0, errors.New("expected a width such as 04")
	}
	return n, nil
}

// Abbreviate shortens what a message repeats.
func Abbreviate(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
