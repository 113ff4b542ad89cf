package schedule

import (
	"testing"

	"github.com/batchyard/batchyard/coordinator/state"
)

// BenchmarkPlan places as many tasks as a pass does, on a thousand nodes of eight slots.
func BenchmarkPlan(b *testing.B) {
	const nodes, slots = 1000, 8
	for name, c := range map[string]struct {
		room func() state.PoolRoom
	}{
		"one job": {func() state.PoolRoom { return state.PoolRoom{Jobs: []state.JobQueue{job(1, 0, 1<<20)}} }},
		"packed":  {func() state.PoolRoom { return state.PoolRoom{Fill: pack, Jobs: []state.JobQueue{job(1, 0, 1<<20)}} }},
		"ten jobs": {func() (room state.PoolRoom) {
			for i := range uint64(10) {
				room.Jobs = append(room.Jobs, job(i+1, int32(i%3), 1<<20))
			}
			return room
		}},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				room := c.room()
				for i := range uint64(nodes) {
					room.Nodes = append(room.Nodes, node(i+1, slots, 0))
				}
				b.StartTimer()
				Plan(room, nil, 0)
			}
		})
	}
}
