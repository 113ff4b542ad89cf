// Package mountinfo says what is mounted on the machine.
package mountinfo

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// Mount is a line of the kernel's list.
type Mount struct {
	Point, Type, Source string
	Options             []string
}

// parse reads the kernel's list. A line that makes no sense is passed over.
func parse(r io.Reader) (out []Mount, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		for i := 6; i+2 < len(fields); i++ { // optional fields end with a dash
			if fields[i] == "-" {
				out = append(out, Mount{
					Point: unescape(fields[4]), Options: strings.Split(fields[5], ","), Type: fields[i+1], Source: unescape(fields[i+2]),
				})
				break
			}
		}
	}
	return out, lines.Err()
}

// unescape undoes the kernel's spelling of blanks and backslashes: \ and three octal digits.
func unescape(text string) string {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(text[i])
	}
	return out.String()
}

// At finds the topmost mount at a path that has no links.
func At(list []Mount, point string) (found Mount, ok bool) {
	for _, m := range list {
		if m.Point == point {
			found, ok = m, true
		}
	}
	return found, ok
}

// Under gives what is mounted at a path or below it, the last that was mounted first.
func Under(list []Mount, dir string) (out []Mount) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Point == dir || strings.HasPrefix(list[i].Point, strings.TrimSuffix(dir, "/")+"/") {
			out = append(out, list[i])
		}
	}
	return out
}
