package task

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func TestRestartGoesOnWhereItWas(t *testing.T) {
	n := newNode(t)
	n.register(4)
	upload := command("x")
	upload.OutputFiles = []*apiv1.OutputFile{{FilePattern: "*"}}
	n.stager.hold = make(chan struct{})
	n.assign(set(true, upload, 1, 2, 3))
	for number := range uint64(3) {
		n.eventually(func() bool { return n.supervisor.runs(at(number + 1)) })
	}
	n.supervisor.finish(at(1), Exited{ExitCode: 1}) // its upload is under way
	n.eventually(func() bool { n.stager.mu.Lock(); defer n.stager.mu.Unlock(); return len(n.stager.outs) == 1 })
	n.stop()
	n.supervisor.finish(at(2), Exited{ExitCode: 2}) // while the agent is away

	close(n.stager.hold)
	n.start()
	held, err := n.runner.Held(t.Context())
	require.NoError(t, err)
	require.Len(t, held, 3)
	n.register(4)
	n.assign(set(true, upload, 1, 2, 3))
	require.Equal(t, int32(1), n.phase(at(1), phaseEnded).GetExitCode())
	require.Equal(t, int32(2), n.phase(at(2), phaseEnded).GetExitCode())
	n.phase(at(3), phaseRunning)
	n.supervisor.finish(at(3), Exited{ExitCode: 3})
	require.Equal(t, int32(3), n.phase(at(3), phaseEnded).GetExitCode())
	for number := range uint64(3) {
		require.Equal(t, 1, n.supervisor.started(at(number+1)))
	}
}

// TestRestartBetweenIntentAndAction: the journal says that they run, the supervisor was never told.
func TestRestartBetweenIntentAndAction(t *testing.T) {
	n := newNode(t)
	n.register(4)
	n.supervisor.swallow = true
	staged := command("x")
	staged.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "in"}}
	n.assign(set(true, staged, 1, 2))
	n.phase(at(1), phaseRunning)
	n.phase(at(2), phaseRunning)
	n.eventually(func() bool { return n.supervisor.started(at(1))+n.supervisor.started(at(2)) == 2 })
	n.stop()
	n.supervisor.swallow = false
	n.start()
	n.register(4)
	require.False(t, n.supervisor.runs(at(1)), "not before the session says that it is wanted")
	n.assign(set(true, staged, 1))
	n.phase(at(2), phaseReleased)
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	require.FileExists(t, filepath.Join(n.dir("t1"), "wd", "in"))
	require.Contains(t, n.supervisor.commands[at(1)].Env, "AZ_BATCH_APP_PACKAGE_tool=/apps/tool")
	require.Equal(t, 1, n.supervisor.started(at(2)))
}

// TestLateStart: what an earlier life of the agent had sent arrives after this one has settled the attempt otherwise.
func TestLateStart(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(set(true, command("x")))
	require.NoError(t, n.supervisor.Start(t.Context(), []Command{{Ref: at(1), Args: []string{"x"}}}))
	n.runner.Observe([]Event{{Ref: at(1), Running: true}})
	n.eventually(func() bool { return !n.supervisor.runs(at(1)) })
}

func TestRestartStagesAgain(t *testing.T) {
	n := newNode(t)
	n.register(4)
	n.stager.hold = make(chan struct{})
	task := command("x")
	task.ResourceFiles = []*apiv1.ResourceFile{{FilePath: "in"}}
	n.assign(set(true, task, 1, 2))
	n.phase(at(1), phaseRunning)
	n.phase(at(2), phaseRunning)
	n.stop()
	n.stager.hold = nil
	n.start()
	n.register(4)
	n.assign(set(true, task, 1)) // 2 is no longer wanted
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.phase(at(2), phaseReleased)
	require.FileExists(t, filepath.Join(n.dir("t1"), "wd", "in"))
	require.Zero(t, n.supervisor.started(at(2)))
}

func TestUnacknowledgedIsReportedAgain(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(set(true, command("x"), 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.supervisor.finish(at(1), Exited{ExitCode: 5})
	n.phase(at(1), phaseEnded)
	n.stop()
	n.start()
	require.Equal(t, int32(5), n.phase(at(1), phaseEnded).GetExitCode())
	// The new session's set has it no longer: it stays reported until it is acknowledged.
	n.register(1)
	n.assign(set(true, command("x")))
	require.Equal(t, int32(5), n.phase(at(1), phaseEnded).GetExitCode())
	n.commit()
	n.eventually(func() bool {
		events, err := n.supervisor.List(t.Context())
		return err == nil && len(events) == 0 && n.idle() // the supervisor has forgotten it too
	})
	n.stop()
	n.start()
	require.True(t, n.idle())
}

// TestDamagedJournal loses the record in each of the ways in which files are lost. The agent starts, follows what the
// supervisor still has, and reports what may have run as lost instead of running it twice.
func TestDamagedJournal(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"gone":   os.Remove,
		"empty":  func(path string) error { return os.Truncate(path, 0) },
		"zeroed": func(path string) error { return os.WriteFile(path, make([]byte, 4096), 0o600) },
		"random": func(path string) error {
			return os.WriteFile(path, []byte("\x10\x00\x00\x00garbage of some length"), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.register(3)
			n.assign(set(true, command("x"), 1, 2, 3))
			for number := range uint64(3) {
				n.eventually(func() bool { return n.supervisor.runs(at(number + 1)) })
			}
			n.stop()
			n.supervisor.finish(at(2), Exited{ExitCode: 2})
			delete(n.supervisor.commands, at(3))
			require.NoError(t, spoil(filepath.Join(n.cfg.StateDir, journalName)))
			n.cfg.Fresh = false
			n.start()
			n.register(3)
			n.assign(set(true, command("x"), 1, 2, 3))
			require.Equal(t, int32(2), n.phase(at(2), phaseEnded).GetExitCode())
			n.phase(at(3), phaseLost)
			n.supervisor.finish(at(1), Exited{ExitCode: 1})
			require.Equal(t, int32(1), n.phase(at(1), phaseEnded).GetExitCode())
			for number := range uint64(3) {
				require.Equal(t, 1, n.supervisor.started(at(number+1)))
			}
			n.commit()
			n.assign(set(false, command("x"), 4)) // lost once: from now on all is known
			n.eventually(func() bool { return n.supervisor.runs(at(4)) })
		})
	}
}

func TestAfterARebootNothingRunsTwice(t *testing.T) {
	n := newNode(t)
	n.register(1)
	n.assign(set(true, command("x"), 1, 2))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.stop()
	fresh := newFakeSupervisor()
	n.supervisor, n.cfg.Supervisor, n.cfg.BootID, n.cfg.Fresh = fresh, fresh, "boot-2", false
	n.start()
	n.register(1)
	n.assign(set(true, command("x"), 1, 2))
	n.phase(at(1), phaseLost)
	n.phase(at(2), phaseLost)
	require.Zero(t, fresh.started(at(1))+fresh.started(at(2)))
}

// TestUploadWaitsForTheLease: what a node without the right to its attempts uploads could overwrite what counts.
func TestUploadWaitsForTheLease(t *testing.T) {
	n := newNode(t)
	n.stager.hold = make(chan struct{})
	require.NoError(t, n.runner.Configure(t.Context(), &agentv1.Welcome{TaskSlots: 1}))
	require.NoError(t, n.runner.Renew(t.Context(), time.Now().Add(300*time.Millisecond)))
	upload := command("x")
	upload.OutputFiles = []*apiv1.OutputFile{{FilePattern: "*"}}
	n.assign(set(true, upload, 1))
	n.eventually(func() bool { return n.supervisor.runs(at(1)) })
	n.supervisor.finish(at(1), Exited{})
	// The lease ends during the upload, which is broken off and made again under the next lease.
	n.eventually(func() bool {
		waits := false
		require.NoError(t, n.runner.do(t.Context(), func() {
			a := n.runner.book.live[at(1)]
			waits = a.postponed && a.state.Stage == Uploading
		}))
		return waits
	})
	close(n.stager.hold)
	n.register(1)
	n.assign(set(true, upload, 1))
	n.phase(at(1), phaseEnded)
}
