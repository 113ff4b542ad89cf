package filter

import (
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// test says whether an expression holds for a resource.
type test func(protoreflect.Message) bool

type expression interface {
	compile(protoreflect.MessageDescriptor) (test, error)
	// pin is the set of values that a path must have one of for the expression to hold; nil if it may have any.
	pin(path string, op operator) []string
}

type (
	anyOf    []expression
	allOf    []expression
	negation struct{ inner expression }
)

func (e anyOf) compile(desc protoreflect.MessageDescriptor) (test, error) {
	tests, err := compileAll(e, desc)
	return func(m protoreflect.Message) bool {
		for _, t := range tests {
			if t(m) {
				return true
			}
		}
		return false
	}, err
}

func (e allOf) compile(desc protoreflect.MessageDescriptor) (test, error) {
	tests, err := compileAll(e, desc)
	return func(m protoreflect.Message) bool {
		for _, t := range tests {
			if !t(m) {
				return false
			}
		}
		return true
	}, err
}

func (e negation) compile(desc protoreflect.MessageDescriptor) (test, error) {
	inner, err := e.inner.compile(desc)
	return func(m protoreflect.Message) bool { return !inner(m) }, err
}

func compileAll(parts []expression, desc protoreflect.MessageDescriptor) ([]test, error) {
	tests := make([]test, len(parts))
	for i, part := range parts {
		t, err := part.compile(desc)
		if err != nil {
			return nil, err
		}
		tests[i] = t
	}
	return tests, nil
}

// term compares a property with a literal.
type term struct {
	names     []string
	at        int // of the property in the text
	op        operator
	literal   literal
	literalAt int
}

const maxPath = 16

func newTerm(path token, op operator, value literal, valueAt int) (expression, error) {
	names := strings.Split(path.text, "/")
	if len(names) > maxPath {
		return nil, fail(path.at, "%s has more than %d parts", path, maxPath)
	}
	for _, n := range names {
		if n == "" {
			return nil, fail(path.at, "%s is not a property", path)
		}
	}
	return &term{names: names, at: path.at, op: op, literal: value, literalAt: valueAt}, nil
}

func (t *term) compile(desc protoreflect.MessageDescriptor) (test, error) {
	fields, err := t.resolve(desc)
	if err != nil {
		return nil, err
	}
	last := fields[len(fields)-1]
	op := t.op
	if op == opNe {
		op = opEq
	}
	holds, err := t.compare(last, op)
	if err != nil {
		return nil, err
	}
	leaf := leafTest(last, t.literal.kind == literalNull, holds)
	through := fields[:len(fields)-1]
	if t.op == opNe {
		return func(m protoreflect.Message) bool { return !descend(m, through, leaf) }, nil
	}
	if len(through) == 0 {
		return leaf, nil
	}
	return func(m protoreflect.Message) bool { return descend(m, through, leaf) }, nil
}

// resolve finds the fields of the path. Secrets are not there: a filter must not be a way to guess them.
func (t *term) resolve(desc protoreflect.MessageDescriptor) ([]protoreflect.FieldDescriptor, error) {
	fields := make([]protoreflect.FieldDescriptor, len(t.names))
	for i, name := range t.names {
		var fd protoreflect.FieldDescriptor
		if desc != nil {
			fd = desc.Fields().ByJSONName(name)
		}
		if fd == nil || isSecret(fd) {
			return nil, fail(t.at, "there is no property %q", abbreviate(strings.Join(t.names[:i+1], "/")))
		}
		fields[i] = fd
		desc = nil
		if fd.Kind() == protoreflect.MessageKind && !isScalar(fd) {
			desc = fd.Message()
		}
	}
	return fields, nil
}

// descend follows the path to the message that holds its last property; an empty list counts as a missing property.
func descend(m protoreflect.Message, through []protoreflect.FieldDescriptor, leaf test) bool {
	for i, fd := range through {
		if !fd.IsList() {
			m = m.Get(fd).Message()
			continue
		}
		list := m.Get(fd).List()
		if list.Len() == 0 {
			m = list.NewElement().Message().Type().Zero()
			continue
		}
		for j := range list.Len() {
			if descend(list.Get(j).Message(), through[i+1:], leaf) {
				return true
			}
		}
		return false
	}
	return leaf(m)
}

// leafTest applies holds to the property if it is there.
func leafTest(fd protoreflect.FieldDescriptor, null bool, holds func(protoreflect.Value) bool) test {
	always := !fd.HasPresence() && !fd.IsList() && fd.Kind() != protoreflect.StringKind && fd.Kind() != protoreflect.EnumKind
	present := func(m protoreflect.Message) bool { return m.IsValid() && (always || m.Has(fd)) }
	switch {
	case null:
		return func(m protoreflect.Message) bool { return !present(m) }
	case fd.IsList():
		return func(m protoreflect.Message) bool {
			list := m.Get(fd).List()
			for i := range list.Len() {
				if holds(list.Get(i)) {
					return true
				}
			}
			return false
		}
	default:
		return func(m protoreflect.Message) bool { return present(m) && holds(m.Get(fd)) }
	}
}
