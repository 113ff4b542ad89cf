// Package apijson writes the API's messages as JSON and YAML in the spelling of Azure Batch, and reads them strictly.
package apijson

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Full names of the messages that have a spelling of their own.
const (
	timestampName = "google.protobuf.Timestamp"
	durationName  = "google.protobuf.Duration"
	structName    = "google.protobuf.Struct"
)

// EnumText is the spelling of an enum's value: lower case without separators, unless the value has one of its own. A value that
// is not known is "".
func EnumText(enum protoreflect.EnumDescriptor, number protoreflect.EnumNumber) string {
	value := enum.Values().ByNumber(number)
	if value == nil || number == 0 {
		return ""
	}
	return spelling(enum, value)
}

func spelling(enum protoreflect.EnumDescriptor, value protoreflect.EnumValueDescriptor) string {
	if own, ok := proto.GetExtension(value.Options(), apiv1.E_Wire).(string); ok && own != "" {
		return own
	}
	prefix := strings.TrimSuffix(string(enum.Values().ByNumber(0).Name()), "UNSPECIFIED")
	name := strings.TrimPrefix(string(value.Name()), prefix)
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

func rule(field protoreflect.FieldDescriptor) *apiv1.Rule {
	r, _ := proto.GetExtension(field.Options(), apiv1.E_Rule).(*apiv1.Rule)
	return r
}
