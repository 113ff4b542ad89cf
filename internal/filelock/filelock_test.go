package filelock

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALockHasOneHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := Try(path)
	require.NoError(t, err)
	_, err = Try(path)
	require.ErrorIs(t, err, ErrHeld)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Wait(ended, path)
	require.ErrorIs(t, err, context.Canceled)

	got := make(chan error, 1)
	go func() {
		second, err := Wait(t.Context(), path)
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	require.NoError(t, first.Close())
	require.NoError(t, <-got, "the lock passes on")

	_, err = Try(filepath.Join(path, "below a file"))
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrHeld)
}
