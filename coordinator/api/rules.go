package api

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// rules are what the options of the fields say, read once for all messages of the resources.
type rules struct {
	messages map[protoreflect.FullName]*messageRules
}

type messageRules struct {
	fields   map[protoreflect.FieldNumber]*fieldRules
	required []*fieldRules
	// secrets are the fields that are secret or lead to a secret.
	secrets []*fieldRules
}

type fieldRules struct {
	desc    protoreflect.FieldDescriptor
	rule    *apiv1.Rule
	message *messageRules // nil but for messages of ours
}

// roots are the messages that requests are made of and resources shown as.
func roots() []proto.Message {
	return []proto.Message{
		&apiv1.Pool{}, &apiv1.PoolUpdateOptions{}, &apiv1.PoolReplaceOptions{}, &apiv1.PoolResizeOptions{}, &apiv1.NodeRemoveOptions{},
		&apiv1.PoolEnableAutoScaleOptions{}, &apiv1.PoolEvaluateAutoScaleOptions{},
		&apiv1.Node{}, &apiv1.NodeDisableSchedulingOptions{}, &apiv1.NodeRebootOptions{}, &apiv1.NodeReimageOptions{},
		&apiv1.NodeDeallocateOptions{}, &apiv1.NodeUserCreateOptions{}, &apiv1.NodeUserUpdateOptions{}, &apiv1.UploadBatchServiceLogsOptions{},
		&apiv1.JobPreparationAndReleaseTaskStatus{},
		&apiv1.Job{}, &apiv1.JobUpdateOptions{}, &apiv1.JobDisableOptions{}, &apiv1.JobTerminateOptions{},
		&apiv1.JobSchedule{}, &apiv1.JobScheduleUpdateOptions{},
		&apiv1.Task{}, &apiv1.TaskConstraints{}, &apiv1.ApplicationDetail{},
	}
}

func newRules() *rules {
	r := &rules{messages: map[protoreflect.FullName]*messageRules{}}
	for _, m := range roots() {
		r.add(m.ProtoReflect().Descriptor())
	}
	// Only now is it known which messages hold secrets, since messages may contain each other.
	for changed := true; changed; {
		changed = false
		for _, m := range r.messages {
			changed = m.findSecrets() || changed
		}
	}
	return r
}

func (r *rules) add(desc protoreflect.MessageDescriptor) *messageRules {
	if m, ok := r.messages[desc.FullName()]; ok {
		return m
	}
	m := &messageRules{fields: map[protoreflect.FieldNumber]*fieldRules{}}
	r.messages[desc.FullName()] = m
	for i := range desc.Fields().Len() {
		fd := desc.Fields().Get(i)
		f := &fieldRules{desc: fd}
		f.rule, _ = proto.GetExtension(fd.Options(), apiv1.E_Rule).(*apiv1.Rule)
		if fd.Message() != nil && fd.Message().ParentFile().Package() == desc.ParentFile().Package() {
			f.message = r.add(fd.Message())
		}
		m.fields[fd.Number()] = f
		if f.rule.GetRequired() && canBeMissing(fd) {
			m.required = append(m.required, f)
		}
	}
	return m
}

// canBeMissing says whether an absent value can be told from the zero value, or the zero value makes no sense.
func canBeMissing(fd protoreflect.FieldDescriptor) bool {
	// A command in a container may be the image's own: checkCommandLine sees to it.
	if fd.FullName() == "batchyard.api.v1.MetadataItem.value" || fd.Name() == "command_line" || fd.IsList() {
		return false
	}
	return fd.HasPresence() || fd.Kind() == protoreflect.StringKind || fd.Kind() == protoreflect.EnumKind
}

func (m *messageRules) findSecrets() bool {
	before := len(m.secrets)
	m.secrets = m.secrets[:0]
	for _, f := range m.fields {
		if f.rule.GetSecret() || f.message != nil && len(f.message.secrets) > 0 {
			m.secrets = append(m.secrets, f)
		}
	}
	return len(m.secrets) != before
}

// blank removes the secrets from a message that is about to be shown.
func (r *rules) blank(m proto.Message) {
	reflected := m.ProtoReflect()
	if known := r.messages[reflected.Descriptor().FullName()]; known != nil {
		known.blank(reflected)
	}
}

func (m *messageRules) blank(msg protoreflect.Message) {
	for _, f := range m.secrets {
		switch {
		case !msg.Has(f.desc):
		case f.rule.GetSecret():
			msg.Clear(f.desc)
		case f.desc.IsList():
			list := msg.Get(f.desc).List()
			for i := range list.Len() {
				f.message.blank(list.Get(i).Message())
			}
		default:
			f.message.blank(msg.Mutable(f.desc).Message())
		}
	}
}

// path names a property in a request's body: poolInfo.poolId, resourceFiles[3].filePath.
type path string

func (p path) at(name string) path {
	if p == "" {
		return path(name)
	}
	return p + "." + path(name)
}

func (p path) index(i int) path { return p + "[" + path(strconv.Itoa(i)) + "]" }

// check holds what a client sent against the options of the fields: required ones are there, none is refused, values are ones that exist.
// Below the root, fields that the service sets are cleared, as is what this version does not know; at the root callers name what they take.
func (r *rules) check(m proto.Message, at path) error {
	reflected := m.ProtoReflect()
	known := r.messages[reflected.Descriptor().FullName()]
	if known == nil {
		return batcherr.Internal(nil).With(batcherr.ValueReason, "no rules for "+string(reflected.Descriptor().FullName()))
	}
	return known.check(reflected, at, true)
}

// root says that msg is the request's own message.
func (m *messageRules) check(msg protoreflect.Message, at path, root bool) error {
	msg.SetUnknown(nil)
	var err error
	msg.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		f := m.fields[fd.Number()]
		if f.rule.GetOutputOnly() && !root {
			msg.Clear(fd)
			return true
		}
		if f.rule.GetSupport() == apiv1.Support_SUPPORT_REFUSED {
			err = unsupported(at.at(fd.JSONName()), f.rule.GetNote())
		} else {
			err = f.checkValue(v, at.at(fd.JSONName()))
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	for _, f := range m.required {
		if !msg.Has(f.desc) && !(root && f.rule.GetOutputOnly()) {
			return batcherr.MissingProperty(string(at.at(f.desc.JSONName())))
		}
	}
	return nil
}

func (f *fieldRules) checkValue(v protoreflect.Value, at path) error {
	if !f.desc.IsList() {
		return f.checkOne(v, at)
	}
	list := v.List()
	for i := range list.Len() {
		if err := f.checkOne(list.Get(i), at.index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (f *fieldRules) checkOne(v protoreflect.Value, at path) error {
	switch f.desc.Kind() {
	case protoreflect.MessageKind:
		if f.message != nil {
			return f.message.check(v.Message(), at, false)
		}
		return checkWellKnown(v.Message().Interface(), at)
	case protoreflect.EnumKind:
		if f.desc.Enum().Values().ByNumber(v.Enum()) == nil {
			return batcherr.InvalidProperty(string(at), strconv.Itoa(int(v.Enum())), "The value does not exist.")
		}
	case protoreflect.StringKind:
		if strings.IndexByte(v.String(), 0) >= 0 {
			return batcherr.InvalidProperty(string(at), "", "The text contains the character NUL.")
		}
	}
	return nil
}

func checkWellKnown(m proto.Message, at path) error {
	switch v := m.(type) {
	case *durationpb.Duration:
		if err := v.CheckValid(); err != nil || v.Seconds < 0 || v.Nanos < 0 {
			return batcherr.InvalidProperty(string(at), "", "The duration is negative, or longer than 10,000 years.")
		}
	case *timestamppb.Timestamp:
		if err := v.CheckValid(); err != nil {
			return batcherr.InvalidProperty(string(at), "", "The time is outside the years 1 to 9999.")
		}
	case *structpb.Struct:
	}
	return nil
}

// unsupported refuses a property that can't be honoured.
func unsupported(at path, note string) error {
	return batcherr.Of(batcherr.CodeUnsupportedProperty).With(batcherr.ValuePropertyName, string(at)).With(batcherr.ValueReason, note)
}
