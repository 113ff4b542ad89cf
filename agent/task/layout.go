package task

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/batchyard/batchyard/internal/lifecycle"
	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
)

// Names below a node's root directory (Azure Batch, node directory layout).
const (
	dirApplications = "applications"
	dirMounts       = "fsmounts"
	dirShared       = "shared"
	dirStartup      = "startup"
	dirVolatile     = "volatile"
	dirWorkItems    = "workitems"
	dirTrash        = "volatile/trash"
	dirWorking      = "wd"
	firstJob        = "job-1"

	// StdoutName and StderrName are the files in a task's directory that its command writes to.
	StdoutName = "stdout.txt"
	StderrName = "stderr.txt"
)

// Directory is a task's directory, relative to the node's root, with slashes: workitems/JOB/job-1/TASK, or
// workitems/SCHEDULE/JOB/TASK for a job that a job schedule made. Ids that could lead elsewhere are refused.
func Directory(jobID, taskID string) (string, error) {
	job, err := jobDirectory(jobID)
	if err != nil {
		return "", err
	}
	if !lifecycle.ValidID(taskID) {
		return "", fmt.Errorf("task id %q cannot name a directory", taskID)
	}
	return path.Join(job, taskID), nil
}

// directoryOf is the directory of an assigned attempt.
func directoryOf(job *agentv1.JobContext, assignment *agentv1.Assignment) (string, error) {
	switch assignment.GetKind() {
	case agentv1.AssignmentKind_ASSIGNMENT_KIND_START, agentv1.AssignmentKind_ASSIGNMENT_KIND_PREFETCH:
		return dirStartup, nil
	}
	return Directory(job.GetJobId(), assignment.GetTaskId())
}

// slotsOf is how many of the node's slots an attempt occupies. Start, preparation and release tasks, and what brings images, run beside all others.
func slotsOf(assignment *agentv1.Assignment) int32 {
	if assignment.GetKind() != agentv1.AssignmentKind_ASSIGNMENT_KIND_UNSPECIFIED {
		return 0
	}
	return max(assignment.GetSlots(), 1)
}

func jobDirectory(jobID string) (string, error) {
	item, job, scheduled := strings.Cut(jobID, ":")
	if !scheduled {
		job = firstJob
	}
	if !lifecycle.ValidID(item) || !lifecycle.ValidID(job) {
		return "", fmt.Errorf("job id %q cannot name a directory", jobID)
	}
	return path.Join(dirWorkItems, item, job), nil
}

// absolute joins a relative directory with slashes to the node's root.
func absolute(root, relative string) string { return filepath.Join(root, filepath.FromSlash(relative)) }

// isTaskDirectory says whether directoryOf could have made the name.
func isTaskDirectory(name string) bool {
	if name == dirStartup {
		return true
	}
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != dirWorkItems {
		return false
	}
	for _, id := range parts[1:] {
		if !lifecycle.ValidID(id) {
			return false
		}
	}
	return true
}
