package task

import agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"

// maxSpecs bounds how many specs of a session are remembered. A coordinator that refers to one that was let go is asked
// for a new session, in which it is sent again.
const maxSpecs = 20_000

type specKey struct {
	job  uint64
	spec uint32
}

func specKeyOf(a *attempt) specKey { return specKey{a.ref.Job, a.assignment.GetSpec()} }

// specs are the jobs and specs that the session has sent, and which of them the journal has.
type specs struct {
	jobs         map[uint64]*agentv1.JobContext
	specs        map[specKey]*agentv1.TaskSpec
	writtenJobs  map[uint64]*agentv1.JobContext
	writtenSpecs map[specKey]*agentv1.TaskSpec
}

func newSpecs() specs {
	return specs{
		jobs: map[uint64]*agentv1.JobContext{}, specs: map[specKey]*agentv1.TaskSpec{},
		writtenJobs: map[uint64]*agentv1.JobContext{}, writtenSpecs: map[specKey]*agentv1.TaskSpec{},
	}
}

// begin forgets what an earlier session sent: the next sends all that it refers to. Attempts keep what they have.
func (s *specs) begin() {
	clear(s.jobs)
	clear(s.specs)
}

// learn takes what a message brings.
func (s *specs) learn(m *agentv1.Assignments) {
	for _, job := range m.GetJobs() {
		makeRoom(s.jobs)
		s.jobs[job.GetJob()] = job
	}
	for _, spec := range m.GetSpecs() {
		makeRoom(s.specs)
		s.specs[specKey{spec.GetJob(), spec.GetSpec()}] = spec
	}
}

// makeRoom lets go of half, whichever.
func makeRoom[K comparable, V any](m map[K]V) {
	if len(m) < maxSpecs {
		return
	}
	for key := range m {
		if len(m) <= maxSpecs/2 {
			return
		}
		delete(m, key)
	}
}
