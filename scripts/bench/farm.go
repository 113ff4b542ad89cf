package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/batchyard/batchyard/internal/client"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

const (
	farmSlots = 4
	farmPool  = "default"
)

// farm is `batchyard dev` with one node: real processes, disk, Raft.
type farm struct {
	*client.Client
	jobs apiv1.JobServiceClient
	dir  string
	dev  *exec.Cmd
}

func startFarm(ctx context.Context, b *bench) (*farm, error) {
	dir, err := os.MkdirTemp(b.dir, "farm")
	if err != nil {
		return nil, err
	}
	contexts := filepath.Join(dir, "contexts.yaml")
	f := &farm{dir: dir}
	f.dev = exec.Command(b.program, "dev", "--data-dir", filepath.Join(dir, "data"), "--nodes", "1", "--slots", strconv.Itoa(farmSlots))
	f.dev.Env = append(os.Environ(), client.EnvConfig+"="+contexts)
	out := &ready{found: make(chan struct{})}
	f.dev.Stdout = out
	if err := f.dev.Start(); err != nil {
		return nil, err
	}
	select {
	case <-out.found:
	case <-time.After(time.Minute):
		return nil, errors.Join(errors.New("the farm is not ready after a minute"), f.stop())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), f.stop())
	}
	all, err := client.LoadContexts(contexts)
	if err == nil {
		f.Client, err = client.Dial(all.Contexts[0].Config())
	}
	if err != nil {
		return nil, errors.Join(err, f.stop())
	}
	f.jobs = apiv1.NewJobServiceClient(f.Client)
	return f, nil
}

// ready watches for the line that says that a farm can be used.
type ready struct {
	text  bytes.Buffer
	found chan struct{}
	once  sync.Once
}

func (r *ready) Write(p []byte) (int, error) {
	r.text.Write(p)
	if bytes.Contains(r.text.Bytes(), []byte("is ready")) {
		r.once.Do(func() { close(r.found) })
	}
	return len(p), nil
}

func (f *farm) stop() error {
	if f.Client != nil {
		_ = f.Close()
	}
	_ = f.dev.Process.Signal(syscall.SIGTERM)
	return f.dev.Wait()
}

func createJob(ctx context.Context, jobs apiv1.JobServiceClient, id, pool string) error {
	_, err := jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: &apiv1.Job{Id: id, PoolInfo: &apiv1.PoolInfo{PoolId: pool}}})
	return err
}

func sameTasks(n int, command string) []*apiv1.Task {
	tasks := make([]*apiv1.Task, n)
	for i := range tasks {
		tasks[i] = &apiv1.Task{Id: fmt.Sprintf("task%07d", i), CommandLine: command}
	}
	return tasks
}

// How often waitCompleted asks, where much is under way and where one task is.
const (
	pollBusy = 25 * time.Millisecond
	pollIdle = 5 * time.Millisecond
)

// waitCompleted waits until a job has n completed tasks. Asking takes processors from what is measured.
func waitCompleted(ctx context.Context, jobs apiv1.JobServiceClient, job string, n int, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		counts, err := jobs.GetTaskCounts(ctx, &apiv1.GetTaskCountsRequest{JobId: job})
		if err != nil {
			return err
		}
		if int(counts.TaskCounts.Completed) >= n {
			if int(counts.TaskCounts.Succeeded) != n {
				return fmt.Errorf("%d of %d tasks succeeded", counts.TaskCounts.Succeeded, n)
			}
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// real compares a farm with a bare loop that makes the same directories and files, in turns, so that a change of the machine's speed meets both.
func real(ctx context.Context, b *bench) error {
	f, err := startFarm(ctx, b)
	if err != nil {
		return err
	}
	n := b.size(2000)
	var ratios, rates, bares []float64
	for round := range 3 {
		bare, err := bareLoop(filepath.Join(b.dir, "bare"+strconv.Itoa(round)), n)
		if err != nil {
			return errors.Join(err, f.stop())
		}
		ours, err := f.runReal(ctx, "real"+strconv.Itoa(round), n)
		if err != nil {
			return errors.Join(err, f.stop())
		}
		ratios, rates, bares = append(ratios, ours/bare), append(rates, ours), append(bares, bare)
	}
	rss, err := idleMemory(filepath.Join(f.dir, "data"))
	if err != nil {
		return errors.Join(err, f.stop())
	}
	how := fmt.Sprintf("median of 3 rounds of %d /bin/true, %d slots: %.0f tasks/s against %.0f of a bare loop", n, farmSlots, median(rates), median(bares))
	b.add(Figure{Name: "real tasks, ratio to a bare loop", Value: median(ratios), Budget: 0.7, AtLeast: true, How: how})
	b.add(Figure{Name: "idle agent", Value: rss, Unit: "MB", Budget: 40, How: "resident memory of the agent's process after 3 rounds of tasks"})
	return f.stop()
}

func (f *farm) runReal(ctx context.Context, job string, n int) (perSecond float64, err error) {
	if err := createJob(ctx, f.jobs, job, farmPool); err != nil {
		return 0, err
	}
	begun := time.Now()
	if _, err := f.AddTasks(ctx, job, sameTasks(n, "/bin/true"), nil); err != nil {
		return 0, err
	}
	if err := waitCompleted(ctx, f.jobs, job, n, pollBusy); err != nil {
		return 0, err
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}

// bareLoop is the least that running a command with directories and output files of its own can cost.
func bareLoop(dir string, n int) (perSecond float64, err error) {
	begun := time.Now()
	next := make(chan int)
	errs := make([]error, farmSlots)
	var wg sync.WaitGroup
	for w := range farmSlots {
		wg.Go(func() {
			for i := range next {
				if err := bareTask(filepath.Join(dir, strconv.Itoa(i))); err != nil {
					errs[w] = err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return float64(n) / time.Since(begun).Seconds(), errors.Join(errs...)
}

func bareTask(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "wd"), 0o755); err != nil {
		return err
	}
	stdout, err := os.Create(filepath.Join(dir, "stdout.txt"))
	if err != nil {
		return err
	}
	defer stdout.Close()
	stderr, err := os.Create(filepath.Join(dir, "stderr.txt"))
	if err != nil {
		return err
	}
	defer stderr.Close()
	cmd := exec.Command("/bin/true")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(dir, "wd"), stdout, stderr
	return cmd.Run()
}

// idleMemory is the resident memory, in MB, of the agent that works under dir.
func idleMemory(dir string) (float64, error) {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range processes {
		line, err := os.ReadFile(path)
		args := strings.Split(string(line), "\x00")
		if err != nil || len(args) < 2 || args[1] != "agent" || !strings.Contains(string(line), dir) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			return 0, err
		}
		for text := range strings.Lines(string(status)) {
			if kb, ok := strings.CutPrefix(text, "VmRSS:"); ok {
				n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")))
				return float64(n) / 1000, err
			}
		}
	}
	return 0, fmt.Errorf("no agent works under %s", dir)
}

// latency adds one task after the other to an idle farm. Each prints the time at which it runs.
func latency(ctx context.Context, b *bench) error {
	f, err := startFarm(ctx, b)
	if err != nil {
		return err
	}
	n := b.size(200)
	waits, err := f.startTimes(ctx, n)
	if err != nil {
		return errors.Join(err, f.stop())
	}
	slices.Sort(waits)
	how := fmt.Sprintf("%d tasks one after the other: from the call that adds to what `date` prints", n)
	b.add(Figure{Name: "idle latency, p50", Value: waits[len(waits)/2], Unit: "ms", Budget: 10, How: how})
	b.add(Figure{Name: "idle latency, p99", Value: waits[len(waits)*99/100], Unit: "ms", Budget: 50, How: how})
	gaps, err := f.dependentGaps(ctx, n)
	if err != nil {
		return errors.Join(err, f.stop())
	}
	slices.Sort(gaps)
	how = fmt.Sprintf("a chain of %d tasks, each depending on the one before: from one's `date` at its end to the next one's", n)
	b.add(Figure{Name: "dependent started, p50", Value: gaps[len(gaps)/2], Unit: "ms", Budget: 20, How: how})
	b.add(Figure{Name: "dependent started, p99", Value: gaps[len(gaps)*99/100], Unit: "ms", How: how})
	return f.stop()
}

// dependentGaps runs a chain of tasks, in which each waits for the one before, and returns the times between the end of one and the start of the next.
func (f *farm) dependentGaps(ctx context.Context, n int) ([]float64, error) {
	yes := true
	job := &apiv1.Job{Id: "chain", PoolInfo: &apiv1.PoolInfo{PoolId: farmPool}, UsesTaskDependencies: &yes}
	if _, err := f.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: job}); err != nil {
		return nil, err
	}
	var tasks []*apiv1.Task
	for i := range n + 1 {
		task := &apiv1.Task{Id: strconv.Itoa(i), CommandLine: "/bin/date +%s%N"}
		if i > 0 {
			task.DependsOn = &apiv1.TaskDependencies{TaskIds: []string{strconv.Itoa(i - 1)}}
		}
		tasks = append(tasks, task)
	}
	if _, err := f.AddTasks(ctx, "chain", tasks, nil); err != nil {
		return nil, err
	}
	if err := waitCompleted(ctx, f.jobs, "chain", n+1, pollIdle); err != nil {
		return nil, err
	}
	var gaps []float64
	last := int64(0)
	for i := range n + 1 {
		printed, err := f.printed(ctx, "chain", strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		if i > 0 {
			gaps = append(gaps, float64(printed-last)/1e6)
		}
		last = printed
	}
	return gaps, nil
}

// printed is the time that a task has printed, in Unix nanoseconds.
func (f *farm) printed(ctx context.Context, job, task string) (int64, error) {
	var out bytes.Buffer
	request := &apiv1.ReadFileRequest{Root: &apiv1.FileRoot{JobId: job, TaskId: task}, Name: "stdout.txt"}
	if err := f.ReadFile(ctx, request, &out, func(*apiv1.NodeFile) error { return nil }); err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(out.String()), 10, 64)
}

func (f *farm) startTimes(ctx context.Context, n int) ([]float64, error) {
	if err := createJob(ctx, f.jobs, "latency", farmPool); err != nil {
		return nil, err
	}
	var waits []float64
	// The first brings the job to the node and is not counted.
	for i := range n + 1 {
		id := "t" + strconv.Itoa(i)
		begun := time.Now()
		if _, err := f.AddTasks(ctx, "latency", []*apiv1.Task{{Id: id, CommandLine: "/bin/date +%s%N"}}, nil); err != nil {
			return nil, err
		}
		if err := waitCompleted(ctx, f.jobs, "latency", i+1, pollIdle); err != nil {
			return nil, err
		}
		printed, err := f.printed(ctx, "latency", id)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			waits = append(waits, float64(printed-begun.UnixNano())/1e6)
		}
	}
	return waits, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
