package azure

import (
	"strings"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// valueKind is how a field is written in JSON.
type valueKind uint8

const (
	kindString valueKind = iota
	kindBool
	kindInt32
	kindInt64 // a text in JSON
	kindDouble
	kindEnum
	kindTimestamp // ISO 8601, at most 7 digits of a second
	kindDuration  // ISO 8601
	kindObject    // free JSON
	kindMessage
)

// messageTable is what the codec knows of one message type. Bit i of a fieldSet stands for fields[i].
type messageTable struct {
	desc     protoreflect.MessageDescriptor
	fields   []*fieldTable
	byName   map[string]*fieldTable
	older    map[string]olderMember
	writable fieldSet // those that a request may set
	required fieldSet
}

type fieldSet uint64

func (s fieldSet) has(index int) bool      { return s&(1<<index) != 0 }
func (s fieldSet) with(index int) fieldSet { return s | 1<<index }

// fieldTable is what the codec knows of one property.
type fieldTable struct {
	desc  protoreflect.FieldDescriptor
	name  string
	kind  valueKind
	index int
	list  bool
	// always: written even when it is the zero value.
	always bool
	// unlimited: a duration whose absence means, and is written as, no limit.
	unlimited bool
	// emptied is the field that tells a list that is there and empty from one that is not; nil: they mean the same. JSON has no such member.
	emptied protoreflect.FieldDescriptor
	link    bool // an address that links fill in
	rule    *apiv1.Rule
	message *messageTable // of kindMessage
	enum    *enumTable    // of kindEnum
}

// in says whether the api-version has the property.
func (f *fieldTable) in(version string) bool {
	since, until := f.rule.GetSince(), f.rule.GetUntil()
	return (since == "" || version >= since) && (until == "" || version < until)
}

type enumTable struct {
	byNumber map[protoreflect.EnumNumber]string
	byText   map[string]protoreflect.EnumNumber // lower case
}

// codec translates between messages and Azure Batch's JSON. It is built once and then only read.
type codec struct {
	messages map[protoreflect.FullName]*messageTable
	enums    map[protoreflect.FullName]*enumTable
}

// newCodec builds the tables of the given messages and all that they contain.
func newCodec(roots ...proto.Message) *codec {
	c := &codec{messages: map[protoreflect.FullName]*messageTable{}, enums: map[protoreflect.FullName]*enumTable{}}
	for _, m := range roots {
		c.add(m.ProtoReflect().Descriptor())
	}
	return c
}

// table is nil for messages that newCodec was not given.
func (c *codec) table(m proto.Message) *messageTable {
	return c.messages[m.ProtoReflect().Descriptor().FullName()]
}

func (c *codec) add(desc protoreflect.MessageDescriptor) *messageTable {
	if t, ok := c.messages[desc.FullName()]; ok {
		return t
	}
	t := &messageTable{desc: desc, byName: map[string]*fieldTable{}, older: olderMembers(desc.FullName())}
	c.messages[desc.FullName()] = t
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		if list, ok := strings.CutPrefix(string(fd.Name()), "no_"); ok && desc.Fields().ByName(protoreflect.Name(list)) != nil {
			continue
		}
		f := c.field(fd, i)
		f.emptied = desc.Fields().ByName("no_" + fd.Name())
		t.fields = append(t.fields, f)
		t.byName[f.name] = f
		if !f.rule.GetOutputOnly() {
			t.writable = t.writable.with(i)
		}
		if f.rule.GetRequired() {
			t.required = t.required.with(i)
		}
	}
	return t
}

func (c *codec) field(fd protoreflect.FieldDescriptor, index int) *fieldTable {
	rule, _ := proto.GetExtension(fd.Options(), apiv1.E_Rule).(*apiv1.Rule)
	f := &fieldTable{desc: fd, name: fd.JSONName(), index: index, list: fd.IsList(), rule: rule}
	switch fd.Kind() {
	case protoreflect.StringKind:
		f.kind, f.link = kindString, isLink(f.name)
	case protoreflect.BoolKind:
		f.kind = kindBool
	case protoreflect.Int32Kind:
		f.kind = kindInt32
	case protoreflect.Int64Kind:
		f.kind = kindInt64
	case protoreflect.DoubleKind:
		f.kind = kindDouble
	case protoreflect.EnumKind:
		f.kind, f.enum = kindEnum, c.addEnum(fd.Enum())
	case protoreflect.MessageKind:
		c.messageKind(f)
	default:
		panic("azure: no JSON form for " + string(fd.FullName())) // found by any test that builds a codec
	}
	number := f.kind == kindBool || f.kind == kindInt32 || f.kind == kindInt64 || f.kind == kindDouble
	// The value that goes with a name may be empty, which is not the same as none.
	needed := rule.GetRequired() || f.name == "value"
	f.always = !fd.HasPresence() && (number && !f.list || needed && (f.kind == kindString || f.list))
	return f
}

func (c *codec) messageKind(f *fieldTable) {
	switch f.desc.Message().FullName() {
	case "google.protobuf.Timestamp":
		f.kind = kindTimestamp
	case "google.protobuf.Duration":
		f.kind = kindDuration
		parent := f.desc.Parent().Name()
		f.unlimited = f.name == "maxWallClockTime" && (parent == "JobConstraints" || parent == "TaskConstraints")
	case "google.protobuf.Struct":
		f.kind = kindObject
	default:
		f.kind, f.message = kindMessage, c.add(f.desc.Message())
	}
}

func (c *codec) addEnum(desc protoreflect.EnumDescriptor) *enumTable {
	if t, ok := c.enums[desc.FullName()]; ok {
		return t
	}
	t := &enumTable{byNumber: map[protoreflect.EnumNumber]string{}, byText: map[string]protoreflect.EnumNumber{}}
	for i := range desc.Values().Len() {
		v := desc.Values().Get(i)
		if v.Number() == 0 {
			continue // unspecified: absent in JSON
		}
		text := filter.Spelling(v)
		t.byNumber[v.Number()] = text
		t.byText[strings.ToLower(text)] = v.Number()
	}
	c.enums[desc.FullName()] = t
	return t
}

// shape is a request body: which properties of its message it may set and which it must.
type shape struct {
	table    *messageTable
	writable fieldSet
	required fieldSet
}

// shapeOf is the body made of the properties of m that are not output only.
func (c *codec) shapeOf(m proto.Message) *shape {
	t := c.table(m)
	return &shape{table: t, writable: t.writable, required: t.required}
}

// shapeWith is the body made of the named properties of m; a star marks those that are required.
func (c *codec) shapeWith(m proto.Message, names ...string) *shape {
	s := &shape{table: c.table(m)}
	for _, name := range names {
		name, required := strings.CutSuffix(name, "*")
		index := s.table.byName[name].index
		s.writable = s.writable.with(index)
		if required {
			s.required = s.required.with(index)
		}
	}
	return s
}
