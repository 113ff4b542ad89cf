package sweep

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Names that the templates of an array use.
const (
	NameArray = "array" // id of the array
	NameIndex = "index" // of the element
	NameItem  = "item"  // the element's item, where items have no columns
)

// Element is what an element of a task array has for itself.
type Element struct {
	Array string
	Index int64
	// Columns name the Values. Without any there is one value, the item, or none.
	Columns, Values []string
}

// Find says what a name stands for in the element's templates.
func (e *Element) Find(name string) (string, bool, error) {
	switch name {
	case NameArray:
		return e.Array, true, nil
	case NameIndex:
		return strconv.FormatInt(e.Index, 10), true, nil
	}
	if len(e.Columns) == 0 {
		if name == NameItem && len(e.Values) == 1 {
			return e.Values[0], true, nil
		}
		return "", false, nil
	}
	for i, column := range e.Columns {
		if column == name && i < len(e.Values) {
			return e.Values[i], true, nil
		}
	}
	return "", false, nil
}

// Task is a copy of the task with the templates in all its texts filled in.
func (e *Element) Task(t *apiv1.Task) (*apiv1.Task, error) {
	out := proto.CloneOf(t)
	return out, e.fill(out.ProtoReflect(), "")
}

func (e *Element) fill(m protoreflect.Message, at string) error {
	var failed error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		here := strings.TrimPrefix(at+"."+fd.JSONName(), ".")
		switch {
		case fd.IsMap():
		case fd.IsList():
			failed = e.fillList(v.List(), fd, here)
		case fd.Kind() == protoreflect.MessageKind:
			failed = e.fill(v.Message(), here)
		case fd.Kind() == protoreflect.StringKind && strings.Contains(v.String(), "{{"):
			var text string
			if text, failed = Text(v.String(), e.Find); failed != nil {
				failed = &Problem{Path: here, Err: failed}
				break
			}
			m.Set(fd, protoreflect.ValueOfString(text))
		}
		return failed == nil
	})
	return failed
}

func (e *Element) fillList(list protoreflect.List, fd protoreflect.FieldDescriptor, at string) error {
	for i := range list.Len() {
		here := fmt.Sprintf("%s[%d]", at, i)
		switch fd.Kind() {
		case protoreflect.MessageKind:
			if err := e.fill(list.Get(i).Message(), here); err != nil {
				return err
			}
		case protoreflect.StringKind:
			text, err := Text(list.Get(i).String(), e.Find)
			if err != nil {
				return &Problem{Path: here, Err: err}
			}
			list.Set(i, protoreflect.ValueOfString(text))
		}
	}
	return nil
}

// Problem is a text of a task that can't be filled in.
type Problem struct {
	Path string // of the property, as in REST
	Err  error
}

// Error names the property and what is wrong.
func (p *Problem) Error() string { return p.Path + ": " + p.Err.Error() }

// Unwrap is what is wrong.
func (p *Problem) Unwrap() error { return p.Err }
