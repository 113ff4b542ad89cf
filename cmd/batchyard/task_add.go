package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/client/apijson"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// taskFlags describe one task; task add and run share them.
type taskFlags struct {
	name      string
	shell     bool
	env       []string
	slots     *int32Flag
	retries   *int32Flag
	wallClock durationFlag
	retention durationFlag
	inputs    []string
	uploads   []string
	apps      []string
	dependsOn []string
	near      string
	container containerFlags
}

func (t *taskFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&t.name, "display-name", "", "name for people")
	flags.BoolVar(&t.shell, "shell", false, "let /bin/sh interpret the command")
	flags.StringArrayVarP(&t.env, "env", "e", nil, "NAME=VALUE for the task's environment; repeatable")
	t.slots = newInt32Flag(flags, "slots", "task slots that the task takes (default 1)")
	flags.StringVar(&t.near, "near", "", "node that it is best run on; another does it where that is busy or gone")
	t.retries = newInt32Flag(flags, "retries", "run it again up to this often if it fails; -1 is no limit (default the job's)")
	flags.Var(&t.wallClock, "max-wall-clock", "stop it after this time (default no limit)")
	flags.Var(&t.retention, "retention", "keep its files on the node for this time (default 7d)")
	flags.StringArrayVar(&t.inputs, "input", nil, "[PATH=]SOURCE: what is to be there, at PATH, when it starts: a URL, s3://BUCKET/KEY or a key of the account's store; a SOURCE that ends in / is everything below it; repeatable")
	flags.StringArrayVar(&t.uploads, "upload", nil, "PATTERN=DESTINATION: files to upload when it ends, to s3://BUCKET/PREFIX or a prefix of the account's store; repeatable")
	t.container.register(flags)
	flags.StringArrayVar(&t.apps, "app", nil, "application package: APP or APP:VERSION; repeatable")
}

type taskAddOptions struct {
	taskFlags
	id   string
	file string
	// Of a multi-instance task.
	instances    int32
	coordination string
	common       []string
	arrayFlags
}

func newTaskAddCommand(f *factory) *cobra.Command {
	opts := &taskAddOptions{}
	cmd := &cobra.Command{
		Use:   "add JOB [flags] -- COMMAND...",
		Short: "Add tasks to a job",
		Long: `Add a task that runs COMMAND, or the tasks of a file.

The command is not run by a shell unless --shell is given. A single argument is taken as the whole command line;
several are quoted where needed, so that the program gets them as they are.

--file takes a task, or a list of tasks, in the JSON or YAML spelling of Azure Batch.

--array, --each-line, --each-row and --each-object make a task array: many tasks that are one object, added at once however many they are. Texts of its
elements are templates: {{index}} is the number ({{index:04}} with leading zeros) or, of lines, rows and objects, the place from 0; {{item}} the line or
the key; {{COLUMN}} a value of the row. The command finds the same in BATCHYARD_ARRAY_INDEX, BATCHYARD_ARRAY_ITEM and BATCHYARD_ARRAY_COLUMN, which are
safe to use where a value may have spaces or quotes.`,
		Example: `  batchyard task add work --id first -- /bin/echo hello
  batchyard task add work --id sum --shell --input in.csv=data/in.csv --upload sum.txt=results/ -- "cut -d, -f2 in.csv | paste -sd+ | bc > sum.txt"
  batchyard task add work --id boxed --container python:3.13 --container-options "--shm-size 1g" -- python -c 'print(1)'
  batchyard task add work --file tasks.yaml
  batchyard task add work --id sim --array 1-1000000%50 -- simulate --seed {{index}}
  batchyard task add work --id thumbs --each-object pictures/ --input in.png={{item}} --upload out.png={{item}}.small -- convert in.png -resize 10% out.png`,
		Args:              atLeast(1),
		ValidArgsFunction: completeIDs(f, jobIDs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withSession(func(s *session) error { return opts.run(cmd.Context(), f, s, args) })
		},
	}
	cmd.Flags().StringVar(&opts.id, "id", "", "id of the task")
	cmd.Flags().StringVarP(&opts.file, "file", "f", "", "file with tasks; - is the standard input")
	opts.taskFlags.register(cmd.Flags())
	opts.arrayFlags.register(cmd.Flags())
	cmd.Flags().Int32Var(&opts.instances, "instances", 0, "run it on so many nodes at once, as a multi-instance task")
	cmd.Flags().StringVar(&opts.coordination, "coordination", "", "command line that prepares each of the nodes before the command runs on one of them")
	cmd.Flags().StringArrayVar(&opts.common, "common-input", nil, "like --input, for all of the nodes: below AZ_BATCH_TASK_SHARED_DIR; repeatable")
	cmd.Flags().StringSliceVar(&opts.dependsOn, "depends-on", nil, "ids of tasks that must succeed before")
	return cmd
}

func (o *taskAddOptions) run(ctx context.Context, f *factory, s *session, args []string) error {
	if array, err := o.wanted(); err != nil || array {
		if err == nil {
			err = o.runArray(ctx, f, s, args)
		}
		return err
	}
	tasks, err := o.tasks(ctx, f, s, args[1:])
	if err != nil {
		return err
	}
	results, err := s.AddTasks(ctx, args[0], tasks, nil)
	if err != nil {
		return err
	}
	for i, r := range results {
		if r.GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
			return fmt.Errorf("task %s: %w", tasks[i].GetId(), addError(r))
		}
	}
	if len(tasks) == 1 {
		return f.say("task %s added", render.Plain(tasks[0].GetId()))
	}
	return f.say("%d tasks added", len(tasks))
}

func (o *taskAddOptions) tasks(ctx context.Context, f *factory, s *session, command []string) ([]*apiv1.Task, error) {
	if o.file != "" {
		if len(command) > 0 || o.id != "" {
			return nil, usagef("give a command or --file, not both")
		}
		return readTasks(f, o.file)
	}
	switch {
	case len(command) == 0 && o.container.image == "":
		return nil, usagef("give a command after --, or --file")
	case o.id == "":
		return nil, usagef("the task needs an id: give --id")
	}
	task, err := o.task(ctx, s, command)
	if err != nil {
		return nil, err
	}
	task.Id = o.id
	if task.MultiInstanceSettings, err = o.several(s.locator(ctx)); err != nil {
		return nil, err
	}
	return []*apiv1.Task{task}, nil
}

// several are the settings of a multi-instance task; nil for others.
func (o *taskAddOptions) several(locate func(string) (string, error)) (*apiv1.MultiInstanceSettings, error) {
	if o.instances == 0 {
		if o.coordination != "" || len(o.common) > 0 {
			return nil, usagef("--coordination and --common-input are for tasks on several nodes: give --instances too")
		}
		return nil, nil
	}
	if o.coordination == "" {
		return nil, usagef("a task on several nodes needs --coordination")
	}
	out := &apiv1.MultiInstanceSettings{NumberOfInstances: &o.instances, CoordinationCommandLine: o.coordination}
	for _, text := range o.common {
		file, err := inputFile(text, locate)
		if err != nil {
			return nil, err
		}
		out.CommonResourceFiles = append(out.CommonResourceFiles, file)
	}
	return out, nil
}

// addError is why a task was not added.
func addError(r *apiv1.TaskAddResult) error {
	kind := batcherr.KindOf(r.GetError().GetCode())
	if r.GetStatus() == apiv1.TaskAddStatus_TASK_ADD_STATUS_SERVER_ERROR {
		kind = batcherr.KindUnavailable
	}
	e := batcherr.New(kind, r.GetError().GetCode(), "%s", r.GetError().GetMessage())
	for _, v := range r.GetError().GetValues() {
		e = e.With(v.GetName(), v.GetValue())
	}
	return e
}

// readTasks reads a document with a task or a list of tasks.
func readTasks(f *factory, path string) ([]*apiv1.Task, error) {
	text, err := f.readInput(path)
	if err != nil {
		return nil, err
	}
	documents, err := apijson.Parse(strings.NewReader(string(text)))
	if err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	var tasks []*apiv1.Task
	for _, document := range documents {
		items := []*yaml.Node{document}
		if document.Kind == yaml.SequenceNode {
			items = document.Content
		}
		for _, item := range items {
			task := &apiv1.Task{}
			if err := apijson.Decode(item, task); err != nil {
				return nil, usagef("%s: %w", path, err)
			}
			tasks = append(tasks, task)
		}
	}
	if len(tasks) == 0 {
		return nil, usagef("%s: there are no tasks", path)
	}
	return tasks, nil
}

// task makes a task without an id of the flags.
func (t *taskFlags) task(ctx context.Context, s *session, command []string) (*apiv1.Task, error) {
	task := &apiv1.Task{
		DisplayName:                  t.name,
		CommandLine:                  commandLine(command, t.shell),
		ApplicationPackageReferences: packages(t.apps),
	}
	t.slots.into(&task.RequiredSlots)
	if len(t.dependsOn) > 0 {
		task.DependsOn = &apiv1.TaskDependencies{TaskIds: t.dependsOn}
	}
	if t.near != "" {
		task.AffinityInfo = &apiv1.AffinityInfo{AffinityId: "TVM:" + t.near}
	}
	constraints := &apiv1.TaskConstraints{MaxWallClockTime: t.wallClock.proto(), RetentionTime: t.retention.proto()}
	t.retries.into(&constraints.MaxTaskRetryCount)
	task.Constraints = constraints
	var err error
	if task.ContainerSettings, err = t.container.settings(); err != nil {
		return nil, err
	}
	if task.EnvironmentSettings, err = environment(t.env); err != nil {
		return nil, err
	}
	locate := s.locator(ctx)
	for _, text := range t.inputs {
		file, err := inputFile(text, locate)
		if err != nil {
			return nil, err
		}
		task.ResourceFiles = append(task.ResourceFiles, file)
	}
	for _, text := range t.uploads {
		file, err := uploadFile(text, locate)
		if err != nil {
			return nil, err
		}
		task.OutputFiles = append(task.OutputFiles, file)
	}
	return task, nil
}

// inputFile reads [PATH=]SOURCE, whose SOURCE may be a URL with = in it.
func inputFile(text string, locate func(string) (string, error)) (*apiv1.ResourceFile, error) {
	path, source, ok := strings.Cut(text, "=")
	if !ok || strings.Contains(path, "://") {
		path, source = "", text
	}
	if source == "" {
		return nil, usagef("--input %q: expected [PATH=]SOURCE", text)
	}
	url, err := locate(source)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(source, "/") {
		return &apiv1.ResourceFile{StorageContainerUrl: url, FilePath: path}, nil
	}
	if path == "" {
		path = withoutQuery(source)
		path = path[strings.LastIndex(path, "/")+1:]
	}
	return &apiv1.ResourceFile{HttpUrl: url, FilePath: path}, nil
}

// uploadFile reads PATTERN=DESTINATION.
func uploadFile(text string, locate func(string) (string, error)) (*apiv1.OutputFile, error) {
	pattern, destination, ok := strings.Cut(text, "=")
	if !ok || pattern == "" || destination == "" {
		return nil, usagef("--upload %q: expected PATTERN=DESTINATION", text)
	}
	url, err := locate(destination)
	if err != nil {
		return nil, err
	}
	container, path := splitContainer(url)
	if strings.HasSuffix(path, "/") && !strings.ContainsAny(pattern, "*?[") {
		path += pattern[strings.LastIndex(pattern, "/")+1:] // without wildcards, the path is the whole name
	}
	return &apiv1.OutputFile{
		FilePattern:   pattern,
		Destination:   &apiv1.OutputFileDestination{Container: &apiv1.OutputFileBlobContainerDestination{ContainerUrl: container, Path: strings.TrimSuffix(path, "/")}},
		UploadOptions: &apiv1.OutputFileUploadConfig{UploadCondition: apiv1.OutputFileUploadCondition_OUTPUT_FILE_UPLOAD_CONDITION_TASK_COMPLETION},
	}, nil
}

// splitContainer takes s3://bucket/path apart into the bucket's URL and the path; other URLs are containers as they are.
func splitContainer(url string) (container, path string) {
	rest, ok := strings.CutPrefix(url, "s3://")
	if !ok {
		return url, ""
	}
	bucket, path, _ := strings.Cut(rest, "/")
	return "s3://" + bucket, path
}

// locator turns a key of the account's store into its URL; URLs stay as they are.
func (s *session) locator(ctx context.Context) func(string) (string, error) {
	bucket := ""
	return func(source string) (string, error) {
		if strings.Contains(source, "://") {
			return source, nil
		}
		if bucket == "" {
			access, err := s.accounts.GetStore(ctx, &apiv1.GetStoreRequest{AccountId: s.context.Account})
			if err != nil {
				return "", fmt.Errorf("find the account's store: %w", err)
			}
			bucket = access.GetBucket()
		}
		return "s3://" + bucket + "/" + strings.TrimPrefix(source, "/"), nil
	}
}
