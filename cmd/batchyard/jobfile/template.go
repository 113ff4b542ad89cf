package jobfile

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxText bounds a text after its templates are filled in, in bytes, and maxDepth the nesting of a file.
const (
	maxText  = 1 << 20
	maxDepth = 64
)

// names are the values that {{name}} stands for, with those of the surroundings.
type names struct {
	own    map[string]string
	outer  *names
	lookup func(name string) (string, bool, error)
}

func (n *names) find(name string) (string, bool, error) {
	for ; n != nil; n = n.outer {
		if value, ok := n.own[name]; ok {
			return value, true, nil
		}
		if n.lookup == nil {
			continue
		}
		value, ok, err := n.lookup(name)
		if err != nil {
			return "", false, err
		}
		if ok {
			n.own[name] = value
			return value, true, nil
		}
	}
	return "", false, nil
}

func validName(name string) bool {
	for i, r := range name {
		letter := r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

// parameters reads the file's defaults and applies what was set from outside.
func parameters(node *yaml.Node, opts Options) (*names, error) {
	global := &names{own: map[string]string{}, lookup: opts.Lookup}
	if node != nil {
		if node.Kind != yaml.MappingNode {
			return nil, problem(node, "parameters: expected names with values")
		}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			switch _, dup := global.own[key.Value]; {
			case !validName(key.Value) || key.Value == nameIndex || key.Value == nameJob:
				return nil, problem(key, "%s cannot be the name of a parameter", strconv.Quote(key.Value))
			case dup:
				return nil, problem(key, "parameter %s comes twice", key.Value)
			case value.Kind != yaml.ScalarNode:
				return nil, problem(value, "parameter %s: expected a text or a number", key.Value)
			}
			global.own[key.Value] = value.Value
		}
	}
	for name, value := range opts.Set {
		if _, ok := global.own[name]; !ok {
			return nil, fmt.Errorf("the file has no parameter %s", strconv.Quote(name))
		}
		global.own[name] = value
	}
	return global, nil
}

// fill copies a tree with its templates filled in.
func fill(node *yaml.Node, n *names) (*yaml.Node, error) { return fillTo(node, n, 0) }

func fillTo(node *yaml.Node, n *names, depth int) (*yaml.Node, error) {
	if depth > maxDepth {
		return nil, problem(node, "too deep")
	}
	switch {
	case node.Kind == yaml.AliasNode:
		return nil, problem(node, "aliases (*name) are not allowed in a job file: use parameters")
	case node.Kind == yaml.ScalarNode && strings.Contains(node.Value, "{{"):
		text, err := expand(node.Value, n)
		if err != nil {
			return nil, problem(node, "%v", err)
		}
		filled := *node
		filled.Value = text
		return &filled, nil
	case len(node.Content) == 0:
		return node, nil
	}
	filled := *node
	filled.Content = make([]*yaml.Node, len(node.Content))
	for i, child := range node.Content {
		if node.Kind == yaml.MappingNode && i%2 == 0 {
			filled.Content[i] = child // names of properties are not templates
			continue
		}
		var err error
		if filled.Content[i], err = fillTo(child, n, depth+1); err != nil {
			return nil, err
		}
	}
	return &filled, nil
}

// expand replaces {{name}} and {{name:04}}; {{{{ stands for two braces.
func expand(text string, n *names) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		if after, escaped := strings.CutPrefix(rest, "{{"); escaped {
			b.WriteString("{{")
			text = after
			continue
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", errors.New("{{ has no }}")
		}
		value, err := evaluate(inner, n)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		if b.Len() > maxText {
			return "", fmt.Errorf("the text grows over %d bytes", maxText)
		}
		text = after
	}
}

func evaluate(inner string, n *names) (string, error) {
	name, format, formatted := strings.Cut(strings.TrimSpace(inner), ":")
	name = strings.TrimSpace(name)
	if !validName(name) {
		return "", fmt.Errorf("{{%s}}: expected a name", abbreviate(inner))
	}
	value, ok, err := n.find(name)
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
	width, err := strconv.Atoi(format)
	if err != nil || !strings.HasPrefix(format, "0") || width < 1 || width > 20 {
		return "", fmt.Errorf("{{%s:%s}}: expected a width such as 04", name, abbreviate(format))
	}
	sign, digits := "", value
	if after, negative := strings.CutPrefix(value, "-"); negative {
		sign, digits = "-", after
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return "", fmt.Errorf("{{%s:%s}}: %s is not a whole number", name, format, strconv.Quote(abbreviate(value)))
	}
	return sign + strings.Repeat("0", max(0, width-len(value))) + digits, nil
}

func abbreviate(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}
