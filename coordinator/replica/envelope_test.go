package replica

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEnvelopeRoundTrip(t *testing.T) {
	for _, commands := range [][][]byte{
		nil,
		{[]byte("one")},
		{[]byte(""), []byte("two"), bytes.Repeat([]byte("x"), 70000), []byte("")},
	} {
		kind, body, err := unseal(sealCommands(commands))
		require.NoError(t, err)
		require.Equal(t, kindCommands, kind)
		got, err := splitCommands(body)
		require.NoError(t, err)
		require.Len(t, got, len(commands))
		for i := range got {
			require.Equal(t, string(commands[i]), string(got[i]))
		}
	}
}

func TestEnvelopeRefusesEveryFlippedBit(t *testing.T) {
	data := sealCommands([][]byte{[]byte("alpha"), []byte("beta")})
	for i := range len(data) * 8 {
		bad := bytes.Clone(data)
		bad[i/8] ^= 1 << (i % 8)
		_, _, err := unseal(bad)
		require.ErrorIs(t, err, errBadEnvelope, "bit %d", i)
	}
	for n := range data {
		_, _, err := unseal(data[:n])
		require.ErrorIs(t, err, errBadEnvelope, "length %d", n)
	}
}

func TestDigestRoundTrip(t *testing.T) {
	want := checkpointDigest{index: 77, sum: [32]byte{1, 2, 3}, by: "coordinator-1"}
	kind, body, err := unseal(sealDigest(want))
	require.NoError(t, err)
	require.Equal(t, kindDigest, kind)
	got, err := parseDigest(body)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = parseDigest(body[:39])
	require.ErrorIs(t, err, errBadEnvelope)
}

func FuzzEnvelope(f *testing.F) {
	f.Add(sealCommands([][]byte{[]byte("a"), []byte("bc")}))
	f.Add(sealDigest(checkpointDigest{index: 5, by: "x"}))
	f.Add([]byte{1, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, data []byte) {
		kind, body, err := unseal(data)
		if err != nil {
			// A correct checksum must not be needed for the parsers to be safe.
			_, _ = splitCommands(data)
			_, _ = parseDigest(data)
			return
		}
		switch kind {
		case kindCommands:
			if commands, err := splitCommands(body); err == nil {
				again, err := splitCommands(sealCommands(commands)[envelopeHeader:])
				require.NoError(t, err)
				require.Equal(t, commands, again)
			}
		case kindDigest:
			if d, err := parseDigest(body); err == nil {
				require.Equal(t, data, sealDigest(d))
			}
		}
	})
}
