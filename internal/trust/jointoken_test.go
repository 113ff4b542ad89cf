package trust

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func sampleToken() JoinToken {
	return JoinToken{
		Kind: JoinNode, ID: "n0123456789abcdef",
		Secret: NewSecret(bytes.Repeat([]byte{0xfb}, JoinSecretBytes)),
		Pin:    Pin(bytes.Repeat([]byte{7}, 32)),
	}
}

func requireSame(t *testing.T, want, got JoinToken) {
	t.Helper()
	require.True(t, want.Secret.Equal(got.Secret))
	want.Secret, got.Secret = Secret{}, Secret{}
	require.Equal(t, want, got)
}

func TestJoinTokenRoundTrip(t *testing.T) {
	token := sampleToken()
	got, err := ParseJoinToken("\n " + token.Text() + " \r\n")
	require.NoError(t, err)
	requireSame(t, token, got)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", token, token, &token), "-_v7")
}

func TestJoinTokenRefusals(t *testing.T) {
	good := sampleToken().Text()
	parts := strings.Split(good, ".")
	with := func(i int, s string) string {
		changed := append([]string(nil), parts...)
		changed[i] = s
		return strings.Join(changed, ".")
	}
	for _, text := range []string{
		"", ".", "...", good + ".", good + ".x", with(0, "byj2"), with(1, ""), with(1, "n"), with(1, "x0123456789abcdef"),
		with(1, "n0123456789ABCDEF"), with(1, "n0123456789abcde"), with(2, ""), with(2, parts[2]+"="), with(2, parts[2]+"AA"),
		with(2, parts[2][:10]+"\n"+parts[2][10:]), with(2, parts[2][:42]+"_"), with(3, parts[3][:20]), with(3, "é"),
		strings.Repeat("a", 1<<20),
	} {
		_, err := ParseJoinToken(text)
		require.ErrorIs(t, err, ErrJoinToken, "%.80q", text)
	}
}

func FuzzParseJoinToken(f *testing.F) {
	f.Add(sampleToken().Text())
	f.Add("byj1.c0000000000000000..")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseJoinToken(text)
		if err != nil {
			return
		}
		require.Equal(t, strings.TrimSpace(text), token.Text())
		require.Equal(t, JoinSecretBytes, token.Secret.Len())
	})
}
