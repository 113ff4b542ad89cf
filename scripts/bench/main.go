// Command bench measures the budgets of the design and prints them beside what was measured, as a table and as JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"text/tabwriter"
	"time"
)

// Figure is one budget and what was measured of it.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Budget is the least (AtLeast) or the most that the value is to be; 0: none, the figure is for information.
	Budget  float64 `json:"budget,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
	Met     bool    `json:"met"`
	How     string  `json:"how"`
}

func (f *Figure) judge() {
	f.Met = f.Budget == 0 || f.AtLeast && f.Value >= f.Budget || !f.AtLeast && f.Value <= f.Budget
}

type bench struct {
	program string
	dir     string
	scale   float64 // on the sizes, for a look that need not be exact
	figures []Figure
}

func (b *bench) size(n int) int { return max(1, int(float64(n)*b.scale)) }

func (b *bench) add(f Figure) {
	f.judge()
	b.figures = append(b.figures, f)
	fmt.Fprintf(os.Stderr, "  %s: %s\n", f.Name, f.text())
}

// parts are run in this order.
var parts = []struct {
	name string
	run  func(context.Context, *bench) error
}{
	{"real", real}, {"latency", latency}, {"simulated", simulated}, {"elements", simulatedArray}, {"add", adding}, {"million", million}, {"agents", manyAgents},
}

func main() {
	only := flag.String("only", "", "regular expression: run these parts only (real, latency, simulated, elements, add, million, agents)")
	scale := flag.Float64("scale", 1, "factor on the sizes of everything")
	out := flag.String("json", "results/bench.json", "file for the figures")
	program := flag.String("program", ".bin/batchyard", "the program to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *only, *out, *program, *scale)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only, out, program string, scale float64) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "batchyard-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{dir: dir, scale: scale}
	if b.program, err = filepath.Abs(program); err != nil {
		return err
	}
	for _, part := range parts {
		if !wanted.MatchString(part.name) {
			continue
		}
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "%s\n", part.name)
		if err := part.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "  (%.0f s)\n", time.Since(begun).Seconds())
	}
	if err := b.table(); err != nil {
		return err
	}
	return b.save(out)
}

func (f *Figure) text() string { return fmt.Sprintf("%.4g %s", f.Value, f.Unit) }

func (f *Figure) budget() string {
	switch {
	case f.Budget == 0:
		return ""
	case f.AtLeast:
		return fmt.Sprintf("at least %.4g", f.Budget)
	default:
		return fmt.Sprintf("under %.4g", f.Budget)
	}
}

func (b *bench) table() error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "WHAT\tMEASURED\tBUDGET\tMET\tHOW")
	for _, f := range b.figures {
		met := ""
		if f.Budget != 0 {
			met = map[bool]string{true: "yes", false: "NO"}[f.Met]
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.Name, f.text(), f.budget(), met, f.How)
	}
	return w.Flush()
}

func (b *bench) save(path string) error {
	text, err := json.MarshalIndent(b.figures, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
