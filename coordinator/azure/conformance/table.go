package conformance

import (
	"fmt"
	"strings"

	"github.com/batchyard/batchyard/coordinator/azure"
)

// Table is the Markdown page of operations and clients.
func Table(results []Result) string {
	type cell struct{ operation, client string }
	cells := map[cell]Result{}
	for _, r := range results {
		cells[cell{r.Operation, r.Client}] = r
	}
	var b strings.Builder
	b.WriteString("# Azure Batch compatibility\n\n" +
		"Every operation of the Azure Batch REST API with every official client that has it, unmodified, against a running cluster. " +
		"This page is made by the test run; do not edit it.\n\n" +
		"`—`: the client lacks the operation. *Refused*: the system has no meaning for it and answers with the documented error.\n\n" +
		"| operation | route |")
	for _, c := range Clients() {
		b.WriteString(" " + c.Name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(Clients())) + "\n")
	for _, route := range azure.Routes() {
		fmt.Fprintf(&b, "| %s | `%s %s` |", route.Operation, route.Method, route.Pattern)
		for _, c := range Clients() {
			r, found := cells[cell{route.Operation, c.Name}]
			b.WriteString(" " + describe(r, found) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func describe(r Result, found bool) string {
	reason := strings.ReplaceAll(r.Reason, "|", `\|`)
	switch {
	case !found:
		return "—"
	case r.Passed && reason == "":
		return "passes"
	case r.Passed:
		return "*Refused*" + strings.TrimPrefix(reason, "refused as documented")
	default:
		return "**fails**: " + reason
	}
}

// Failures are the operations that a client could not carry out.
func Failures(results []Result) []Result {
	var failures []Result
	for _, r := range results {
		if !r.Passed {
			failures = append(failures, r)
		}
	}
	return failures
}
