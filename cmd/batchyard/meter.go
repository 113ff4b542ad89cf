package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/batchyard/batchyard/cmd/batchyard/render"
)

type writer = io.Writer

// lineInterval is how often progress is told where no bar can be drawn.
const lineInterval = 10 * time.Second

// countUnit and byteUnit write amounts of progress.
func countUnit(n int64) string { return number(n) }
func byteUnit(n int64) string  { return render.Bytes(n) }

// meter shows how far something has come: a bar on a terminal, now and then a line elsewhere.
type meter struct {
	name string
	unit func(int64) string
	now  func() time.Time
	out  io.Writer

	mu          sync.Mutex
	bars        *mpb.Progress
	bar         *mpb.Bar
	done, total int64
	told        time.Time
}

func (f *factory) newMeter(name string, total int64, unit func(int64) string) *meter {
	m := &meter{name: render.Plain(name), unit: unit, now: time.Now, out: f.errOut, total: total, told: time.Now()}
	if f.errTTY {
		m.bars = mpb.New(mpb.WithOutput(f.errOut), mpb.WithWidth(48), mpb.WithRefreshRate(100*time.Millisecond))
		m.bar = m.bars.AddBar(total,
			mpb.PrependDecorators(decor.Name(m.name+" ")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return m.text() })),
			mpb.BarRemoveOnComplete(),
		)
	}
	return m
}

func (m *meter) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.amounts()
}

func (m *meter) amounts() string {
	if m.total < 0 {
		return " " + m.unit(m.done)
	}
	return fmt.Sprintf(" %s/%s", m.unit(m.done), m.unit(m.total))
}

// set tells how much of how much is done; a negative total is unknown.
func (m *meter) set(done, total int64) {
	m.mu.Lock()
	m.done, m.total = done, total
	line := ""
	if m.bar == nil && m.now().Sub(m.told) >= lineInterval {
		m.told = m.now()
		line = m.name + m.amounts() + "\n"
	}
	m.mu.Unlock()
	if m.bar != nil {
		m.bar.SetTotal(max(total, done, 1), false)
		m.bar.SetCurrent(done)
	}
	if line != "" {
		_, _ = io.WriteString(m.out, line)
	}
}

// finish takes the bar away.
func (m *meter) finish() {
	if m.bar != nil {
		m.bar.Abort(true)
		m.bars.Wait()
	}
}

func writeLine(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, render.Plain(text))
	return err
}

// outputWriter is where the contents of a remote file go: as they are into files and pipes, cleaned on a terminal unless raw.
func (f *factory) outputWriter(raw bool) io.Writer { return cleaned(f.out, f.outTTY && !raw) }

func (f *factory) errorWriter(raw bool) io.Writer { return cleaned(f.errOut, f.errTTY && !raw) }

func cleaned(w io.Writer, clean bool) io.Writer {
	if clean {
		return &render.Cleaner{W: w}
	}
	return w
}

// tally adds up the progress of several files for one meter.
type tally struct {
	meter *meter
	total int64
	mu    sync.Mutex
	done  int64
}

func newTally(m *meter, total int64) *tally { return &tally{meter: m, total: total} }

// part is told how much of one file is done, from its beginning; it may fall when an attempt starts over.
func (t *tally) part() func(done int64) {
	before := int64(0)
	return func(done int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.done += done - before
		before = done
		t.meter.set(t.done, t.total)
	}
}
