package replica

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// journal is a Machine whose state is the list of all commands, kept in memory and in a file that is never synced. The
// result of a command is its number.
type journal struct {
	mu       sync.Mutex
	path     string
	file     *os.File
	index    uint64
	sum      [32]byte
	commands []string
	known    map[string]struct{}
	calls    int // of Apply that changed something
	restores int
	poison   bool // makes the digest wrong from the next entry on
}

const journalFile = "journal"

func openJournal(dir string) (*journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	j := &journal{path: filepath.Join(dir, journalFile)}
	return j, j.load()
}

// load reads the file up to the first record that is not whole.
func (j *journal) load() error {
	j.index, j.sum, j.commands, j.known = 0, [32]byte{}, nil, map[string]struct{}{}
	data, err := os.ReadFile(j.path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	good := 0
	for {
		rest := data[good:]
		if len(rest) < 4 {
			break
		}
		size := int(binary.LittleEndian.Uint32(rest))
		if len(rest) < 4+size {
			break
		}
		record := rest[4 : 4+size]
		commands, err := splitCommands(record[8:])
		if err != nil {
			return err
		}
		j.advance(binary.LittleEndian.Uint64(record), commands)
		good += 4 + size
	}
	j.file, err = os.OpenFile(j.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := j.file.Truncate(int64(good)); err != nil {
		return err
	}
	_, err = j.file.Seek(int64(good), 0)
	return err
}

func (j *journal) advance(index uint64, commands [][]byte) (results []any) {
	j.index = index
	for _, c := range commands {
		j.commands = append(j.commands, string(c))
		j.known[string(c)] = struct{}{}
		j.sum = sha256.Sum256(fmt.Appendf(j.sum[:], "%d %s", index, c))
		results = append(results, len(j.commands))
	}
	if j.poison {
		j.sum[0] ^= 1
	}
	return results
}

func (j *journal) Apply(index uint64, commands [][]byte) ([]any, [32]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if index <= j.index {
		return make([]any, len(commands)), j.sum
	}
	j.calls++
	body := sealCommands(commands)[envelopeHeader:]
	record := binary.LittleEndian.AppendUint32(nil, uint32(8+len(body)))
	record = binary.LittleEndian.AppendUint64(record, index)
	if _, err := j.file.Write(append(record, body...)); err != nil {
		panic(err)
	}
	return j.advance(index, commands), j.sum
}

func (j *journal) AppliedIndex() uint64 {
	index, _ := j.Digest()
	return index
}

func (j *journal) Digest() (uint64, [32]byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.index, j.sum
}

func (j *journal) Checkpoint(dir string) error {
	data, err := os.ReadFile(j.path)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, journalFile), data, 0o600)
}

func (j *journal) Restore(dir string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.restores++
	if err := j.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, journalFile), j.path); err != nil {
		return err
	}
	return j.load()
}

func (j *journal) setPoison() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.poison = true
}

func (j *journal) all() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.commands...)
}

func (j *journal) has(command string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.known[command]
	return ok
}

func (j *journal) counts() (calls, restores int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.calls, j.restores
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

var _ Machine = (*journal)(nil)
