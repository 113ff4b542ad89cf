package storage_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
	"github.com/batchyard/batchyard/storage/storagetest"
)

func TestSourceHoldsBackTheEnd(t *testing.T) {
	data := storagetest.Bytes(10_000, 1)
	right, wrong := storagetest.SHA256(data), storagetest.SHA256(data[1:])
	for _, wrap := range []func(io.Reader) io.Reader{
		func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader, iotest.HalfReader,
	} {
		for _, c := range []struct {
			size int64
			sum  string
			want error
		}{
			{10_000, "", nil}, {10_000, right, nil}, {-1, "", nil}, {-1, right, nil},
			{10_001, "", storage.ErrTruncated}, {9_999, "", storage.ErrTooLarge}, {0, "", storage.ErrTooLarge},
			{10_000, wrong, storage.ErrChecksum}, {-1, wrong, storage.ErrChecksum}, {9_999, right, storage.ErrTooLarge},
		} {
			s, err := storage.NewSource("k", wrap(bytes.NewReader(data)), c.size, c.sum)
			require.NoError(t, err)
			got, err := io.ReadAll(s)
			if c.want == nil {
				require.NoError(t, err)
				require.NoError(t, s.Err())
				require.True(t, bytes.Equal(data, got))
				require.EqualValues(t, len(data), s.Count())
				continue
			}
			require.ErrorIs(t, err, c.want)
			require.ErrorIs(t, s.Err(), c.want)
			require.False(t, storage.Retryable(err))
			if c.size >= 0 {
				require.Less(t, int64(len(got)), max(c.size, 1), "a body of the promised length came out")
			}
			_, again := s.Read(make([]byte, 1))
			require.ErrorIs(t, again, c.want)
		}
	}
	_, err := storage.NewSource("k", nil, 1, "zz")
	require.ErrorIs(t, err, storage.ErrInvalid)
}

func TestSourceGivesTheSourcesError(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int64{-1, 3, 4, 100} {
		s, err := storage.NewSource("k", io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(broken)), size, "")
		require.NoError(t, err)
		_, err = io.ReadAll(s)
		require.ErrorIs(t, err, broken)
	}
}
