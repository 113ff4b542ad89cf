package azure_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

type fakeSchedules struct {
	apiv1.UnimplementedJobScheduleServiceServer
	*fake
}

func (f fakeSchedules) CreateJobSchedule(_ context.Context, r *apiv1.CreateJobScheduleRequest) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	s := proto.CloneOf(r.GetJobSchedule())
	if f.schedules[strings.ToLower(s.GetId())] != nil {
		return nil, batcherr.Of(batcherr.CodeJobScheduleExists)
	}
	s.JobSpecification = lifecycle.FillJobSpecification(s.GetJobSpecification())
	w := f.written()
	s.ETag, s.LastModified, s.CreationTime, s.StateTransitionTime = w.GetEtag(), w.GetLastModified(), w.GetLastModified(), w.GetLastModified()
	s.State = apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE
	s.ExecutionInfo = &apiv1.JobScheduleExecutionInfo{RecentJob: &apiv1.RecentBatchJob{Id: s.GetId() + ":job-1"}}
	f.schedules[strings.ToLower(s.GetId())] = s
	return w, nil
}

func (f fakeSchedules) GetJobSchedule(_ context.Context, r *apiv1.GetJobScheduleRequest) (*apiv1.JobSchedule, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	s := f.schedules[strings.ToLower(r.GetJobScheduleId())]
	if s == nil {
		return nil, batcherr.Of(batcherr.CodeJobScheduleNotFound)
	}
	return s, check(r.GetConditions(), s.GetETag(), s.GetLastModified().AsTime(), true)
}

func (f fakeSchedules) ListJobSchedules(_ context.Context, r *apiv1.ListJobSchedulesRequest) (*apiv1.ListJobSchedulesResponse, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	schedules, token, err := page(sorted(f.schedules), r.GetOptions())
	return &apiv1.ListJobSchedulesResponse{JobSchedules: schedules, NextPageToken: token}, err
}

func (f fakeSchedules) change(id string, c *apiv1.Conditions, apply func(*apiv1.JobSchedule)) (*apiv1.Written, error) {
	unlock, err := f.locked()
	defer unlock()
	if err != nil {
		return nil, err
	}
	s := f.schedules[strings.ToLower(id)]
	if s == nil {
		return nil, batcherr.Of(batcherr.CodeJobScheduleNotFound)
	}
	if err := check(c, s.GetETag(), s.GetLastModified().AsTime(), false); err != nil {
		return nil, err
	}
	apply(s)
	w := f.written()
	s.ETag = w.GetEtag()
	return w, nil
}

func (f fakeSchedules) UpdateJobSchedule(_ context.Context, r *apiv1.UpdateJobScheduleRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobScheduleId(), r.GetConditions(), func(s *apiv1.JobSchedule) {
		if r.GetUpdate().GetSchedule() != nil {
			s.Schedule = r.GetUpdate().GetSchedule()
		}
		if len(r.GetCleared()) > 0 {
			s.Metadata = nil
		}
	})
}

func (f fakeSchedules) ReplaceJobSchedule(_ context.Context, r *apiv1.ReplaceJobScheduleRequest) (*apiv1.Written, error) {
	return f.change(r.GetJobScheduleId(), r.GetConditions(), func(s *apiv1.JobSchedule) {
		s.Schedule, s.Metadata = r.GetJobSchedule().GetSchedule(), r.GetJobSchedule().GetMetadata()
	})
}

func (f fakeSchedules) state(id string, c *apiv1.Conditions, to apiv1.JobScheduleState) (*apiv1.Written, error) {
	return f.change(id, c, func(s *apiv1.JobSchedule) { s.State = to })
}

func (f fakeSchedules) DisableJobSchedule(_ context.Context, r *apiv1.DisableJobScheduleRequest) (*apiv1.Written, error) {
	return f.state(r.GetJobScheduleId(), r.GetConditions(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DISABLED)
}

func (f fakeSchedules) EnableJobSchedule(_ context.Context, r *apiv1.EnableJobScheduleRequest) (*apiv1.Written, error) {
	return f.state(r.GetJobScheduleId(), r.GetConditions(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_ACTIVE)
}

func (f fakeSchedules) TerminateJobSchedule(_ context.Context, r *apiv1.TerminateJobScheduleRequest) (*apiv1.Written, error) {
	return f.state(r.GetJobScheduleId(), r.GetConditions(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_TERMINATING)
}

func (f fakeSchedules) DeleteJobSchedule(_ context.Context, r *apiv1.DeleteJobScheduleRequest) (*apiv1.Written, error) {
	return f.state(r.GetJobScheduleId(), r.GetConditions(), apiv1.JobScheduleState_JOB_SCHEDULE_STATE_DELETING)
}

func TestJobSchedules(t *testing.T) {
	h := newHarness(t)
	a := h.do("POST", "/jobschedules", `{"id":"Nightly","schedule":{"recurrenceInterval":"PT24H","startWindow":"PT1H","doNotRunUntil":"2030-01-02T03:04:05Z"},
		"jobSpecification":{"priority":3,"poolInfo":{"autoPoolSpecification":{"poolLifetimeOption":"jobschedule","pool":{"vmSize":"small"}}}},
		"metadata":[{"name":"a","value":"b"}]}`)
	require.Equal(t, 201, a.StatusCode, a.text)
	require.Equal(t, h.url+"/jobschedules/Nightly", a.Header.Get("Location"))
	require.NotEmpty(t, a.Header.Get("ETag"))
	require.Equal(t, "MissingRequiredProperty", h.do("POST", "/jobschedules", `{"id":"x","schedule":{}}`).code())

	a = h.do("GET", "/jobschedules/nightly", "")
	require.Equal(t, "P1D", a.json["schedule"].(map[string]any)["recurrenceInterval"])
	require.Equal(t, "active", a.json["state"])
	recent := a.json["executionInfo"].(map[string]any)["recentJob"].(map[string]any)
	require.Equal(t, map[string]any{"id": "Nightly:job-1", "url": h.url + "/jobs/Nightly:job-1"}, recent)
	auto := a.json["jobSpecification"].(map[string]any)["poolInfo"].(map[string]any)["autoPoolSpecification"].(map[string]any)
	require.Equal(t, false, auto["keepAlive"])
	require.Equal(t, "jobschedule", auto["poolLifetimeOption"])
	require.EqualValues(t, 1, auto["pool"].(map[string]any)["taskSlotsPerNode"])
	require.Equal(t, 200, h.do("HEAD", "/jobschedules/nightly", "").StatusCode)
	require.Equal(t, 404, h.do("HEAD", "/jobschedules/other", "").StatusCode)
	require.Len(t, h.do("GET", "/jobschedules", "").json["value"], 1)

	require.Equal(t, 200, h.do("PATCH", "/jobschedules/nightly", `{"metadata":[]}`).StatusCode)
	require.NotContains(t, h.do("GET", "/jobschedules/nightly", "").json, "metadata")
	require.Equal(t, 200, h.do("PUT", "/jobschedules/nightly", `{"jobSpecification":{"poolInfo":{"poolId":"p"}}}`).StatusCode)
	require.NotContains(t, h.do("GET", "/jobschedules/nightly", "").json, "schedule")
	for _, step := range []struct {
		verb, path, state string
		status            int
	}{
		{"POST", "/disable", "disabled", 204}, {"POST", "/enable", "active", 204},
		{"POST", "/terminate", "terminating", 202}, {"DELETE", "", "deleting", 202},
	} {
		require.Equal(t, step.status, h.do(step.verb, "/jobschedules/nightly"+step.path, "").StatusCode, step.path)
		require.Equal(t, step.state, h.do("GET", "/jobschedules/nightly", "").json["state"])
	}
}
