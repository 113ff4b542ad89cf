// Package jobfile reads a job and its tasks from one YAML file and expands the file's parameter sweeps.
package jobfile

import (
	"bytes"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/batchyard/batchyard/internal/client/apijson"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MaxTasks is the largest number of tasks that one file expands to.
const MaxTasks = 1_000_000

// Names that every file can use in {{…}} without saying what they stand for.
const (
	nameIndex = "index" // position of the task among those of its entry, from 0
	nameJob   = "job"   // id of the job
)

// Options are what the caller adds to a file.
type Options struct {
	// Set gives parameters of the file other values; a name that the file does not have is an error.
	Set map[string]string
	// JobID replaces the job's id, if not empty.
	JobID string
	// Lookup finds names that the file does not define; it is asked once a name. nil: there are none.
	Lookup func(name string) (value string, found bool, err error)
	Sources
}

// File is a job with its tasks, not yet expanded.
type File struct {
	Job *apiv1.Job
	// Arrays are the entries that the service expands.
	Arrays  []*apiv1.TaskArray
	entries []entry
}

// entry is one item of the file's tasks: a task's template and what varies in it.
type entry struct {
	node  *yaml.Node
	axes  []axis
	count int
	names *names
}

// Parse reads a file; mistakes are *apijson.Problem with their line. The tasks are checked when they are expanded.
func Parse(text []byte, opts Options) (*File, error) {
	documents, err := apijson.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(documents) != 1 {
		return nil, &apijson.Problem{Line: 1, Text: fmt.Sprintf("expected one document, found %d", len(documents))}
	}
	parts, err := members(documents[0], "a job file", "parameters", "job", "tasks")
	if err != nil {
		return nil, err
	}
	if parts["job"] == nil {
		return nil, problem(documents[0], "the file has no job")
	}
	global, err := parameters(parts["parameters"], opts)
	if err != nil {
		return nil, err
	}
	f := &File{}
	if f.Job, err = readJob(parts["job"], global, opts.JobID); err != nil {
		return nil, err
	}
	global.own[nameJob] = f.Job.GetId()
	return f, f.readTasks(parts["tasks"], global, opts.Sources.orNone())
}

func readJob(node *yaml.Node, global *names, id string) (*apiv1.Job, error) {
	filled, err := fill(node, global)
	if err != nil {
		return nil, err
	}
	job := &apiv1.Job{}
	if err := apijson.Decode(filled, job); err != nil {
		return nil, err
	}
	if id != "" {
		job.Id = id
	}
	if job.GetId() == "" {
		return nil, problem(node, "the job has no id")
	}
	return job, nil
}

func (f *File) readTasks(node *yaml.Node, global *names, sources Sources) error {
	if node == nil {
		return nil
	}
	if node.Kind != yaml.SequenceNode {
		return problem(node, "tasks: expected a list")
	}
	total := 0
	for _, item := range node.Content {
		task, varied, err := splitEntry(item)
		if err != nil {
			return err
		}
		if spec := varied["array"]; spec != nil {
			if len(varied) > 1 {
				return problem(spec, "a task has an array, or sweep and zip, not both")
			}
			array, err := readArray(task, spec, global, sources)
			if err != nil {
				return err
			}
			f.Arrays = append(f.Arrays, array)
			continue
		}
		e, err := readEntry(task, varied, global)
		if err != nil {
			return err
		}
		if total += e.count; total > MaxTasks {
			return problem(item, "the file makes more than %d tasks", MaxTasks)
		}
		f.entries = append(f.entries, e)
	}
	return nil
}

// splitEntry takes what varies out of an entry.
func splitEntry(node *yaml.Node) (task *yaml.Node, varied map[string]*yaml.Node, err error) {
	if node.Kind != yaml.MappingNode {
		return nil, nil, problem(node, "expected a task")
	}
	task, varied = new(yaml.Node), map[string]*yaml.Node{}
	*task = *node
	task.Content = nil
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch key.Value {
		case "sweep", "zip", "array":
			if varied[key.Value] != nil {
				return nil, nil, problem(key, "%s comes twice", key.Value)
			}
			varied[key.Value] = value
		default:
			task.Content = append(task.Content, key, value)
		}
	}
	return task, varied, nil
}

func readEntry(task *yaml.Node, varied map[string]*yaml.Node, global *names) (entry, error) {
	e := entry{node: task, names: global, count: 1}
	axes, err := readAxes(varied["sweep"], varied["zip"], global)
	if err != nil {
		return entry{}, err
	}
	e.axes = axes
	for _, a := range axes {
		if e.count *= a.len(); e.count > MaxTasks { // both are at most MaxTasks: no overflow
			return entry{}, problem(task, "the sweep makes more than %d tasks", MaxTasks)
		}
	}
	return e, nil
}

// Elements is the number of elements of an array.
func Elements(array *apiv1.TaskArray) int {
	if r := array.GetRange(); r != nil {
		return int((r.Last-r.First)/r.Step) + 1
	}
	return len(array.GetItems().GetItems())
}

// Count is the number of tasks in the file, with the elements of its arrays.
func (f *File) Count() int {
	total := 0
	for _, array := range f.Arrays {
		total += Elements(array)
	}
	for _, e := range f.entries {
		total += e.count
	}
	return total
}

// Tasks yields the tasks that are no elements of arrays, in the order of the file; in a sweep the last axis varies fastest. The first mistake ends it.
func (f *File) Tasks() iter.Seq2[*apiv1.Task, error] {
	return func(yield func(*apiv1.Task, error) bool) {
		seen := map[string]struct{}{}
		for _, e := range f.entries {
			for i := range e.count {
				task, err := e.task(i)
				if err == nil {
					err = unique(seen, task.GetId(), e.node)
				}
				if !yield(task, err) || err != nil {
					return
				}
			}
		}
	}
}

func unique(seen map[string]struct{}, id string, at *yaml.Node) error {
	if id == "" {
		return problem(at, "the task has no id")
	}
	id = strings.ToLower(id) // ids that differ in case only are the same
	if _, dup := seen[id]; dup {
		return problem(at, "task id %s comes twice: use the swept names in it", strconv.Quote(id))
	}
	seen[id] = struct{}{}
	return nil
}

func (e entry) task(index int) (*apiv1.Task, error) {
	own := map[string]string{nameIndex: strconv.Itoa(index)}
	rest := index
	for i := len(e.axes) - 1; i >= 0; i-- {
		a := e.axes[i]
		a.bind(own, rest%a.len())
		rest /= a.len()
	}
	filled, err := fill(e.node, &names{own: own, outer: e.names})
	if err != nil {
		return nil, err
	}
	task := &apiv1.Task{}
	return task, apijson.Decode(filled, task)
}

// members takes an object apart whose names are known.
func members(node *yaml.Node, what string, known ...string) (map[string]*yaml.Node, error) {
	if node.Kind != yaml.MappingNode {
		return nil, problem(node, "%s is an object with %s", what, strings.Join(known, ", "))
	}
	out := map[string]*yaml.Node{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		found := false
		for _, name := range known {
			found = found || name == key.Value
		}
		switch {
		case !found:
			return nil, problem(key, "%s has no property %s; it has %s", what, strconv.Quote(key.Value), strings.Join(known, ", "))
		case out[key.Value] != nil:
			return nil, problem(key, "%s comes twice", key.Value)
		}
		out[key.Value] = node.Content[i+1]
	}
	return out, nil
}

func problem(node *yaml.Node, format string, args ...any) error {
	return &apijson.Problem{Line: node.Line, Text: fmt.Sprintf(format, args...)}
}
