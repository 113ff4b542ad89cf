package apijson_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/internal/client/apijson"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func decode(t *testing.T, text string, msg proto.Message) error {
	t.Helper()
	documents, err := apijson.Parse(strings.NewReader(text))
	require.NoError(t, err)
	require.Len(t, documents, 1)
	return apijson.Decode(documents[0], msg)
}

func exampleTask() *apiv1.Task {
	return &apiv1.Task{
		Id: "t1", CommandLine: "echo <hello> && true", RequiredSlots: proto.Int32(0), State: apiv1.TaskState_TASK_STATE_COMPLETED,
		CreationTime:        timestamppb.New(time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)),
		Constraints:         &apiv1.TaskConstraints{MaxWallClockTime: durationpb.New(90 * time.Minute), RetentionTime: durationpb.New(lifecycle.Unlimited)},
		EnvironmentSettings: []*apiv1.EnvironmentSetting{{Name: "A", Value: "yes"}, {Name: "B", Value: "007"}, {Name: "C", Value: "line\nbreak \x1b[31m \u009b"}},
		ContainerSettings:   &apiv1.TaskContainerSettings{ImageName: "x", WorkingDirectory: apiv1.ContainerWorkingDirectory_CONTAINER_WORKING_DIRECTORY_CONTAINER_IMAGE_DEFAULT},
		ExecutionInfo:       &apiv1.TaskExecutionInfo{ExitCode: proto.Int32(0)},
		DependsOn:           &apiv1.TaskDependencies{TaskIds: []string{"a", "b"}, TaskIdRanges: []*apiv1.TaskIdRange{{Start: 0, End: 3}}},
	}
}

const exampleJSON = `{
  "id": "t1",
  "creationTime": "2026-01-02T03:04:05.0000006Z",
  "state": "completed",
  "commandLine": "echo <hello> && true",
  "containerSettings": {
    "imageName": "x",
    "workingDirectory": "containerImageDefault"
  },
  "environmentSettings": [
    {
      "name": "A",
      "value": "yes"
    },
    {
      "name": "B",
      "value": "007"
    },
    {
      "name": "C",
      "value": "line\nbreak \u001b[31m \u009b"
    }
  ],
  "constraints": {
    "maxWallClockTime": "PT1H30M",
    "retentionTime": "P10675199DT2H48M5.4775807S"
  },
  "requiredSlots": 0,
  "executionInfo": {
    "exitCode": 0,
    "retryCount": 0,
    "requeueCount": 0
  },
  "dependsOn": {
    "taskIds": [
      "a",
      "b"
    ],
    "taskIdRanges": [
      {
        "start": 0,
        "end": 3
      }
    ]
  }
}`

func TestJSONIsTheSpellingOfAzureBatch(t *testing.T) {
	text, err := apijson.Marshal(exampleTask())
	require.NoError(t, err)
	require.Equal(t, exampleJSON, string(text))
	require.True(t, json.Valid(text))
}

func TestBothSpellingsAreReadBack(t *testing.T) {
	for _, marshal := range []func(proto.Message) ([]byte, error){apijson.Marshal, apijson.MarshalYAML} {
		text, err := marshal(exampleTask())
		require.NoError(t, err)
		got := &apiv1.Task{}
		require.NoError(t, decode(t, string(text), got), string(text))
		want := exampleTask()
		want.Constraints.RetentionTime = durationpb.New(lifecycle.Unlimited)
		require.True(t, proto.Equal(want, got), "%s\n%v", text, got)
	}
}

func TestYAMLKeepsTextsTexts(t *testing.T) {
	text, err := apijson.MarshalYAML(&apiv1.Job{Id: "123", DisplayName: "true", Priority: proto.Int32(5), PoolInfo: &apiv1.PoolInfo{PoolId: "p"}})
	require.NoError(t, err)
	require.Equal(t, "id: \"123\"\ndisplayName: \"true\"\npriority: 5\npoolInfo:\n  poolId: p\n", string(text))
}

func TestDecodeAcceptsWhatPeopleWrite(t *testing.T) {
	job := &apiv1.Job{}
	require.NoError(t, decode(t, `
id: 5
priority: "-3"
onAllTasksComplete: TerminateJob
constraints: {maxWallClockTime: 10m, maxTaskRetryCount: -1}
displayName: null
usesTaskDependencies: true
`, job))
	require.True(t, proto.Equal(&apiv1.Job{
		Id: "5", Priority: proto.Int32(-3), UsesTaskDependencies: proto.Bool(true),
		OnAllTasksComplete: apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB,
		Constraints:        &apiv1.JobConstraints{MaxWallClockTime: durationpb.New(10 * time.Minute), MaxTaskRetryCount: proto.Int32(-1)},
	}, job), "%v", job)

	extension := &apiv1.VMExtension{}
	require.NoError(t, decode(t, "settings: {a: [1, {b: c}]}", extension))
	want, err := structpb.NewStruct(map[string]any{"a": []any{1, map[string]any{"b": "c"}}})
	require.NoError(t, err)
	require.True(t, proto.Equal(want, extension.GetSettings()))
}

func TestDecodeNamesTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"id: x\nslots: 3":                              `line 2: Task has no property "slots"`,
		"id: x\nRequiredSlots: 3":                      `line 2: Task has no property "RequiredSlots" (did you mean requiredSlots?)`,
		"id: x\nrequired_slots: 3":                     `line 2: Task has no property "required_slots" (did you mean requiredSlots?)`,
		"id: x\n\nrequiredSlots: many":                 `line 3: requiredSlots: expected a whole number, found "many"`,
		"requiredSlots: 3000000000":                    `line 1: requiredSlots: expected a whole number, found "3000000000"`,
		"id: [x]":                                      `line 1: id: expected a text, found a list`,
		"id: x\nid: y":                                 `line 2: property "id" comes twice`,
		"constraints:\n  maxWallClockTime: ages":       `line 2: maxWallClockTime: expected a duration such as PT10M or 10m, found "ages"`,
		"constraints:\n  maxWallClockTime: -5m":        `line 2: maxWallClockTime: expected a duration such as PT10M or 10m, found "-5m"`,
		"creationTime: today":                          `line 1: creationTime: expected a time such as 2006-01-02T15:04:05Z, found "today"`,
		"environmentSettings: {A: b}":                  `line 1: environmentSettings: expected a list, found an object`,
		"environmentSettings:\n- name: A\n  valu: b":   `line 3: EnvironmentSetting has no property "valu"`,
		"containerSettings: {workingDirectory: there}": `line 1: workingDirectory: "there" is none of taskWorkingDirectory, containerImageDefault`,
		"[1]": `line 1: expected an object with the properties of Task, found a list`,
	} {
		err := decode(t, text, &apiv1.Task{})
		require.EqualError(t, err, want, text)
		var p *apijson.Problem
		require.True(t, errors.As(err, &p))
	}
}

func TestDecodeStopsDocumentsThatGrow(t *testing.T) {
	var b strings.Builder
	b.WriteString("displayName: &a0 x\n")
	b.WriteString("environmentSettings: &a1 [{name: x}]\n")
	b.WriteString("resourceFiles:\n")
	for range 100 {
		b.WriteString("- {filePath: *a0}\n")
	}
	require.NoError(t, decode(t, b.String(), &apiv1.Task{}), "aliases as such are fine")

	// A struct may hold anything, also what doubles at each level.
	bomb := "settings:\n  a0: &a0 [x]\n"
	for i := range 40 {
		bomb += "  a" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ": &b" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + " [*a0, *a0]\n"
	}
	require.ErrorContains(t, decode(t, bomb, &apiv1.VMExtension{}), "aliases")

	_, err := apijson.Parse(strings.NewReader("a: [b"))
	require.ErrorContains(t, err, "line 1")
}

func FuzzDecode(f *testing.F) {
	f.Add(exampleJSON)
	f.Add("id: x\nconstraints: {maxWallClockTime: PT5M}\ndependsOn: {taskIds: [a, b]}\n")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		documents, err := apijson.Parse(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, document := range documents {
			task := &apiv1.Task{}
			if apijson.Decode(document, task) != nil {
				continue
			}
			out, err := apijson.Marshal(task)
			require.NoError(t, err)
			again := &apiv1.Task{}
			require.NoError(t, decode(t, string(out), again))
			second, err := apijson.Marshal(again)
			require.NoError(t, err)
			require.Equal(t, string(out), string(second))
		}
	})
}
