package render_test

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
)

func TestTable(t *testing.T) {
	table := render.NewTable("ID", ">TASKS", "STATE")
	table.Row("a-rather-long-id-that-is-never-wrapped", "7", "idle")
	table.Row("ü日本", "1200", "")
	table.Row("evil\x1b]0;title\x07\u202e", "-1", "running")
	var b bytes.Buffer
	_, err := table.WriteTo(&b)
	require.NoError(t, err)
	require.Equal(t, ""+
		"ID                                      TASKS  STATE\n"+
		"a-rather-long-id-that-is-never-wrapped      7  idle\n"+
		"ü日本                                    1200  -\n"+
		"evil ]0;title                              -1  running\n", b.String())
}

func TestFields(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, render.Fields(&b, "ID", "x", "Name", "", "State", "idle\nforged: line"))
	require.Equal(t, "ID     x\nState  idle forged: line\n", b.String())
}

func TestTimes(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for want, at := range map[string]time.Time{
		"-":           {},
		"now":         now,
		"1.5s ago":    now.Add(-1500 * time.Millisecond),
		"12s ago":     now.Add(-12 * time.Second),
		"3m05s ago":   now.Add(-185 * time.Second),
		"2h30m ago":   now.Add(-150 * time.Minute),
		"3d01h ago":   now.Add(-73 * time.Hour),
		"in 1h00m":    now.Add(time.Hour),
		"400d00h ago": now.Add(-400 * 24 * time.Hour),
	} {
		require.Equal(t, want, render.Ago(at, now))
	}
	require.Equal(t, "250ms", render.Duration(250*time.Millisecond))
}

func TestBytes(t *testing.T) {
	for want, n := range map[string]int64{"-": -1, "0 B": 0, "1023 B": 1023, "1.0 KiB": 1024, "1.5 MiB": 3 << 19, "8.0 EiB": 1<<63 - 1} {
		require.Equal(t, want, render.Bytes(n))
	}
}

func TestElide(t *testing.T) {
	require.Equal(t, "日本", render.Elide("日本", 2))
	require.Equal(t, "日…", render.Elide("日本語", 2))
}

func TestCleanerKeepsTextsAndDropsControls(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\n":            "plain\ttext\n",
		"\x1b[31mred\x1b[0m\n":     "[31mred[0m\n",
		"10%\r20%\r30%\r\ndone\n":  "10%\n20%\n30%\ndone\n",
		"grüße 日本 🙂\n":             "grüße 日本 🙂\n",
		"bell\x07\x00\x7f\u009b2J": "bell2J",
		"turn\u202earound":         "turnaround",
		"latin\xe9\n":              "latin?\n",
	} {
		for size := 1; size <= len(in); size++ {
			var b bytes.Buffer
			c := &render.Cleaner{W: &b}
			for rest := []byte(in); len(rest) > 0; {
				n := min(size, len(rest))
				wrote, err := c.Write(rest[:n])
				require.NoError(t, err)
				require.Equal(t, n, wrote)
				rest = rest[n:]
			}
			require.Equal(t, want, b.String(), "%q in parts of %d", in, size)
		}
	}
}

func FuzzCleaner(f *testing.F) {
	f.Add([]byte("a\x1b[0m\r\n\xe6\x97"), 2)
	f.Fuzz(func(t *testing.T, in []byte, size int) {
		var b bytes.Buffer
		c := &render.Cleaner{W: &b}
		for rest := in; len(rest) > 0; {
			n := min(max(size, 1), len(rest))
			_, err := c.Write(rest[:n])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.Equal(t, -1, strings.IndexFunc(b.String(), func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }))
	})
}
