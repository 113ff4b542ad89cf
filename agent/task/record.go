package task

import agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"

func headerRecord(bootID string) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Header{Header: &agentv1.JournalHeader{BootId: bootID}}}
}

func jobRecord(job *agentv1.JobContext) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Job{Job: job}}
}

func specRecord(spec *agentv1.TaskSpec) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Spec{Spec: spec}}
}

func attemptRecord(a *attempt) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Attempt{
		Attempt: &agentv1.AttemptRecord{Assignment: a.assignment, Change: changeOf(a)},
	}}
}

func changeRecord(a *attempt) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Change{Change: changeOf(a)}}
}

func changeOf(a *attempt) *agentv1.AttemptChange {
	change := a.state.change(a.ref)
	change.Variables = a.variables
	return change
}

func retainedRecord(ref Ref, directory string, until int64) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Retained{
		Retained: &agentv1.RetainedDirectory{Ref: ref.Message(), Directory: directory, Until: until},
	}}
}

func droppedRecord(ref Ref) *agentv1.JournalRecord {
	return &agentv1.JournalRecord{Record: &agentv1.JournalRecord_Dropped{Dropped: ref.Message()}}
}

// save writes the attempt's state; what it refers to is written before, once a file.
func (r *Runner) save(a *attempt) {
	if a.journaled {
		r.journal.add(changeRecord(a))
		return
	}
	if a.spec == nil { // the supervisor's memory is the record
		return
	}
	a.journaled = true
	r.saveContext(a, r.journal.add)
	r.journal.add(attemptRecord(a))
}

func (r *Runner) saveContext(a *attempt, add func(*agentv1.JournalRecord)) {
	s := &r.book.specs
	if a.job != nil && s.writtenJobs[a.ref.Job] != a.job {
		s.writtenJobs[a.ref.Job] = a.job
		add(jobRecord(a.job))
	}
	if a.spec != nil && s.writtenSpecs[specKeyOf(a)] != a.spec {
		s.writtenSpecs[specKeyOf(a)] = a.spec
		add(specRecord(a.spec))
	}
}

// liveRecords writes everything that still matters, for a new file.
func (r *Runner) liveRecords(add func(*agentv1.JournalRecord)) {
	add(headerRecord(r.cfg.BootID))
	clear(r.book.specs.writtenJobs)
	clear(r.book.specs.writtenSpecs)
	for _, a := range r.book.live {
		if a.journaled {
			r.saveContext(a, add)
			add(attemptRecord(a))
		}
	}
	for _, directories := range r.book.retained.jobs {
		for directory, kept := range directories {
			add(retainedRecord(kept.ref, directory, kept.until))
		}
	}
}

// image is what a journal holds.
type image struct {
	bootID   string
	jobs     map[uint64]*agentv1.JobContext
	specs    map[specKey]*agentv1.TaskSpec
	attempts map[Ref]*savedAttempt
	retained map[string]retained
}

// savedAttempt binds an attempt to the job and spec as they were when it began.
type savedAttempt struct {
	assignment *agentv1.Assignment
	change     *agentv1.AttemptChange
	job        *agentv1.JobContext
	spec       *agentv1.TaskSpec
}

func newImage() *image {
	return &image{
		jobs: map[uint64]*agentv1.JobContext{}, specs: map[specKey]*agentv1.TaskSpec{},
		attempts: map[Ref]*savedAttempt{}, retained: map[string]retained{},
	}
}

// apply replays one record. Records that make no sense are passed over: the file is ours, but it may be damaged in ways
// that a checksum does not show.
func (i *image) apply(record *agentv1.JournalRecord) {
	switch r := record.GetRecord().(type) {
	case *agentv1.JournalRecord_Header:
		i.bootID = r.Header.GetBootId()
	case *agentv1.JournalRecord_Job:
		i.jobs[r.Job.GetJob()] = r.Job
	case *agentv1.JournalRecord_Spec:
		i.specs[specKey{r.Spec.GetJob(), r.Spec.GetSpec()}] = r.Spec
	case *agentv1.JournalRecord_Attempt:
		ref := RefOf(r.Attempt.GetAssignment().GetRef())
		i.attempts[ref] = &savedAttempt{
			assignment: r.Attempt.GetAssignment(), change: r.Attempt.GetChange(),
			job: i.jobs[ref.Job], spec: i.specs[specKey{ref.Job, r.Attempt.GetAssignment().GetSpec()}],
		}
	case *agentv1.JournalRecord_Change:
		if a := i.attempts[RefOf(r.Change.GetReport().GetRef())]; a != nil {
			a.change = r.Change
		}
	case *agentv1.JournalRecord_Retained:
		i.retain(r.Retained)
	case *agentv1.JournalRecord_Dropped:
		delete(i.attempts, RefOf(r.Dropped))
	}
}

func (i *image) retain(m *agentv1.RetainedDirectory) {
	ref := RefOf(m.GetRef())
	delete(i.attempts, ref)
	if !isTaskDirectory(m.GetDirectory()) {
		return
	}
	if m.GetUntil() < 0 {
		delete(i.retained, m.GetDirectory())
		return
	}
	i.retained[m.GetDirectory()] = retained{ref: ref, until: m.GetUntil()}
}
