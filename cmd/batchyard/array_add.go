package main

import (
	"context"
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/batchyard/batchyard/cmd/batchyard/jobfile"
	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/sweep"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// arrayFlags make an array of a task.
type arrayFlags struct {
	indices, lines, rows, objects string
	elementID                     string
	atOnce                        int32
}

func (o *arrayFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.indices, "array", "", "FIRST-LAST[:STEP][%N]: make a task array with an element for each number, N of which run at once")
	flags.StringVar(&o.lines, "each-line", "", "make a task array with an element for each line of a file, {{item}}; - is the standard input")
	flags.StringVar(&o.rows, "each-row", "", "make a task array with an element for each row of a CSV file, whose first row names the columns: {{COLUMN}}")
	flags.StringVar(&o.objects, "each-object", "", "make a task array with an element for each object of the account's store whose key has this prefix, {{item}}")
	flags.Int32Var(&o.atOnce, "at-once", 0, "how many elements of the array run at once at most (default any number)")
	flags.StringVar(&o.elementID, "element-id", "", "ids of the array's elements: text followed by {{index}} (default {{array}}-{{index}})")
}

// wanted says whether the task is to be an array.
func (o *arrayFlags) wanted() (bool, error) {
	given := 0
	for _, source := range []string{o.indices, o.lines, o.rows, o.objects} {
		if source != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return false, usagef("give one of --array, --each-line, --each-row and --each-object")
	case given == 0 && (o.atOnce != 0 || o.elementID != ""):
		return false, usagef("--at-once and --element-id are for arrays: give one of --array, --each-line, --each-row and --each-object too")
	}
	return given == 1, nil
}

// array makes an array of what each of its elements is.
func (o *arrayFlags) array(ctx context.Context, f *factory, s *session, id string, task *apiv1.Task) (*apiv1.TaskArray, error) {
	array := &apiv1.TaskArray{Id: id, Task: task, MaxParallelTasks: o.atOnce}
	task.Id = o.elementID
	if o.indices != "" {
		return array, readIndices(array, o.indices)
	}
	items, err := o.items(ctx, f, s)
	if err != nil {
		return nil, err
	}
	array.Elements = &apiv1.TaskArray_Items{Items: items}
	return array, nil
}

func (o *arrayFlags) items(ctx context.Context, f *factory, s *session) (*apiv1.ArrayItems, error) {
	if o.objects != "" {
		keys, err := f.objectKeys(ctx, s, o.objects)
		if err != nil {
			return nil, err
		}
		items, err := sweep.List(keys)
		if err != nil {
			return nil, usagef("--each-object %s: %w", o.objects, err)
		}
		return items, nil
	}
	path, read := o.lines, sweep.Lines
	if o.rows != "" {
		path, read = o.rows, sweep.CSV
	}
	text, err := f.readInput(path)
	if err != nil {
		return nil, err
	}
	items, err := read(text)
	if err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	return items, nil
}

// objectKeys lists the keys of the account's store with a prefix.
func (f *factory) objectKeys(ctx context.Context, s *session, prefix string) ([]string, error) {
	store, err := f.store(ctx, s)
	if err != nil {
		return nil, err
	}
	var keys []string
	for object, err := range store.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		if keys = append(keys, object.Key); len(keys) > sweep.MaxItems {
			return nil, usagef("more than %d objects have the prefix %s", sweep.MaxItems, prefix)
		}
	}
	return keys, nil
}

var indicesShape = regexp.MustCompile(`^([0-9]{1,12})(?:-([0-9]{1,12}))?(?::([0-9]{1,12}))?(?:%([0-9]{1,9}))?$`)

// readIndices reads FIRST-LAST[:STEP][%N], as Slurm has it.
func readIndices(array *apiv1.TaskArray, text string) error {
	parts := indicesShape.FindStringSubmatch(text)
	if parts == nil {
		return usagef("--array %q: expected FIRST-LAST[:STEP][%%N], as in 1-1000000%%50", text)
	}
	if parts[2] == "" {
		parts[2] = parts[1]
	}
	r := &apiv1.ArrayRange{Step: 1}
	var failed error
	for i, to := range []*int64{&r.First, &r.Last, &r.Step} {
		if parts[i+1] != "" {
			n, err := strconv.ParseInt(parts[i+1], 10, 64)
			*to, failed = n, errors.Join(failed, err)
		}
	}
	if parts[4] != "" {
		n, err := strconv.ParseInt(parts[4], 10, 32)
		if array.MaxParallelTasks != 0 && int64(array.MaxParallelTasks) != n {
			return usagef("--array %q and --at-once %d: give one of them", text, array.MaxParallelTasks)
		}
		array.MaxParallelTasks, failed = int32(min(n, math.MaxInt32)), errors.Join(failed, err)
	}
	if failed != nil || r.Last < r.First || r.Step < 1 {
		return usagef("--array %q: the last number is at or after the first, and a step at least 1", text)
	}
	array.Elements = &apiv1.TaskArray_Range{Range: r}
	return nil
}

// addArray adds an array with a meter for its items.
func (f *factory) addArray(ctx context.Context, s *session, job string, array *apiv1.TaskArray) error {
	total := int64(jobfile.Elements(array))
	meter := f.newMeter("items added", total, countUnit)
	defer meter.finish()
	return s.AddTaskArray(ctx, job, array, func(done int) { meter.set(int64(done), total) })
}

func (o *taskAddOptions) runArray(ctx context.Context, f *factory, s *session, args []string) error {
	switch {
	case o.file != "":
		return usagef("--file has its tasks; give an array a command")
	case len(args) == 1:
		return usagef("give a command after --")
	case o.id == "":
		return usagef("the array needs an id: give --id")
	}
	task, err := o.task(ctx, s, args[1:])
	if err != nil {
		return err
	}
	if task.MultiInstanceSettings, err = o.several(s.locator(ctx)); err != nil {
		return err
	}
	array, err := o.array(ctx, f, s, o.id, task)
	if err != nil {
		return err
	}
	if err := f.addArray(ctx, s, args[0], array); err != nil {
		return err
	}
	return f.say("array %s added: %s", render.Plain(o.id), plural(jobfile.Elements(array), "task"))
}

// indexRange reads FIRST-LAST, FIRST- or a number.
func indexRange(text string) (first, last *int64, err error) {
	from, to, several := strings.Cut(text, "-")
	wrong := usagef("--range %q: expected FIRST-LAST, FIRST- or a number", text)
	a, err := strconv.ParseInt(from, 10, 64)
	if err != nil || a < 0 {
		return nil, nil, wrong
	}
	switch {
	case !several:
		return &a, &a, nil
	case to == "":
		return &a, nil, nil
	}
	b, err := strconv.ParseInt(to, 10, 64)
	if err != nil || b < a {
		return nil, nil, wrong
	}
	return &a, &b, nil
}
