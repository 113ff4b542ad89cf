package filter

import (
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Spelling is an enum value's text in REST: its (wire) option, or its name in lower case without prefix and underscores.
func Spelling(v protoreflect.EnumValueDescriptor) string {
	if wire, ok := proto.GetExtension(v.Options(), apiv1.E_Wire).(string); ok && wire != "" {
		return wire
	}
	zero := v.Parent().(protoreflect.EnumDescriptor).Values().ByNumber(0)
	prefix := strings.TrimSuffix(string(zero.Name()), "UNSPECIFIED")
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(string(v.Name()), prefix), "_", ""))
}

func isSecret(fd protoreflect.FieldDescriptor) bool {
	rule, _ := proto.GetExtension(fd.Options(), apiv1.E_Rule).(*apiv1.Rule)
	return rule.GetSecret()
}
