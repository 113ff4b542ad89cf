package main

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
	"github.com/batchyard/batchyard/internal/client/apijson"
)

// Values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
	outputYAML  = "yaml"
)

func (f *factory) checkOutput() error {
	switch f.output {
	case outputTable, outputJSON, outputYAML:
		return nil
	}
	return usagef("--output %s: expected table, json or yaml", strconv.Quote(f.output))
}

func (f *factory) forPeople() bool { return f.output == outputTable }

// say tells people what was done; programs read exit codes.
func (f *factory) say(format string, args ...any) error {
	if !f.forPeople() {
		return nil
	}
	_, err := fmt.Fprintf(f.out, format+"\n", args...)
	return err
}

// show prints one thing: as show does for people, or whole for programs.
func (f *factory) show(msg proto.Message, people func(w io.Writer) error) error {
	var text []byte
	var err error
	switch f.output {
	case outputJSON:
		if text, err = apijson.Marshal(msg); err == nil {
			text = append(text, '\n')
		}
	case outputYAML:
		text, err = apijson.MarshalYAML(msg)
	default:
		return people(f.out)
	}
	if err != nil {
		return err
	}
	_, err = f.out.Write(text)
	return err
}

// list prints things: as rows of a table for people, as a JSON array or YAML list for programs, or only names with quiet.
func list[M proto.Message](f *factory, items []M, quiet func(M) string, table *render.Table, row func(M) []string) error {
	switch {
	case quiet != nil:
		var b strings.Builder
		for _, item := range items {
			b.WriteString(render.Plain(quiet(item)) + "\n")
		}
		_, err := io.WriteString(f.out, b.String())
		return err
	case f.output == outputJSON:
		return writeJSONArray(f.out, items)
	case f.output == outputYAML:
		return writeYAMLList(f.out, items)
	}
	for _, item := range items {
		table.Row(row(item)...)
	}
	_, err := table.WriteTo(f.out)
	return err
}

func writeJSONArray[M proto.Message](w io.Writer, items []M) error {
	var b bytes.Buffer
	b.WriteString("[")
	for i, item := range items {
		if i > 0 {
			b.WriteString(",")
		}
		text, err := apijson.Marshal(item)
		if err != nil {
			return err
		}
		b.WriteString("\n  " + strings.ReplaceAll(string(text), "\n", "\n  "))
	}
	if len(items) > 0 {
		b.WriteString("\n")
	}
	b.WriteString("]\n")
	_, err := w.Write(b.Bytes())
	return err
}

func writeYAMLList[M proto.Message](w io.Writer, items []M) error {
	var b bytes.Buffer
	for _, item := range items {
		text, err := apijson.MarshalYAML(item)
		if err != nil {
			return err
		}
		b.WriteString("- " + strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", "\n  ") + "\n")
	}
	if len(items) == 0 {
		b.WriteString("[]\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}

// ifQuiet gives list its function for names, or nil.
func ifQuiet[M any](quiet bool, name func(M) string) func(M) string {
	if quiet {
		return name
	}
	return nil
}

// word is the spelling of an enum's value; "" for none.
func word(e protoreflect.Enum) string {
	return apijson.EnumText(e.Descriptor(), e.Number())
}

func (f *factory) ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return render.Ago(t.AsTime(), f.now())
}

// moment writes a time in full with its age; "" for none.
func (f *factory) moment(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", t.AsTime().Local().Format("2006-01-02 15:04:05 MST"), render.Ago(t.AsTime(), f.now()))
}

// took is the time between two moments, or until now if the second has not come.
func (f *factory) took(from, to *timestamppb.Timestamp) string {
	if from == nil {
		return ""
	}
	end := f.now()
	if to != nil {
		end = to.AsTime()
	}
	return render.Duration(max(0, end.Sub(from.AsTime()).Round(time.Millisecond)))
}

func number[N ~int | ~int32 | ~int64](n N) string { return strconv.FormatInt(int64(n), 10) }

// optional is a number that may be absent.
func optional(n *int32) string {
	if n == nil {
		return ""
	}
	return number(*n)
}
