package jobfile

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/batchyard/batchyard/internal/sweep"
)

// axis is one dimension of a sweep: names whose values change together.
type axis struct {
	names  []string
	values [][]string // values[i] belongs to names[i]; all are equally long
}

func (a axis) len() int { return len(a.values[0]) }

func (a axis) bind(to map[string]string, at int) {
	for i, name := range a.names {
		to[name] = a.values[i][at]
	}
}

// readAxes reads a task's sweep, each name of which is an axis, and its zip, whose names make one axis (or, as a list, one each).
func readAxes(sweep, zip *yaml.Node, global *names) ([]axis, error) {
	var axes []axis
	if sweep != nil {
		each, err := readNames(sweep, global, "sweep")
		if err != nil {
			return nil, err
		}
		for i := range each.names {
			axes = append(axes, axis{names: each.names[i : i+1], values: each.values[i : i+1]})
		}
	}
	if zip != nil {
		groups := []*yaml.Node{zip}
		if zip.Kind == yaml.SequenceNode {
			groups = zip.Content
		}
		for _, group := range groups {
			together, err := readNames(group, global, "zip")
			if err != nil {
				return nil, err
			}
			for i, values := range together.values {
				if len(values) != together.len() {
					return nil, problem(group, "zip: %s has %d values, %s has %d", together.names[0], together.len(), together.names[i], len(values))
				}
			}
			axes = append(axes, together)
		}
	}
	return axes, distinct(axes, sweep, zip)
}

func distinct(axes []axis, sweep, zip *yaml.Node) error {
	seen := map[string]bool{nameIndex: true, nameJob: true}
	at := sweep
	if at == nil {
		at = zip
	}
	for _, a := range axes {
		for _, name := range a.names {
			if seen[name] {
				return problem(at, "name %s is taken", name)
			}
			seen[name] = true
		}
	}
	return nil
}

// readNames reads an object of names with lists or ranges.
func readNames(node *yaml.Node, global *names, what string) (axis, error) {
	node, err := fill(node, global)
	if err != nil {
		return axis{}, err
	}
	if node.Kind != yaml.MappingNode || len(node.Content) == 0 {
		return axis{}, problem(node, "%s: expected names with lists or ranges", what)
	}
	var a axis
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if !sweep.ValidName(key.Value) {
			return axis{}, problem(key, "%s: %s is not a name", what, strconv.Quote(sweep.Abbreviate(key.Value)))
		}
		values, err := readValues(value, key.Value)
		if err != nil {
			return axis{}, err
		}
		a.names = append(a.names, key.Value)
		a.values = append(a.values, values)
	}
	return a, nil
}

func readValues(node *yaml.Node, name string) ([]string, error) {
	switch node.Kind {
	case yaml.SequenceNode:
		if len(node.Content) == 0 || len(node.Content) > MaxTasks {
			return nil, problem(node, "%s: expected 1 to %d values", name, MaxTasks)
		}
		values := make([]string, len(node.Content))
		for i, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, problem(item, "%s: expected a text or a number", name)
			}
			values[i] = item.Value
		}
		return values, nil
	case yaml.MappingNode:
		return readRange(node, name)
	default:
		return nil, problem(node, "%s: expected a list or a range {first, last, step}", name)
	}
}

// readRange expands {first, last, step} to the numbers from first to last, both included; step is 1 if not given.
func readRange(node *yaml.Node, name string) ([]string, error) {
	parts, err := members(node, "a range", "first", "last", "step")
	if err != nil {
		return nil, err
	}
	if parts["first"] == nil || parts["last"] == nil {
		return nil, problem(node, "%s: a range has first and last", name)
	}
	first, decimals, err := number(parts["first"])
	if err != nil {
		return nil, err
	}
	last, _, err := number(parts["last"])
	if err != nil {
		return nil, err
	}
	step := big.NewInt(scale)
	if parts["step"] != nil {
		var digits int
		if step, digits, err = number(parts["step"]); err != nil {
			return nil, err
		}
		decimals = max(decimals, digits)
	}
	if step.Sign() == 0 {
		return nil, problem(node, "%s: the step is zero", name)
	}
	span := new(big.Int).Sub(last, first)
	if span.Sign()*step.Sign() < 0 {
		return nil, problem(node, "%s: the range is empty", name)
	}
	count := new(big.Int).Quo(span, step)
	if count.Cmp(big.NewInt(MaxTasks-1)) > 0 {
		return nil, problem(node, "%s: the range has more than %d values", name, MaxTasks)
	}
	values := make([]string, count.Int64()+1)
	for i := range values {
		at := new(big.Int).Mul(step, big.NewInt(int64(i)))
		values[i] = decimal(at.Add(at, first), decimals)
	}
	return values, nil
}

// Numbers of ranges are decimals in units of 10^-9, so that 0.1 added ten times is 1.
const (
	scale       = 1_000_000_000
	scaleDigits = 9
)

// number reads a decimal number and says how many digits follow its point.
func number(node *yaml.Node) (*big.Int, int, error) {
	if node.Kind != yaml.ScalarNode || !regexp.MustCompile(`^-?[0-9]{1,18}(\.[0-9]{1,9})?$`).MatchString(node.Value) {
		return nil, 0, problem(node, "expected a number, found %s", strconv.Quote(sweep.Abbreviate(node.Value)))
	}
	whole, fraction, _ := strings.Cut(node.Value, ".")
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", scaleDigits-len(fraction)), 10)
	if !ok {
		return nil, 0, problem(node, "expected a number")
	}
	return n, len(fraction), nil
}

func decimal(n *big.Int, decimals int) string {
	sign := ""
	if n.Sign() < 0 {
		sign = "-"
	}
	text := new(big.Int).Abs(n).String()
	text = strings.Repeat("0", max(0, scaleDigits+1-len(text))) + text
	whole, fraction := text[:len(text)-scaleDigits], text[len(text)-scaleDigits:]
	if decimals == 0 {
		return sign + whole
	}
	return sign + whole + "." + fraction[:decimals]
}
