package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
)

func (r *result) write(path string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

func readResult(path string) (*result, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(r.Bins) != binCount || r.Paths == 0 {
		return nil, fmt.Errorf("%s: not a result", path)
	}
	return r, nil
}

// merge adds up all results of a directory.
func merge(dir string) (*result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("nothing to merge")
	}
	var total *result
	for _, file := range files {
		r, err := readResult(file)
		if err != nil {
			return nil, err
		}
		if total == nil {
			total = r
			continue
		}
		if err := total.merge(r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return total, nil
}

// table prints what the simulations found.
func (r *result) table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name, format string, value any) { fmt.Fprintf(t, "%s\t"+format+"\t\n", name, value) }
	row("simulations (tasks)", "%d", r.Tasks)
	row("paths", "%d", r.Paths)
	row("trading days", "%d", r.Days)
	row("mean value", "%.3f", r.mean())
	row("standard deviation", "%.3f", r.deviation())
	for _, q := range []float64{0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99} {
		row(fmt.Sprintf("%g %% quantile", 100*q), "%.3f", r.quantile(q))
	}
	row("chance of a loss", "%.1f %%", 100*r.below(1))
	return t.Flush()
}
