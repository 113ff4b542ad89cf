package filter

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/lifecycle"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	timestampName = "google.protobuf.Timestamp"
	durationName  = "google.protobuf.Duration"
)

// isScalar says whether a message field is a single value in REST.
func isScalar(fd protoreflect.FieldDescriptor) bool {
	name := fd.Message().FullName()
	return name == timestampName || name == durationName
}

// compare makes the comparison of a value of fd with the literal; it is nil for null, which compares presence only.
func (t *term) compare(fd protoreflect.FieldDescriptor, op operator) (func(protoreflect.Value) bool, error) {
	if t.literal.kind == literalNull {
		if op != opEq {
			return nil, t.misfit("null can only be compared with eq and ne")
		}
		return nil, nil
	}
	switch fd.Kind() {
	case protoreflect.StringKind:
		return t.compareText(op)
	case protoreflect.EnumKind:
		return t.compareEnum(fd.Enum(), op)
	case protoreflect.BoolKind:
		return t.compareBool(op)
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return t.compareInt(op)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if t.literal.kind != literalInt && t.literal.kind != literalReal {
			return nil, t.misfit("%s is a number", t.path())
		}
		return ordered(op, protoreflect.Value.Float, t.literal.real, t)
	case protoreflect.MessageKind:
		switch fd.Message().FullName() {
		case timestampName:
			return t.compareTime(op)
		case durationName:
			return t.compareDuration(op)
		}
	}
	return nil, t.misfit("%s has parts and can only be compared with null", t.path())
}

func (t *term) path() string { return strings.Join(t.names, "/") }

func (t *term) misfit(format string, args ...any) error { return fail(t.literalAt, format, args...) }

func (t *term) compareText(op operator) (func(protoreflect.Value) bool, error) {
	if t.literal.kind != literalString && t.literal.kind != literalTime {
		return nil, t.misfit("%s is a text and needs a text in quotes", t.path())
	}
	want := t.literal.text
	switch op {
	case opStartsWith:
		return func(v protoreflect.Value) bool { return strings.HasPrefix(v.String(), want) }, nil
	case opEndsWith:
		return func(v protoreflect.Value) bool { return strings.HasSuffix(v.String(), want) }, nil
	case opContains:
		return func(v protoreflect.Value) bool { return strings.Contains(v.String(), want) }, nil
	default:
		return ordered(op, protoreflect.Value.String, want, t)
	}
}

// compareEnum compares spellings, so that functions and order work as on any text; the answers are found beforehand.
func (t *term) compareEnum(desc protoreflect.EnumDescriptor, op operator) (func(protoreflect.Value) bool, error) {
	if t.literal.kind != literalString {
		return nil, t.misfit("%s needs one of its values in quotes", t.path())
	}
	want := strings.ToLower(t.literal.text)
	folded := *t
	folded.literal.text = want
	holds, err := folded.compareText(op)
	if err != nil {
		return nil, err
	}
	answers := map[protoreflect.EnumNumber]bool{}
	known := false
	for i := range desc.Values().Len() {
		v := desc.Values().Get(i)
		if v.Number() == 0 {
			continue
		}
		spelling := strings.ToLower(Spelling(v))
		known = known || spelling == want
		answers[v.Number()] = holds(protoreflect.ValueOfString(spelling))
	}
	if op == opEq && !known {
		return nil, t.misfit("%q is not a value of %s", abbreviate(t.literal.text), t.path())
	}
	return func(v protoreflect.Value) bool { return answers[v.Enum()] }, nil
}

func (t *term) compareBool(op operator) (func(protoreflect.Value) bool, error) {
	if t.literal.kind != literalBool || op != opEq {
		return nil, t.misfit("%s can only be compared with eq or ne and true or false", t.path())
	}
	want := t.literal.truth
	return func(v protoreflect.Value) bool { return v.Bool() == want }, nil
}

// compareInt takes integers, decimals and, as REST writes 64-bit integers as texts, integers in quotes.
func (t *term) compareInt(op operator) (func(protoreflect.Value) bool, error) {
	switch t.literal.kind {
	case literalInt:
		return ordered(op, protoreflect.Value.Int, t.literal.integer, t)
	case literalReal:
		return ordered(op, func(v protoreflect.Value) float64 { return float64(v.Int()) }, t.literal.real, t)
	case literalString:
		if i, err := strconv.ParseInt(t.literal.text, 10, 64); err == nil {
			return ordered(op, protoreflect.Value.Int, i, t)
		}
	}
	return nil, t.misfit("%s is a number", t.path())
}

func (t *term) compareTime(op operator) (func(protoreflect.Value) bool, error) {
	want := t.literal.time
	switch t.literal.kind {
	case literalTime:
	case literalString:
		var ok bool
		if want, ok = parseTime(t.literal.text); !ok {
			return nil, t.misfit("%s needs a time such as datetime'2024-01-02T03:04:05Z'", t.path())
		}
	default:
		return nil, t.misfit("%s needs a time such as datetime'2024-01-02T03:04:05Z'", t.path())
	}
	return comparedBy(op, t, func(v protoreflect.Value) int {
		ts, ok := v.Message().Interface().(*timestamppb.Timestamp)
		if !ok {
			return -1
		}
		return ts.AsTime().Compare(want)
	})
}

func (t *term) compareDuration(op operator) (func(protoreflect.Value) bool, error) {
	if t.literal.kind != literalString {
		return nil, t.misfit("%s needs a duration such as 'PT5M'", t.path())
	}
	want, err := lifecycle.ParseDuration(t.literal.text)
	if err != nil {
		return nil, t.misfit("%v", err)
	}
	return ordered(op, func(v protoreflect.Value) time.Duration {
		d, _ := v.Message().Interface().(*durationpb.Duration)
		return d.AsDuration()
	}, want, t)
}

func ordered[T cmp.Ordered](op operator, get func(protoreflect.Value) T, want T, t *term) (func(protoreflect.Value) bool, error) {
	return comparedBy(op, t, func(v protoreflect.Value) int { return cmp.Compare(get(v), want) })
}

func comparedBy(op operator, t *term, compare func(protoreflect.Value) int) (func(protoreflect.Value) bool, error) {
	switch op {
	case opEq:
		return func(v protoreflect.Value) bool { return compare(v) == 0 }, nil
	case opGt:
		return func(v protoreflect.Value) bool { return compare(v) > 0 }, nil
	case opGe:
		return func(v protoreflect.Value) bool { return compare(v) >= 0 }, nil
	case opLt:
		return func(v protoreflect.Value) bool { return compare(v) < 0 }, nil
	case opLe:
		return func(v protoreflect.Value) bool { return compare(v) <= 0 }, nil
	default:
		return nil, t.misfit("%s is not a text", t.path())
	}
}
