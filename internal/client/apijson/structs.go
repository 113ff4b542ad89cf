package apijson

import (
	"encoding/json"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"

	"go.yaml.in/yaml/v3"
)

// appendStruct writes free JSON, which is the same in every spelling.
func appendStruct(b []byte, m protoreflect.Message) []byte {
	text, err := protojson.Marshal(m.Interface())
	if err != nil { // for numbers that JSON does not have
		return append(b, "null"...)
	}
	return append(b, text...)
}

func (d *decoder) structure(node *yaml.Node, m protoreflect.Message) error {
	var free map[string]any
	if err := d.spend(node); err != nil {
		return err
	}
	if err := node.Decode(&free); err != nil {
		return problem(node, "expected an object: %v", err)
	}
	text, err := json.Marshal(free)
	if err == nil {
		err = protojson.Unmarshal(text, m.Interface())
	}
	if err != nil {
		return problem(node, "is not JSON: %v", err)
	}
	return nil
}
