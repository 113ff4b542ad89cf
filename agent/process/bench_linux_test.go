package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"github.com/stretchr/testify/require"
)

// slots is how many processes the benchmarks run at a time.
const slots = 4

// BenchmarkBareSpawn is what a loop of this machine spawns: a directory, two output files and /bin/true each.
func BenchmarkBareSpawn(b *testing.B) {
	dir := b.TempDir()
	var next atomic.Int64
	var wait sync.WaitGroup
	for range slots {
		wait.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := bareSpawn(filepath.Join(dir, fmt.Sprint(i))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func bareSpawn(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, "wd"), 0o700); err != nil {
		return err
	}
	stdout, err := os.Create(filepath.Join(dir, "stdout.txt"))
	if err != nil {
		return err
	}
	defer func() { _ = stdout.Close() }()
	stderr, err := os.Create(filepath.Join(dir, "stderr.txt"))
	if err != nil {
		return err
	}
	defer func() { _ = stderr.Close() }()
	cmd := exec.Command("/bin/true")
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(dir, "wd"), stdout, stderr
	return cmd.Run()
}

// BenchmarkSupervisorSpawn does the same through a supervisor.
func BenchmarkSupervisorSpawn(b *testing.B) { benchmarkSupervisor(b, "supervisor", nil) }

// BenchmarkSupervisorSpawnAsUser starts each as another user, who can't become root.
func BenchmarkSupervisorSpawnAsUser(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("only root acts as others")
	}
	benchmarkSupervisor(b, "supervisor", &agentv1.ProcessUser{Uid: 1_900_000_000, Gid: 1_900_000_000})
}

// BenchmarkSupervisorSpawnWithoutGroups is on a system that has no control groups.
func BenchmarkSupervisorSpawnWithoutGroups(b *testing.B) { benchmarkSupervisor(b, withoutGroups, nil) }

func benchmarkSupervisor(b *testing.B, mode string, user *agentv1.ProcessUser) {
	y := newYardOf(b, mode)
	for _, dir := range []string{y.dir, filepath.Dir(y.dir), filepath.Dir(filepath.Dir(y.dir))} {
		require.NoError(b, os.Chmod(dir, 0o711)) // users have to get through
	}
	started := 0
	begin := func(n int) {
		var specs []*agentv1.StartProcess
		for ; n > 0 && started < b.N; n-- {
			started++
			dir := filepath.Join(y.dir, fmt.Sprint(started))
			require.NoError(b, os.MkdirAll(filepath.Join(dir, "wd"), 0o755))
			specs = append(specs, &agentv1.StartProcess{
				AttemptId: fmt.Sprint(started), Argv: []string{"/bin/true"}, Env: []string{"PATH=/usr/bin:/bin"},
				Dir: filepath.Join(dir, "wd"), StdoutPath: filepath.Join(dir, "stdout.txt"),
				StderrPath: filepath.Join(dir, "stderr.txt"), User: user, NoNewPrivileges: user != nil,
			})
		}
		if len(specs) > 0 {
			require.NoError(b, y.Start(specs...))
		}
	}
	b.ResetTimer()
	begin(slots)
	for done := 0; done < b.N; {
		var acks []string
		for _, e := range <-y.Events() {
			require.Nil(b, e.GetStartFailed())
			if x := e.GetExited(); x != nil {
				require.Zero(b, x.GetExitCode())
				acks = append(acks, x.GetAttemptId())
			}
		}
		if len(acks) > 0 {
			require.NoError(b, y.Ack(acks...))
			begin(len(acks))
			done += len(acks)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
