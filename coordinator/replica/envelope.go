package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A log entry is: version (1 byte), kind (1 byte), CRC32C of all that follows and of the kind (4 bytes, little endian), body.
// The formats are on disk and on the wire between versions of the program: a change is a new kind or a new version.
const (
	envelopeVersion = 1
	envelopeHeader  = 6
	// maxEntryBytes is what the log store takes, less framing.
	maxEntryBytes = 32 << 20
)

type entryKind byte

const (
	// kindCommands holds commands for the machine, each with its length as a uvarint before it.
	kindCommands entryKind = 1
	// kindDigest holds the leader's digest at an earlier index.
	kindDigest entryKind = 2
	// kindTerm marks that a leader's term has begun; it holds a nonce that only that leader knows.
	kindTerm entryKind = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errBadEnvelope = errors.New("bad envelope")

func seal(kind entryKind, body []byte) []byte {
	data := make([]byte, envelopeHeader, envelopeHeader+len(body))
	return finish(kind, append(data, body...))
}

// finish fills in the header of data, whose first envelopeHeader bytes are reserved for it.
func finish(kind entryKind, data []byte) []byte {
	data[0] = envelopeVersion
	data[1] = byte(kind)
	binary.LittleEndian.PutUint32(data[2:], envelopeSum(data))
	return data
}

func envelopeSum(data []byte) uint32 {
	sum := crc32.Update(0, castagnoli, data[1:2])
	return crc32.Update(sum, castagnoli, data[envelopeHeader:])
}

// unseal checks an entry and returns its body, which aliases data.
func unseal(data []byte) (entryKind, []byte, error) {
	if len(data) < envelopeHeader {
		return 0, nil, fmt.Errorf("%w: %d bytes", errBadEnvelope, len(data))
	}
	if data[0] != envelopeVersion {
		return 0, nil, fmt.Errorf("%w: version %d, want %d", errBadEnvelope, data[0], envelopeVersion)
	}
	if got, want := envelopeSum(data), binary.LittleEndian.Uint32(data[2:]); got != want {
		return 0, nil, fmt.Errorf("%w: checksum %08x, want %08x", errBadEnvelope, got, want)
	}
	kind := entryKind(data[1])
	if kind < kindCommands || kind > kindTerm {
		return 0, nil, fmt.Errorf("%w: unknown kind %d", errBadEnvelope, kind)
	}
	return kind, data[envelopeHeader:], nil
}

func sealCommands(commands [][]byte) []byte {
	size := envelopeHeader
	for _, command := range commands {
		size += binary.MaxVarintLen32 + len(command)
	}
	data := make([]byte, envelopeHeader, size)
	for _, command := range commands {
		data = binary.AppendUvarint(data, uint64(len(command)))
		data = append(data, command...)
	}
	return finish(kindCommands, data)
}

// splitCommands returns the commands in the body of a kindCommands entry. They alias body.
func splitCommands(body []byte) ([][]byte, error) {
	var commands [][]byte
	for len(body) > 0 {
		size, n := binary.Uvarint(body)
		if n <= 0 || size > uint64(len(body)-n) {
			return nil, fmt.Errorf("%w: command %d does not fit", errBadEnvelope, len(commands))
		}
		end := n + int(size)
		commands = append(commands, body[n:end:end])
		body = body[end:]
	}
	return commands, nil
}

// checkpointDigest is the body of a kindDigest entry.
type checkpointDigest struct {
	index uint64
	sum   [32]byte
	by    string
}

func sealDigest(d checkpointDigest) []byte {
	body := binary.LittleEndian.AppendUint64(nil, d.index)
	body = append(body, d.sum[:]...)
	return seal(kindDigest, append(body, d.by...))
}

func parseDigest(body []byte) (checkpointDigest, error) {
	if len(body) < 8+32 {
		return checkpointDigest{}, fmt.Errorf("%w: digest of %d bytes", errBadEnvelope, len(body))
	}
	d := checkpointDigest{index: binary.LittleEndian.Uint64(body), by: string(body[40:])}
	copy(d.sum[:], body[8:40])
	return d, nil
}
