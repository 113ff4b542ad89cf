package replica

import (
	"archive/tar"
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// A snapshot is: magic (8 bytes), a position (twice 8 bytes), a tar of the checkpoint cut into chunks (length, 4 bytes;
// data), an empty chunk, and the CRC32C of everything before it (4 bytes). Numbers are little endian.
const (
	snapshotMagic = "BYSNAP01"
	maxChunk      = 1 << 20
)

// position is where in the log a state stands.
type position struct {
	recorded uint64 // the index recorded in the state: the last entry with commands
	passed   uint64 // the last entry that was seen, with or without commands
}

var errBadSnapshot = errors.New("bad snapshot")

// snapshot is a checkpoint on its way into the snapshot store.
type snapshot struct {
	holder string // directory to delete
	dir    string
	at     position
	logger *slog.Logger
}

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, s.dir, s.at); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {
	if err := os.RemoveAll(s.holder); err != nil {
		s.logger.Warn("checkpoint not removed", "dir", s.holder, "error", err)
	}
}

func writeSnapshot(w io.Writer, dir string, at position) error {
	sum := crc32.New(castagnoli)
	all := io.MultiWriter(w, sum)
	head := binary.LittleEndian.AppendUint64([]byte(snapshotMagic), at.recorded)
	head = binary.LittleEndian.AppendUint64(head, at.passed)
	if _, err := all.Write(head); err != nil {
		return err
	}
	chunks := bufio.NewWriterSize(chunkWriter{all}, 256<<10)
	if err := writeTar(chunks, dir); err != nil {
		return err
	}
	if err := chunks.Flush(); err != nil {
		return err
	}
	if _, err := all.Write(make([]byte, 4)); err != nil {
		return err
	}
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum.Sum32()))
	return err
}

func writeTar(w io.Writer, dir string) error {
	archive := tar.NewWriter(w)
	if err := archive.AddFS(os.DirFS(dir)); err != nil {
		return fmt.Errorf("archive %s: %w", dir, err)
	}
	return archive.Close()
}

// chunkWriter writes each piece with its length before it.
type chunkWriter struct{ w io.Writer }

func (c chunkWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		piece := p[:min(len(p), maxChunk)]
		if _, err := c.w.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(piece)))); err != nil {
			return written, err
		}
		n, err := c.w.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
		p = p[len(piece):]
	}
	return written, nil
}

// readSnapshot unpacks a snapshot into dir, which must not exist, and returns the position of its state. On any error dir
// holds rubbish.
func readSnapshot(r io.Reader, dir string) (at position, err error) {
	return decodeSnapshot(r, func(archive io.Reader) error { return readTar(archive, dir) })
}

// verifySnapshot reads a snapshot to its end and returns the position of its state.
func verifySnapshot(r io.Reader) (at position, err error) {
	return decodeSnapshot(r, func(io.Reader) error { return nil })
}

func decodeSnapshot(r io.Reader, consume func(archive io.Reader) error) (at position, err error) {
	r = bufio.NewReaderSize(r, 256<<10)
	sum := crc32.New(castagnoli)
	at, err = readSnapshotHeader(io.TeeReader(r, sum))
	if err != nil {
		return position{}, err
	}
	chunks := &chunkReader{r: r, sum: sum}
	if err := consume(chunks); err != nil {
		return position{}, err
	}
	if _, err := io.Copy(io.Discard, chunks); err != nil {
		return position{}, err
	}
	var tail [4]byte
	if _, err := io.ReadFull(r, tail[:]); err != nil {
		return position{}, fmt.Errorf("%w: checksum missing: %w", errBadSnapshot, err)
	}
	if got, want := sum.Sum32(), binary.LittleEndian.Uint32(tail[:]); got != want {
		return position{}, fmt.Errorf("%w: checksum %08x, want %08x", errBadSnapshot, got, want)
	}
	return at, nil
}

func readSnapshotHeader(r io.Reader) (at position, err error) {
	var head [len(snapshotMagic) + 16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return position{}, fmt.Errorf("%w: header: %w", errBadSnapshot, err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return position{}, fmt.Errorf("%w: unknown format", errBadSnapshot)
	}
	numbers := head[len(snapshotMagic):]
	return position{recorded: binary.LittleEndian.Uint64(numbers), passed: binary.LittleEndian.Uint64(numbers[8:])}, nil
}

// chunkReader joins the chunks again and ends at the empty one.
type chunkReader struct {
	r    io.Reader
	sum  hash.Hash32
	left int
	done bool
}

func (c *chunkReader) Read(p []byte) (int, error) {
	if c.left == 0 && !c.done {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
	if c.done {
		return 0, io.EOF
	}
	n, err := c.r.Read(p[:min(len(p), c.left)])
	_, _ = c.sum.Write(p[:n])
	c.left -= n
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: %w", errBadSnapshot, io.ErrUnexpectedEOF)
	}
	return n, err
}

func (c *chunkReader) nextChunk() error {
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return fmt.Errorf("%w: chunk: %w", errBadSnapshot, err)
	}
	_, _ = c.sum.Write(size[:])
	length := binary.LittleEndian.Uint32(size[:])
	if length > maxChunk {
		return fmt.Errorf("%w: chunk of %d bytes", errBadSnapshot, length)
	}
	c.left, c.done = int(length), length == 0
	return nil
}

// readTar unpacks regular files and directories; the root refuses paths that lead out of it.
func readTar(r io.Reader, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: archive: %w", errBadSnapshot, err)
		}
		if err := unpack(root, header, archive); err != nil {
			return err
		}
	}
}

func unpack(root *os.Root, header *tar.Header, r io.Reader) error {
	name := filepath.FromSlash(header.Name)
	switch header.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("unpack directory: %w", err)
		}
		return nil
	case tar.TypeReg:
		file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("unpack file: %w", err)
		}
		if _, err = io.Copy(file, r); err == nil {
			err = file.Sync()
		}
		return errors.Join(err, file.Close())
	}
	return fmt.Errorf("%w: %q has type %q", errBadSnapshot, header.Name, header.Typeflag)
}
