package apijson

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/lifecycle"
)

// Bounds on one message that is read; they stop documents that are made to grow without end.
const (
	maxDepth = 64
	maxNodes = 1 << 20
)

// Problem is a mistake at a line of a document.
type Problem struct {
	Line int
	Text string
}

func (p *Problem) Error() string { return fmt.Sprintf("line %d: %s", p.Line, p.Text) }

func problem(node *yaml.Node, format string, args ...any) error {
	return &Problem{Line: node.Line, Text: fmt.Sprintf(format, args...)}
}

// Parse reads a JSON or YAML text as its documents. An empty text has none.
func Parse(text io.Reader) ([]*yaml.Node, error) {
	decoder := yaml.NewDecoder(text)
	var documents []*yaml.Node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		switch {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
		case document.Kind == yaml.DocumentNode && len(document.Content) == 1:
			documents = append(documents, document.Content[0])
		}
	}
}

// Decode reads a node of a document into msg, which should be empty. A property that msg does not have, a value of the wrong
// kind or a name that comes twice is an error; errors are *Problem. Durations are ISO 8601 (PT10M) or Go's (10m).
func Decode(node *yaml.Node, msg proto.Message) error {
	return (&decoder{left: maxNodes}).message(node, msg.ProtoReflect(), 0)
}

type decoder struct{ left int }

// resolve follows an alias and pays for the node.
func (d *decoder) resolve(node *yaml.Node, depth int) (*yaml.Node, error) {
	if d.left--; d.left < 0 || depth > maxDepth {
		return nil, problem(node, "too large or too deep")
	}
	if node.Kind == yaml.AliasNode {
		return node.Alias, nil
	}
	return node, nil
}

// spend pays for a whole tree.
func (d *decoder) spend(node *yaml.Node) error {
	pending := []*yaml.Node{node}
	for len(pending) > 0 {
		next := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if next.Kind == yaml.AliasNode {
			return problem(next, "aliases are not allowed here")
		}
		if d.left--; d.left < 0 {
			return problem(next, "too large")
		}
		pending = append(pending, next.Content...)
	}
	return nil
}

func (d *decoder) message(node *yaml.Node, m protoreflect.Message, depth int) error {
	node, err := d.resolve(node, depth)
	if err != nil {
		return err
	}
	switch m.Descriptor().FullName() {
	case timestampName, durationName:
		return wellKnown(node, m)
	case structName:
		return d.structure(node, m)
	}
	if node.Kind != yaml.MappingNode {
		return problem(node, "expected an object with the properties of %s, found %s", m.Descriptor().Name(), kindText(node))
	}
	seen := make(map[string]bool, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := m.Descriptor().Fields().ByJSONName(key.Value)
		if field == nil {
			return problem(key, "%s has no property %s%s", m.Descriptor().Name(), quote(key.Value), suggestion(m.Descriptor(), key.Value))
		}
		if seen[key.Value] {
			return problem(key, "property %s comes twice", quote(key.Value))
		}
		seen[key.Value] = true
		if err := d.field(value, m, field, depth+1); err != nil {
			return within(field.JSONName(), err)
		}
	}
	return nil
}

// within names the property that a problem is in.
func within(name string, err error) error {
	var p *Problem
	if !errors.As(err, &p) || strings.Contains(p.Text, " has no property ") || strings.Contains(p.Text, ": ") {
		return err
	}
	return &Problem{Line: p.Line, Text: name + ": " + p.Text}
}

func (d *decoder) field(node *yaml.Node, m protoreflect.Message, field protoreflect.FieldDescriptor, depth int) error {
	node, err := d.resolve(node, depth)
	if err != nil {
		return err
	}
	if node.Tag == "!!null" {
		return nil // absent
	}
	switch {
	case field.IsMap():
		return problem(node, "cannot be set here")
	case field.IsList():
		if node.Kind != yaml.SequenceNode {
			return problem(node, "expected a list, found %s", kindText(node))
		}
		list := m.Mutable(field).List()
		for _, item := range node.Content {
			v, err := d.value(item, field, list.NewElement, depth+1)
			if err != nil {
				return err
			}
			list.Append(v)
		}
		return nil
	default:
		v, err := d.value(node, field, func() protoreflect.Value { return m.NewField(field) }, depth)
		if err != nil {
			return err
		}
		m.Set(field, v)
		return nil
	}
}

func (d *decoder) value(node *yaml.Node, field protoreflect.FieldDescriptor, empty func() protoreflect.Value, depth int) (protoreflect.Value, error) {
	if field.Message() != nil {
		v := empty()
		return v, d.message(node, v.Message(), depth+1)
	}
	node, err := d.resolve(node, depth)
	if err != nil {
		return protoreflect.Value{}, err
	}
	if node.Kind != yaml.ScalarNode || node.Tag == "!!null" {
		return protoreflect.Value{}, problem(node, "expected a %s, found %s", wanted(field), kindText(node))
	}
	v, err := scalar(node.Value, field)
	if err != nil {
		return v, problem(node, "%v", err)
	}
	return v, nil
}

func scalar(text string, field protoreflect.FieldDescriptor) (protoreflect.Value, error) {
	mistake := fmt.Errorf("expected a %s, found %s", wanted(field), quote(text))
	switch field.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfBool(text == "true"), nil
	case protoreflect.EnumKind:
		return enumValue(text, field.Enum())
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfInt32(int32(n)), nil
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfInt64(n), nil
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfUint64(n), nil
	case protoreflect.DoubleKind:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfFloat64(f), nil
	case protoreflect.BytesKind:
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return protoreflect.Value{}, mistake
		}
		return protoreflect.ValueOfBytes(raw), nil
	default:
		return protoreflect.Value{}, errors.New("cannot be set here")
	}
}

func enumValue(text string, enum protoreflect.EnumDescriptor) (protoreflect.Value, error) {
	var known []string
	for i := range enum.Values().Len() {
		value := enum.Values().Get(i)
		if value.Number() == 0 {
			continue
		}
		name := spelling(enum, value)
		if strings.EqualFold(name, text) {
			return protoreflect.ValueOfEnum(value.Number()), nil
		}
		known = append(known, name)
	}
	return protoreflect.Value{}, fmt.Errorf("%s is none of %s", quote(text), strings.Join(known, ", "))
}

func wellKnown(node *yaml.Node, m protoreflect.Message) error {
	if node.Kind != yaml.ScalarNode {
		return problem(node, "expected a text, found %s", kindText(node))
	}
	if m.Descriptor().FullName() == timestampName {
		t, err := time.Parse(time.RFC3339, node.Value)
		if err != nil {
			return problem(node, "expected a time such as 2006-01-02T15:04:05Z, found %s", quote(node.Value))
		}
		proto.Merge(m.Interface(), timestamppb.New(t))
		return nil
	}
	d, err := ParseDuration(node.Value)
	if err != nil {
		return problem(node, "expected a duration such as PT10M or 10m, found %s", quote(node.Value))
	}
	proto.Merge(m.Interface(), durationpb.New(d))
	return nil
}

// ParseDuration reads a duration in ISO 8601 (PT10M) or as Go writes it (10m); a negative one is an error.
func ParseDuration(text string) (time.Duration, error) {
	if strings.HasPrefix(text, "P") {
		return lifecycle.ParseDuration(text)
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s is not a duration: write 10m or PT10M", quote(text))
	}
	return d, nil
}

func wanted(field protoreflect.FieldDescriptor) string {
	switch field.Kind() {
	case protoreflect.StringKind:
		return "text"
	case protoreflect.BoolKind:
		return "truth value (true or false)"
	case protoreflect.DoubleKind:
		return "number"
	case protoreflect.EnumKind:
		return "word"
	case protoreflect.BytesKind:
		return "base64 text"
	default:
		return "whole number"
	}
}

func kindText(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		if node.Tag == "!!null" {
			return "nothing"
		}
		return quote(node.Value)
	default:
		return "something else"
	}
}

// suggestion names the property that was probably meant.
func suggestion(m protoreflect.MessageDescriptor, name string) string {
	plain := func(s string) string { return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s)) }
	for i := range m.Fields().Len() {
		if known := m.Fields().Get(i).JSONName(); plain(known) == plain(name) {
			return fmt.Sprintf(" (did you mean %s?)", known)
		}
	}
	return ""
}

// quote shows a text of the document; a long one in part.
func quote(s string) string {
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return strconv.Quote(s)
}
