package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/trust"
)

func TestSealedSecretsOpenInTheirPlaceOnly(t *testing.T) {
	k := newKeyring(t)
	s, err := NewSealer(k, rand.Reader)
	require.NoError(t, err)
	key, err := NewAccountKey(rand.Reader)
	require.NoError(t, err)
	raw, err := base64.StdEncoding.DecodeString(string(key.Reveal()))
	require.NoError(t, err)
	require.Len(t, raw, 64)

	place := []byte("account/acme/key/primary")
	sealed, err := s.Seal(key, place)
	require.NoError(t, err)
	require.False(t, bytes.Contains(sealed, key.Reveal()))
	again, err := s.Seal(key, place)
	require.NoError(t, err)
	require.NotEqual(t, sealed, again)
	got, err := s.Unseal(sealed, place)
	require.NoError(t, err)
	require.True(t, key.Equal(got))

	_, err = s.Unseal(sealed, []byte("account/evil/key/primary"))
	require.ErrorIs(t, err, ErrSealed)
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		_, err = s.Unseal(changed, place)
		require.ErrorIs(t, err, ErrSealed, i)
		_, err = s.Unseal(sealed[:i], place)
		require.ErrorIs(t, err, ErrSealed, i)
	}
	other, err := NewSealer(newKeyring(t), rand.Reader)
	require.NoError(t, err)
	_, err = other.Unseal(sealed, place)
	require.ErrorIs(t, err, ErrSealed)

	empty, err := s.Seal(trust.Secret{}, nil)
	require.NoError(t, err)
	got, err = s.Unseal(empty, nil)
	require.NoError(t, err)
	require.Zero(t, got.Len())

	starved, err := NewSealer(k, brokenRandom{})
	require.NoError(t, err)
	_, err = starved.Seal(key, place)
	require.Error(t, err)
}
