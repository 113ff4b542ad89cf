package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
)

// prices are daily closing prices: a row a day, a column an index.
type prices struct {
	names []string
	rows  [][]float64
}

func readPrices(path string) (prices, error) {
	f, err := os.Open(path)
	if err != nil {
		return prices{}, err
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return prices{}, fmt.Errorf("%s: %w", path, err)
	}
	if len(records) < 3 {
		return prices{}, fmt.Errorf("%s: expected a heading and at least two days", path)
	}
	p := prices{names: records[0]}
	for i, record := range records[1:] {
		row := make([]float64, len(record))
		for k, text := range record {
			if row[k], err = strconv.ParseFloat(text, 64); err != nil || row[k] <= 0 {
				return prices{}, fmt.Errorf("%s: line %d: %q is not a price", path, i+2, text)
			}
		}
		p.rows = append(p.rows, row)
	}
	return p, nil
}

// logReturns are the daily logarithmic returns of a portfolio that holds all indices in equal parts.
func (p prices) logReturns() []float64 {
	out := make([]float64, 0, len(p.rows)-1)
	for i := 1; i < len(p.rows); i++ {
		var sum float64
		for k, price := range p.rows[i] {
			sum += price / p.rows[i-1][k]
		}
		out = append(out, math.Log(sum/float64(len(p.rows[i]))))
	}
	return out
}

// simulate draws whole days from the past, with replacement, so that fat tails and the indices' dependence stay as they were.
func simulate(p prices, seed uint64, paths, days int) *result {
	random := rand.New(rand.NewPCG(seed, 0x62617463687961))
	returns := p.logReturns()
	r := newResult(days)
	r.Tasks = 1
	for range paths {
		var sum float64
		for range days {
			sum += returns[random.IntN(len(returns))]
		}
		r.add(math.Exp(sum))
	}
	return r
}

// Bins of the histogram: the portfolio's value after the period, as a multiple of today's.
const (
	lowest   = 0.4
	highest  = 2.8
	binCount = 240
)

// result is a histogram with the sums that its mean and deviation need; results of simulations add up.
type result struct {
	Days  int     `json:"days"`
	Tasks int     `json:"tasks"`
	Paths int     `json:"paths"`
	Sum   float64 `json:"sum"`
	Sum2  float64 `json:"sum2"`
	Bins  []int   `json:"bins"`
}

func newResult(days int) *result { return &result{Days: days, Bins: make([]int, binCount)} }

func (r *result) add(value float64) {
	r.Paths++
	r.Sum += value
	r.Sum2 += value * value
	bin := int((value - lowest) / (highest - lowest) * binCount)
	r.Bins[min(max(bin, 0), binCount-1)]++
}

func (r *result) merge(other *result) error {
	if other.Days != r.Days || len(other.Bins) != len(r.Bins) {
		return errors.New("the results are of different simulations")
	}
	r.Tasks += other.Tasks
	r.Paths += other.Paths
	r.Sum += other.Sum
	r.Sum2 += other.Sum2
	for i, n := range other.Bins {
		r.Bins[i] += n
	}
	return nil
}

func (r *result) mean() float64 { return r.Sum / float64(r.Paths) }

func (r *result) deviation() float64 {
	return math.Sqrt(max(0, r.Sum2/float64(r.Paths)-r.mean()*r.mean()))
}

// quantile is the value that a share q of the paths stays below, to the width of a bin.
func (r *result) quantile(q float64) float64 {
	left := q * float64(r.Paths)
	for i, n := range r.Bins {
		if left <= float64(n) {
			return binStart(i) + (binStart(1)-binStart(0))*left/math.Max(1, float64(n))
		}
		left -= float64(n)
	}
	return highest
}

// below is the share of paths that end below a value.
func (r *result) below(value float64) float64 {
	n := 0
	for i, count := range r.Bins {
		if binStart(i+1) <= value+1e-9 {
			n += count
		}
	}
	return float64(n) / float64(r.Paths)
}

func binStart(i int) float64 { return lowest + (highest-lowest)*float64(i)/binCount }
