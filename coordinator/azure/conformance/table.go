package conformance

import (
	"fmt"
	"regexp"
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
		"Every operation of the Azure Batch REST API with every official client that has it, unmodified, against a running cluster with real nodes. " +
		"`make compatibility` makes this page from a test run, and `make test` fails where it is not what a run shows; do not edit it.\n\n" +
		"`—`: the client lacks the operation. *Refused*: the system has no meaning for it and answers with the documented error. " +
		"**Not yet**: what the client ran into. " +
		"The programs are in [coordinator/azure/conformance](../coordinator/azure/conformance).\n\n" +
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

// ofARun finds the names that a program makes up for one run.
var ofARun = regexp.MustCompile(`\b(conf-[a-z]+)-[0-9a-fA-F]{8}`)

func describe(r Result, found bool) string {
	reason := strings.ReplaceAll(ofARun.ReplaceAllString(r.Reason, "$1"), "|", `\|`)
	switch {
	case !found:
		return "—"
	case r.Passed && reason == "":
		return "passes"
	case r.Passed:
		return "*Refused*" + strings.TrimPrefix(reason, "refused as documented")
	default:
		return "**Not yet**: " + reason
	}
}
