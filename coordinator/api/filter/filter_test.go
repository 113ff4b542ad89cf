package filter_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/batchyard/batchyard/coordinator/api/filter"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

var created = time.Date(2024, 1, 2, 3, 4, 5, 600_000_000, time.UTC)

func sampleTask() *apiv1.Task {
	return &apiv1.Task{
		Id:            "task-7",
		DisplayName:   "it's seven",
		State:         apiv1.TaskState_TASK_STATE_COMPLETED,
		CreationTime:  timestamppb.New(created),
		Constraints:   &apiv1.TaskConstraints{RetentionTime: durationpb.New(time.Hour), MaxTaskRetryCount: proto.Int32(-1)},
		RequiredSlots: proto.Int32(2),
		ExecutionInfo: &apiv1.TaskExecutionInfo{
			ExitCode:    proto.Int32(3),
			Result:      apiv1.TaskExecutionResult_TASK_EXECUTION_RESULT_FAILURE,
			FailureInfo: &apiv1.TaskFailureInfo{Category: apiv1.ErrorSourceCategory_ERROR_SOURCE_CATEGORY_USER_ERROR},
		},
		EnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}},
		DependsOn:           &apiv1.TaskDependencies{TaskIds: []string{"x", "y"}},
	}
}

func TestMatch(t *testing.T) {
	cases := map[string]bool{
		``:                                  true,
		`  `:                                true,
		`id eq 'task-7'`:                    true,
		`id eq 'Task-7'`:                    false,
		`id ne 'task-7'`:                    false,
		`'task-7' eq id`:                    true,
		`id gt 'task-6' and id lt 'task-8'`: true,
		`'task-6' lt id`:                    true,
		`startswith(id,'task')`:             true,
		`startswith(id, 'task-') eq true`:   true,
		`startswith(id,'task') eq false`:    false,
		`startswith(id,'task') ne false`:    true,
		`STARTSWITH(id,'x')`:                false,
		`endswith(id,'-7')`:                 true,
		`contains(id,'sk-')`:                true,
		`substringof('sk-',id)`:             true,
		`displayName eq 'it''s seven'`:      true,
		`displayName eq ''''`:               false,
		`(((state eq 'completed')))`:        true,
		`state eq 'Completed'`:              true,
		`state ne 'running'`:                true,
		`startswith(state,'comp')`:          true,
		`state gt 'active'`:                 true,
		`previousState eq null`:             true,
		`previousState ne 'active'`:         true,
		`not state eq 'running'`:            true,
		`not (state eq 'running')`:          true,
		`not not state eq 'completed'`:      true,
		`state eq 'running' OR id ne 'x'`:   true,
		`state eq 'running' Or id eq 'x'`:   false,
		`executionInfo/exitCode eq 3`:       true,
		`executionInfo/exitCode gt -1`:      true,
		`executionInfo/exitCode ge 3.0`:     true,
		`executionInfo/exitCode lt 2.5`:     false,
		`executionInfo/exitCode le '3'`:     true,
		`executionInfo/retryCount eq 0`:     true,
		`executionInfo/startTime eq null`:   true,
		`executionInfo/startTime gt datetime'2000-01-01T00:00:00Z'`:   false,
		`executionInfo/startTime lt datetime'2000-01-01T00:00:00Z'`:   false,
		`executionInfo/result eq 'failure'`:                           true,
		`executionInfo/failureInfo/category eq 'UserError'`:           true,
		`executionInfo/failureInfo ne null`:                           true,
		`nodeInfo eq null`:                                            true,
		`nodeInfo/nodeId eq null`:                                     true,
		`nodeInfo/nodeId eq 'n'`:                                      false,
		`nodeInfo/nodeId ne 'n'`:                                      true,
		`creationTime gt DateTime'2024-01-02T03:04:05Z'`:              true,
		`creationTime lt datetime'2024-01-02T03:04:05.6000001Z'`:      true,
		`creationTime eq datetime'2024-01-02T03:04:05.6Z'`:            true,
		`creationTime eq datetimeoffset'2024-01-02T05:04:05.6+02:00'`: true,
		`creationTime eq datetime'2024-01-02T03:04:05.600000+00:00'`:  true,
		`creationTime le 2024-01-03`:                                  true,
		`creationTime le 2024-01-03T00:00:00Z`:                        true,
		`creationTime ge '2024-01-02'`:                                true,
		`constraints/retentionTime eq 'PT1H'`:                         true,
		`constraints/retentionTime lt duration'P1D'`:                  true,
		`constraints/maxTaskRetryCount eq -1`:                         true,
		`environmentSettings/name eq 'B'`:                             true,
		`environmentSettings/name eq 'C'`:                             false,
		`environmentSettings/name ne 'C'`:                             true,
		`resourceFiles/filePath eq null`:                              true,
		`resourceFiles/filePath ne 'a'`:                               true,
		`dependsOn/taskIds eq 'y'`:                                    true,
		`startswith(dependsOn/taskIds,'z')`:                           false,
	}
	for text, want := range cases {
		f, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.NoError(t, f.Check((&apiv1.Task{}).ProtoReflect().Descriptor()), text)
		require.Equal(t, want, f.Match(sampleTask()), text)
	}
}

func TestMatchPool(t *testing.T) {
	pool := &apiv1.Pool{Id: "p", EnableAutoScale: proto.Bool(false), CurrentDedicatedNodes: 0}
	for text, want := range map[string]bool{
		`enableAutoScale eq false`:             true,
		`enableAutoScale`:                      false,
		`not enableAutoScale`:                  true,
		`(enableAutoScale) or id eq 'p'`:       true,
		`enableInterNodeCommunication eq null`: true,
		`currentDedicatedNodes eq 0`:           true,
		`currentDedicatedNodes eq null`:        false,
	} {
		f, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f.Match(pool), text)
	}
}

func TestPrecedence(t *testing.T) {
	f, err := filter.Parse(`id eq 'task-7' or id eq 'x' and id eq 'y'`)
	require.NoError(t, err)
	require.True(t, f.Match(sampleTask()), "and binds more tightly than or")
	f, err = filter.Parse(`(id eq 'task-7' or id eq 'x') and id eq 'y'`)
	require.NoError(t, err)
	require.False(t, f.Match(sampleTask()))
}

func TestErrors(t *testing.T) {
	deep := strings.Repeat("(", filter.MaxDepth+1) + "id eq 'x'" + strings.Repeat(")", filter.MaxDepth+1)
	for text, position := range map[string]int{
		`id startswith 'x'`:                   3,
		`id eq`:                               5,
		`id eq 'x`:                            6,
		`id eq 'x' state`:                     10,
		`id eq 'x' and`:                       13,
		`(id eq 'x'`:                          10,
		`id == 'x'`:                           3,
		`eq 'x'`:                              3,
		`id eq other`:                         6,
		`'a' eq 'b'`:                          7,
		`true eq true`:                        8,
		`lower(id) eq 'x'`:                    0,
		`startswith(id)`:                      13,
		`startswith(id,5)`:                    0,
		`startswith('a','b')`:                 0,
		`id/ eq 'x'`:                          0,
		`datetime'yesterday' lt creationTime`: 0,
		`id eq 12x`:                           6,
		`id eq #`:                             6,
		deep:                                  filter.MaxDepth,
		strings.Repeat("not ", filter.MaxDepth+1) + "id eq 'x'": 4 * filter.MaxDepth,
		strings.Repeat(" ", filter.MaxLength+1):                 filter.MaxLength,
		strings.Repeat("x or ", filter.MaxTerms) + "x":          5 * filter.MaxTerms,
	} {
		_, err := filter.Parse(text)
		require.Error(t, err, text)
		syntax, ok := filter.IsSyntax(err)
		require.True(t, ok)
		require.Equal(t, position, syntax.Position, "%s: %v", text, err)
	}
}

func TestCheck(t *testing.T) {
	for text, position := range map[string]int{
		`nosuch eq 1`:                                0,
		`id eq 'a' and nosuch eq 'b'`:                14,
		`id/x eq 'a'`:                                0,
		`id eq 5`:                                    6,
		`id eq true`:                                 6,
		`id gt null`:                                 6,
		`state eq 'sleeping'`:                        9,
		`state eq 4`:                                 9,
		`creationTime gt 'soon'`:                     16,
		`creationTime gt 5`:                          16,
		`requiredSlots eq 'many'`:                    17,
		`startswith(requiredSlots,'1')`:              25,
		`constraints eq 'x'`:                         15,
		`constraints/retentionTime gt 'long'`:        29,
		`containerSettings/registry/password eq 'a'`: 0,
		`creationTime/seconds gt 5`:                  0,
	} {
		f, err := filter.Parse(text)
		require.NoError(t, err, text)
		err = f.Check((&apiv1.Task{}).ProtoReflect().Descriptor())
		syntax, ok := filter.IsSyntax(err)
		require.True(t, ok, text)
		require.Equal(t, position, syntax.Position, "%s: %v", text, err)
		require.False(t, f.Match(sampleTask()))
	}
}

func TestPins(t *testing.T) {
	for text, want := range map[string]filter.Pins{
		``:                                   {},
		`id eq 'A'`:                          {IDs: []string{"A"}},
		`'A' eq id and creationTime ne null`: {IDs: []string{"A"}},
		`startswith(id,'a') and state eq 'Active'`:                          {Prefixes: []string{"a"}, States: []string{"active"}},
		`state eq 'active' or state eq 'running' or state eq 'ACTIVE'`:      {States: []string{"active", "running"}},
		`state eq 'active' or id eq 'x'`:                                    {},
		`not (state eq 'active')`:                                           {},
		`state ne 'active'`:                                                 {},
		`(id eq 'a' or id eq 'b') and id eq 'b'`:                            {IDs: []string{"b"}},
		`executionInfo/result eq 'success'`:                                 {},
		`executionInfo/result eq 'Failure' and executionInfo/exitCode eq 2`: {Failed: true},
		`executionInfo/result eq 'failure' or state eq 'active'`:            {},
	} {
		f, err := filter.Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f.Pins(), text)
	}
}

func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		`id eq 'x'`, `startswith(id,'a''b') and not (state eq 'active' or executionInfo/exitCode ge -5)`,
		`creationTime gt datetime'2024-01-02T03:04:05Z'`, `(((`, `'`, `id eq 1e9`, `a/b/c eq null`, "\x00\xff",
	} {
		f.Add(seed)
	}
	task := sampleTask()
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := filter.Parse(text)
		if err != nil {
			syntax, ok := filter.IsSyntax(err)
			require.True(t, ok)
			require.LessOrEqual(t, syntax.Position, len(text))
			return
		}
		parsed.Pins()
		if parsed.Check(task.ProtoReflect().Descriptor()) != nil {
			require.False(t, parsed.Match(task))
			return
		}
		negated, err := filter.Parse("not (" + text + ")")
		if err == nil && strings.TrimSpace(text) != "" {
			require.NotEqual(t, parsed.Match(task), negated.Match(task), text)
		}
	})
}

func BenchmarkMatch1000Tasks(b *testing.B) {
	f, err := filter.Parse(`startswith(id,'task') and (state eq 'running' or executionInfo/exitCode ne 0) and creationTime gt datetime'2024-01-01T00:00:00Z'`)
	require.NoError(b, err)
	tasks := make([]*apiv1.Task, 1000)
	for i := range tasks {
		tasks[i] = sampleTask()
		tasks[i].Id = fmt.Sprintf("task-%d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, task := range tasks {
			if !f.Match(task) {
				b.Fatal("no match")
			}
		}
	}
}
