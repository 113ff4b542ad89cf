package lifecycle

import "strings"

// TaskDirectory is a task's directory relative to the root of its node, with / between the parts. Jobs of a job schedule ("schedule:job-1") have
// their schedule's directory.
func TaskDirectory(jobID, taskID string) string { return JobDirectory(jobID) + "/" + taskID }

// JobDirectory is a job's directory relative to the root of its nodes.
func JobDirectory(jobID string) string {
	if schedule, job, scheduled := strings.Cut(jobID, ":"); scheduled {
		return "workitems/" + schedule + "/" + job
	}
	return "workitems/" + jobID + "/job-1"
}
