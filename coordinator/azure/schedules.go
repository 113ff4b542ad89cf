package azure

import (
	"context"

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
		{Operation: "JobSchedules_DeleteJobSchedule", Track1: "job_schedule.delete", Method: remove, Pattern: schedule, Status: accepted, Conditions: AllConditions, handle: deleteSchedule},
		{Operation: "JobSchedules_DisableJobSchedule", Track1: "job_schedule.disable", Method: post, Pattern: schedule + "/disable", Status: empty, Conditions: AllConditions, handle: disableSchedule},
		{Operation: "JobSchedules_EnableJobSchedule", Track1: "job_schedule.enable", Method: post, Pattern: schedule + "/enable", Status: empty, Conditions: AllConditions, handle: enableSchedule},
		{Operation: "JobSchedules_TerminateJobSchedule", Track1: "job_schedule.terminate", Method: post, Pattern: schedule + "/terminate", Status: accepted, Conditions: AllConditions, handle: terminateSchedule},
	}
}

func createSchedule(ctx context.Context, c *call) error {
	schedule := &apiv1.JobSchedule{}
	if _, err := c.read(schedule, c.shapes.scheduleCreate, false); err != nil {
		return err
	}
	w, err := c.schedules.CreateJobSchedule(ctx, &apiv1.CreateJobScheduleRequest{JobSchedule: schedule})
	if err != nil {
		return err
	}
	return c.written(w, c.encoder().links.scheduleURL(schedule.GetId()))
}

func listSchedules(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.JobSchedule{})
	if err != nil {
		return err
	}
	page, err := c.schedules.ListJobSchedules(ctx, &apiv1.ListJobSchedulesRequest{Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "jobschedules", page.GetJobSchedules(), l, page.GetNextPageToken())
}

func getSchedule(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.JobSchedule{})
	if err != nil {
		return err
	}
	expand, err := c.expand()
	if err != nil {
		return err
	}
	schedule, err := c.schedules.GetJobSchedule(ctx, &apiv1.GetJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Expand: expand, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.entity("jobschedules", schedule, selected)
}

func updateSchedule(ctx context.Context, c *call) error {
	update := &apiv1.JobScheduleUpdateOptions{}
	cleared, err := c.read(update, c.codec.shapeOf(update), false)
	if err != nil {
		return err
	}
	w, err := c.schedules.UpdateJobSchedule(ctx, &apiv1.UpdateJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Update: update, Cleared: cleared, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func replaceSchedule(ctx context.Context, c *call) error {
	schedule := &apiv1.JobSchedule{}
	if _, err := c.read(schedule, c.shapes.scheduleReplace, false); err != nil {
		return err
	}
	w, err := c.schedules.ReplaceJobSchedule(ctx, &apiv1.ReplaceJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), JobSchedule: schedule, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func deleteSchedule(ctx context.Context, c *call) error {
	force, err := c.flag("force")
	if err != nil {
		return err
	}
	_, err = c.schedules.DeleteJobSchedule(ctx, &apiv1.DeleteJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Force: force, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.deleted()
}

func disableSchedule(ctx context.Context, c *call) error {
	w, err := c.schedules.DisableJobSchedule(ctx, &apiv1.DisableJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func enableSchedule(ctx context.Context, c *call) error {
	w, err := c.schedules.EnableJobSchedule(ctx, &apiv1.EnableJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func terminateSchedule(ctx context.Context, c *call) error {
	force, err := c.flag("force")
	if err != nil {
		return err
	}
	w, err := c.schedules.TerminateJobSchedule(ctx, &apiv1.TerminateJobScheduleRequest{
		JobScheduleId: c.param("jobScheduleId"), Force: force, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}
