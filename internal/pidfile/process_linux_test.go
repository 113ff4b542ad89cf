package pidfile

import (
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A process that has just been started must be known by what it stays: one that is taken for gone would be started again beside itself.
func TestOfAJustStartedProcess(t *testing.T) {
	var wait sync.WaitGroup
	for range 8 * runtime.NumCPU() {
		wait.Go(func() {
			for range 25 {
				cmd := exec.Command("sleep", "60")
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				p, err := Of(cmd.Process.Pid)
				alive := err == nil && p.Alive()
				if killErr := cmd.Process.Kill(); killErr != nil {
					t.Error(killErr)
				}
				_ = cmd.Wait()
				if !alive {
					t.Errorf("%+v is taken for gone (%v)", p, err)
				}
				if p.Alive() {
					t.Errorf("%+v is taken for alive", p)
				}
			}
		})
	}
	wait.Wait()
}

func TestStopEndsAProcess(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p, err := Of(cmd.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, p.Stop(killWait))
	require.Error(t, <-ended, "by a signal")
	require.NoError(t, p.Stop(killWait), "one that is gone")
}
