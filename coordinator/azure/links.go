package azure

import (
	"net/url"
	"strings"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// links makes the addresses in answers, which the services do not know.
type links struct {
	base string
	job  string // of the tasks that are written
	pool string // of the nodes that are written
	root string // URL below which files are written
	self string // URL of the resource that is being written, for its statistics
}

func (l *links) poolURL(id string) string     { return l.base + "/pools/" + segment(id) }
func (l *links) jobURL(id string) string      { return l.base + "/jobs/" + segment(id) }
func (l *links) scheduleURL(id string) string { return l.base + "/jobschedules/" + segment(id) }

func (l *links) taskURL(job, task string) string {
	return l.jobURL(job) + "/tasks/" + segment(task)
}

func (l *links) nodeURL(pool, node string) string {
	return l.poolURL(pool) + "/nodes/" + segment(node)
}

// segment encodes an id as one path segment; the colon of ids from schedules stays readable.
func segment(id string) string {
	return strings.ReplaceAll(url.PathEscape(id), "%3A", ":")
}

// isLink says whether a property is an address that links fill in.
func isLink(name string) bool {
	return name == "url" || name == "nodeUrl" || name == "taskUrl" || name == "taskRootDirectoryUrl"
}

// of is the address for a property of m that the services left empty; empty if there is none.
func (l *links) of(m protoreflect.Message, name string) string {
	switch r := m.Interface().(type) {
	case *apiv1.Pool:
		return l.poolURL(r.GetId())
	case *apiv1.Job:
		return l.jobURL(r.GetId())
	case *apiv1.JobSchedule:
		return l.scheduleURL(r.GetId())
	case *apiv1.Task:
		return l.taskURL(l.job, r.GetId())
	case *apiv1.Node:
		return l.nodeURL(l.pool, r.GetId())
	case *apiv1.NodeFile:
		return l.root + "/" + url.PathEscape(r.GetName())
	case *apiv1.RecentBatchJob:
		return l.jobURL(r.GetId())
	case *apiv1.TaskInfo:
		return l.taskURL(r.GetJobId(), r.GetTaskId())
	case *apiv1.NodeInfo:
		return l.ofNodeInfo(r, name)
	case *apiv1.JobPreparationAndReleaseTaskStatus:
		return l.nodeURL(r.GetPoolId(), r.GetNodeId())
	case *apiv1.PoolStatistics, *apiv1.JobStatistics, *apiv1.JobScheduleStatistics, *apiv1.TaskStatistics:
		return l.self
	default:
		return ""
	}
}

func (l *links) ofNodeInfo(info *apiv1.NodeInfo, name string) string {
	if info.GetNodeId() == "" {
		return ""
	}
	node := l.nodeURL(info.GetPoolId(), info.GetNodeId())
	switch {
	case name == "nodeUrl":
		return node
	case info.GetTaskRootDirectory() != "":
		return node + "/files/" + info.GetTaskRootDirectory()
	default:
		return ""
	}
}
