package coordinator

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/batcherr"
)

func TestDiskReserve(t *testing.T) {
	for name, c := range map[string]struct {
		left    int64
		err     error
		refuses bool
	}{
		"room":           {left: 300 * mib},
		"just enough":    {left: 256 * mib},
		"nearly full":    {left: 256*mib - 1, refuses: true},
		"full":           {refuses: true},
		"not measurable": {err: errors.New("no such file system")},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDiskReserve(Config{DataDir: "/data", DiskReserve: defaultDiskReserve, Logger: slog.New(slog.DiscardHandler)})
			d.free = func(dir string) (int64, error) {
				require.Equal(t, "/data", dir)
				return c.left, c.err
			}
			err := d.Check()
			if !c.refuses {
				require.NoError(t, err)
				return
			}
			require.Equal(t, batcherr.KindUnavailable, batcherr.From(err).Kind)
			require.Contains(t, err.Error(), "of 256 MiB that it keeps free")
		})
	}
}
