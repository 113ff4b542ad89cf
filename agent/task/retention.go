package task

import "path"

// bucketSeconds is the grain of retention: directories go up to so many seconds late.
const bucketSeconds = 5

// retention holds the directories of acknowledged attempts until their time is over. There may be millions: an entry is
// kept small.
type retention struct {
	jobs    map[string]map[string]retained // by a job's directory, then by a task's directory
	buckets map[int64][]string             // end of retention in buckets → directories, some of which may have changed since
}

type retained struct {
	ref   Ref
	until int64 // Unix seconds
}

func newRetention() *retention {
	return &retention{jobs: map[string]map[string]retained{}, buckets: map[int64][]string{}}
}

func (r *retention) get(directory string) (retained, bool) {
	kept, ok := r.jobs[path.Dir(directory)][directory]
	return kept, ok
}

func (r *retention) add(directory string, kept retained) {
	job := path.Dir(directory)
	if r.jobs[job] == nil {
		r.jobs[job] = map[string]retained{}
	}
	r.jobs[job][directory] = kept
	at := bucketOf(kept.until)
	r.buckets[at] = append(r.buckets[at], directory)
}

func (r *retention) remove(directory string) {
	job := path.Dir(directory)
	delete(r.jobs[job], directory)
	if len(r.jobs[job]) == 0 {
		delete(r.jobs, job)
	}
}

func bucketOf(until int64) int64 { return (until + bucketSeconds - 1) / bucketSeconds }

// due gives the directories whose retention is over at now, in Unix seconds. They stay until they are removed.
func (r *retention) due(now int64) []string {
	var out []string
	for at, directories := range r.buckets {
		if at*bucketSeconds > now {
			continue
		}
		for _, directory := range directories {
			if kept, ok := r.get(directory); ok && kept.until <= now {
				out = append(out, directory)
			}
		}
		delete(r.buckets, at)
	}
	return out
}
