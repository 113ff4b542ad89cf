package beneath

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "a/b", "..a", "a..", "...", "a b", "é/ü", "ab:c", `a\b`, "-", "1:", strings.Repeat("x", 255)} {
		require.NoError(t, check(name, false), name)
	}
	for _, name := range []string{"", "/", "/a", "..", "a/..", "../a", "a/../b", ".", "./a", "a/.", "a//b", "a/", "a\x00b", "c:", "C:/x", `c:\x`,
		strings.Repeat("x", 256), strings.Repeat("x/", 127) + "x/x", strings.Repeat(strings.Repeat("x", 200)+"/", 30) + "x"} {
		require.ErrorIs(t, check(name, false), ErrName, name)
	}
	for _, name := range []string{`a\b`, "a:b", "a\nb", "nul", "NUL.txt", "com1", "COM¹.log", "aux .c", "a.", "a ", "a/ b. /c", "x*", "lpt9.x.y", "CONIN$"} {
		require.ErrorIs(t, check(name, true), ErrName, name)
	}
	for _, name := range []string{"a.b", "common", "com", "com10", "nullable", "console.log", ".hidden", "lpt"} {
		require.NoError(t, check(name, true), name)
	}
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"a/b", "../x", "/", "c:/", "a//", "nul", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if !filepath.IsLocal(filepath.FromSlash(name)) || filepath.Clean(name) != filepath.FromSlash(name) {
			t.Fatalf("%q was accepted", name)
		}
	})
}
