package state

import (
	"sync"
)

// maxNodeChanges bounds what is remembered for a node between two looks of a watcher; beyond it the watcher starts over with all that the node holds.
const maxNodeChanges = 20_000

// Changes says what has changed since a watcher last looked. It names things, it does not describe them: a watcher reads the state again. Only for what
// nodes are to take up or drop are there lists, so that dispatch need not compare.
type Changes struct {
	// Reset: the whole state was replaced.
	Reset bool
	// Pools whose record or nodes changed.
	Pools map[PoolKey]bool
	// Rooms are the pools in which there may be something to place: a task is ready, or a node has room.
	Rooms map[PoolKey]bool
	Jobs  map[uint64]bool
	// Job schedules, also those of which a job has ended.
	JobSchedules map[uint64]bool
	Nodes        map[uint64]*NodeChanges
}

// PoolKey names a pool.
type PoolKey struct{ Account, ID string }

// NodeChanges are the changes of what one node holds, in order of time within each list.
type NodeChanges struct {
	// Record: the node's record changed, or the node is gone.
	Record bool
	// Resync: the lists were too long; read everything that the node holds.
	Resync                         bool
	Assigned, Stopping, Retracting []AttemptKey
	Clean                          []Clean
	// Released: the node holds less, it has room.
	Released bool
}

// Clean is a task's directory, or with no task a job's, that is to be deleted from a node.
type Clean struct {
	Attempt       AttemptKey
	JobID, TaskID string
}

func newChanges() *Changes {
	return &Changes{
		Pools: map[PoolKey]bool{}, Rooms: map[PoolKey]bool{}, Jobs: map[uint64]bool{}, JobSchedules: map[uint64]bool{}, Nodes: map[uint64]*NodeChanges{},
	}
}

func (c *Changes) nodeChanges(uid uint64) *NodeChanges {
	n := c.Nodes[uid]
	if n == nil {
		n = &NodeChanges{}
		c.Nodes[uid] = n
	}
	return n
}

func (c *Changes) merge(e *Changes) {
	c.Reset = c.Reset || e.Reset
	for k := range e.Pools {
		c.Pools[k] = true
	}
	for k := range e.Rooms {
		c.Rooms[k] = true
	}
	for k := range e.Jobs {
		c.Jobs[k] = true
	}
	for k := range e.JobSchedules {
		c.JobSchedules[k] = true
	}
	for uid, from := range e.Nodes {
		c.nodeChanges(uid).Merge(from)
	}
}

// Merge adds later changes to earlier ones.
func (n *NodeChanges) Merge(from *NodeChanges) {
	n.Record = n.Record || from.Record
	n.Resync = n.Resync || from.Resync
	n.Released = n.Released || from.Released
	n.Clean = append(n.Clean, from.Clean...)
	n.Assigned = append(n.Assigned, from.Assigned...)
	n.Stopping = append(n.Stopping, from.Stopping...)
	n.Retracting = append(n.Retracting, from.Retracting...)
	if len(n.Assigned)+len(n.Stopping)+len(n.Retracting)+len(n.Clean) > maxNodeChanges {
		n.Resync = true
	}
	if n.Resync {
		n.Assigned, n.Stopping, n.Retracting, n.Clean = nil, nil, nil, nil
	}
}

// events collects the changes of one entry.
type events struct{ *Changes }

func newEvents() events { return events{newChanges()} }

func (e events) pool(p *pool) {
	e.Pools[PoolKey{p.rec.Account, p.rec.Pool.Id}] = true
	e.room(p)
}

func (e events) room(p *pool) { e.Rooms[PoolKey{p.rec.Account, p.rec.Pool.Id}] = true }

func (e events) job(j *job) { e.Jobs[j.rec.Uid] = true }

func (e events) jobSchedule(s *jobSchedule) { e.JobSchedules[s.rec.Uid] = true }

func (e events) node(p *pool, n *node) {
	e.pool(p)
	e.nodeChanges(n.rec.Uid).Record = true
}

func (e events) assigned(n *node, k AttemptKey) {
	c := e.nodeChanges(n.rec.Uid)
	c.Assigned = append(c.Assigned, k)
}

func (e events) stopping(n *node, k AttemptKey) {
	c := e.nodeChanges(n.rec.Uid)
	c.Stopping = append(c.Stopping, k)
}

func (e events) retracting(n *node, k AttemptKey) {
	c := e.nodeChanges(n.rec.Uid)
	c.Retracting = append(c.Retracting, k)
}

func (e events) released(n *node) {
	e.nodeChanges(n.rec.Uid).Released = true
	key := PoolKey{n.rec.Account, n.rec.PoolId}
	e.Rooms[key] = true
	if n.rec.Leaving {
		e.Pools[key] = true // the last one released is what a leaving node waits for
	}
}

func (e events) clean(n *node, key TaskKey, attempt uint32, jobID, taskID string) {
	if n == nil {
		return
	}
	c := e.nodeChanges(n.rec.Uid)
	c.Clean = append(c.Clean, Clean{AttemptKey{key, attempt}, jobID, taskID})
}

// watchers hands changes to those who asked.
type watchers struct {
	mu   sync.Mutex
	subs map[*Watcher]bool
}

// Watcher collects changes until its owner takes them; the owner never blocks Apply.
type Watcher struct {
	owner   *watchers
	wake    chan struct{}
	mu      sync.Mutex
	pending *Changes
}

// Watch begins to collect changes. The caller reads the state after this call, and calls Close at the end.
func (s *Store) Watch() *Watcher {
	w := &Watcher{owner: &s.watchers, wake: make(chan struct{}, 1), pending: newChanges()}
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	if s.watchers.subs == nil {
		s.watchers.subs = map[*Watcher]bool{}
	}
	s.watchers.subs[w] = true
	return w
}

// C receives when there is something to take.
func (w *Watcher) C() <-chan struct{} { return w.wake }

// Take returns what has changed since the last call.
func (w *Watcher) Take() *Changes {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.pending
	w.pending = newChanges()
	return out
}

// Close ends the watch.
func (w *Watcher) Close() {
	w.owner.mu.Lock()
	defer w.owner.mu.Unlock()
	delete(w.owner.subs, w)
}

func (ws *watchers) publish(e events) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for w := range ws.subs {
		w.mu.Lock()
		w.pending.merge(e.Changes)
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (ws *watchers) reset() {
	e := newEvents()
	e.Reset = true
	ws.publish(e)
}
