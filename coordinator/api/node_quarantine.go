package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
	raftlogv1 "github.com/batchyard/batchyard/proto/batchyard/raftlog/v1"
)

// showQuarantine tells of a quarantine as an error of its node, which is where Azure Batch's clients look.
func showQuarantine(q *raftlogv1.Quarantine) *apiv1.NodeError {
	out := &apiv1.NodeError{Code: lifecycle.NodeQuarantined, Message: q.Reason}
	detail := func(name, value string) {
		if value != "" {
			out.ErrorDetails = append(out.ErrorDetails, &apiv1.NameValuePair{Name: name, Value: value})
		}
	}
	detail("Since", time.Unix(0, q.Time).UTC().Format(time.RFC3339))
	detail("Attempts", strconv.FormatInt(q.Attempts, 10))
	detail("Jobs", strings.Join(q.Jobs, ", "))
	switch {
	case q.LogsError != "":
		detail("Logs", q.LogsError)
	case q.LogsDone:
		detail("Logs", q.LogsUrl)
		detail("LogFiles", strconv.Itoa(int(q.LogFiles)))
	}
	return out
}
