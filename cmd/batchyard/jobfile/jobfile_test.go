package jobfile_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/cmd/batchyard/jobfile"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const head = "job: {id: j, poolInfo: {poolId: p}}\n"

func expand(text string, opts jobfile.Options) (*jobfile.File, []*apiv1.Task, error) {
	file, err := jobfile.Parse([]byte(text), opts)
	if err != nil {
		return nil, nil, err
	}
	var tasks []*apiv1.Task
	for task, err := range file.Tasks() {
		if err != nil {
			return file, tasks, err
		}
		tasks = append(tasks, task)
	}
	return file, tasks, nil
}

func TestSweeps(t *testing.T) {
	for name, c := range map[string]struct {
		tasks string
		want  []string
	}{
		"no sweep":          {`{id: a, commandLine: c}`, []string{"a c"}},
		"list":              {`{id: "t-{{x}}", commandLine: "c {{x}}", sweep: {x: [a, 7, 1.50]}}`, []string{"t-a c a", "t-7 c 7", "t-1.50 c 1.50"}},
		"range":             {`{id: "{{i}}", commandLine: c, sweep: {i: {first: 1, last: 3}}}`, []string{"1 c", "2 c", "3 c"}},
		"range with step":   {`{id: "{{i}}", commandLine: c, sweep: {i: {first: 0, last: 10, step: 4}}}`, []string{"0 c", "4 c", "8 c"}},
		"range downwards":   {`{id: "{{i}}", commandLine: c, sweep: {i: {first: 2, last: -1, step: -1}}}`, []string{"2 c", "1 c", "0 c", "-1 c"}},
		"exact decimals":    {`{id: "{{index}}", commandLine: "{{x}}", sweep: {x: {first: 0, last: 0.3, step: 0.1}}}`, []string{"0 0.0", "1 0.1", "2 0.2", "3 0.3"}},
		"negative decimals": {`{id: "{{index}}", commandLine: "{{x}}", sweep: {x: {first: -0.5, last: 0.5, step: 0.5}}}`, []string{"0 -0.5", "1 0.0", "2 0.5"}},
		"product, last fastest": {`{id: "{{b}}{{a}}", commandLine: c, sweep: {b: [x, y], a: [1, 2]}}`,
			[]string{"x1 c", "x2 c", "y1 c", "y2 c"}},
		"zip": {`{id: "{{a}}", commandLine: "{{b}}", zip: {a: [1, 2], b: [x, y]}}`, []string{"1 x", "2 y"}},
		"product with zips": {`{id: "{{a}}-{{b}}-{{d}}", commandLine: "{{c}}", sweep: {a: [1, 2]}, zip: [{b: [x, y], c: [X, Y]}, {d: [p]}]}`,
			[]string{"1-x-p X", "1-y-p Y", "2-x-p X", "2-y-p Y"}},
		"padding":     {`{id: "{{i:04}}", commandLine: "{{ i : 02 }}", sweep: {i: [-5, 7, 12345]}}`, []string{"-005 -5", "0007 07", "12345 12345"}},
		"builtins":    {`{id: "t{{index}}", commandLine: "{{job}} {{{{x}}", sweep: {x: [1]}}`, []string{"t0 j {{x}}"}},
		"parameters":  {`{id: "{{i}}", commandLine: "{{word}}", sweep: {i: {first: 1, last: "{{n}}"}}}`, []string{"1 hi", "2 hi"}},
		"no tasks":    {``, nil},
		"big numbers": {`{id: "{{i}}", commandLine: c, sweep: {i: {first: 999999999999999999, last: 999999999999999999}}}`, []string{"999999999999999999 c"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := head + "parameters: {word: hi, n: 2}\ntasks:\n"
			if c.tasks != "" {
				text += "- " + c.tasks
			}
			text = strings.TrimSuffix(text, "tasks:\n")
			file, tasks, err := expand(text, jobfile.Options{})
			require.NoError(t, err)
			var got []string
			for _, task := range tasks {
				got = append(got, task.GetId()+" "+task.GetCommandLine())
			}
			require.Equal(t, c.want, got)
			require.Equal(t, len(c.want), file.Count())
		})
	}
}

func TestTemplatesAreFilledInEverywhere(t *testing.T) {
	file, tasks, err := expand(`
parameters: {pool: p, slots: 1}
job:
  id: "job-{{pool}}"
  poolInfo: {poolId: "{{pool}}"}
  priority: "{{slots}}"
tasks:
- id: "{{n}}"
  commandLine: run
  requiredSlots: "{{slots}}"
  environmentSettings: [{name: "V{{n}}", value: "{{n}}"}]
  resourceFiles: [{httpUrl: "{{store}}/{{n}}", filePath: "{{n}}.csv"}]
  outputFiles: [{filePattern: "*.{{n}}", destination: {container: {containerUrl: "{{store}}", path: "{{job}}/{{n}}"}}, uploadOptions: {uploadCondition: tasksuccess}}]
  sweep: {n: [a]}
`, jobfile.Options{
		Set: map[string]string{"slots": "3"},
		Lookup: func(name string) (string, bool, error) {
			return "s3://bucket", name == "store", nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, "job-p", file.Job.GetId())
	require.Equal(t, "p", file.Job.GetPoolInfo().GetPoolId())
	require.EqualValues(t, 3, file.Job.GetPriority())
	task := tasks[0]
	require.EqualValues(t, 3, task.GetRequiredSlots())
	require.Equal(t, "Va", task.GetEnvironmentSettings()[0].GetName())
	require.Equal(t, "s3://bucket/a", task.GetResourceFiles()[0].GetHttpUrl())
	require.Equal(t, "a.csv", task.GetResourceFiles()[0].GetFilePath())
	require.Equal(t, "*.a", task.GetOutputFiles()[0].GetFilePattern())
	require.Equal(t, "job-p/a", task.GetOutputFiles()[0].GetDestination().GetContainer().GetPath())
}

func TestJobIDFromOutside(t *testing.T) {
	file, tasks, err := expand("job: {poolInfo: {poolId: p}}\ntasks: [{id: \"{{job}}\", commandLine: c}]", jobfile.Options{JobID: "mine"})
	require.NoError(t, err)
	require.Equal(t, "mine", file.Job.GetId())
	require.Equal(t, "mine", tasks[0].GetId())
}

func TestMistakesNameTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "line 1: expected one document, found 0",
		"tasks: []":                           "line 1: the file has no job",
		"job: {}":                             "line 1: the job has no id",
		"job: {id: j}\ntask: []":              `line 2: a job file has no property "task"; it has parameters, job, tasks`,
		"job:\n  id: j\n  pool: p":            `line 3: Job has no property "pool"`,
		head + "tasks: {}":                    "line 2: tasks: expected a list",
		head + "tasks:\n- {id: a}\n- {id: A}": `line 4: task id "a" comes twice: use the swept names in it`,
		head + "tasks:\n- {commandLine: x}":   "line 3: the task has no id",
		head + "tasks:\n- id: a\n  comandLine: x":                                                              `line 4: Task has no property "comandLine"`,
		head + "tasks:\n- id: a\n  commandLine: \"{{x}}\"":                                                     "line 4: {{x}}: nothing has this name",
		head + "tasks:\n- id: \"{{x\"":                                                                         "line 3: {{ has no }}",
		head + "tasks:\n- id: \"{{1x}}\"":                                                                      "line 3: {{1x}}: expected a name",
		head + "tasks:\n- id: \"{{x:4}}\"\n  sweep: {x: [1]}":                                                  "line 3: {{x:4}}: expected a width such as 04",
		head + "tasks:\n- id: \"{{x:04}}\"\n  sweep: {x: [a]}":                                                 `line 3: {{x:04}}: "a" is not a whole number`,
		head + "tasks:\n- id: a\n  sweep: {x: []}":                                                             "line 4: x: expected 1 to 1000000 values",
		head + "tasks:\n- id: a\n  sweep: {x: 3}":                                                              "line 4: x: expected a list or a range {first, last, step}",
		head + "tasks:\n- id: a\n  sweep: [x]":                                                                 "line 4: sweep: expected names with lists or ranges",
		head + "tasks:\n- id: a\n  sweep: {x: {first: 1}}":                                                     "line 4: x: a range has first and last",
		head + "tasks:\n- id: a\n  sweep: {x: {first: 1, last: 2, stop: 3}}":                                   `line 4: a range has no property "stop"; it has first, last, step`,
		head + "tasks:\n- id: a\n  sweep: {x: {first: 1, last: 5, step: 0}}":                                   "line 4: x: the step is zero",
		head + "tasks:\n- id: a\n  sweep: {x: {first: 5, last: 1}}":                                            "line 4: x: the range is empty",
		head + "tasks:\n- id: a\n  sweep: {x: {first: 1e9, last: 2}}":                                          `line 4: expected a number, found "1e9"`,
		head + "tasks:\n- id: a\n  sweep: {x: {first: 1, last: 2000000}}":                                      "line 4: x: the range has more than 1000000 values",
		head + "tasks:\n- id: a\n  sweep: {index: [1]}":                                                        "line 4: name index is taken",
		head + "tasks:\n- id: a\n  sweep: {x: [1]}\n  zip: {x: [1]}":                                           "line 4: name x is taken",
		head + "tasks:\n- id: a\n  zip: {x: [1, 2], y: [1]}":                                                   "line 4: zip: x has 2 values, y has 1",
		head + "parameters: {index: 1}":                                                                        `line 2: "index" cannot be the name of a parameter`,
		head + "parameters: {x: [1]}":                                                                          "line 2: parameter x: expected a text or a number",
		head + "tasks:\n- &a {id: a}\n- *a":                                                                    "line 4: expected a task",
		head + "tasks:\n- {id: a, displayName: &b x, commandLine: *b}":                                         "line 3: aliases (*name) are not allowed in a job file: use parameters",
		head + "tasks:\n- id: \"{{a}}{{b}}\"\n  sweep: {a: {first: 1, last: 2000}, b: {first: 1, last: 2000}}": "line 3: the sweep makes more than 1000000 tasks",
	} {
		_, _, err := expand(text, jobfile.Options{})
		require.EqualError(t, err, want, text)
	}
	_, _, err := expand(head, jobfile.Options{Set: map[string]string{"y": "1"}})
	require.EqualError(t, err, `the file has no parameter "y"`)
	offline := errors.New("no connection")
	_, _, err = expand(head+"tasks: [{id: \"{{store}}\"}]", jobfile.Options{Lookup: func(string) (string, bool, error) { return "", false, offline }})
	require.ErrorContains(t, err, "no connection")
}

func TestALargeSweep(t *testing.T) {
	file, err := jobfile.Parse([]byte(head+"tasks:\n- {id: \"{{x}}\", commandLine: c, sweep: {x: {first: 1, last: 1000000}}}"), jobfile.Options{})
	require.NoError(t, err)
	require.Equal(t, jobfile.MaxTasks, file.Count())
	n := 0
	for task, err := range file.Tasks() {
		require.NoError(t, err)
		if n++; n == 1000 {
			require.Equal(t, fmt.Sprint(n), task.GetId())
			break
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(head + "parameters: {a: 1}\ntasks:\n- {id: \"{{x:03}}{{a}}{{index}}\", sweep: {x: {first: 1, last: 3}}, zip: [{y: [1, 2]}]}")
	f.Add(head + "tasks: [{id: \"a-{{index:02}}\", commandLine: \"{{item}}{{{{\", array: {items: [1, x], atOnce: 2}}]")
	f.Add(head + "tasks: [{id: a, array: {first: 1, last: 9223372036854775807, step: 5}}]")
	f.Add(head + "tasks: [{id: \"{{{{\", sweep: {x: {first: -1.5, last: 1, step: 0.25}}}]")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := jobfile.Parse([]byte(text), jobfile.Options{})
		if err != nil {
			return
		}
		require.LessOrEqual(t, file.Count(), jobfile.MaxTasks+len(file.Arrays)*jobfile.MaxElements)
		seen := map[string]bool{}
		for task, err := range file.Tasks() {
			if err != nil || len(seen) > 100 {
				return
			}
			require.NotEmpty(t, task.GetId())
			require.False(t, seen[task.GetId()])
			seen[task.GetId()] = true
		}
	})
}

func TestArrays(t *testing.T) {
	files := map[string]string{"seeds.csv": "model,seed\ngbm,1\nheston,2\n", "names.txt": "a\nb\n"}
	opts := jobfile.Options{Sources: jobfile.Sources{
		ReadFile:    func(name string) ([]byte, error) { return []byte(files[name]), nil },
		ListObjects: func(prefix string) ([]string, error) { return []string{prefix + "1.png", prefix + "2.png"}, nil },
	}}
	file, err := jobfile.Parse([]byte(head+`
parameters: {paths: "5{{"}
tasks:
- {id: "sim-{{index:03}}", commandLine: "run {{paths}} {{index}} {{{{", array: {first: 1, last: 9, step: 4, atOnce: 2}}
- {id: "{{model}}", array: {id: m, csv: seeds.csv}, commandLine: "run {{model}} {{seed}}"}
- {id: pictures, array: {objects: in/}, commandLine: "convert {{item}}"}
- {id: names, array: {lines: names.txt}, commandLine: "greet {{item}}"}
- {id: one, commandLine: "x"}
`), opts)
	require.NoError(t, err)
	require.Len(t, file.Arrays, 4)
	require.Equal(t, 3+2+2+2+1, file.Count())
	sim := file.Arrays[0]
	require.Equal(t, "sim", sim.Id)
	require.Equal(t, "sim-{{index:03}}", sim.Task.Id)
	require.Equal(t, "run 5{{{{ {{index}} {{{{", sim.Task.CommandLine)
	require.EqualValues(t, 2, sim.MaxParallelTasks)
	require.EqualValues(t, 4, sim.GetRange().Step)
	require.Equal(t, []string{"model", "seed"}, file.Arrays[1].GetItems().Columns)
	require.Equal(t, "in/2.png", file.Arrays[2].GetItems().Items[1].Values[0])
	require.Equal(t, "pictures", file.Arrays[2].Id)
	require.Empty(t, file.Arrays[2].Task.Id)

	for text, want := range map[string]string{
		`{id: a, array: {first: 1}}`:                                   "either first and last",
		`{id: a, array: {first: 3, last: 1}}`:                          "0 <= first <= last",
		`{id: a, array: {first: 1, last: 99999999}}`:                   "at most 10000000",
		`{id: a, array: {items: []}}`:                                  "expected 1 to",
		`{id: a, array: {items: [a], csv: x}}`:                         "either first and last",
		`{id: "{{index}}", array: {first: 1, last: 2}}`:                "has no id",
		`{id: a, sweep: {x: [1]}, array: {first: 1, last: 2}}`:         "not both",
		`{id: a, commandLine: "{{item}}", array: {first: 1, last: 2}}`: "nothing has this name",
		`{id: a, array: {first: x, last: 2}}`:                          "whole number",
		`{id: a, array: {first: 1, last: 2, atOnce: -1}}`:              "atOnce",
		`{id: a, array: {lines: none}}`:                                "no items",
	} {
		_, err := jobfile.Parse([]byte(head+"tasks: ["+text+"]"), opts)
		require.ErrorContains(t, err, want, text)
	}
}
