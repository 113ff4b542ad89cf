// Package main is the program of the demo's application package: it simulates what a portfolio may be worth in a year, merges what many simulations found,
// and draws the result.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "montecarlo:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("expected simulate, merge, table or plot")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	data := flags.String("data", "", "CSV file of daily prices, an index a column")
	in := flags.String("in", "", "file or directory to read")
	out := flags.String("out", "", "file to write")
	seed := flags.Uint64("seed", 1, "seed of this simulation")
	paths := flags.Int("paths", 2000, "paths to simulate")
	days := flags.Int("days", 250, "trading days of a path")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "simulate":
		prices, err := readPrices(*data)
		if err != nil {
			return err
		}
		return simulate(prices, *seed, *paths, *days).write(*out)
	case "merge":
		result, err := merge(*in)
		if err != nil {
			return err
		}
		return result.write(*out)
	case "table":
		result, err := readResult(*in)
		if err != nil {
			return err
		}
		return result.table(os.Stdout)
	case "plot":
		result, err := readResult(*in)
		if err != nil {
			return err
		}
		return result.plot(*out)
	}
	return fmt.Errorf("unknown verb %q", args[0])
}
