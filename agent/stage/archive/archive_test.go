package archive_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/agent/stage/archive"
)

// entry is written as it stands, whatever a zip writer for honest people would say to it.
type entry struct {
	name   string
	text   string
	mode   fs.FileMode
	dos    bool // from a system without modes
	change func(*zip.FileHeader)
}

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		if !e.dos {
			h.SetMode(e.mode | 0o644)
		}
		if e.change != nil {
			e.change(h)
		}
		if strings.HasSuffix(e.name, "/") {
			h.Method = zip.Store
		}
		f, err := w.CreateHeader(h)
		require.NoError(t, err)
		if e.text != "" {
			_, err = io.WriteString(f, e.text)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

// place is a directory to unpack into, with canaries all round it.
type place struct {
	outside string
	root    *os.Root
	before  map[string]string
}

func newPlace(t testing.TB) place {
	t.Helper()
	outside := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(outside, "apps/into"), 0o755))
	for _, name := range []string{"canary", "apps/canary", "apps/canary.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(outside, name), []byte(name), 0o644))
	}
	root, err := os.OpenRoot(filepath.Join(outside, "apps/into"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return place{outside: outside, root: root, before: tree(t, outside, "apps/into")}
}

func (p place) extract(t testing.TB, data []byte, limits archive.Limits) error {
	t.Helper()
	err := archive.Extract(t.Context(), bytes.NewReader(data), int64(len(data)), p.root, limits)
	if after := tree(t, p.outside, "apps/into"); !maps.Equal(p.before, after) {
		t.Fatalf("changed outside: %v, was %v", after, p.before)
	}
	return err
}

// tree describes everything under dir except what is under skip.
func tree(t testing.TB, dir, skip string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if rel == skip {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		out[rel] = info.Mode().String()
		if info.Mode().IsRegular() {
			text, err := os.ReadFile(path)
			out[rel] += " " + string(text)
			return err
		}
		return nil
	}))
	return out
}

func TestUnpacks(t *testing.T) {
	p := newPlace(t)
	data := pack(t, entry{name: "./"}, entry{name: "bin/", mode: fs.ModeDir}, entry{name: "bin/"}, entry{name: "bin/tool", text: "#!/bin/sh\n", mode: 0o4777},
		entry{name: "./doc/a b/readme.md", text: "read me"}, entry{name: "empty"}, entry{name: "win.exe", text: "MZ", dos: true},
		entry{name: "stored", text: "stored", change: func(h *zip.FileHeader) { h.Method = zip.Store }}, entry{name: "man/Foo::Bar.3"})
	require.NoError(t, p.extract(t, data, archive.Limits{}))
	require.Equal(t, map[string]string{
		".": "drwxr-xr-x", "bin": "drwxr-xr-x", "bin/tool": "-rwxr-xr-x #!/bin/sh\n", "doc": "drwxr-xr-x", "doc/a b": "drwxr-xr-x",
		"doc/a b/readme.md": "-rw-r--r-- read me", "empty": "-rw-r--r-- ", "win.exe": "-rwxr-xr-x MZ", "stored": "-rw-r--r-- stored",
		"man": "drwxr-xr-x", "man/Foo::Bar.3": "-rw-r--r-- ",
	}, tree(t, p.root.Name(), "none"))
}

func TestHostileEntriesAreRefusedBeforeAnythingIsWritten(t *testing.T) {
	many := make([]entry, 12)
	for i := range many {
		many[i] = entry{name: fmt.Sprint("f", i)}
	}
	small := archive.Limits{Entries: 10, Bytes: 1 << 20, Slack: 1 << 10, Ratio: 100, Depth: 5}
	for what, entries := range map[string][]entry{
		"parent":                {{name: "../evil", text: "x"}},
		"parent inside":         {{name: "a/../../evil", text: "x"}},
		"parent at the end":     {{name: "a/.."}},
		"dot":                   {{name: "a/./b"}},
		"absolute":              {{name: "/tmp/evil"}},
		"the root":              {{name: "/"}},
		"double slash":          {{name: "a//b"}},
		"hidden absolute":       {{name: ".//etc/passwd"}},
		"backslash":             {{name: `..\evil`}},
		"drive":                 {{name: "C:evil"}},
		"drive path":            {{name: "c:/evil"}},
		"UNC":                   {{name: `\\server\share\x`}},
		"NUL":                   {{name: "a\x00b"}},
		"control":               {{name: "a\x1b[2Jb"}},
		"newline":               {{name: "a\nb"}},
		"not UTF-8":             {{name: "a\xffb"}},
		"long element":          {{name: strings.Repeat("n", 256)}},
		"long name":             {{name: strings.Repeat("n/", 2500) + "x"}},
		"deep":                  {{name: "1/2/3/4/5/6"}},
		"symlink out":           {{name: "l", text: "../../canary", mode: fs.ModeSymlink}},
		"symlink in":            {{name: "a"}, {name: "l", text: "a", mode: fs.ModeSymlink}},
		"write through symlink": {{name: "l", text: "..", mode: fs.ModeSymlink}, {name: "l/canary", text: "evil"}},
		"symlink with slash":    {{name: "l/", mode: fs.ModeSymlink}},
		"device":                {{name: "d", mode: fs.ModeDevice}},
		"character device":      {{name: "d", mode: fs.ModeDevice | fs.ModeCharDevice}},
		"fifo":                  {{name: "f", mode: fs.ModeNamedPipe}},
		"socket":                {{name: "s", mode: fs.ModeSocket}},
		"twice":                 {{name: "a", text: "1"}, {name: "a", text: "2"}},
		"twice with dot":        {{name: "a"}, {name: "./a"}},
		"case":                  {{name: "Readme"}, {name: "README"}},
		"case of letters":       {{name: "straße"}, {name: "STRASSE"}, {name: "ſ"}, {name: "s"}},
		"directory and file":    {{name: "a/"}, {name: "a"}},
		"encrypted":             {{name: "a", change: func(h *zip.FileHeader) { h.Flags |= 1 }}},
		"too many":              many,
		"too much":              {{name: "a", text: noise(1 << 19)}, {name: "b", text: noise(1 << 19)}, {name: "c", text: "x"}},
		"bomb":                  {{name: "a", text: strings.Repeat("0", 1<<19)}},
		"no name":               {{name: ""}},
	} {
		t.Run(what, func(t *testing.T) {
			p := newPlace(t)
			require.ErrorIs(t, p.extract(t, pack(t, entries...), small), archive.ErrRefused)
			require.Len(t, tree(t, p.root.Name(), "none"), 1, "something was written")
		})
	}
}

func TestFileUsedAsDirectoryIsRefused(t *testing.T) {
	for _, entries := range [][]entry{{{name: "a", text: "x"}, {name: "a/b", text: "y"}}, {{name: "a/b", text: "y"}, {name: "a", text: "x"}}} {
		require.ErrorIs(t, newPlace(t).extract(t, pack(t, entries...), archive.Limits{}), archive.ErrRefused)
	}
}

// noise does not compress.
func noise(n int) string {
	b := make([]byte, n)
	x := uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x)
	}
	return string(b)
}

// raw writes an entry whose header claims what it likes.
func raw(t testing.TB, packed []byte, method uint16, claimed uint64, crc uint32) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	f, err := w.CreateRaw(&zip.FileHeader{Name: "a", Method: method, CompressedSize64: uint64(len(packed)), UncompressedSize64: claimed, CRC32: crc})
	require.NoError(t, err)
	_, err = f.Write(packed)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func TestLyingHeaders(t *testing.T) {
	text := []byte("hello")
	sum := crc32.ChecksumIEEE(text)
	require.NoError(t, newPlace(t).extract(t, raw(t, text, zip.Store, 5, sum), archive.Limits{}))
	for what, data := range map[string][]byte{
		"longer":         raw(t, text, zip.Store, 3, sum),
		"shorter":        raw(t, text, zip.Store, 9, sum),
		"checksum":       raw(t, text, zip.Store, 5, sum+1),
		"huge":           raw(t, text, zip.Store, 1<<63, sum),
		"bad deflate":    raw(t, text, zip.Deflate, 5, sum),
		"unknown method": raw(t, text, 12, 5, sum),
		"no archive":     []byte("PK\x03\x04 nothing"),
		"empty":          nil,
	} {
		require.ErrorIs(t, newPlace(t).extract(t, data, archive.Limits{}), archive.ErrRefused, what)
	}
}

// TestOverlappingEntries makes the second entry of the directory point at the data of the first.
func TestOverlappingEntries(t *testing.T) {
	data := pack(t, entry{name: "a", text: noise(1000)}, entry{name: "b", text: noise(1000)})
	at := bytes.LastIndex(data, []byte("PK\x01\x02"))
	require.NotZero(t, binary.LittleEndian.Uint32(data[at+42:]))
	binary.LittleEndian.PutUint32(data[at+42:], 0)
	err := newPlace(t).extract(t, data, archive.Limits{})
	require.ErrorIs(t, err, archive.ErrRefused)
	require.ErrorContains(t, err, "overlaps")
}

func TestDirectoryTooLargeForMemory(t *testing.T) {
	var entries []entry
	for i := range 2000 {
		entries = append(entries, entry{name: fmt.Sprint(i), change: func(h *zip.FileHeader) { h.Comment = strings.Repeat("c", 1000) }})
	}
	err := newPlace(t).extract(t, pack(t, entries...), archive.Limits{Entries: 1})
	require.ErrorIs(t, err, archive.ErrRefused)
	require.ErrorContains(t, err, "too large")
}

func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	data := pack(t, entry{name: "a", text: "x"})
	require.ErrorIs(t, archive.Extract(ctx, bytes.NewReader(data), int64(len(data)), newPlace(t).root, archive.Limits{}), context.Canceled)
}

// FuzzExtract holds any archive to this: nothing outside changes, and what comes out is files and directories within
// the limits.
func FuzzExtract(f *testing.F) {
	limits := archive.Limits{Entries: 20, Bytes: 1 << 16, Slack: 1 << 10, Ratio: 20, Depth: 6}
	f.Add(pack(f, entry{name: "bin/tool", text: "x"}, entry{name: "doc/"}, entry{name: "é", text: "text text text text"}))
	f.Add(pack(f, entry{name: "../evil", text: "x"}))
	f.Add(pack(f, entry{name: "/evil", text: "x"}))
	f.Add(pack(f, entry{name: "l", text: "../..", mode: fs.ModeSymlink}, entry{name: "l/canary", text: "evil"}))
	f.Add(pack(f, entry{name: "bomb", text: strings.Repeat("0", 1<<15)}))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newPlace(t)
		if err := p.extract(t, data, limits); err != nil {
			require.ErrorIs(t, err, archive.ErrRefused)
		}
		total := 0
		require.NoError(t, filepath.WalkDir(p.root.Name(), func(path string, e fs.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := e.Info()
			require.NoError(t, err)
			require.True(t, e.IsDir() || info.Mode().IsRegular() && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|0o022) == 0, "%s %s", path, info.Mode())
			if !e.IsDir() {
				total += int(info.Size())
			}
			return nil
		}))
		require.LessOrEqual(t, total, int(limits.Bytes))
	})
}
