package coordinator

import (
	"log/slog"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/diskspace"
)

const mib = 1 << 20

// defaultDiskReserve holds the next files of the log, which are made in advance, and what the state writes meanwhile.
const defaultDiskReserve = 256 * mib

// diskReserve is the room on a coordinator's disk that users' additions may not take: with it, elections, reports of nodes and deletions go on.
type diskReserve struct {
	dir    string
	bytes  int64
	free   func(dir string) (int64, error)
	logger *slog.Logger
}

func newDiskReserve(cfg Config) *diskReserve {
	return &diskReserve{dir: cfg.DataDir, bytes: cfg.DiskReserve, free: diskspace.Free, logger: cfg.Logger}
}

// Check refuses while the reserve is touched. What can't be measured refuses nothing.
func (d *diskReserve) Check() error {
	left, err := d.free(d.dir)
	if err != nil {
		d.logger.Warn("the room on the disk can't be measured", "dir", d.dir, "err", err)
		return nil
	}
	if left >= d.bytes {
		return nil
	}
	return batcherr.Unavailable("the coordinator's disk is nearly full: %d MiB are left, of %d MiB that it keeps free; nothing can be added until there is room",
		left/mib, d.bytes/mib)
}
