package beneath

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// Limits of a name: bytes of the whole, bytes of one element, and elements.
const (
	MaxName    = 4095
	MaxElement = 255
	MaxDepth   = 128
)

// Reasons for refusing a name or what stands under it, for errors.Is; errors of the file system are passed on.
var (
	ErrName    = errors.New("name not allowed")
	ErrLink    = errors.New("is a link, or was exchanged while being opened")
	ErrNotFile = errors.New("not a regular file")
	ErrNotDir  = errors.New("not a directory")
)

// CheckName says why a name with / as separator may not be used beneath a directory: it is empty, absolute, has an
// empty, "." or ".." element, a NUL, a drive letter, is over-long, or, on Windows, is one that Windows reads otherwise.
func CheckName(name string) error { return check(name, runtime.GOOS == "windows") }

func check(name string, windows bool) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %s is longer than %d bytes", ErrName, Quote(name), MaxName)
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("%w: %s is absolute; give a relative path", ErrName, Quote(name))
	case hasDrive(name):
		return fmt.Errorf("%w: %s starts with a drive letter; give a relative path", ErrName, Quote(name))
	case strings.ContainsRune(name, 0):
		return fmt.Errorf("%w: %s has a NUL in it", ErrName, Quote(name))
	case strings.Count(name, "/") >= MaxDepth:
		return fmt.Errorf("%w: %s has more than %d elements", ErrName, Quote(name), MaxDepth)
	}
	for element := range strings.SplitSeq(name, "/") {
		if reason := elementFault(element, windows); reason != "" {
			return fmt.Errorf("%w: %s %s", ErrName, Quote(name), reason)
		}
	}
	return nil
}

// Quote shows a name from outside without letting it write to a terminal, and not more than 200 bytes of it.
func Quote(name string) string {
	const limit = 200
	if len(name) > limit {
		name = name[:limit] + "..."
	}
	return strconv.Quote(name)
}

func hasDrive(name string) bool {
	return len(name) >= 2 && name[1] == ':' && ('a' <= name[0]|0x20 && name[0]|0x20 <= 'z')
}

func elementFault(element string, windows bool) string {
	switch {
	case element == "":
		return "has an empty element; use single slashes and none at the end"
	case element == ".", element == "..":
		return `has a "` + element + `" element; write the path without it`
	case len(element) > MaxElement:
		return "has an element longer than " + strconv.Itoa(MaxElement) + " bytes"
	case !windows:
		return ""
	}
	for i := range len(element) {
		if element[i] < 0x20 || element[i] == 0x7f || strings.IndexByte(`\:*?"<>|`, element[i]) >= 0 {
			return "has a character that Windows does not allow in file names"
		}
	}
	if last := element[len(element)-1]; last == '.' || last == ' ' {
		return "has an element that ends in a dot or a space"
	}
	if isDevice(element) {
		return "has the name of a device"
	}
	return ""
}

// isDevice knows the device names of Windows, which count with any extension and before trailing spaces.
func isDevice(element string) bool {
	stem, _, _ := strings.Cut(element, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	switch stem {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	if digit, ok := strings.CutPrefix(stem, "COM"); ok {
		return isPortDigit(digit)
	}
	digit, ok := strings.CutPrefix(stem, "LPT")
	return ok && isPortDigit(digit)
}

func isPortDigit(s string) bool {
	return s == "¹" || s == "²" || s == "³" || len(s) == 1 && '0' <= s[0] && s[0] <= '9'
}
