package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"slices"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"
)

const (
	width, height = 960, 540
	left, right   = 70, 930
	top, bottom   = 60, 470
)

var (
	ink     = color.RGBA{0x22, 0x2b, 0x38, 0xff}
	faint   = color.RGBA{0xdd, 0xe2, 0xe8, 0xff}
	loss    = color.RGBA{0xd9, 0x6c, 0x5f, 0xff}
	gain    = color.RGBA{0x4f, 0x8a, 0xc9, 0xff}
	quarter = color.RGBA{0x22, 0x2b, 0x38, 0xff}
)

// plot draws the histogram as a PNG: losses and gains in colours of their own, lines at the 5, 50 and 95 per cent quantiles.
func (r *result) plot(path string) error {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Bounds(), image.White, image.Point{}, draw.Src)
	most := float64(slices.Max(r.Bins))
	for v := lowest + 0.1; v < highest; v += 0.2 {
		x := xOf(v)
		fill(img, x, top, x+1, bottom, faint)
		text(img, x-10, bottom+20, fmt.Sprintf("%.1f", v))
	}
	for i, n := range r.Bins {
		y := bottom - int(float64(n)/most*(bottom-top))
		c := gain
		if binStart(i+1) <= 1+1e-9 {
			c = loss
		}
		fill(img, xOf(binStart(i)), y, max(xOf(binStart(i+1)), xOf(binStart(i))+1), bottom, c)
	}
	for _, q := range []float64{0.05, 0.5, 0.95} {
		x := xOf(r.quantile(q))
		fill(img, x, top, x+1, bottom, quarter)
		text(img, x+4, top+14, fmt.Sprintf("%g%%: %.2f", 100*q, r.quantile(q)))
	}
	fill(img, left, bottom, right, bottom+1, ink)
	text(img, left, 28, fmt.Sprintf("Value of a portfolio of DAX, SMI, CAC and FTSE after %d trading days (today = 1)", r.Days))
	text(img, left, 46, fmt.Sprintf("%d paths of %d tasks; a loss in %.1f %% of them", r.Paths, r.Tasks, 100*r.below(1)))
	text(img, left, height-22, "multiple of today's value")
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := png.Encode(f, img); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func xOf(value float64) int {
	return left + int((value-lowest)/(highest-lowest)*float64(right-left))
}

func fill(img draw.Image, x0, y0, x1, y1 int, c color.Color) {
	draw.Draw(img, image.Rect(x0, y0, x1, y1), image.NewUniform(c), image.Point{}, draw.Src)
}

func text(img draw.Image, x, y int, s string) {
	d := font.Drawer{Dst: img, Src: image.NewUniform(ink), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(s)
}
