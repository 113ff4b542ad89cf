package task

import "container/heap"

// queue orders waiting attempts: higher priority first, then the order of arrival. Those that no longer wait are passed
// over when their turn comes.
type queue struct {
	items   waiting
	arrival uint64
}

type waiting []*attempt

func (w waiting) Len() int { return len(w) }
func (w waiting) Less(i, k int) bool {
	a, b := w[i], w[k]
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	return a.arrival < b.arrival
}
func (w waiting) Swap(i, k int) { w[i], w[k] = w[k], w[i] }
func (w *waiting) Push(x any)   { *w = append(*w, x.(*attempt)) }
func (w *waiting) Pop() any {
	last := len(*w) - 1
	out := (*w)[last]
	(*w)[last] = nil
	*w = (*w)[:last]
	return out
}

func (q *queue) push(a *attempt) {
	q.arrival++
	a.arrival = q.arrival
	heap.Push(&q.items, a)
}

// next is the attempt whose turn it is, or nil. It stays in the queue.
func (q *queue) next() *attempt {
	for len(q.items) > 0 {
		if a := q.items[0]; a.state.Stage == Queued {
			return a
		}
		heap.Pop(&q.items)
	}
	return nil
}

// pop removes what next returned.
func (q *queue) pop() { heap.Pop(&q.items) }
