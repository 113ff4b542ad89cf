package state

// PoolLoad is what formulas can ask of the work on a pool.
type PoolLoad struct {
	// Tasks that wait for a node, a multi-instance task once for each node that it needs, those of disabled jobs and those that wait for other tasks left out, and tasks that run.
	Active, Running uint64
	// Tasks that have ended, of the jobs that there are.
	Succeeded, Failed int64
}

// PoolLoad counts the work on a pool.
func (s *Store) PoolLoad(key PoolKey) (PoolLoad, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, ok := s.pool(key.Account, key.ID)
	if !ok {
		return PoolLoad{}, false
	}
	var out PoolLoad
	for _, j := range p.jobs {
		if j.rec.Job.State == jobActive {
			_, places := j.ready()
			out.Active += places
		}
		out.Succeeded += j.counts.GetSucceeded()
		out.Failed += j.counts.GetFailed()
	}
	p.nodes.Ascend(func(n *node) bool {
		for _, h := range n.held {
			switch {
			case h.unstarted():
				out.Active++
			case h.live():
				out.Running++
			}
		}
		return true
	})
	return out, true
}

// ScalingPool is a pool that scales by a formula.
type ScalingPool struct {
	PoolKey
	UID uint64
	// Due is when its formula is to be evaluated next, in Unix nanoseconds.
	Due int64
}

// ScalingPools names all pools that scale by a formula.
func (s *Store) ScalingPools() []ScalingPool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []ScalingPool
	s.pools.Ascend(func(p *pool) bool {
		if p.rec.Pool.GetEnableAutoScale() {
			out = append(out, ScalingPool{PoolKey{p.rec.Account, p.rec.Pool.Id}, p.rec.Uid, p.rec.AutoScaleDue})
		}
		return true
	})
	return out
}
