package task

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"google.golang.org/protobuf/proto"
)

const (
	journalName   = "attempts.journal"
	frameHeader   = 8        // length and CRC-32C of the record, little endian
	maxRecord     = 64 << 20 // bytes; longer lengths are damage
	compactFloor  = 1 << 20  // bytes under which a journal is not worth rewriting
	compactFactor = 3        // rewritten when so many times as long as after the last rewriting
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// journal is the append-only file of what the agent has begun. Records are gathered and written in one call, without
// fsync: the page cache survives the agent's death, and a machine's death ends the attempts anyway.
type journal struct {
	path      string
	file      *os.File
	pending   []byte
	size      int64
	compacted int64 // size after the last rewriting
	broken    error // why what is on disk cannot be appended to
}

// damage says what reading a journal met.
type damage uint8

const (
	damageNone    damage = iota
	damageMissing        // no file, or an empty one
	damageTorn           // the last record is cut off: it had not been acted upon
	damageCorrupt        // records are lost
)

// openJournal reads the journal in dir, whatever its condition. It is rewritten by the first flush.
func openJournal(dir string, each func(*agentv1.JournalRecord)) (*journal, damage, error) {
	j := &journal{path: filepath.Join(dir, journalName), broken: errors.New("not rewritten since the start")}
	file, err := os.Open(j.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return j, damageMissing, nil
	case err != nil:
		return nil, damageNone, fmt.Errorf("opening the journal: %w", err)
	}
	defer func() { _ = file.Close() }()
	return j, readJournal(file, each), nil
}

// readJournal hands on records up to the first that is not whole.
func readJournal(from io.Reader, each func(*agentv1.JournalRecord)) damage {
	in := bufio.NewReaderSize(from, 1<<18)
	var header [frameHeader]byte
	for first := true; ; first = false {
		switch _, err := io.ReadFull(in, header[:]); {
		case errors.Is(err, io.EOF) && first:
			return damageMissing
		case errors.Is(err, io.EOF):
			return damageNone
		case errors.Is(err, io.ErrUnexpectedEOF):
			return damageTorn
		case err != nil:
			return damageCorrupt
		}
		length := binary.LittleEndian.Uint32(header[:4])
		if length == 0 || length > maxRecord {
			return damageCorrupt
		}
		// What is claimed is not allocated before it is there.
		data, err := io.ReadAll(io.LimitReader(in, int64(length)))
		if err != nil {
			return damageCorrupt
		}
		if len(data) < int(length) {
			return damageTorn
		}
		record := &agentv1.JournalRecord{}
		if crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(header[4:]) || proto.Unmarshal(data, record) != nil {
			return damageCorrupt
		}
		each(record)
	}
}

// add gathers a record for the next flush.
func (j *journal) add(record *agentv1.JournalRecord) {
	j.pending = appendFrame(j.pending, record)
}

func appendFrame(to []byte, record *agentv1.JournalRecord) []byte {
	start := len(to)
	to = append(to, make([]byte, frameHeader)...)
	to, err := proto.MarshalOptions{}.MarshalAppend(to, record)
	if err != nil { // only for strings that are not UTF-8, which came over the wire as such and therefore are
		return to[:start]
	}
	body := to[start+frameHeader:]
	binary.LittleEndian.PutUint32(to[start:], uint32(len(body)))
	binary.LittleEndian.PutUint32(to[start+4:], crc32.Checksum(body, castagnoli))
	return to
}

// flush writes what was gathered. live writes every record that still matters: it is asked for when the file has grown
// long or cannot be appended to. After an error nothing is lost in memory and the next flush rewrites the file.
func (j *journal) flush(live func(add func(*agentv1.JournalRecord))) error {
	if len(j.pending) == 0 && j.broken == nil {
		return nil
	}
	grown := j.size > max(compactFloor, compactFactor*j.compacted)
	if j.broken != nil || grown {
		j.pending = j.pending[:0]
		j.broken = j.rewrite(live)
		return j.broken
	}
	n, err := j.file.Write(j.pending)
	j.size += int64(n)
	j.pending = j.pending[:0]
	if err != nil {
		j.broken = fmt.Errorf("writing the journal: %w", err)
	}
	return j.broken
}

func (j *journal) rewrite(live func(add func(*agentv1.JournalRecord))) error {
	file, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("rewriting the journal: %w", err)
	}
	out := bufio.NewWriterSize(file, 1<<18)
	var frame []byte
	var size int64
	live(func(record *agentv1.JournalRecord) {
		frame = appendFrame(frame[:0], record)
		n, _ := out.Write(frame) // an error stays with the writer and comes out of Flush
		size += int64(n)
	})
	if err := errors.Join(out.Flush(), file.Close()); err != nil {
		return fmt.Errorf("rewriting the journal: %w", err)
	}
	j.close()
	// Windows renames closed files only.
	if err := os.Rename(j.path+".new", j.path); err != nil {
		return fmt.Errorf("putting the rewritten journal in place: %w", err)
	}
	j.file, err = os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("opening the rewritten journal: %w", err)
	}
	j.size, j.compacted = size, size
	return nil
}

// close lets go of the file.
func (j *journal) close() {
	if j.file != nil {
		_ = j.file.Close()
		j.file = nil
	}
}
