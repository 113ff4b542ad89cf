package replica

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkPropose measures commands of 512 bytes on a cluster of one whose log is synced.
func BenchmarkPropose(b *testing.B) {
	for _, proposers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) { benchmarkPropose(b, alone(b), proposers) })
	}
}

// BenchmarkProposeThree is the same on three replicas in one process, which share a disk.
func BenchmarkProposeThree(b *testing.B) {
	for _, proposers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("proposers=%d", proposers), func(b *testing.B) { benchmarkPropose(b, cluster(b, 3)[0], proposers) })
	}
}

func benchmarkPropose(b *testing.B, p *peer, proposers int) {
	command := bytes.Repeat([]byte("x"), 512)
	entries := p.Status().Entries
	work := make(chan struct{})
	var wg sync.WaitGroup
	b.ResetTimer()
	for range proposers {
		wg.Go(func() {
			for range work {
				if _, err := p.Propose(b.Context(), command); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for range b.N {
		work <- struct{}{}
	}
	close(work)
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(b.N)/float64(p.Status().Entries-entries), "commands/entry")
}

// BenchmarkBarrier measures linearizable reads one after the other.
func BenchmarkBarrier(b *testing.B) {
	for _, replicas := range []int{1, 3} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			p := cluster(b, replicas)[0]
			b.ResetTimer()
			for range b.N {
				require.NoError(b, p.Barrier(b.Context()))
			}
		})
	}
}

// BenchmarkOpen measures the start of a replica with 16384 entries of 4 KiB in its log and its state.
func BenchmarkOpen(b *testing.B) {
	p := alone(b)
	command := bytes.Repeat([]byte("x"), 4<<10)
	var pending []*Pending
	for range 16384 {
		w, err := p.ProposeAsync(b.Context(), command)
		require.NoError(b, err)
		pending = append(pending, w)
	}
	for _, w := range pending {
		_, err := w.Wait(b.Context())
		require.NoError(b, err)
	}
	b.ResetTimer()
	var ready time.Duration
	for range b.N {
		p.shut()
		began := time.Now()
		p.restart()
		awaitLeader(b, p)
		ready += time.Since(began)
	}
	b.ReportMetric(float64(ready.Milliseconds())/float64(b.N), "ms/ready")
}
