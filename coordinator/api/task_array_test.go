package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

func rangeOf(first, last, step int64) *apiv1.TaskArray_Range {
	return &apiv1.TaskArray_Range{Range: &apiv1.ArrayRange{First: first, Last: last, Step: step}}
}

func itemsOf(columns []string, items ...[]string) *apiv1.TaskArray_Items {
	out := &apiv1.ArrayItems{Columns: columns}
	for _, values := range items {
		out.Items = append(out.Items, &apiv1.ArrayItem{Values: values})
	}
	return &apiv1.TaskArray_Items{Items: out}
}

// newArrayOf makes the command for an array that is a good one but for the edits.
func newArrayOf(edits ...func(*apiv1.TaskArray)) (*raftlogv1.AddTaskArray, error) {
	a := &apiv1.TaskArray{Id: "sim", Task: &apiv1.Task{CommandLine: "run {{index}}"}, Elements: rangeOf(1, 9, 0)}
	for _, edit := range edits {
		edit(a)
	}
	s := &taskArrayService{core: &core{rules: newRules()}}
	cmd, _, err := s.newArray(&apiv1.AddTaskArrayRequest{JobId: "j", Array: a}, &apiv1.Job{Id: "j", UsesTaskDependencies: proto.Bool(true)})
	return cmd, err
}

func TestNewArray(t *testing.T) {
	cmd, err := newArrayOf(func(a *apiv1.TaskArray) {
		a.Task.Id, a.Task.DisplayName, a.Elements, a.MaxParallelTasks = "s{{index:03}}", "n {{index}}", rangeOf(5, 20, 5), 7
	})
	require.NoError(t, err)
	require.True(t, proto.Equal(&raftlogv1.TaskArrayRecord{
		Id: "sim", FirstIndex: 5, Step: 5, Size: 4, IdPrefix: "s", IdWidth: 3, DisplayName: "n {{index}}", MaxParallel: 7,
	}, cmd.Array), cmd.Array)
	spec := &apiv1.Task{}
	require.NoError(t, proto.Unmarshal(cmd.Spec, spec))
	require.Equal(t, "run {{index}}", spec.CommandLine)
	require.Empty(t, spec.Id)
	require.NotNil(t, spec.Constraints, "defaults are filled in")
	cmd, err = newArrayOf(func(a *apiv1.TaskArray) { a.Elements = itemsOf([]string{"x", "y"}, []string{"1", "2"}) })
	require.NoError(t, err)
	require.Equal(t, []any{uint64(1), true, "sim-"}, []any{cmd.Array.Size, cmd.Array.HasItems, cmd.Array.IdPrefix})
}

func TestArraysThatAreRefused(t *testing.T) {
	line := func(text string) func(*apiv1.TaskArray) {
		return func(a *apiv1.TaskArray) { a.Task.CommandLine = text }
	}
	elements := func(r *apiv1.TaskArray_Range) func(*apiv1.TaskArray) {
		return func(a *apiv1.TaskArray) { a.Elements = r }
	}
	for name, c := range map[string]struct {
		edit  func(*apiv1.TaskArray)
		where string
	}{
		"no id":       {func(a *apiv1.TaskArray) { a.Id = "" }, "id"},
		"wrong id":    {func(a *apiv1.TaskArray) { a.Id = "a b" }, "id"},
		"no task":     {func(a *apiv1.TaskArray) { a.Task = nil }, "task"},
		"no elements": {func(a *apiv1.TaskArray) { a.Elements = nil }, ""},
		"negative":    {elements(rangeOf(-1, 3, 1)), "range.first"},
		"empty":       {elements(rangeOf(4, 3, 1)), "range.last"},
		"backwards":   {elements(rangeOf(1, 3, -1)), "range.step"},
		"too many":    {elements(rangeOf(1, 10_000_001, 1)), "range.last"},
		"too large":   {elements(rangeOf(1, 1_000_000_000_000, 1)), "range.last"},
		"no items":    {func(a *apiv1.TaskArray) { a.Elements = itemsOf(nil) }, "items.total"},
		"more than told": {func(a *apiv1.TaskArray) {
			a.Elements = itemsOf(nil, []string{"a"}, []string{"b"})
			a.GetItems().Total = 1
		}, "items.total"},
		"wrong column":      {func(a *apiv1.TaskArray) { a.Elements = itemsOf([]string{"index"}, []string{"a"}) }, "items.columns[0]"},
		"column twice":      {func(a *apiv1.TaskArray) { a.Elements = itemsOf([]string{"x", "x"}, []string{"a", "b"}) }, "items.columns[1]"},
		"too few values":    {func(a *apiv1.TaskArray) { a.Elements = itemsOf([]string{"x", "y"}, []string{"a"}) }, "items[0]"},
		"unknown name":      {line("run {{item}}"), "task.commandLine"},
		"open braces":       {line("run {{index"), "task.commandLine"},
		"no command":        {line(""), "task.commandLine"},
		"ids without index": {func(a *apiv1.TaskArray) { a.Task.Id = "same" }, "task.id"},
		"ids too long": {func(a *apiv1.TaskArray) {
			a.Task.Id = strings.Repeat("x", 62) + "{{index}}"
			a.Elements = rangeOf(1, 1000, 1)
		}, "task.id"},
		"its own element": {func(a *apiv1.TaskArray) { a.Task.DependsOn = &apiv1.TaskDependencies{TaskIds: []string{"sim-3"}} }, "dependsOn.taskIds[0]"},
		"itself":          {func(a *apiv1.TaskArray) { a.Task.DependsOn = &apiv1.TaskDependencies{TaskIds: []string{"SIM"}} }, "dependsOn.taskIds[0]"},
		"its own numbers": {func(a *apiv1.TaskArray) {
			a.Task.Id, a.Task.DependsOn = "{{index}}", &apiv1.TaskDependencies{TaskIdRanges: []*apiv1.TaskIdRange{{Start: 9, End: 12}}}
		}, "dependsOn.taskIdRanges[0].start"},
		"negative limit": {func(a *apiv1.TaskArray) { a.MaxParallelTasks = -1 }, "maxParallelTasks"},
		"an item that leaves its directory": {func(a *apiv1.TaskArray) {
			a.Task.ResourceFiles = []*apiv1.ResourceFile{{HttpUrl: "s3://bucket/x", FilePath: "in/{{item}}"}}
			a.Elements = itemsOf(nil, []string{"good"}, []string{"../../etc/passwd"})
		}, "resourceFiles[0].filePath"},
		"a display name that grows": {func(a *apiv1.TaskArray) {
			a.Task.DisplayName, a.Elements = "{{item}}", itemsOf(nil, []string{strings.Repeat("x", 1025)})
		}, "task.displayName"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newArrayOf(c.edit)
			require.Error(t, err)
			known := batcherr.From(err)
			require.Equal(t, batcherr.KindInvalid, known.Kind, known)
			for _, v := range known.Values {
				if v.Key == batcherr.ValuePropertyName {
					require.Equal(t, c.where, v.Value)
					return
				}
			}
			t.Fatalf("%v does not say where", known)
		})
	}
}

func TestItemsOfCommand(t *testing.T) {
	big := &raftlogv1.ElementItem{Values: []string{strings.Repeat("x", maxCommandBytes/2)}}
	now, later := itemsOfCommand([]*raftlogv1.ElementItem{big, big, big})
	require.Len(t, now, 1)
	require.Len(t, later, 2)
	now, later = itemsOfCommand([]*raftlogv1.ElementItem{{}, {}})
	require.Len(t, now, 2)
	require.Empty(t, later)
}
