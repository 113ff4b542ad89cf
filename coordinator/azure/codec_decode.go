package azure

import (
	"io"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Limits bound what one request may make the coordinator hold. Zero fields take DefaultLimits.
type Limits struct {
	Body     int // bytes of a request's body
	Tasks    int // tasks of one addtaskcollection
	Depth    int // nested objects and lists of a body
	Elements int // objects and list elements of a body
}

// DefaultLimits are Azure Batch's for bodies and collections, and generous ones for the rest.
func DefaultLimits() Limits {
	return Limits{Body: 1 << 20, Tasks: 100, Depth: 64, Elements: 1 << 17}
}

// orDefault fills in what is not set.
func (l Limits) orDefault() Limits {
	d := DefaultLimits()
	set := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	set(&l.Body, d.Body)
	set(&l.Tasks, d.Tasks)
	set(&l.Depth, d.Depth)
	set(&l.Elements, d.Elements)
	return l
}

// pathPart is a property, or an element of a list if field is nil.
type pathPart struct {
	field *fieldTable
	index int
}

// decoder reads one body.
type decoder struct {
	scanner
	version  string
	limits   Limits
	elements int
	path     []pathPart
	// cleared names the lists of the top-level message that were given empty.
	cleared []string
}

func newDecoder(body io.Reader, version string, limits Limits) *decoder {
	return &decoder{scanner: scanner{source: body, limit: limits.Body}, version: version, limits: limits}
}

// decode reads a whole body into m. An absent body is refused with InvalidRequestBody unless optional.
func (d *decoder) decode(m proto.Message, s *shape, optional bool) error {
	switch {
	case optional && d.peek() == 0 && d.failed == nil:
		return d.end()
	case optional && d.peek() == 'n':
		if err := d.word("null"); err != nil {
			return err
		}
		return d.end()
	}
	if err := d.object(m.ProtoReflect(), s.table, s.writable, s.required); err != nil {
		return err
	}
	return d.end()
}

// object reads a JSON object into m.
func (d *decoder) object(m protoreflect.Message, t *messageTable, writable, required fieldSet) error {
	if d.peek() != '{' {
		return d.wrongType("an object")
	}
	if err := d.count(); err != nil {
		return err
	}
	var seen fieldSet
	err := d.members(func(name []byte) error {
		f := t.byName[string(name)]
		switch {
		case f == nil:
			return d.unknown(m, t, string(name))
		case !writable.has(f.index):
			return d.skip(d.depthLeft())
		case d.peek() == 'n':
			return d.word("null")
		case f.rule.GetUntil() != "" && d.version >= f.rule.GetUntil():
			return d.skip(d.depthLeft())
		}
		seen = seen.with(f.index)
		d.path = append(d.path, pathPart{field: f})
		err := d.field(m, f)
		d.path = d.path[:len(d.path)-1]
		return err
	})
	if err != nil {
		return err
	}
	if missing := required &^ seen; missing != 0 {
		for _, f := range t.fields {
			if missing.has(f.index) && f.in(d.version) {
				return batcherr.MissingProperty(d.pathTo(f.name))
			}
		}
	}
	return nil
}

// count keeps the number of objects and elements and their depth within limits.
func (d *decoder) count() error {
	if d.elements++; d.elements > d.limits.Elements {
		return batcherr.Of(batcherr.CodeRequestBodyTooLarge).
			With(batcherr.ValueReason, "The body has more than "+strconv.Itoa(d.limits.Elements)+" objects and list elements.")
	}
	if d.depthLeft() <= 0 {
		return d.syntaxError("nested too deeply")
	}
	return nil
}

func (d *decoder) depthLeft() int { return d.limits.Depth - len(d.path) }

// field reads a value that is not null.
func (d *decoder) field(m protoreflect.Message, f *fieldTable) error {
	if f.rule.GetSupport() == apiv1.Support_SUPPORT_REFUSED {
		return d.refused(f)
	}
	if since := f.rule.GetSince(); since != "" && d.version < since {
		return d.unsupported("The property needs api-version " + since + " or later.")
	}
	switch {
	case f.list:
		return d.list(m, f)
	case f.kind == kindMessage:
		v := m.NewField(f.desc)
		if err := d.object(v.Message(), f.message, f.message.writable, f.message.required); err != nil {
			return err
		}
		m.Set(f.desc, v)
		return nil
	default:
		v, err := d.scalar(f)
		if err == nil && v.IsValid() {
			m.Set(f.desc, v)
		}
		return err
	}
}

// refused refuses a property that can't be honoured, unless it is an empty list.
func (d *decoder) refused(f *fieldTable) error {
	if d.peek() == '[' {
		n := 0
		err := d.scanner.elements(func(int) error { n++; return d.skip(d.depthLeft()) })
		if err != nil || n == 0 {
			return err
		}
	}
	return d.unsupported(f.rule.GetNote())
}

func (d *decoder) list(m protoreflect.Message, f *fieldTable) error {
	if d.peek() != '[' {
		return d.wrongType("a list")
	}
	v := m.NewField(f.desc)
	list := v.List()
	err := d.elementsOf(func(int) error {
		if f.kind == kindMessage {
			element := list.NewElement()
			list.Append(element)
			return d.object(element.Message(), f.message, f.message.writable, f.message.required)
		}
		if err := d.count(); err != nil {
			return err
		}
		element, err := d.scalar(f)
		if err == nil {
			list.Append(element)
		}
		return err
	})
	if err != nil {
		return err
	}
	if f.emptied != nil {
		m.Set(f.emptied, protoreflect.ValueOfBool(list.Len() == 0))
	}
	if list.Len() > 0 {
		m.Set(f.desc, v)
	} else if m.Clear(f.desc); len(d.path) == 1 {
		d.cleared = append(d.cleared, f.name)
	}
	return nil
}

// elementsOf is elements with the path kept.
func (d *decoder) elementsOf(each func(index int) error) error {
	d.path = append(d.path, pathPart{})
	err := d.scanner.elements(func(i int) error {
		d.path[len(d.path)-1].index = i
		return each(i)
	})
	d.path = d.path[:len(d.path)-1]
	return err
}

// unknown tolerates properties that the system does not know, and treats the older ones as documented.
func (d *decoder) unknown(m protoreflect.Message, t *messageTable, name string) error {
	older, ok := t.older[name]
	if !ok || older.treatment == olderIgnored || d.peek() == 'n' {
		return d.skip(d.depthLeft())
	}
	if older.treatment == olderDiskType {
		return d.olderDiskType(m, t, name)
	}
	if d.peek() == '[' {
		n := 0
		err := d.scanner.elements(func(int) error { n++; return d.skip(d.depthLeft() - 1) })
		if err != nil || n == 0 {
			return err
		}
	}
	if older.treatment == olderCertificates {
		return batcherr.Of(batcherr.CodeInvalidCertificateReferences).
			With(batcherr.ValuePropertyName, d.pathTo(name)).With(batcherr.ValueReason, "The account has no certificates.")
	}
	return batcherr.Of(batcherr.CodeUnsupportedProperty).
		With(batcherr.ValuePropertyName, d.pathTo(name)).With(batcherr.ValueReason, older.note)
}

// olderDiskType puts a data disk's type where newer versions have it, unless it is there already.
func (d *decoder) olderDiskType(m protoreflect.Message, t *messageTable, name string) error {
	disk, ok := m.Interface().(*apiv1.DataDisk)
	if !ok {
		return d.skip(d.depthLeft())
	}
	f := t.byName["managedDisk"].message.byName["storageAccountType"]
	d.path = append(d.path, pathPart{field: &fieldTable{name: name}})
	v, err := d.scalar(f)
	d.path = d.path[:len(d.path)-1]
	if err != nil {
		return err
	}
	if disk.ManagedDisk == nil {
		disk.ManagedDisk = &apiv1.ManagedDisk{StorageAccountType: apiv1.StorageAccountType(v.Enum())}
	}
	return nil
}

func (d *decoder) unsupported(why string) error {
	return batcherr.Of(batcherr.CodeUnsupportedProperty).
		With(batcherr.ValuePropertyName, d.pathTo("")).With(batcherr.ValueReason, why)
}

// wrongType refuses the next value, which must be of another type; a value that is no JSON is refused as such.
func (d *decoder) wrongType(want string) error {
	start := d.pos
	if err := d.skip(d.limits.Depth); err != nil {
		return err
	}
	if len(d.path) == 0 {
		d.pos = start
		return d.syntaxError("the body must be " + want)
	}
	return d.invalid(d.data[start:d.pos], "Must be "+want+".")
}

// invalid refuses the value at the current path; a secret is not repeated.
func (d *decoder) invalid(value []byte, reason string) error {
	for _, part := range d.path {
		if part.field != nil && part.field.rule.GetSecret() {
			value = nil
		}
	}
	if len(value) > 100 {
		value = value[:100]
	}
	return batcherr.InvalidProperty(d.pathTo(""), strings.Trim(strings.ToValidUTF8(string(value), ""), `"`), reason)
}

// pathTo renders the current path, and name below it: poolInfo.poolId, value[3].id.
func (d *decoder) pathTo(name string) string {
	var b strings.Builder
	for _, part := range d.path {
		if part.field == nil {
			b.WriteString("[" + strconv.Itoa(part.index) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(part.field.name)
	}
	if name != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}
