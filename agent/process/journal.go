package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	"google.golang.org/protobuf/proto"
)

const (
	journalName = "supervisor.journal"
	// journalLimit is the size at which the journal is first written anew with only what is still held.
	journalLimit = 4 << 20
	maxRecord    = 16 << 20
)

// journal is what a new supervisor learns of its predecessor's attempts. It survives the death of the process, which needs
// no sync; after the death of the machine no attempt runs, and the boot id says so.
type journal struct {
	path string

	mu    sync.Mutex
	file  *os.File
	size  int64
	limit int64
	// stale: the file lacks a record that could not be written.
	stale bool
}

// readJournal reads all records up to the first that is torn or damaged; a file that does not exist has none.
func readJournal(dir string) ([]*agentv1.SupervisorRecord, error) {
	data, err := os.ReadFile(filepath.Join(dir, journalName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the supervisor's journal: %w", err)
	}
	return parseJournal(data), nil
}

func parseJournal(data []byte) []*agentv1.SupervisorRecord {
	var records []*agentv1.SupervisorRecord
	for len(data) >= 8 {
		size := int64(binary.BigEndian.Uint32(data))
		sum := binary.BigEndian.Uint32(data[4:])
		// A size of 0 is what a file that lost its content reads as.
		if size == 0 || size > maxRecord || size > int64(len(data)-8) {
			break
		}
		body := data[8 : 8+size]
		record := &agentv1.SupervisorRecord{}
		if checksum(body) != sum || proto.Unmarshal(body, record) != nil {
			break
		}
		records = append(records, record)
		data = data[8+size:]
	}
	return records
}

// checksum of a record's body.
func checksum(body []byte) uint32 { return crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli)) }

func appendRecord(b []byte, r *agentv1.SupervisorRecord) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, r)
	if err != nil {
		return nil, fmt.Errorf("encode a record: %w", err)
	}
	body := b[start+8:]
	if len(body) > maxRecord {
		return nil, fmt.Errorf("a record of %d bytes is too long", len(body))
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(body)))
	binary.BigEndian.PutUint32(b[start+4:], checksum(body))
	return b, nil
}

// newJournal replaces the journal in dir with one that holds records.
func newJournal(dir string, records []*agentv1.SupervisorRecord) (*journal, error) {
	j := &journal{path: filepath.Join(dir, journalName)}
	if err := j.rewrite(func() []*agentv1.SupervisorRecord { return records }); err != nil {
		return nil, err
	}
	return j, nil
}

// append adds records with one write. After an error the file is as it was.
func (j *journal) append(records ...*agentv1.SupervisorRecord) error {
	var b []byte
	var err error
	for _, r := range records {
		if b, err = appendRecord(b, r); err != nil {
			return err
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, err := j.file.Write(b); err != nil {
		j.stale = true
		// A torn record would hide all that follow.
		if terr := j.file.Truncate(j.size); terr != nil {
			err = errors.Join(err, terr)
		}
		return fmt.Errorf("write the supervisor's journal: %w", err)
	}
	j.size += int64(len(b))
	return nil
}

// due says whether the journal should be rewritten.
func (j *journal) due() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stale || j.size > j.limit
}

// rewrite replaces the file by one with the records that held returns. Appends wait meanwhile, so that one that comes after
// held has looked is in the new file.
func (j *journal) rewrite(held func() []*agentv1.SupervisorRecord) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var buf bytes.Buffer
	for _, r := range held() {
		b, err := appendRecord(nil, r)
		if err != nil {
			return err
		}
		buf.Write(b)
	}
	next := j.path + ".new"
	if err := os.WriteFile(next, buf.Bytes(), 0o600); err != nil {
		return fmt.Errorf("rewrite the supervisor's journal: %w", err)
	}
	// Closed before it is replaced and opened after: not every system renames open files.
	if j.file != nil {
		if err := j.file.Close(); err != nil {
			return fmt.Errorf("rewrite the supervisor's journal: %w", err)
		}
	}
	renamed := os.Rename(next, j.path)
	file, err := os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err := errors.Join(renamed, err); err != nil {
		j.file, j.stale = file, true
		return fmt.Errorf("rewrite the supervisor's journal: %w", err)
	}
	j.file, j.size, j.stale = file, int64(buf.Len()), false
	j.limit = max(journalLimit, 2*j.size)
	return nil
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.file.Close()
}

// held is what a journal says of one attempt.
type held struct {
	intent  *agentv1.ProcessIntent
	started *agentv1.ProcessStarted
	failed  *agentv1.ProcessStartFailed
	exited  *agentv1.ProcessExited
}

// replay reads what a journal's records leave: its header, and its attempts in the order of their beginning.
func replay(records []*agentv1.SupervisorRecord) (*agentv1.SupervisorHeader, []string, map[string]*held) {
	var header *agentv1.SupervisorHeader
	var order []string
	attempts := map[string]*held{}
	of := func(id string) *held {
		h := attempts[id]
		if h == nil {
			h = &held{}
			attempts[id] = h
			order = append(order, id)
		}
		return h
	}
	for _, r := range records {
		switch r := r.GetRecord().(type) {
		case *agentv1.SupervisorRecord_Header:
			header = r.Header
		case *agentv1.SupervisorRecord_Intent:
			of(r.Intent.GetAttemptId()).intent = r.Intent
		case *agentv1.SupervisorRecord_Event:
			switch e := r.Event.GetEvent().(type) {
			case *agentv1.SupervisorEvent_Started:
				of(e.Started.GetAttemptId()).started = e.Started
			case *agentv1.SupervisorEvent_StartFailed:
				of(e.StartFailed.GetAttemptId()).failed = e.StartFailed
			case *agentv1.SupervisorEvent_Exited:
				of(e.Exited.GetAttemptId()).exited = e.Exited
			}
		case *agentv1.SupervisorRecord_Ack:
			for _, id := range r.Ack.GetAttemptIds() {
				delete(attempts, id)
			}
		}
	}
	return header, order, attempts
}
