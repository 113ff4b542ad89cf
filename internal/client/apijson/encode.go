package apijson

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/batchyard/batchyard/internal/lifecycle"
)

// Marshal writes a message as JSON, indented by two spaces and without a final line break. Members come in the order of the fields; absent ones are left out.
// Every control character of a text is escaped.
func Marshal(msg proto.Message) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, appendMessage(nil, msg.ProtoReflect()), "", "  "); err != nil {
		return nil, fmt.Errorf("write %s as JSON: %w", msg.ProtoReflect().Descriptor().Name(), err)
	}
	return b.Bytes(), nil
}

// MarshalYAML writes a message as a YAML document with the same members.
func MarshalYAML(msg proto.Message) ([]byte, error) {
	// JSON is YAML; read as such it keeps the order of its members.
	var node yaml.Node
	if err := yaml.Unmarshal(appendMessage(nil, msg.ProtoReflect()), &node); err != nil {
		return nil, fmt.Errorf("write %s as YAML: %w", msg.ProtoReflect().Descriptor().Name(), err)
	}
	blockStyle(&node)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&node); err != nil {
		return nil, fmt.Errorf("write %s as YAML: %w", msg.ProtoReflect().Descriptor().Name(), err)
	}
	return b.Bytes(), nil
}

func blockStyle(node *yaml.Node) {
	if len(node.Content) > 0 || node.Kind == yaml.ScalarNode {
		node.Style = 0
	}
	for _, child := range node.Content {
		blockStyle(child)
	}
}

func appendMessage(b []byte, m protoreflect.Message) []byte {
	switch m.Descriptor().FullName() {
	case timestampName:
		return appendText(b, seconds(m).UTC().Format(time.RFC3339Nano))
	case durationName:
		return appendText(b, lifecycle.FormatDuration(duration(m)))
	case structName:
		return appendStruct(b, m)
	}
	b = append(b, '{')
	first := true
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !m.Has(field) && !(rule(field).GetRequired() && field.Message() == nil && field.Enum() == nil && !field.IsList() && field.Kind() != protoreflect.StringKind) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(appendText(b, field.JSONName()), ':')
		b = appendField(b, field, m.Get(field))
	}
	return append(b, '}')
}

func appendField(b []byte, field protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch {
	case field.IsList():
		b = append(b, '[')
		for i := range v.List().Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendScalar(b, field, v.List().Get(i))
		}
		return append(b, ']')
	case field.IsMap():
		return appendMap(b, field, v.Map())
	default:
		return appendScalar(b, field, v)
	}
}

func appendMap(b []byte, field protoreflect.FieldDescriptor, m protoreflect.Map) []byte {
	var keys []string
	values := map[string]protoreflect.Value{}
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		keys = append(keys, k.String())
		values[k.String()] = v
		return true
	})
	slices.Sort(keys)
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, k), ':')
		b = appendScalar(b, field.MapValue(), values[k])
	}
	return append(b, '}')
}

func appendScalar(b []byte, field protoreflect.FieldDescriptor, v protoreflect.Value) []byte {
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return appendMessage(b, v.Message())
	case protoreflect.EnumKind:
		return appendText(b, EnumText(field.Enum(), v.Enum()))
	case protoreflect.BoolKind:
		return strconv.AppendBool(b, v.Bool())
	case protoreflect.StringKind:
		return appendText(b, v.String())
	case protoreflect.BytesKind:
		return appendText(b, base64.StdEncoding.EncodeToString(v.Bytes()))
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		if f := v.Float(); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return strconv.AppendFloat(b, f, 'g', -1, 64)
		}
		return append(b, "null"...)
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return strconv.AppendUint(b, v.Uint(), 10)
	default:
		return strconv.AppendInt(b, v.Int(), 10)
	}
}

// appendText quotes as JSON does, and escapes the control characters that JSON lets through.
func appendText(b []byte, s string) []byte {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil { // never for a string
		return append(b, `""`...)
	}
	for _, r := range strings.TrimSuffix(quoted.String(), "\n") {
		if r >= 0x7f && r <= 0x9f {
			b = fmt.Appendf(b, `\u%04x`, r)
			continue
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

func seconds(m protoreflect.Message) time.Time {
	fields := m.Descriptor().Fields()
	return time.Unix(m.Get(fields.ByName("seconds")).Int(), m.Get(fields.ByName("nanos")).Int())
}

func duration(m protoreflect.Message) time.Duration {
	fields := m.Descriptor().Fields()
	whole := m.Get(fields.ByName("seconds")).Int()
	nanos := m.Get(fields.ByName("nanos")).Int()
	if limit := int64(lifecycle.Unlimited / time.Second); whole >= limit {
		return lifecycle.Unlimited
	}
	return time.Duration(whole)*time.Second + time.Duration(nanos)
}
