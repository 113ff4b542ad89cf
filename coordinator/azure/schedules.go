package azure

import (
	"context"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func scheduleRoutes() []Route {
	const schedule = "/jobschedules/{jobScheduleId}"
	return []Route{
		{Operation: "JobSchedules_CreateJobSchedule", Track1: "job_schedule.add", Method: post, Pattern: "/jobschedules", Status: created, handle: createSchedule},
		{Operation: "JobSchedules_ListJobSchedules", Track1: "job_schedule.list", Method: get, Pattern: "/jobschedules", Status: ok, handle: listSchedules},
		{Operation: "JobSchedules_GetJobSchedule", Track1: "job_schedule.get", Method: get, Pattern: schedule, Status: ok, Conditions: AllConditions, handle: getSchedule},
		{Operation: "JobSchedules_JobScheduleExists", Track1: "job_schedule.exists", Method: head, Pattern: schedule, Status: ok, Conditions: AllConditions, handle: getSchedule},
		{Operation: "JobSchedules_UpdateJobSchedule", Track1: "job_schedule.patch", Method: patch, Pattern: schedule, Status: ok, Conditions: AllConditions, handle: updateSchedule},
		{Operation: "JobSchedules_ReplaceJobSchedule", Track1: "job_schedule.update", Method: put, Pattern: schedule, Status: ok, Conditions: AllConditions, handle: replaceSchedule},
		{Operation: "JobSchedules_DeleteJobSchedule", Track1: "job_schedule.delete", Method: remove, Pattern: schedule, Status: accepted, Conditions: AllConditions, handle: noSchedule},
		{Operation: "JobSchedules_DisableJobSchedule", Track1: "job_schedule.disable", Method: post, Pattern: schedule + "/disable", Status: empty, Conditions: AllConditions, handle: noSchedule},
		{Operation: "JobSchedules_EnableJobSchedule", Track1: "job_schedule.enable", Method: post, Pattern: schedule + "/enable", Status: empty, Conditions: AllConditions, handle: noSchedule},
		{Operation: "JobSchedules_TerminateJobSchedule", Track1: "job_schedule.terminate", Method: post, Pattern: schedule + "/terminate", Status: accepted, Conditions: AllConditions, handle: noSchedule},
	}
}

// createSchedule checks the body and refuses: the services have no job schedules.
func createSchedule(_ context.Context, c *call) error {
	if _, err := c.read(&apiv1.JobSchedule{}, c.shapes.scheduleCreate, false); err != nil {
		return err
	}
	return batcherr.Conflict(batcherr.CodeOperationInvalidForCurrentState, "Job schedules are not available.")
}

func listSchedules(_ context.Context, c *call) error {
	l, err := c.listing(&apiv1.JobSchedule{})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "jobschedules", []*apiv1.JobSchedule(nil), l, "")
}

func getSchedule(ctx context.Context, c *call) error {
	if _, err := c.selection(&apiv1.JobSchedule{}); err != nil {
		return err
	}
	if _, err := c.expand(); err != nil {
		return err
	}
	return noSchedule(ctx, c)
}

func updateSchedule(ctx context.Context, c *call) error {
	update := &apiv1.JobScheduleUpdateOptions{}
	if _, err := c.read(update, c.codec.shapeOf(update), false); err != nil {
		return err
	}
	return noSchedule(ctx, c)
}

func replaceSchedule(ctx context.Context, c *call) error {
	if _, err := c.read(&apiv1.JobSchedule{}, c.shapes.scheduleReplace, false); err != nil {
		return err
	}
	return noSchedule(ctx, c)
}

func noSchedule(context.Context, *call) error {
	return batcherr.Of(batcherr.CodeJobScheduleNotFound)
}
