package api

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/coordinator/state"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	"github.com/batchyard/batchyard/internal/sweep"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// Limits of an array.
const (
	maxElements = 10_000_000
	maxItems    = 1_000_000
	maxIndex    = 999_999_999_999
	maxColumns  = 64
)

type taskArrayService struct {
	apiv1.UnimplementedTaskArrayServiceServer
	*core
}

// AddTaskArray adds an array. Items that do not fit into one command follow in others; elements exist once their items are there.
func (s *taskArrayService) AddTaskArray(ctx context.Context, req *apiv1.AddTaskArrayRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if proto.Size(req) > maxAddBytes {
		return nil, batcherr.Of(batcherr.CodeRequestBodyTooLarge).With(batcherr.ValueReason, "A call takes at most 4 MiB: add the rest of the items with AddTaskArrayItems.")
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	if err := checkContained("task.containerSettings", req.GetArray().GetTask(), s.poolOf(g, info.Job)); err != nil {
		return nil, err
	}
	cmd, items, err := s.newArray(req, info.Job)
	if err != nil {
		return nil, err
	}
	cmd.Items, items = itemsOfCommand(items)
	written, err := s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_AddTaskArray{AddTaskArray: cmd}})
	if err != nil || len(items) == 0 {
		return written, err
	}
	return s.addItems(ctx, g, &raftlogv1.AddTaskArrayItems{JobId: cmd.JobId, ArrayId: cmd.Array.Id, Offset: uint64(len(cmd.Items))}, items)
}

// AddTaskArrayItems adds items from an offset on.
func (s *taskArrayService) AddTaskArrayItems(ctx context.Context, req *apiv1.AddTaskArrayItemsRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if proto.Size(req) > maxAddBytes {
		return nil, batcherr.Of(batcherr.CodeRequestBodyTooLarge).With(batcherr.ValueReason, "A call takes at most 4 MiB.")
	}
	if len(req.Items) == 0 {
		return nil, batcherr.MissingProperty("items")
	}
	if req.Offset < 0 {
		return nil, invalid("offset", strconv.FormatInt(req.Offset, 10), "An offset is not negative.")
	}
	info, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	array, ok := s.State.Array(info.Uid, req.GetArrayId())
	if !ok {
		return nil, noArray(req.GetArrayId())
	}
	task, err := s.State.Spec(info.Uid, array.Spec)
	if err != nil || task == nil {
		return nil, internal(err)
	}
	check := &elementCheck{core: s.core, job: info.Job, task: task, array: array.TaskArrayRecord}
	if err := check.items(req.Items, req.Offset); err != nil {
		return nil, err
	}
	return s.addItems(ctx, g, &raftlogv1.AddTaskArrayItems{JobId: req.JobId, ArrayId: req.ArrayId, Offset: uint64(req.Offset)}, storedItems(req.Items))
}

// addItems proposes items in commands of bounded size.
func (s *taskArrayService) addItems(ctx context.Context, g grant, at *raftlogv1.AddTaskArrayItems, items []*raftlogv1.ElementItem) (written *apiv1.Written, err error) {
	for len(items) > 0 {
		cmd := &raftlogv1.AddTaskArrayItems{JobId: at.JobId, ArrayId: at.ArrayId, Offset: at.Offset}
		cmd.Items, items = itemsOfCommand(items)
		at.Offset += uint64(len(cmd.Items))
		if written, err = s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_AddTaskArrayItems{AddTaskArrayItems: cmd}}); err != nil {
			return nil, err
		}
	}
	return written, nil
}

// itemsOfCommand splits off the items that one command takes.
func itemsOfCommand(items []*raftlogv1.ElementItem) (now, later []*raftlogv1.ElementItem) {
	size := 0
	for i, item := range items {
		if size += proto.Size(item) + 4; size > maxCommandBytes && i > 0 {
			return items[:i], items[i:]
		}
	}
	return items, nil
}

func storedItems(items []*apiv1.ArrayItem) []*raftlogv1.ElementItem {
	out := make([]*raftlogv1.ElementItem, len(items))
	for i, item := range items {
		out[i] = &raftlogv1.ElementItem{Values: item.GetValues()}
	}
	return out
}

func noArray(id string) error {
	return batcherr.Of(batcherr.CodeTaskNotFound).With(batcherr.ValueReason, "The job has no task array "+id+".")
}

// elements are the tasks of an array from one index to another; without an array, all of the job.
func (c *core) elements(job uint64, id string, first, last *int64) (state.TaskSpan, error) {
	if id == "" {
		if first != nil || last != nil {
			return state.TaskSpan{}, batcherr.MissingProperty("arrayId")
		}
		return state.TaskSpan{}, nil
	}
	array, ok := c.State.Array(job, id)
	if !ok {
		return state.TaskSpan{}, noArray(id)
	}
	from, to := int64(0), int64(math.MaxInt64)
	if first != nil {
		from = *first
	}
	if last != nil {
		to = *last
	}
	return array.Tasks(from, to), nil
}

// newArray checks a new array and makes the command that adds it, and its items.
func (s *taskArrayService) newArray(req *apiv1.AddTaskArrayRequest, job *apiv1.Job) (*raftlogv1.AddTaskArray, []*raftlogv1.ElementItem, error) {
	given := req.GetArray()
	if err := checkID("id", given.GetId()); err != nil {
		return nil, nil, err
	}
	task := given.GetTask()
	if task == nil {
		return nil, nil, batcherr.MissingProperty("task")
	}
	if given.MaxParallelTasks < 0 {
		return nil, nil, invalidNumber("maxParallelTasks", given.MaxParallelTasks, "A limit is not negative; 0 is none.")
	}
	rec := &raftlogv1.TaskArrayRecord{Id: given.Id, DisplayName: task.DisplayName, MaxParallel: given.MaxParallelTasks}
	if err := numberElements(rec, given); err != nil {
		return nil, nil, err
	}
	template := task.Id
	if template == "" {
		template = "{{array}}-{{index}}"
	}
	ids, err := sweep.ParseIDs(template, given.Id)
	if err != nil {
		return nil, nil, invalid("task.id", task.Id, err.Error())
	}
	rec.IdPrefix, rec.IdWidth = ids.Prefix, int32(ids.Width)
	if err := s.rules.check(task, "task"); err != nil {
		return nil, nil, err
	}
	if err := checkTaskConstraints("task.constraints", task.Constraints); err != nil {
		return nil, nil, err
	}
	if rec.DependsOn, err = arrayDependencies(rec, task.DependsOn, job); err != nil {
		return nil, nil, err
	}
	line := task.CommandLine
	clearTask(task)
	task.CommandLine = line
	lifecycle.FillTask(task, job)
	check := &elementCheck{core: s.core, job: job, task: task, array: rec}
	if err := check.all(given.GetItems().GetItems()); err != nil {
		return nil, nil, err
	}
	spec, err := proto.MarshalOptions{Deterministic: true}.Marshal(task)
	if err != nil {
		return nil, nil, internal(err)
	}
	return &raftlogv1.AddTaskArray{JobId: req.JobId, Array: rec, Spec: spec}, storedItems(given.GetItems().GetItems()), nil
}

// arrayDependencies checks what all elements are to wait for: not for the array itself, nor for elements of it.
func arrayDependencies(a *raftlogv1.TaskArrayRecord, d *apiv1.TaskDependencies, job *apiv1.Job) (*apiv1.TaskDependencies, error) {
	if len(d.GetTaskIds())+len(d.GetTaskIdRanges()) == 0 {
		return nil, nil
	}
	if err := checkDependencies(&raftlogv1.NewTask{Id: a.Id, DependsOn: d}, job); err != nil {
		return nil, err
	}
	ids := sweep.IDs{Prefix: a.IdPrefix, Width: int(a.IdWidth)}
	last := a.FirstIndex + int64(a.Size-1)*a.Step
	own := func(index int64) bool {
		return index >= a.FirstIndex && index <= last && (index-a.FirstIndex)%a.Step == 0
	}
	for i, id := range d.TaskIds {
		if index, ok := ids.Index(id); ok && own(index) {
			return nil, invalid(path("dependsOn.taskIds").index(i), id, "An array can't depend on its own elements.")
		}
	}
	if _, numbers := numericID(ids.ID(a.FirstIndex)); !numbers {
		return d, nil
	}
	for i, r := range d.TaskIdRanges {
		if int64(r.Start) <= last && a.FirstIndex <= int64(r.End) {
			return nil, invalidNumber(path("dependsOn.taskIdRanges").index(i).at("start"), r.Start, "An array can't depend on its own elements.")
		}
	}
	return d, nil
}

// numberElements checks which elements there are, and enters them into the record.
func numberElements(rec *raftlogv1.TaskArrayRecord, given *apiv1.TaskArray) error {
	if items := given.GetItems(); items != nil {
		return numberItems(rec, items)
	}
	r := given.GetRange()
	if r == nil {
		return invalid("", "", "An array has a range or items.")
	}
	step := r.Step
	if step == 0 {
		step = 1
	}
	number := func(name string, n int64, reason string) error {
		return invalid(path("range").at(name), strconv.FormatInt(n, 10), reason)
	}
	switch {
	case r.First < 0:
		return number("first", r.First, "An index is not negative.")
	case r.Last > maxIndex:
		return number("last", r.Last, "An index is at most 999999999999.")
	case r.Last < r.First:
		return number("last", r.Last, "A range ends at or after its first.")
	case step < 0:
		return number("step", step, "A step is positive.")
	case (r.Last-r.First)/step >= maxElements:
		return number("last", r.Last, "An array has at most 10000000 elements.")
	}
	rec.FirstIndex, rec.Step, rec.Size = r.First, step, uint64((r.Last-r.First)/step)+1
	return nil
}

func numberItems(rec *raftlogv1.TaskArrayRecord, items *apiv1.ArrayItems) error {
	total := items.Total
	if total == 0 {
		total = int64(len(items.Items))
	}
	switch {
	case total < 1 || total > maxItems:
		return invalid("items.total", strconv.FormatInt(total, 10), "An array has 1 to 1000000 items.")
	case int64(len(items.Items)) > total:
		return invalid("items.total", strconv.FormatInt(total, 10), "There are more items than this.")
	case len(items.Columns) > maxColumns:
		return invalid("items.columns", "", "Items have at most 64 columns.")
	}
	seen := map[string]bool{sweep.NameIndex: true, sweep.NameArray: true}
	for i, name := range items.Columns {
		if !sweep.ValidName(name) || seen[name] {
			return invalid(path("items.columns").index(i), name, "A column's name is letters, digits and _, begins with no digit, comes once, and is not index or array.")
		}
		seen[name] = true
	}
	rec.Step, rec.Size, rec.HasItems, rec.Columns = 1, uint64(total), true, items.Columns
	return nil
}

// elementCheck holds elements against the rules for tasks.
type elementCheck struct {
	core  *core
	job   *apiv1.Job
	task  *apiv1.Task // the array's
	array *raftlogv1.TaskArrayRecord
}

// all checks the elements that are given: of a range the first and the last, since only a number differs, of items each.
func (c *elementCheck) all(items []*apiv1.ArrayItem) error {
	last := c.array.FirstIndex + int64(c.array.Size-1)*c.array.Step
	ids := sweep.IDs{Prefix: c.array.IdPrefix, Width: int(c.array.IdWidth)}
	if err := checkID("task.id", ids.ID(last)); err != nil {
		return err
	}
	if c.array.HasItems {
		return c.items(items, 0)
	}
	for _, index := range []int64{c.array.FirstIndex, last} {
		if err := c.one(&sweep.Element{Array: c.array.Id, Index: index}); err != nil {
			return err
		}
	}
	return nil
}

func (c *elementCheck) items(items []*apiv1.ArrayItem, offset int64) error {
	for i, item := range items {
		values := item.GetValues()
		if want := max(1, len(c.array.Columns)); len(values) != want {
			return invalid(path("items").index(i), "", "The item has "+strconv.Itoa(len(values))+" values, not "+strconv.Itoa(want)+".")
		}
		if err := c.one(&sweep.Element{Array: c.array.Id, Index: offset + int64(i), Columns: c.array.Columns, Values: values}); err != nil {
			return inItem(err, i)
		}
	}
	return nil
}

// inItem says which item an error is about.
func inItem(err error, at int) error {
	return batcherr.From(err).With("Item", strconv.Itoa(at))
}

func (c *elementCheck) one(e *sweep.Element) error {
	filled, err := e.Task(c.task)
	var problem *sweep.Problem
	if errors.As(err, &problem) {
		return invalid(path("task").at(problem.Path), "", sentence(problem.Err.Error()))
	}
	if err != nil {
		return internal(err)
	}
	name, err := sweep.Text(c.array.DisplayName, e.Find)
	if err != nil {
		return invalid("task.displayName", c.array.DisplayName, sentence(err.Error()))
	}
	if err := checkDisplayName("task.displayName", name); err != nil {
		return err
	}
	if err := checkCommandLine("task.commandLine", filled.CommandLine, filled.ContainerSettings != nil); err != nil {
		return err
	}
	return c.core.checkSpec(filled, c.job)
}

func sentence(text string) string { return strings.TrimSuffix(text, ".") + "." }

// GetTaskArray shows an array without its items.
func (s *taskArrayService) GetTaskArray(ctx context.Context, req *apiv1.GetTaskArrayRequest) (*apiv1.TaskArray, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	job, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	array, ok := s.State.Array(job.Uid, req.GetArrayId())
	if !ok {
		return nil, noArray(req.GetArrayId())
	}
	return s.show(job.Uid, array)
}

// ListTaskArrays lists the arrays of a job.
func (s *taskArrayService) ListTaskArrays(ctx context.Context, req *apiv1.ListTaskArraysRequest) (*apiv1.ListTaskArraysResponse, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	job, err := s.job(ctx, g, req.GetJobId())
	if err != nil {
		return nil, err
	}
	l, err := newListing(req.GetOptions(), (&apiv1.TaskArray{}).ProtoReflect().Descriptor(), "arrays", strconv.FormatUint(job.Uid, 10))
	if err != nil {
		return nil, err
	}
	if l.after != "" && len(l.after) != 8 {
		return nil, batcherr.InvalidQuery(querySkipToken, req.GetOptions().GetPageToken(), "The token is not of this list and filter.")
	}
	arrays, token, err := collect(l, func(after string, limit int) ([]item[*apiv1.TaskArray], error) {
		var number uint64
		if after != "" {
			number = binary.BigEndian.Uint64([]byte(after))
		}
		var out []item[*apiv1.TaskArray]
		for _, array := range s.State.Arrays(job.Uid, number, limit) {
			shown, err := s.show(job.Uid, array)
			if err != nil {
				return nil, err
			}
			out = append(out, item[*apiv1.TaskArray]{string(binary.BigEndian.AppendUint64(nil, array.FirstTask)), shown})
		}
		return out, ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return &apiv1.ListTaskArraysResponse{Arrays: arrays, NextPageToken: token}, nil
}

// UpdateTaskArray changes how many elements may run at once.
func (s *taskArrayService) UpdateTaskArray(ctx context.Context, req *apiv1.UpdateTaskArrayRequest) (*apiv1.Written, error) {
	g, err := granted(ctx)
	if err != nil {
		return nil, err
	}
	if req.MaxParallelTasks < 0 {
		return nil, invalidNumber("maxParallelTasks", req.MaxParallelTasks, "A limit is not negative; 0 is none.")
	}
	return s.write(ctx, g, &raftlogv1.Command{Kind: &raftlogv1.Command_UpdateTaskArray{UpdateTaskArray: &raftlogv1.UpdateTaskArray{
		JobId: req.JobId, ArrayId: req.ArrayId, MaxParallel: req.MaxParallelTasks,
	}}})
}

func (s *taskArrayService) show(job uint64, a state.ArrayInfo) (*apiv1.TaskArray, error) {
	spec, err := s.State.Spec(job, a.Spec)
	if err != nil || spec == nil {
		return nil, internal(err)
	}
	task := proto.CloneOf(spec)
	task.Id, task.DisplayName = a.IdPrefix+"{{index}}", a.DisplayName
	if a.IdWidth > 0 {
		task.Id = a.IdPrefix + "{{index:0" + strconv.Itoa(int(a.IdWidth)) + "}}"
	}
	s.rules.blank(task)
	out := &apiv1.TaskArray{
		Id: a.Id, Task: task, MaxParallelTasks: a.MaxParallel, Size: int64(a.Size), CreationTime: timestamp(a.CreationTime),
		Counts: showCounts(a.Counts).TaskCounts,
	}
	if a.HasItems {
		out.Elements = &apiv1.TaskArray_Items{Items: &apiv1.ArrayItems{Columns: a.Columns, Total: int64(a.TaskArrayRecord.Size)}}
	} else {
		last := a.FirstIndex + int64(a.TaskArrayRecord.Size-1)*a.Step
		out.Elements = &apiv1.TaskArray_Range{Range: &apiv1.ArrayRange{First: a.FirstIndex, Last: last, Step: a.Step}}
	}
	return out, nil
}
