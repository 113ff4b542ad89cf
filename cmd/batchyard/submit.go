package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/cmd/batchyard/jobfile"
	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/client/apijson"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// submitChunk is how many tasks are expanded at a time.
const submitChunk = 10_000

const jobFileText = `A job file is a YAML document with a job, its tasks and, if wanted, parameters:

  parameters:                    # names for {{…}}, with defaults; --set NAME=VALUE overrides them
    paths: 500
  job:                           # a job as Azure Batch spells it
    id: monte-carlo
    poolInfo: {poolId: demo}
    onAllTasksComplete: noaction
  tasks:                         # each entry is a task as Azure Batch spells it ...
    - id: "sim-{{model}}-{{seed:04}}"
      commandLine: "/bin/sh -c './simulate {{model}} --seed {{seed}} --paths {{paths}}'"
      resourceFiles:
        - {httpUrl: "{{store}}/inputs/{{data}}", filePath: "prices.csv"}
      outputFiles:
        - filePattern: result.json
          destination: {container: {containerUrl: "{{store}}", path: "results/{{job}}/{{index}}.json"}}
          uploadOptions: {uploadCondition: tasksuccess}
      sweep:                     # ... that may be repeated for every combination of these
        model: [gbm, heston]
        seed: {first: 1, last: 250}          # also step; both ends are included
      zip:                       # and for these together: the first of each, the second of each, ...
        data: [dax.csv, ftse.csv]
        name: [DAX, FTSE]

Texts anywhere in the job, the tasks and the sweeps are templates: {{name}} is the value of a parameter or a swept name,
{{name:04}} a whole number with leading zeros, {{{{ two braces. A number that is a template is put in quotes. Always there are
{{job}}, the id of the job, {{index}}, the position of the task in its entry from 0, and {{store}}, the s3:// URL of the account's
bucket. zip may be a list of groups, each of which varies on its own. In a sweep the last name varies fastest, zip after sweep.

An entry with array, in place of sweep and zip, is a task array: one object however many elements it has, added at once.

    - id: "frame-{{index:05}}"   # text followed by {{index}}; the array is named after it: frame
      commandLine: "render --frame {{index}}"
      array: {first: 1, last: 100000, step: 1, atOnce: 50}   # up to 10,000,000 elements; atOnce limits how many run at once
    - id: thumbs                 # elements are thumbs-0, thumbs-1, ...
      commandLine: "convert in.png -resize 10% out.png"
      resourceFiles: [{httpUrl: "{{store}}/{{item}}", filePath: in.png}]
      array: {objects: pictures/}            # or items: [a, b], lines: FILE, csv: FILE (then {{COLUMN}}); files lie beside this one

Its {{index}} is the number, or the place of the item from 0, {{item}} the item, {{array}} the array's id; array: {id: NAME, ...} names it.

Durations are ISO 8601 (PT10M) or like 10m. Unknown properties are errors. A file makes at most 1,000,000 tasks, not counting elements of arrays.`

func newJobFileTopic() *cobra.Command {
	return &cobra.Command{Use: "job-file", Short: "The file that submit reads", Long: jobFileText}
}

type submitOptions struct {
	set     []string
	job     string
	pool    string
	dryRun  bool
	wait    bool
	timeout durationFlag
}

func newSubmitCommand(f *factory) *cobra.Command {
	opts := &submitOptions{}
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Create a job and its tasks from a file, with parameter sweeps",
		Long: `Create a job and add its tasks, as a YAML file describes them. The whole file is checked before anything is created.

See "batchyard help job-file" for what is in the file.`,
		Example: `  batchyard submit examples/hello/job.yaml --wait
  batchyard submit job.yaml --set paths=1000 --job monte-carlo-2 --dry-run`,
		Args: exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error { return opts.run(cmd.Context(), f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&opts.set, "set", nil, "NAME=VALUE: give a parameter of the file another value; repeatable")
	flags.StringVar(&opts.job, "job", "", "id of the job, instead of the file's")
	flags.StringVar(&opts.pool, "pool", "", "pool to run on, instead of the file's")
	flags.BoolVar(&opts.dryRun, "dry-run", false, "print what would be created")
	flags.BoolVar(&opts.wait, "wait", false, "wait until no task is left to run; see \"batchyard job wait\"")
	flags.Var(&opts.timeout, "timeout", "give up waiting after this time")
	_ = cmd.RegisterFlagCompletionFunc("pool", completeFlag(f, poolIDs))
	return cmd
}

func (o *submitOptions) run(ctx context.Context, f *factory, path string) error {
	text, err := f.readInput(path)
	if err != nil {
		return err
	}
	// {{store}} needs a connection, most of a dry run does not.
	var s *session
	defer func() {
		if s != nil {
			_ = s.Close()
		}
	}()
	connect := func() (*session, error) {
		var err error
		if s == nil {
			s, err = f.connect()
		}
		return s, err
	}
	file, err := o.parse(ctx, f, path, text, connect)
	if err != nil {
		return usagef("%s: %w", path, err)
	}
	if o.dryRun {
		return printPlan(f, file)
	}
	for _, err := range file.Tasks() {
		if err != nil {
			return usagef("%s: %w", path, err)
		}
	}
	if _, err := connect(); err != nil {
		return err
	}
	if err := o.submit(ctx, f, s, file); err != nil {
		return err
	}
	if o.wait {
		return waitForJob(ctx, f, s, file.Job.GetId(), o.timeout.value)
	}
	return f.say("job %s created with %s", render.Plain(file.Job.GetId()), plural(file.Count(), "task"))
}

func (o *submitOptions) parse(ctx context.Context, f *factory, path string, text []byte, connect func() (*session, error)) (*jobfile.File, error) {
	set := map[string]string{}
	if err := pairs("set", o.set, func(name, value string) { set[name] = value }); err != nil {
		return nil, err
	}
	file, err := jobfile.Parse(text, jobfile.Options{Set: set, JobID: o.job, Sources: o.sources(ctx, f, path, connect), Lookup: func(name string) (string, bool, error) {
		if name != "store" {
			return "", false, nil
		}
		s, err := connect()
		if err != nil {
			return "", false, err
		}
		url, err := s.locator(ctx)("")
		return trimSlash(url), err == nil, err
	}})
	if err != nil {
		return nil, err
	}
	if o.pool != "" {
		file.Job.PoolInfo = &apiv1.PoolInfo{PoolId: o.pool}
	}
	if file.Job.GetPoolInfo() == nil {
		return nil, fmt.Errorf("the job has no pool: give poolInfo in the file, or --pool")
	}
	return file, nil
}

// sources are what arrays of the file are read from: files beside it, and the account's store.
func (o *submitOptions) sources(ctx context.Context, f *factory, path string, connect func() (*session, error)) jobfile.Sources {
	return jobfile.Sources{
		ReadFile: func(name string) ([]byte, error) {
			if !filepath.IsAbs(name) && path != "-" {
				name = filepath.Join(filepath.Dir(path), name)
			}
			return os.ReadFile(name)
		},
		ListObjects: func(prefix string) ([]string, error) {
			s, err := connect()
			if err != nil {
				return nil, err
			}
			return f.objectKeys(ctx, s, prefix)
		},
	}
}

func trimSlash(url string) string {
	for len(url) > 0 && url[len(url)-1] == '/' {
		url = url[:len(url)-1]
	}
	return url
}

// submit creates the job and adds the tasks, of which any that is refused ends it.
func (o *submitOptions) submit(ctx context.Context, f *factory, s *session, file *jobfile.File) error {
	if _, err := s.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: creation(file)}); err != nil {
		return err
	}
	for _, array := range file.Arrays {
		if err := f.addArray(ctx, s, file.Job.GetId(), array); err != nil {
			return fmt.Errorf("job %s is created, but array %s was not added whole: %w", file.Job.GetId(), array.GetId(), err)
		}
	}
	return o.submitTasks(ctx, f, s, file)
}

// submitTasks adds the tasks that are no elements of arrays.
func (o *submitOptions) submitTasks(ctx context.Context, f *factory, s *session, file *jobfile.File) error {
	meter := f.newMeter("tasks added", int64(file.Count()), countUnit)
	defer meter.finish()
	var chunk []*apiv1.Task
	added := 0
	flush := func() error {
		results, err := s.AddTasks(ctx, file.Job.GetId(), chunk, func(done int) { meter.set(int64(added+done), int64(file.Count())) })
		if err != nil {
			return err
		}
		for i, r := range results {
			if r.GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
				return fmt.Errorf("job %s is created, but task %s was not added: %w", file.Job.GetId(), chunk[i].GetId(), addError(r))
			}
		}
		added += len(chunk)
		chunk = chunk[:0]
		return nil
	}
	for task, err := range file.Tasks() {
		if err != nil {
			return err
		}
		if chunk = append(chunk, task); len(chunk) == submitChunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(chunk) > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	return finishSubmission(ctx, s, file)
}

// creation is the job as it is created: one that ends when all tasks are complete would end before it has any.
func creation(file *jobfile.File) *apiv1.Job {
	job := proto.CloneOf(file.Job)
	if job.GetOnAllTasksComplete() == apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB {
		job.OnAllTasksComplete = apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_NO_ACTION
	}
	return job
}

// finishSubmission lets the job end by itself, if it is to.
func finishSubmission(ctx context.Context, s *session, file *jobfile.File) error {
	mode := file.Job.GetOnAllTasksComplete()
	if mode != apiv1.AllTasksCompleteMode_ALL_TASKS_COMPLETE_MODE_TERMINATE_JOB {
		return nil
	}
	_, err := s.jobs.UpdateJob(ctx, &apiv1.UpdateJobRequest{JobId: file.Job.GetId(), Update: &apiv1.JobUpdateOptions{OnAllTasksComplete: &mode}})
	return err
}

// printPlan writes the job and the tasks as YAML documents, or as JSON texts one after the other.
func printPlan(f *factory, file *jobfile.File) error {
	write := func(w io.Writer, text []byte) error {
		if f.output != outputJSON {
			text = append([]byte("---\n"), text...)
		} else {
			text = append(text, '\n')
		}
		_, err := w.Write(text)
		return err
	}
	var b bytes.Buffer
	marshal := apijson.MarshalYAML
	if f.output == outputJSON {
		marshal = apijson.Marshal
	}
	text, err := marshal(file.Job)
	if err != nil {
		return err
	}
	if err := write(&b, text); err != nil {
		return err
	}
	for _, array := range file.Arrays {
		text, err := marshal(array)
		if err != nil {
			return err
		}
		if err := write(&b, text); err != nil {
			return err
		}
	}
	for task, err := range file.Tasks() {
		if err != nil {
			return usage(err)
		}
		text, err := marshal(task)
		if err != nil {
			return err
		}
		if err := write(&b, text); err != nil {
			return err
		}
	}
	_, err = b.WriteTo(f.out)
	return err
}
