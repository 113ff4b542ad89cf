package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/storage"
)

func TestParseLocation(t *testing.T) {
	for text, want := range map[string]storage.Location{
		"s3://data":                   {Scheme: storage.S3, Bucket: "data"},
		"s3://data/":                  {Scheme: storage.S3, Bucket: "data"},
		"s3://data/in/part-":          {Scheme: storage.S3, Bucket: "data", Key: "in/part-"},
		"s3://data/in/a%20b/":         {Scheme: storage.S3, Bucket: "data", Key: "in/a b/"},
		"S3://my.data-1/é":            {Scheme: storage.S3, Bucket: "my.data-1", Key: "é"},
		"https://h/x":                 {Scheme: storage.HTTPS},
		"HTTP://h:8080/x?sig=a%2Fb&x": {Scheme: storage.HTTP},
		"http://[::1]:80/":            {Scheme: storage.HTTP},
		"file:///srv/data":            {Scheme: storage.File, Key: "/srv/data"},
		"file:///srv//data/":          {Scheme: storage.File, Key: "/srv/data"},
	} {
		got, err := storage.ParseLocation(text)
		require.NoError(t, err, text)
		require.Equal(t, want.Scheme, got.Scheme, text)
		require.Equal(t, want.Bucket, got.Bucket, text)
		require.Equal(t, want.Key, got.Key, text)
	}
}

func TestParseLocationRefusesHostileText(t *testing.T) {
	secret := "hunter2"
	for _, text := range []string{
		"", "data", "/srv/data", "s3:data", "s3://", "s3:///key", "s3://UP/x", "s3://ab", "s3://a..b/x", "s3://1.2.3.4/x",
		"s3://-data/x", "s3://data:80/x", "s3://data/x?y=" + secret, "s3://data/../other", "s3://data/a/%2e%2e/b",
		"s3://data/a\x00b", "s3://data/a%00b", "s3://data/a\nb", "s3://data/a%0ab", "s3://data/a%1bb", "s3://data/a#" + secret,
		"https://u:" + secret + "@h/x", "https://u@h/x", "https:///x", "https://h/../x", "https://h/%2E%2e/x", "https://h/a\\..\\b",
		"https://h/x#" + secret, "https:h/x", "https://h\\@evil/x", "https://[fe80::1%25eth0]/x", "ftp://h/x", "javascript:x",
		"gopher://h/" + secret, "file://host/x", "file://localhost/x", "file:x", "file:///a/../../etc/passwd", "file:///a?b=" + secret,
		"file:///a%00", "https://h/\xff", "https://h/" + strings.Repeat("a", storage.MaxLocation),
		"s3://data/" + strings.Repeat("k", storage.MaxKey+1), "https://h/%zz" + secret, "://" + secret,
	} {
		_, err := storage.ParseLocation(text)
		require.ErrorIs(t, err, storage.ErrInvalid, text)
		require.NotContains(t, err.Error(), secret)
	}
}

func TestLocationHidesItsQuery(t *testing.T) {
	loc, err := storage.ParseLocation("https://h/c/b?sig=hunter2&se=1")
	require.NoError(t, err)
	require.Equal(t, "https://h/c/b?sig=hunter2&se=1", loc.URL())
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(format, loc), "hunter2", format)
	}
}

func TestValidateKey(t *testing.T) {
	for _, key := range []string{"a", "a/b.txt", "wörld/日本", "...", "a..b", " a ", "C:x"} {
		require.NoError(t, storage.ValidateKey(key), key)
	}
	for _, key := range []string{"", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", `a\..\b`, "a\x00", "a\x7f", "a\u0085", "\xff", strings.Repeat("k", 1025)} {
		require.ErrorIs(t, storage.ValidateKey(key), storage.ErrInvalid, "%q", key)
	}
}

func FuzzParseLocation(f *testing.F) {
	for _, seed := range []string{"s3://data/in/a%20b", "https://h:1/x?sig=%2F", "file:///srv/data", "s3://b/%2e%2e/x", "http://[::1]/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		loc, err := storage.ParseLocation(text)
		if err != nil {
			require.ErrorIs(t, err, storage.ErrInvalid)
			return
		}
		for _, seg := range strings.Split(loc.Key, "/") {
			require.NotEqual(t, "..", seg)
		}
		require.NotContains(t, loc.Key, "\x00")
		shown := loc.String()
		if loc.URL() != "" {
			shown = loc.URL()
		}
		again, err := storage.ParseLocation(shown)
		require.NoError(t, err, "%q became %q", text, shown)
		require.Equal(t, loc.Scheme, again.Scheme)
		require.Equal(t, loc.Bucket, again.Bucket)
		require.Equal(t, loc.Key, again.Key)
	})
}
