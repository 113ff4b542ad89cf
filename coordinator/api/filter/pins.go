package filter

import (
	"slices"
	"strings"
)

// Pins are conditions on id, state and result that everything a filter matches fulfils, so that a list can start from an index; the
// filter still has to be applied to what the index gives. Nil: any.
type Pins struct {
	IDs      []string // as spelled in the filter; one of them
	Prefixes []string // one of them begins the id
	States   []string // in lower case; one of them
	Failed   bool     // the task has failed
}

// Pins finds the filter's conditions on id, state and result.
func (f *Filter) Pins() Pins {
	if f == nil {
		return Pins{}
	}
	p := Pins{
		IDs:      f.root.pin("id", opEq),
		Prefixes: f.root.pin("id", opStartsWith),
		States:   f.root.pin("state", opEq),
	}
	var states []string
	for _, s := range p.States {
		if folded := strings.ToLower(s); !slices.Contains(states, folded) {
			states = append(states, folded)
		}
	}
	p.States = states
	results := f.root.pin("executionInfo/result", opEq)
	p.Failed = len(results) == 1 && strings.EqualFold(results[0], "failure")
	return p
}

func (t *term) pin(path string, op operator) []string {
	if t.op != op || t.literal.kind != literalString || strings.Join(t.names, "/") != path {
		return nil
	}
	return []string{t.literal.text}
}

// pin of a conjunction is that of any part; the shortest set serves best.
func (e allOf) pin(path string, op operator) []string {
	var best []string
	for _, part := range e {
		if set := part.pin(path, op); set != nil && (best == nil || len(set) < len(best)) {
			best = set
		}
	}
	return best
}

// pin of a disjunction is the union, if every part has one.
func (e anyOf) pin(path string, op operator) []string {
	var union []string
	for _, part := range e {
		set := part.pin(path, op)
		if set == nil {
			return nil
		}
		for _, s := range set {
			if !slices.Contains(union, s) {
				union = append(union, s)
			}
		}
	}
	return union
}

func (negation) pin(string, operator) []string { return nil }
