package process

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// maxFrame is the most bytes of one message between agent and supervisor.
const maxFrame = 64 << 20

// ErrFrame is a frame that breaks the protocol.
var ErrFrame = errors.New("malformed frame")

// appendFrame appends m with its length before it.
func appendFrame(b []byte, m proto.Message) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return nil, fmt.Errorf("encode a frame: %w", err)
	}
	size := len(b) - start - 4
	if size > maxFrame {
		return nil, fmt.Errorf("%w: %d bytes are more than %d", ErrFrame, size, maxFrame)
	}
	binary.BigEndian.PutUint32(b[start:], uint32(size))
	return b, nil
}

// readFrame reads one frame into m, with buf as scratch space, which it returns. The error is io.EOF only between frames.
func readFrame(r io.Reader, buf []byte, m proto.Message) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return buf, err
	}
	size := int(binary.BigEndian.Uint32(head[:]))
	if size > maxFrame {
		return buf, fmt.Errorf("%w: %d bytes are more than %d", ErrFrame, size, maxFrame)
	}
	buf, err := readGrowing(r, buf[:0], size)
	if err != nil {
		return buf, err
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return buf, fmt.Errorf("%w: %w", ErrFrame, err)
	}
	return buf, nil
}

// readGrowing reads size bytes, and does not trust size with memory before as many bytes have come.
func readGrowing(r io.Reader, buf []byte, size int) ([]byte, error) {
	const step = 1 << 20
	for len(buf) < size {
		have, n := len(buf), min(step, size-len(buf))
		if cap(buf) < have+n {
			buf = append(make([]byte, 0, max(2*cap(buf), have+n)), buf...)
		}
		buf = buf[:have+n]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return buf[:have], err
		}
	}
	return buf, nil
}
