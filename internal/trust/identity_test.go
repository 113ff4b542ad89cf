package trust

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const cluster = "00112233445566778899aabbccddeeff"

func TestIdentityRoundTrip(t *testing.T) {
	for _, id := range []Identity{
		{Cluster: cluster, Role: RoleServer, Name: "c1"},
		{Cluster: cluster, Role: RoleUser, Account: "acme", Name: "Ann Ω/../x?y#z%2F"},
		{Cluster: cluster, Role: RoleNode, Account: "acme", Pool: "p/q", Name: "tvm-1_2", Incarnation: 1<<64 - 1},
		{Cluster: cluster, Role: RoleNode, Account: "a", Pool: "p", Name: "n"},
	} {
		require.NoError(t, id.Validate())
		u, err := url.Parse(id.String())
		require.NoError(t, err)
		got, err := ParseIdentity(u)
		require.NoError(t, err, id.String())
		require.Equal(t, id, got)
	}
}

func TestParseIdentityTakesOneSpellingOnly(t *testing.T) {
	base := "batchyard://" + cluster
	for _, text := range []string{
		"", base, base + "/", base + "/server", base + "/server/", base + "/server/.", base + "/server/..",
		base + "/server/a/b", base + "/server/a/", base + "/server//a", base + "/server/%61", base + "/server/a%2fb",
		base + "/server/a?x=1", base + "/server/a#f", base + "/server/%00", base + "/server/%ff", base + "/SERVER/a",
		base + "/root/a", base + "/node/a/p/n", base + "/node/a/p/n/01", base + "/node/a/p/n/-1", base + "/node/a/p/n/x",
		base + "/node/a//n/1", base + "/user/a", "https://" + cluster + "/server/a", "batchyard:" + cluster + "/server/a",
		"batchyard://user@" + cluster + "/server/a", "batchyard://" + cluster + ":1/server/a",
		"batchyard://" + strings.ToUpper(cluster) + "/server/a", "batchyard://abc/server/a",
		base + "/server/" + strings.Repeat("a", maxNameLength+1),
	} {
		u, err := url.Parse(text)
		require.NoError(t, err)
		_, err = ParseIdentity(u)
		require.ErrorIs(t, err, ErrNoIdentity, text)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add("batchyard://" + cluster + "/node/a/p/n/1")
	f.Add("batchyard://" + cluster + "/user/a%2F/n")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		if id, err := ParseIdentity(u); err == nil {
			require.NoError(t, id.Validate())
			require.Equal(t, u.String(), id.String())
		}
	})
}

func TestSecretsDoNotPrint(t *testing.T) {
	const canary = "CANARY-0xdeadbeef"
	type holder struct {
		Public Secret
		inner  Secret
		ptr    *Secret
	}
	s := NewSecret([]byte(canary))
	h := holder{Public: s, inner: s, ptr: &s}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "s", s, "h", h, "p", &h)
	asJSON, err := json.Marshal(h)
	require.NoError(t, err)
	shown := log.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c"} {
		shown += fmt.Sprintf(verb+verb+verb, s, h, &h)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%d", []byte(canary))} {
		require.NotContains(t, shown, strings.Trim(form, "[]"))
	}
	require.Equal(t, canary, string(s.Reveal()))
	require.True(t, s.Equal(NewSecret([]byte(canary))))
	require.False(t, s.Equal(Secret{}))
	s.Reveal()[0] = 'x'
	require.Equal(t, canary, string(s.Reveal()))
}
