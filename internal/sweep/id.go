package sweep

import (
	"errors"
	"strconv"
	"strings"

	"github.com/batchyard/batchyard/internal/lifecycle"
)

// IDs are the ids of an array's elements: a prefix and the element's index, with leading zeros up to a width. Ids that differ in case are the same.
type IDs struct {
	Prefix string
	Width  int
}

// ParseIDs reads the template of ids: text that ends with {{index}} or {{index:04}} and may have {{array}} before.
func ParseIDs(template, array string) (IDs, error) {
	errShape := errors.New("expected text followed by {{index}}, as in run-{{index:04}}")
	head, ok := strings.CutSuffix(template, "}}")
	at := strings.LastIndex(head, "{{")
	if !ok || at < 0 {
		return IDs{}, errShape
	}
	name, format, formatted := strings.Cut(strings.TrimSpace(head[at+2:]), ":")
	if strings.TrimSpace(name) != NameIndex {
		return IDs{}, errShape
	}
	ids := IDs{}
	var err error
	if formatted {
		if ids.Width, err = width(strings.TrimSpace(format)); err != nil {
			return IDs{}, err
		}
	}
	ids.Prefix, err = Text(head[:at], func(name string) (string, bool, error) { return array, name == NameArray, nil })
	return ids, err
}

// ID is the id of the element with an index.
func (d IDs) ID(index int64) string {
	digits := strconv.FormatInt(index, 10)
	return d.Prefix + strings.Repeat("0", max(0, d.Width-len(digits))) + digits
}

// Index is the index of the element with an id; false where no element has such an id.
func (d IDs) Index(id string) (int64, bool) {
	digits, ok := strings.CutPrefix(lifecycle.IDKey(id), lifecycle.IDKey(d.Prefix))
	if !ok || digits == "" || len(digits) > 18 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	if len(digits) > max(d.Width, 1) && digits[0] == '0' || len(digits) < d.Width {
		return 0, false
	}
	index, err := strconv.ParseInt(digits, 10, 64)
	return index, err == nil
}

// Stem is what is left of an id without the digits at its end, in lower case: ids of arrays with different stems are never the same.
func Stem(id string) string { return strings.TrimRight(lifecycle.IDKey(id), "0123456789") }
