package render

import (
	"bufio"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
)

// Column is the head of a table's column.
type Column struct {
	Title string
	Right bool // numbers
}

// Table aligns rows of cells under columns. Cells are made Plain; nothing is wrapped or cut.
type Table struct {
	Columns []Column
	rows    [][]string
}

// NewTable makes a table; a title that begins with '>' makes a column of numbers.
func NewTable(titles ...string) *Table {
	t := &Table{}
	for _, title := range titles {
		name, right := strings.CutPrefix(title, ">")
		t.Columns = append(t.Columns, Column{Title: name, Right: right})
	}
	return t
}

// Row adds a row; an empty cell is shown as "-".
func (t *Table) Row(cells ...string) {
	row := make([]string, len(t.Columns))
	for i := range row {
		row[i] = "-"
		if i < len(cells) {
			if cell := strings.TrimSpace(Plain(cells[i])); cell != "" {
				row[i] = cell
			}
		}
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// WriteTo writes the head and the rows.
func (t *Table) WriteTo(w io.Writer) (int64, error) {
	head := make([]string, len(t.Columns))
	widths := make([]int, len(t.Columns))
	for i, c := range t.Columns {
		head[i] = c.Title
		widths[i] = runewidth.StringWidth(c.Title)
	}
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], runewidth.StringWidth(cell))
		}
	}
	buffered := bufio.NewWriter(w)
	written := int64(0)
	for _, row := range append([][]string{head}, t.rows...) {
		n, err := buffered.WriteString(t.line(row, widths) + "\n")
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, buffered.Flush()
}

func (t *Table) line(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		if i > 0 {
			b.WriteString("  ")
		}
		pad := strings.Repeat(" ", widths[i]-runewidth.StringWidth(cell))
		if t.Columns[i].Right {
			b.WriteString(pad + cell)
		} else {
			b.WriteString(cell + pad)
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Fields writes names and values of one thing, aligned; pairs whose value is empty are left out.
func Fields(w io.Writer, pairs ...string) error {
	width := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, runewidth.StringWidth(pairs[i]))
		}
	}
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		b.WriteString(runewidth.FillRight(pairs[i], width) + "  " + Plain(pairs[i+1]) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
