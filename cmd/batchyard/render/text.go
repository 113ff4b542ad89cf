// Package render shows what a server sent to people: tables, times and sizes, and never a control character.
package render

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Plain replaces what could steer a terminal: control characters, and marks that reorder text, become spaces.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || steers(r) {
			return ' '
		}
		return r
	}, s)
}

func steers(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// Elide shortens a text to at most limit characters.
func Elide(s string, limit int) string {
	r := []rune(s)
	if len(r) <= limit {
		return s
	}
	return string(r[:limit-1]) + "…"
}

// Ago tells how long before now a time was; "-" for no time.
func Ago(t, now time.Time) string {
	switch {
	case t.IsZero() || t.Unix() == 0:
		return "-"
	case t.After(now):
		if t.Sub(now) < 2*time.Second { // clocks differ
			return "now"
		}
		return "in " + Duration(t.Sub(now))
	case now.Sub(t) < time.Second:
		return "now"
	default:
		return Duration(now.Sub(t)) + " ago"
	}
}

// Duration writes a duration with its two largest units; "-" for less than none.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
	}
}

// Bytes writes a size in units of 1024; "-" for an unknown (negative) one.
func Bytes(n int64) string {
	if n < 0 {
		return "-"
	}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n), -1
	for value >= 1024 && unit < 5 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTPE"[unit])
}

// Cleaner passes text on without what could steer a terminal; tabs, line breaks and letters of any script stay. A character that is split
// between two writes is put together.
type Cleaner struct {
	W    io.Writer
	held []byte // the beginning of a character or of a line break
}

// Write never reports more than len(p).
func (c *Cleaner) Write(p []byte) (int, error) {
	text := p
	if len(c.held) > 0 {
		text = slices.Concat(c.held, p)
		c.held = nil
	}
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r == utf8.RuneError && size == 1 && !utf8.FullRune(text) || len(text) == 1 && r == '\r' {
			c.held = append([]byte(nil), text...)
			break
		}
		switch {
		case r == '\n' || r == '\t':
			out = append(out, byte(r))
		case r == '\r': // programs redraw their last line with it; shown as lines
			if text[1] != '\n' {
				out = append(out, '\n')
			}
		case r == utf8.RuneError && size == 1:
			out = append(out, '?')
		case !steers(r):
			out = append(out, text[:size]...)
		}
		text = text[size:]
	}
	if _, err := c.W.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
