package azure

import (
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/batchyard/batchyard/internal/lifecycle"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// timeLayout is ISO 8601 with at most seven digits of a second.
const timeLayout = "2006-01-02T15:04:05.9999999Z"

// encoder writes messages as JSON for one api-version.
type encoder struct {
	codec   *codec
	version string
	links   links
}

// object appends m as an object; a nil selection takes every property.
func (e *encoder) object(buf []byte, m proto.Message, selected *selection) []byte {
	buf = append(buf, '{')
	buf = e.members(buf, m.ProtoReflect(), e.codec.table(m), selected)
	return append(buf, '}')
}

// link gives the address for an address property that the services left empty.
func (e *encoder) link(m protoreflect.Message, f *fieldTable) string {
	if !f.link {
		return ""
	}
	text := e.links.of(m, f.name)
	if m.Descriptor().Fields().ByName("e_tag") != nil {
		e.links.self = text
	}
	return text
}

// members appends the properties of m that are set, known to the api-version, not secret and selected.
func (e *encoder) members(buf []byte, m protoreflect.Message, t *messageTable, selected *selection) []byte {
	for _, f := range t.fields {
		if f.rule.GetSecret() || !f.in(e.version) {
			continue
		}
		below, ok := selected.property(f.name)
		if !ok {
			continue
		}
		switch {
		case m.Has(f.desc):
			buf = e.field(appendName(buf, f.name), m.Get(f.desc), f, below)
		case f.link:
			if text := e.link(m, f); text != "" {
				buf = appendText(appendName(buf, f.name), text)
			}
		case f.always:
			buf = e.field(appendName(buf, f.name), m.Get(f.desc), f, below)
		case f.emptied != nil && m.Get(f.emptied).Bool():
			buf = append(appendName(buf, f.name), "[]"...)
		case f.unlimited:
			buf = appendText(appendName(buf, f.name), lifecycle.FormatDuration(lifecycle.Unlimited))
		}
	}
	if diskType := t.olderDiskTypeOf(m, e.version); diskType != "" {
		buf = appendText(appendName(buf, "storageAccountType"), diskType)
	}
	return buf
}

func (e *encoder) field(buf []byte, v protoreflect.Value, f *fieldTable, selected *selection) []byte {
	if !f.list {
		return e.value(buf, v, f, selected)
	}
	list := v.List()
	buf = append(buf, '[')
	for i := range list.Len() {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = e.value(buf, list.Get(i), f, selected)
	}
	return append(buf, ']')
}

func (e *encoder) value(buf []byte, v protoreflect.Value, f *fieldTable, selected *selection) []byte {
	switch f.kind {
	case kindString:
		return appendText(buf, v.String())
	case kindBool:
		return strconv.AppendBool(buf, v.Bool())
	case kindInt32:
		return strconv.AppendInt(buf, v.Int(), 10)
	case kindInt64:
		buf = append(buf, '"')
		buf = strconv.AppendInt(buf, v.Int(), 10)
		return append(buf, '"')
	case kindDouble:
		return appendDouble(buf, v.Float())
	case kindEnum:
		if text, ok := f.enum.byNumber[v.Enum()]; ok {
			return appendText(buf, text)
		}
		return appendText(buf, strconv.Itoa(int(v.Enum()))) // written by a newer coordinator
	case kindTimestamp:
		ts, _ := v.Message().Interface().(*timestamppb.Timestamp)
		return appendTime(buf, ts.AsTime())
	case kindDuration:
		d, _ := v.Message().Interface().(*durationpb.Duration)
		return appendText(buf, lifecycle.FormatDuration(d.AsDuration()))
	case kindObject:
		object, _ := v.Message().Interface().(*structpb.Struct)
		return appendStruct(buf, object)
	default:
		buf = append(buf, '{')
		buf = e.members(buf, v.Message(), f.message, selected)
		return append(buf, '}')
	}
}

// appendName appends a member's name, after a comma unless it is the first.
func appendName(buf []byte, name string) []byte {
	if len(buf) > 0 && buf[len(buf)-1] != '{' {
		buf = append(buf, ',')
	}
	buf = append(buf, '"')
	buf = append(buf, name...)
	return append(buf, '"', ':')
}

func appendTime(buf []byte, when time.Time) []byte {
	buf = append(buf, '"')
	buf = when.UTC().AppendFormat(buf, timeLayout)
	return append(buf, '"')
}

func appendDouble(buf []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(buf, '0') // JSON has no word for them
	}
	return strconv.AppendFloat(buf, f, 'g', -1, 64)
}

const hexDigits = "0123456789abcdef"

// appendText appends a JSON string; invalid UTF-8 becomes U+FFFD.
func appendText(buf []byte, s string) []byte {
	buf = append(buf, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && c != 0x7F:
			i++
		case c < utf8.RuneSelf:
			buf = append(buf, s[start:i]...)
			buf = appendEscaped(buf, c)
			i++
			start = i
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				buf = append(buf, s[start:i]...)
				buf = append(buf, "\uFFFD"...)
				start = i + size
			}
			i += size
		}
	}
	buf = append(buf, s[start:]...)
	return append(buf, '"')
}

func appendEscaped(buf []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(buf, '\\', c)
	case '\n':
		return append(buf, '\\', 'n')
	case '\r':
		return append(buf, '\\', 'r')
	case '\t':
		return append(buf, '\\', 't')
	default:
		return append(buf, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
	}
}

// appendStruct appends free JSON with its members in order of name.
func appendStruct(buf []byte, object *structpb.Struct) []byte {
	names := make([]string, 0, len(object.GetFields()))
	for name := range object.GetFields() {
		names = append(names, name)
	}
	slices.Sort(names)
	buf = append(buf, '{')
	for i, name := range names {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = append(appendText(buf, name), ':')
		buf = appendAny(buf, object.GetFields()[name])
	}
	return append(buf, '}')
}

func appendAny(buf []byte, v *structpb.Value) []byte {
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return appendStruct(buf, k.StructValue)
	case *structpb.Value_ListValue:
		buf = append(buf, '[')
		for i, element := range k.ListValue.GetValues() {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = appendAny(buf, element)
		}
		return append(buf, ']')
	case *structpb.Value_StringValue:
		return appendText(buf, k.StringValue)
	case *structpb.Value_NumberValue:
		return appendDouble(buf, k.NumberValue)
	case *structpb.Value_BoolValue:
		return strconv.AppendBool(buf, k.BoolValue)
	default:
		return append(buf, "null"...)
	}
}
