package main

import (
	"bytes"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSimulateMergePlot(t *testing.T) {
	dir := t.TempDir()
	parts := filepath.Join(dir, "parts")
	require.NoError(t, os.Mkdir(parts, 0o755))
	for seed := range 4 {
		require.NoError(t, run([]string{"simulate", "-data", "data/EuStockMarkets.csv", "-seed", fmt.Sprint(seed), "-paths", "500",
			"-out", filepath.Join(parts, fmt.Sprintf("%d.json", seed))}))
	}
	merged := filepath.Join(dir, "merged.json")
	require.NoError(t, run([]string{"merge", "-in", parts, "-out", merged}))
	r, err := readResult(merged)
	require.NoError(t, err)
	require.Equal(t, 2000, r.Paths)
	require.Equal(t, 4, r.Tasks)
	// The four indices rose by about 16 % a year over the period.
	require.InDelta(t, 1.16, r.mean(), 0.05)
	require.Less(t, r.quantile(0.05), r.quantile(0.5))
	var table bytes.Buffer
	require.NoError(t, r.table(&table))
	require.Contains(t, table.String(), "2000")

	plot := filepath.Join(dir, "plot.png")
	require.NoError(t, run([]string{"plot", "-in", merged, "-out", plot}))
	f, err := os.Open(plot)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	require.Equal(t, width, img.Bounds().Dx())
}

func TestSameSeedSameResult(t *testing.T) {
	p, err := readPrices("data/EuStockMarkets.csv")
	require.NoError(t, err)
	require.Len(t, p.rows, 1860)
	require.Equal(t, simulate(p, 7, 100, 250), simulate(p, 7, 100, 250))
	require.NotEqual(t, simulate(p, 7, 100, 250).Sum, simulate(p, 8, 100, 250).Sum)
}

func TestBadInput(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.csv")
	require.NoError(t, os.WriteFile(bad, []byte("A,B\n1,2\n1,x\n"), 0o600))
	require.ErrorContains(t, run([]string{"simulate", "-data", bad, "-out", bad + ".out"}), `line 3: "x" is not a price`)
	require.ErrorContains(t, run([]string{"merge", "-in", t.TempDir()}), "nothing to merge")
	require.ErrorContains(t, run([]string{"fly"}), "unknown verb")
}
