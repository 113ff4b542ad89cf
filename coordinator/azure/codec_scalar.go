package azure

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/lifecycle"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// scalar reads a value of the field's kind. An invalid Value without an error is an absent one.
func (d *decoder) scalar(f *fieldTable) (protoreflect.Value, error) {
	switch f.kind {
	case kindString:
		b, err := d.stringValue("a text")
		return protoreflect.ValueOfString(string(b)), err
	case kindBool:
		return d.boolValue()
	case kindInt32:
		return d.int32Value()
	case kindInt64:
		return d.int64Value()
	case kindDouble:
		return d.doubleValue()
	case kindEnum:
		return d.enumValue(f.enum)
	case kindTimestamp:
		return d.timeValue()
	case kindDuration:
		return d.durationValue(f)
	default:
		object, err := d.structValue()
		if err != nil {
			return protoreflect.Value{}, err
		}
		return protoreflect.ValueOfMessage(object.ProtoReflect()), nil
	}
}

func (d *decoder) stringValue(want string) ([]byte, error) {
	if d.peek() != '"' {
		return nil, d.wrongType(want)
	}
	return d.text()
}

func (d *decoder) boolValue() (protoreflect.Value, error) {
	switch d.peek() {
	case 't':
		return protoreflect.ValueOfBool(true), d.word("true")
	case 'f':
		return protoreflect.ValueOfBool(false), d.word("false")
	default:
		return protoreflect.Value{}, d.wrongType("true or false")
	}
}

func (d *decoder) nextIsNumber() bool {
	c := d.peek()
	return c == '-' || '0' <= c && c <= '9'
}

func (d *decoder) int32Value() (protoreflect.Value, error) {
	if !d.nextIsNumber() {
		return protoreflect.Value{}, d.wrongType("an integer")
	}
	b, err := d.number()
	if err != nil {
		return protoreflect.Value{}, err
	}
	i, ok := integer(b)
	if !ok || i < math.MinInt32 || i > math.MaxInt32 {
		return protoreflect.Value{}, d.invalid(b, "Must be an integer of 32 bits.")
	}
	return protoreflect.ValueOfInt32(int32(i)), nil
}

// int64Value takes a text, as REST writes 64-bit integers, or a number.
func (d *decoder) int64Value() (protoreflect.Value, error) {
	var b []byte
	var err error
	switch {
	case d.peek() == '"':
		b, err = d.text()
	case d.nextIsNumber():
		b, err = d.number()
	default:
		return protoreflect.Value{}, d.wrongType("an integer")
	}
	if err != nil {
		return protoreflect.Value{}, err
	}
	i, ok := integer(b)
	if !ok {
		return protoreflect.Value{}, d.invalid(b, "Must be an integer of 64 bits.")
	}
	return protoreflect.ValueOfInt64(i), nil
}

// integer reads a number that may be written with a fraction of zeros.
func integer(b []byte) (int64, bool) {
	text := string(b)
	if whole, fraction, ok := strings.Cut(text, "."); ok && strings.Trim(fraction, "0") == "" {
		text = whole
	}
	i, err := strconv.ParseInt(text, 10, 64)
	return i, err == nil
}

func (d *decoder) doubleValue() (protoreflect.Value, error) {
	if !d.nextIsNumber() {
		return protoreflect.Value{}, d.wrongType("a number")
	}
	b, err := d.number()
	if err != nil {
		return protoreflect.Value{}, err
	}
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil {
		return protoreflect.Value{}, d.invalid(b, "Must be a number of 64 bits.")
	}
	return protoreflect.ValueOfFloat64(f), nil
}

// enumValue takes a value's spelling in any case.
func (d *decoder) enumValue(e *enumTable) (protoreflect.Value, error) {
	b, err := d.stringValue("a text")
	if err != nil {
		return protoreflect.Value{}, err
	}
	number, ok := e.byText[string(b)]
	if !ok {
		number, ok = e.byText[strings.ToLower(string(b))]
	}
	if !ok {
		return protoreflect.Value{}, d.invalid(b, "Not one of the values of the property.")
	}
	return protoreflect.ValueOfEnum(number), nil
}

func (d *decoder) timeValue() (protoreflect.Value, error) {
	b, err := d.stringValue("a time")
	if err != nil {
		return protoreflect.Value{}, err
	}
	when, ok := parseTime(string(b))
	if !ok {
		return protoreflect.Value{}, d.invalid(b, "Must be a time such as 2024-01-02T03:04:05Z.")
	}
	return protoreflect.ValueOfMessage(timestamppb.New(when).ProtoReflect()), nil
}

// parseTime reads ISO 8601 of the years 1 to 9999; without a zone it is UTC.
func parseTime(text string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04Z07:00", time.DateOnly} {
		if when, err := time.Parse(layout, text); err == nil {
			return when, timestamppb.New(when).IsValid()
		}
	}
	return time.Time{}, false
}

func (d *decoder) durationValue(f *fieldTable) (protoreflect.Value, error) {
	b, err := d.stringValue("a duration")
	if err != nil {
		return protoreflect.Value{}, err
	}
	span, err := lifecycle.ParseDuration(string(b))
	if err != nil {
		return protoreflect.Value{}, d.invalid(b, "Must be a duration such as PT15M: "+err.Error()+".")
	}
	if f.unlimited && span == lifecycle.Unlimited {
		return protoreflect.Value{}, nil
	}
	return protoreflect.ValueOfMessage(durationpb.New(span).ProtoReflect()), nil
}

func (d *decoder) structValue() (*structpb.Struct, error) {
	if d.peek() != '{' {
		return nil, d.wrongType("an object")
	}
	if err := d.count(); err != nil {
		return nil, err
	}
	object := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	err := d.members(func(name []byte) error {
		key := string(name)
		d.path = append(d.path, pathPart{field: &fieldTable{name: key}})
		v, err := d.anyValue()
		d.path = d.path[:len(d.path)-1]
		object.Fields[key] = v
		return err
	})
	return object, err
}

func (d *decoder) anyValue() (*structpb.Value, error) {
	if err := d.count(); err != nil {
		return nil, err
	}
	switch c := d.peek(); {
	case c == '{':
		object, err := d.structValue()
		return structpb.NewStructValue(object), err
	case c == '[':
		list := &structpb.ListValue{}
		err := d.elementsOf(func(int) error {
			v, err := d.anyValue()
			list.Values = append(list.Values, v)
			return err
		})
		return structpb.NewListValue(list), err
	case c == '"':
		b, err := d.text()
		return structpb.NewStringValue(string(b)), err
	case d.nextIsNumber():
		v, err := d.doubleValue()
		if err != nil {
			return nil, err
		}
		return structpb.NewNumberValue(v.Float()), nil
	case c == 'n':
		return structpb.NewNullValue(), d.word("null")
	case c == 't' || c == 'f':
		v, err := d.boolValue()
		if err != nil {
			return nil, err
		}
		return structpb.NewBoolValue(v.Bool()), nil
	default:
		return nil, d.skip(d.depthLeft())
	}
}
