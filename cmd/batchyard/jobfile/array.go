package jobfile

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/batchyard/batchyard/internal/client/apijson"
	"github.com/batchyard/batchyard/internal/sweep"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// Sources are what the items of arrays are read from. A nil function: there is no such source.
type Sources struct {
	ReadFile func(name string) ([]byte, error)
	// ListObjects lists the keys of the account's store with a prefix.
	ListObjects func(prefix string) ([]string, error)
}

// MaxElements is the largest number of elements of an array.
const MaxElements = 10_000_000

func (s Sources) orNone() Sources {
	if s.ReadFile == nil {
		s.ReadFile = func(string) ([]byte, error) { return nil, errors.New("files can't be read here") }
	}
	if s.ListObjects == nil {
		s.ListObjects = func(string) ([]string, error) { return nil, errors.New("objects can't be listed here") }
	}
	return s
}

// readArray reads an entry that is one task array.
func readArray(node, spec *yaml.Node, global *names, sources Sources) (*apiv1.TaskArray, error) {
	filled, err := fill(spec, global)
	if err != nil {
		return nil, err
	}
	parts, err := members(filled, "array", "id", "first", "last", "step", "items", "lines", "csv", "objects", "atOnce")
	if err != nil {
		return nil, err
	}
	array := &apiv1.TaskArray{Id: textOf(parts["id"])}
	if err := readElements(array, filled, parts, sources); err != nil {
		return nil, err
	}
	if limit := parts["atOnce"]; limit != nil {
		if err := limit.Decode(&array.MaxParallelTasks); err != nil || array.MaxParallelTasks < 0 {
			return nil, problem(limit, "atOnce: expected how many elements run at once, 0 for any number")
		}
	}
	kept := map[string]bool{sweep.NameIndex: true, sweep.NameArray: true}
	if items := array.GetItems(); items != nil && len(items.Columns) == 0 {
		kept[sweep.NameItem] = true
	}
	for _, column := range array.GetItems().GetColumns() {
		kept[column] = true
	}
	task, err := fill(node, &names{outer: global, kept: kept, own: map[string]string{}})
	if err != nil {
		return nil, err
	}
	array.Task = &apiv1.Task{}
	if err := apijson.Decode(task, array.Task); err != nil {
		return nil, err
	}
	return array, nameArray(array, node)
}

func textOf(node *yaml.Node) string {
	if node == nil {
		return ""
	}
	return node.Value
}

// nameArray takes the id of an array from that of its elements, where it has none: sim of sim-{{index}}.
func nameArray(array *apiv1.TaskArray, at *yaml.Node) error {
	id := array.Task.Id
	prefix, _, template := strings.Cut(id, "{{")
	if array.Id == "" {
		array.Id = strings.TrimRight(prefix, "-_")
	}
	if !template {
		array.Task.Id = ""
	}
	if array.Id == "" {
		return problem(at, "the array has no id: give array an id, or the task one like sim-{{index}}")
	}
	return nil
}

func readElements(array *apiv1.TaskArray, at *yaml.Node, parts map[string]*yaml.Node, sources Sources) error {
	given := 0
	for _, name := range []string{"last", "items", "lines", "csv", "objects"} {
		if parts[name] != nil {
			given++
		}
	}
	if given != 1 || parts["last"] == nil && (parts["first"] != nil || parts["step"] != nil) {
		return problem(at, "array: expected either first and last, or one of items, lines, csv and objects")
	}
	if parts["last"] != nil {
		return readIndices(array, parts)
	}
	var items *apiv1.ArrayItems
	var err error
	switch {
	case parts["items"] != nil:
		var values []string
		if values, err = readValues(parts["items"], "items"); err != nil {
			return err
		}
		items, err = sweep.List(values)
	case parts["objects"] != nil:
		var keys []string
		at = parts["objects"]
		if keys, err = sources.ListObjects(at.Value); err == nil {
			items, err = sweep.List(keys)
		}
	default:
		items, at, err = readItems(parts, sources)
	}
	if err != nil {
		return problem(at, "array: %v", err)
	}
	array.Elements = &apiv1.TaskArray_Items{Items: items}
	return nil
}

func readItems(parts map[string]*yaml.Node, sources Sources) (*apiv1.ArrayItems, *yaml.Node, error) {
	at, read := parts["lines"], sweep.Lines
	if at == nil {
		at, read = parts["csv"], sweep.CSV
	}
	text, err := sources.ReadFile(at.Value)
	if err != nil {
		return nil, at, err
	}
	items, err := read(text)
	return items, at, err
}

func readIndices(array *apiv1.TaskArray, parts map[string]*yaml.Node) error {
	r := &apiv1.ArrayRange{Step: 1}
	for name, to := range map[string]*int64{"first": &r.First, "last": &r.Last, "step": &r.Step} {
		node := parts[name]
		if node == nil {
			continue
		}
		if err := node.Decode(to); err != nil {
			return problem(node, "array: %s is a whole number", name)
		}
	}
	switch {
	case r.First < 0 || r.Last < r.First || r.Step < 1:
		return problem(parts["last"], "array: a range has 0 <= first <= last, and a step of at least 1")
	case (r.Last-r.First)/r.Step >= MaxElements:
		return problem(parts["last"], "array: an array has at most %d elements", MaxElements)
	}
	array.Elements = &apiv1.TaskArray_Range{Range: r}
	return nil
}
