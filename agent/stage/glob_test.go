package stage

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	taskDir = "/mnt/batch/workitems/j/job-1/t[1]"
	workDir = taskDir + "/wd"
)

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"abc*", []string{"wd/abc", "wd/abcdef"}, []string{"wd/xabc", "wd/abc/x", "abc"}},
		{"*.txt", []string{"wd/a.txt", "wd/b.c.txt"}, []string{"wd/.txt", "wd/.a.txt", "wd/d/a.txt", "stdout.txt"}},
		{"*", []string{"wd/a"}, []string{"wd/.a", "wd/a/b", "wd"}},
		{"**/*.txt", []string{"wd/a.txt", "wd/b/a.txt", "wd/b/c/a.txt"}, []string{"wd/.a.txt", "wd/.b/a.txt", "wd/b/.c/a.txt", "a.txt"}},
		{"out/**", []string{"wd/out/a", "wd/out/b/c"}, []string{"wd/out", "wd/out/.a", "wd/x/out/a"}},
		{"**", []string{"wd/a", "wd/b/c"}, []string{"stdout.txt", "wd/.a"}},
		{"**/**/x", []string{"wd/x", "wd/a/b/x"}, []string{"wd/xx"}},
		{"a/**/b/**/c", []string{"wd/a/b/c", "wd/a/x/b/y/z/c", "wd/a/b/b/c"}, []string{"wd/a/c", "wd/a/b/c/d"}},
		{"a**c", []string{"wd/abc", "wd/ac"}, []string{"wd/a/c"}},
		{"*.gif", []string{"wd/x.gif"}, []string{"wd/.a.gif"}},
		{".*.gif", []string{"wd/.a.gif"}, []string{"wd/x.gif", "wd/.gif"}},
		{"[.]a", []string{"wd/.a"}, nil},
		{"[!a]b", []string{"wd/xb"}, []string{"wd/.b", "wd/ab"}},
		{"?a", []string{"wd/xa", "wd/éa"}, []string{"wd/.a", "wd/a", "wd/xxa"}},
		{"[abc]", []string{"wd/a", "wd/c"}, []string{"wd/d", "wd/ab"}},
		{"[a-c]x[0-9][0-9]", []string{"wd/bx07"}, []string{"wd/dx07", "wd/bx7"}},
		{"[!abc]", []string{"wd/d", "wd/]"}, []string{"wd/a", "wd/b"}},
		{"[]a]", []string{"wd/]", "wd/a"}, []string{"wd/b"}},
		{"[!]a]", []string{"wd/b"}, []string{"wd/]", "wd/a"}},
		{"[a-]", []string{"wd/a", "wd/-"}, []string{"wd/b"}},
		{"[c-a]", nil, []string{"wd/a", "wd/b", "wd/c"}},
		{"[^a]", []string{"wd/^", "wd/a"}, []string{"wd/b"}},
		{"abc[*]", []string{"wd/abc*"}, []string{"wd/abcd"}},
		{"a[[]b", []string{"wd/a[b"}, []string{"wd/ab"}},
		{"a[b", []string{"wd/a[b"}, []string{"wd/ab"}},
		{`a\*`, []string{`wd/a\x`, `wd/a\`}, []string{"wd/a*"}},
		{"../std*.txt", []string{"stdout.txt", "stderr.txt"}, []string{"wd/stdout.txt", "std/a.txt"}},
		{"../wd/x", []string{"wd/x"}, nil},
		{"./a/./b", []string{"wd/a/b"}, nil},
		{"a/../b", []string{"wd/b"}, []string{"wd/a/b"}},
		{"a//b", []string{"wd/a/b"}, nil},
		{workDir + "/r*", []string{"wd/r1"}, []string{"r1"}},
		{taskDir + "/std*", []string{"stdout.txt"}, []string{"wd/std"}},
		{taskDir + "/wd/../std*", []string{"stdout.txt"}, nil},
		{strings.Repeat("a*", 30) + "b", nil, []string{"wd/" + strings.Repeat("a", 200)}},
	} {
		p, err := newPattern(c.pattern, taskDir, workDir, false)
		require.NoError(t, err, c.pattern)
		for _, name := range c.yes {
			require.True(t, p.match(name), "%s should match %s", c.pattern, name)
		}
		for _, name := range c.no {
			require.False(t, p.match(name), "%s should not match %s", c.pattern, name)
		}
	}
}

func TestPatternsThatLeadOut(t *testing.T) {
	for _, text := range []string{"", "../../x", "a/../../../x", "/etc/passwd", "/", taskDir + "x/y", taskDir + "/..", "*/../../x", "..", taskDir,
		workDir + "/../../x", "**/..", "a\x00b", strings.Repeat("x", 5000)} {
		_, err := newPattern(text, taskDir, workDir, false)
		require.Error(t, err, text)
	}
}

func TestPatternsOnWindows(t *testing.T) {
	task, work := `D:\batch\workitems\j\job-1\t`, `D:\batch\workitems\j\job-1\t\wd`
	// What the operating system's own functions would do to separators.
	slash := func(s string) string { return strings.ReplaceAll(s, `\`, "/") }
	for _, c := range []struct{ pattern, name string }{
		{`..\std*.txt`, "stdout.txt"}, {`**\*.TXT`, "wd/a/b.txt"}, {work + `\x`, "wd/X"}, {`d:\BATCH\workitems\j\job-1\t\s*`, "stdout.txt"},
	} {
		p, err := newPattern(c.pattern, slash(task), slash(work), true)
		require.NoError(t, err, c.pattern)
		require.True(t, p.match(c.name), c.pattern)
	}
	for _, text := range []string{`C:\x`, `\x`, `c:x`, `..\..\x`, `\\server\share`} {
		_, err := newPattern(text, slash(task), slash(work), true)
		require.Error(t, err, text)
	}
}

func TestWildAndBase(t *testing.T) {
	for _, c := range []struct {
		pattern string
		wild    bool
		base    int
	}{{"a/b.txt", false, 2}, {"abc[*]", false, 1}, {"*.txt", true, 1}, {"out/*.txt", true, 2}, {"out/**/x", true, 2}, {"../std*.txt", true, 0}, {"*/x", true, 1}} {
		p, err := newPattern(c.pattern, taskDir, workDir, false)
		require.NoError(t, err)
		require.Equal(t, c.wild, p.wild(), c.pattern)
		require.Equal(t, c.base, p.base(), c.pattern)
	}
}

func TestExpand(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "alpha", "A_1": "one", "EMPTY": ""}[name]
		return v, ok
	}
	for _, c := range []struct{ in, want, unset string }{
		{"$A/x", "alpha/x", ""}, {"${A}x", "alphax", ""}, {"$A_1.txt", "one.txt", ""}, {"$EMPTY*", "*", ""}, {"$B/x", "$B/x", "B"}, {"${B}", "${B}", "B"},
		{"$", "$", ""}, {"$$A", "$alpha", ""}, {"${A", "${A", ""}, {"${A b}", "${A b}", ""}, {"$1", "$1", ""}, {"a$A$A", "aalphaalpha", ""}, {"${}", "${}", ""},
	} {
		got, unset := expand(c.in, env, false)
		require.Equal(t, c.want, got, c.in)
		require.Equal(t, c.unset, strings.Join(unset, ","), c.in)
	}
	got, unset := expand(`%A%\%B%\100%`, env, true)
	require.Equal(t, `alpha\%B%\100%`, got)
	require.Equal(t, []string{"B"}, unset)
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"**/*.txt", "wd/a/b.txt"}, {"[!a-c]?*", "wd/x"}, {"../std*", "stdout.txt"}, {"a[b", "wd/a[b"}} {
		f.Add(seed[0], seed[1], false)
		f.Add(seed[0], seed[1], true)
	}
	f.Fuzz(func(t *testing.T, text, name string, windows bool) {
		p, err := newPattern(text, taskDir, workDir, windows)
		if err != nil {
			return
		}
		matched := p.match(name)
		if matched && strings.HasPrefix(filepath.Base(name), ".") && !strings.ContainsAny(text, ".") {
			t.Fatalf("%q matched the hidden %q", text, name)
		}
		// Every directory on the way to a match must be one that the walk goes into, and for a pattern without
		// wildcards it is the one name that the walk looks up.
		at := p.start()
		elements := strings.Split(name, "/")
		for i, element := range elements {
			if only, ok := p.only(at); matched && ok && only != element {
				t.Fatalf("%q: the walk looks for %q, not %q", text, only, element)
			}
			at = p.step(at, element)
			if matched && i < len(elements)-1 && !p.open(at) {
				t.Fatalf("%q: the walk stops before %q", text, name)
			}
		}
	})
}
