package azure

import (
	"context"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func jobRoutes() []Route {
	const job = "/jobs/{jobId}"
	return []Route{
		{Operation: "Jobs_CreateJob", Track1: "job.add", Method: post, Pattern: "/jobs", Status: created, handle: createJob},
		{Operation: "Jobs_ListJobs", Track1: "job.list", Method: get, Pattern: "/jobs", Status: ok, handle: listJobs},
		{Operation: "Jobs_ListJobsFromSchedule", Track1: "job.list_from_job_schedule", Method: get, Pattern: "/jobschedules/{jobScheduleId}/jobs", Status: ok, handle: listJobs},
		{Operation: "Jobs_GetJob", Track1: "job.get", Method: get, Pattern: job, Status: ok, Conditions: AllConditions, handle: getJob},
		{Operation: "Jobs_UpdateJob", Track1: "job.patch", Method: patch, Pattern: job, Status: ok, Conditions: AllConditions, handle: updateJob},
		{Operation: "Jobs_ReplaceJob", Track1: "job.update", Method: put, Pattern: job, Status: ok, Conditions: AllConditions, handle: replaceJob},
		{Operation: "Jobs_DeleteJob", Track1: "job.delete", Method: remove, Pattern: job, Status: accepted, Conditions: AllConditions, handle: deleteJob},
		{Operation: "Jobs_DisableJob", Track1: "job.disable", Method: post, Pattern: job + "/disable", Status: accepted, Conditions: AllConditions, handle: disableJob},
		{Operation: "Jobs_EnableJob", Track1: "job.enable", Method: post, Pattern: job + "/enable", Status: accepted, Conditions: AllConditions, handle: enableJob},
		{Operation: "Jobs_TerminateJob", Track1: "job.terminate", Method: post, Pattern: job + "/terminate", Status: accepted, Conditions: AllConditions, handle: terminateJob},
		{Operation: "Jobs_ListJobPreparationAndReleaseTaskStatus", Track1: "job.list_preparation_and_release_task_status", Method: get, Pattern: job + "/jobpreparationandreleasetaskstatus", Status: ok, handle: listPreparationAndRelease},
		{Operation: "Jobs_GetJobTaskCounts", Track1: "job.get_task_counts", Method: get, Pattern: job + "/taskcounts", Status: ok, handle: getTaskCounts},
	}
}

func createJob(ctx context.Context, c *call) error {
	job := &apiv1.Job{}
	if _, err := c.read(job, c.shapes.jobCreate, false); err != nil {
		return err
	}
	w, err := c.jobs.CreateJob(ctx, &apiv1.CreateJobRequest{Job: job})
	if err != nil {
		return err
	}
	return c.written(w, c.encoder().links.jobURL(job.GetId()))
}

// listJobs lists all jobs, or those of the job schedule in the path.
func listJobs(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.Job{})
	if err != nil {
		return err
	}
	page, err := c.jobs.ListJobs(ctx, &apiv1.ListJobsRequest{Options: l.options, JobScheduleId: c.param("jobScheduleId")})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "jobs", page.GetJobs(), l, page.GetNextPageToken())
}

func getJob(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.Job{})
	if err != nil {
		return err
	}
	expand, err := c.expand()
	if err != nil {
		return err
	}
	job, err := c.jobs.GetJob(ctx, &apiv1.GetJobRequest{JobId: c.param("jobId"), Expand: expand, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.entity("jobs", job, selected)
}

func updateJob(ctx context.Context, c *call) error {
	update := &apiv1.JobUpdateOptions{}
	cleared, err := c.read(update, c.codec.shapeOf(update), false)
	if err != nil {
		return err
	}
	w, err := c.jobs.UpdateJob(ctx, &apiv1.UpdateJobRequest{
		JobId: c.param("jobId"), Update: update, Cleared: cleared, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func replaceJob(ctx context.Context, c *call) error {
	job := &apiv1.Job{}
	if _, err := c.read(job, c.shapes.jobReplace, false); err != nil {
		return err
	}
	w, err := c.jobs.ReplaceJob(ctx, &apiv1.ReplaceJobRequest{JobId: c.param("jobId"), Job: job, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func deleteJob(ctx context.Context, c *call) error {
	force, err := c.flag("force")
	if err != nil {
		return err
	}
	if _, err := c.jobs.DeleteJob(ctx, &apiv1.DeleteJobRequest{JobId: c.param("jobId"), Force: force, Conditions: c.conditions}); err != nil {
		return err
	}
	return c.deleted()
}

func disableJob(ctx context.Context, c *call) error {
	options := &apiv1.JobDisableOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), false); err != nil {
		return err
	}
	w, err := c.jobs.DisableJob(ctx, &apiv1.DisableJobRequest{JobId: c.param("jobId"), Options: options, Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func enableJob(ctx context.Context, c *call) error {
	w, err := c.jobs.EnableJob(ctx, &apiv1.EnableJobRequest{JobId: c.param("jobId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func terminateJob(ctx context.Context, c *call) error {
	force, err := c.flag("force")
	if err != nil {
		return err
	}
	options := &apiv1.JobTerminateOptions{}
	if _, err := c.read(options, c.codec.shapeOf(options), true); err != nil {
		return err
	}
	w, err := c.jobs.TerminateJob(ctx, &apiv1.TerminateJobRequest{
		JobId: c.param("jobId"), Options: options, Force: force, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func listPreparationAndRelease(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.JobPreparationAndReleaseTaskStatus{})
	if err != nil {
		return err
	}
	page, err := c.jobs.ListPreparationAndReleaseTasks(ctx, &apiv1.ListPreparationAndReleaseTasksRequest{JobId: c.param("jobId"), Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "jobpreparationandreleasetaskstatuslist", page.GetStatuses(), l, page.GetNextPageToken())
}

func getTaskCounts(ctx context.Context, c *call) error {
	counts, err := c.jobs.GetTaskCounts(ctx, &apiv1.GetTaskCountsRequest{JobId: c.param("jobId")})
	if err != nil {
		return err
	}
	return c.result("taskcountsresult/@Element", counts, nil)
}
