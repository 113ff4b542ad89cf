package jobfile

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/batchyard/batchyard/internal/sweep"
)

// maxDepth bounds the nesting of a file.
const maxDepth = 64

// names are the values that {{name}} stands for, with those of the surroundings.
type names struct {
	own    map[string]string
	outer  *names
	lookup func(name string) (string, bool, error)
	// kept names are filled in by the service, for each element of an array.
	kept map[string]bool
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

func (n *names) fill(text string) (string, error) {
	if n.kept == nil {
		return sweep.Text(text, n.find)
	}
	return sweep.Partly(text, n.find, func(name string) bool { return n.kept[name] })
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
			case !sweep.ValidName(key.Value) || key.Value == nameIndex || key.Value == nameJob:
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
		text, err := n.fill(node.Value)
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
