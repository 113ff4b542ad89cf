package sweep

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// MaxItems is how many items an array has at most.
const MaxItems = 1_000_000

// Lines makes an item of each line that is not empty.
func Lines(text []byte) (*apiv1.ArrayItems, error) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, MaxText)
	var values []string
	for lines.Scan() {
		if lines.Text() != "" {
			values = append(values, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("a line is longer than %d bytes", MaxText)
	}
	return List(values)
}

// List makes an item of each text.
func List(values []string) (*apiv1.ArrayItems, error) {
	out := &apiv1.ArrayItems{}
	for _, value := range values {
		out.Items = append(out.Items, &apiv1.ArrayItem{Values: []string{value}})
	}
	return out, count(out)
}

// CSV makes an item of each record (RFC 4180); the first names the columns.
func CSV(text []byte) (*apiv1.ArrayItems, error) {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))))
	r.TrimLeadingSpace = true
	header, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("there is no line with the names of the columns")
	}
	if err != nil {
		return nil, err
	}
	for _, name := range header {
		if !ValidName(name) {
			return nil, fmt.Errorf("line 1: the column %q can't be used in a template: a name has letters, digits and _, and begins with no digit", Abbreviate(name))
		}
	}
	out := &apiv1.ArrayItems{Columns: header}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, count(out)
		}
		if err != nil {
			return nil, err // with its line
		}
		out.Items = append(out.Items, &apiv1.ArrayItem{Values: record})
	}
}

func count(items *apiv1.ArrayItems) error {
	switch n := len(items.Items); {
	case n == 0:
		return errors.New("there are no items")
	case n > MaxItems:
		return fmt.Errorf("there are %d items; an array has at most %d", n, MaxItems)
	}
	items.Total = int64(len(items.Items))
	return nil
}
