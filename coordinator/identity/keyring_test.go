package identity

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/internal/trust"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKeyring(t testing.TB) *Keyring {
	t.Helper()
	k, err := NewKeyring("lab", start, rand.Reader)
	require.NoError(t, err)
	return k
}

func TestKeyringSavesAndLoads(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "identity")
	_, err := LoadKeyring(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)

	k := newKeyring(t)
	require.NoError(t, k.Save(dir))
	require.NoError(t, k.Save(dir), "the same again")
	got, err := LoadKeyring(dir)
	require.NoError(t, err)
	want, err := k.Marshal()
	require.NoError(t, err)
	have, err := got.Marshal()
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, have))
	require.Equal(t, k.Pin(), got.Pin())
	require.Equal(t, "lab", got.ClusterName())

	require.ErrorIs(t, newKeyring(t).Save(dir), ErrKeyringExists)
	require.NoError(t, os.Chmod(filepath.Join(dir, keyringFile), 0o644))
	_, err = LoadKeyring(dir)
	require.ErrorIs(t, err, trust.ErrExposed)
	require.ErrorIs(t, k.Save(dir), trust.ErrExposed, "an exposed keyring is not silently replaced")
}

func TestKeyringRefusesWhatDoesNotBelongTogether(t *testing.T) {
	marshal := func() storedKeyring {
		data, err := newKeyring(t).Marshal()
		require.NoError(t, err)
		var stored storedKeyring
		require.NoError(t, json.Unmarshal(data, &stored))
		return stored
	}
	other := marshal()
	for name, change := range map[string]func(*storedKeyring){
		"version":       func(s *storedKeyring) { s.Version = 2 },
		"other CA key":  func(s *storedKeyring) { s.CAKey = other.CAKey },
		"no CA key":     func(s *storedKeyring) { s.CAKey = nil },
		"no authority":  func(s *storedKeyring) { s.Authority = nil },
		"short sealing": func(s *storedKeyring) { s.SealingKey = s.SealingKey[1:] },
		"short seed":    func(s *storedKeyring) { s.TokenSeed = nil },
		"cluster id":    func(s *storedKeyring) { s.ClusterID = "../x" },
	} {
		stored := marshal()
		change(&stored)
		data, err := json.Marshal(stored)
		require.NoError(t, err)
		_, err = UnmarshalKeyring(data)
		require.Error(t, err, name)
	}
	for _, data := range []string{"", "{", "null", strings.Repeat("x", maxKeyringBytes+1)} {
		_, err := UnmarshalKeyring([]byte(data))
		require.Error(t, err)
	}
}

func TestKeyringNeverPrints(t *testing.T) {
	k := newKeyring(t)
	tokens := NewTokens(k, TokenLimits{}, time.Now, rand.Reader)
	authority := NewAuthority(k, time.Now, rand.Reader)
	var shown strings.Builder
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "k", k, "t", tokens, "a", authority)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+verb+verb+verb, k, *k, tokens, authority)
	}
	_, err := json.Marshal(k)
	require.Error(t, err)
	for _, secret := range [][]byte{k.tokenSeed.Reveal(), k.sealingKey.Reveal()} {
		for _, form := range []string{
			fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprintf("%d", secret), "[]"), base64.StdEncoding.EncodeToString(secret), string(secret),
		} {
			require.NotContains(t, shown.String(), form)
		}
	}
}

type brokenRandom struct{}

func (brokenRandom) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestNewKeyringErrors(t *testing.T) {
	for _, name := range []string{"", "a b", "a/b", "é", strings.Repeat("a", 65)} {
		_, err := NewKeyring(name, start, rand.Reader)
		require.Error(t, err, name)
	}
	_, err := NewKeyring("lab", start, brokenRandom{})
	require.ErrorContains(t, err, "no entropy")
}
