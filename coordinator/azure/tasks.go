package azure

import (
	"context"
	"strconv"

	"github.com/batchyard/batchyard/internal/batcherr"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func taskRoutes() []Route {
	const tasks = "/jobs/{jobId}/tasks"
	const task = tasks + "/{taskId}"
	const file = task + "/files/{filePath...}"
	return []Route{
		{Operation: "Tasks_CreateTask", Track1: "task.add", Method: post, Pattern: tasks, Status: created, handle: createTask},
		{Operation: "Tasks_CreateTaskCollection", Track1: "task.add_collection", Method: post, Pattern: "/jobs/{jobId}/addtaskcollection", Status: ok, handle: createTasks},
		{Operation: "Tasks_ListTasks", Track1: "task.list", Method: get, Pattern: tasks, Status: ok, handle: listTasks},
		{Operation: "Tasks_GetTask", Track1: "task.get", Method: get, Pattern: task, Status: ok, Conditions: AllConditions, handle: getTask},
		{Operation: "Tasks_ReplaceTask", Track1: "task.update", Method: put, Pattern: task, Status: ok, Conditions: AllConditions, handle: replaceTask},
		{Operation: "Tasks_DeleteTask", Track1: "task.delete", Method: remove, Pattern: task, Status: ok, Conditions: AllConditions, handle: deleteTask},
		{Operation: "Tasks_TerminateTask", Track1: "task.terminate", Method: post, Pattern: task + "/terminate", Status: empty, Conditions: AllConditions, handle: terminateTask},
		{Operation: "Tasks_ReactivateTask", Track1: "task.reactivate", Method: post, Pattern: task + "/reactivate", Status: empty, Conditions: AllConditions, handle: reactivateTask},
		{Operation: "Tasks_ListSubTasks", Track1: "task.list_subtasks", Method: get, Pattern: task + "/subtasksinfo", Status: ok, handle: listSubtasks},
		{Operation: "Tasks_ListTaskFiles", Track1: "file.list_from_task", Method: get, Pattern: task + "/files", Status: ok, handle: listFiles},
		{Operation: "Tasks_GetTaskFile", Track1: "file.get_from_task", Method: get, Pattern: file, Status: ok, Conditions: DateConditions, streams: true, handle: getFile},
		{Operation: "Tasks_GetTaskFileProperties", Track1: "file.get_properties_from_task", Method: head, Pattern: file, Status: ok, Conditions: DateConditions, handle: getFileProperties},
		{Operation: "Tasks_DeleteTaskFile", Track1: "file.delete_from_task", Method: remove, Pattern: file, Status: ok, handle: deleteFile},
	}
}

func createTask(ctx context.Context, c *call) error {
	task := &apiv1.Task{}
	if _, err := c.read(task, c.shapes.taskCreate, false); err != nil {
		return err
	}
	added, err := c.tasks.AddTasks(ctx, &apiv1.AddTasksRequest{JobId: c.param("jobId"), Tasks: []*apiv1.Task{task}})
	if err != nil {
		return err
	}
	if len(added.GetResults()) != 1 {
		return batcherr.Of(batcherr.CodeInternalError)
	}
	result := added.GetResults()[0]
	if result.GetStatus() != apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
		return addError(result)
	}
	links := c.encoder().links
	return c.written(&apiv1.Written{Etag: result.GetEtag(), LastModified: result.GetLastModified()}, links.taskURL(links.job, task.GetId()))
}

// addError is the error of a task that was not added; its kind follows from the code, or else from whose fault it was.
func addError(result *apiv1.TaskAddResult) *batcherr.Error {
	e := &batcherr.Error{Kind: batcherr.KindOf(result.GetError().GetCode()), Code: result.GetError().GetCode(), Message: result.GetError().GetMessage()}
	if e.Kind == batcherr.KindInternal && result.GetStatus() == apiv1.TaskAddStatus_TASK_ADD_STATUS_CLIENT_ERROR {
		e.Kind = batcherr.KindInvalid
	}
	for _, v := range result.GetError().GetValues() {
		e.Values = append(e.Values, batcherr.Value{Key: v.GetName(), Value: v.GetValue()})
	}
	return e
}

// createTasks answers 200 even if no task could be added; faults of the job or of the body fail the whole call.
func createTasks(ctx context.Context, c *call) error {
	tasks, err := c.readTasks()
	if err != nil {
		return err
	}
	added, err := c.tasks.AddTasks(ctx, &apiv1.AddTasksRequest{JobId: c.param("jobId"), Tasks: tasks})
	if err != nil {
		return err
	}
	buf := c.metadata(make([]byte, 0, 256+256*len(tasks)), "taskaddresult")
	buf = append(appendName(buf, "value"), '[')
	links := c.encoder().links
	for i, result := range added.GetResults() {
		if i > 0 {
			buf = append(buf, ',')
		}
		buf = c.appendAdded(buf, result, &links)
	}
	return c.json(c.route.Status, append(buf, "]}"...))
}

// readTasks decodes a collection; a task too many ends it.
func (c *call) readTasks() ([]*apiv1.Task, error) {
	limits := c.config.Limits
	if c.r.ContentLength > int64(limits.Body) {
		return nil, errBodyTooLarge(limits.Body)
	}
	d := newDecoder(c.r.Body, c.version, limits)
	if d.peek() != '{' {
		return nil, d.wrongType("an object")
	}
	var tasks []*apiv1.Task
	err := d.members(func(name []byte) error {
		if string(name) != "value" {
			return d.skip(d.depthLeft())
		}
		tasks = nil
		d.path = append(d.path, pathPart{field: &fieldTable{name: "value"}})
		defer func() { d.path = d.path[:0] }()
		if d.peek() != '[' {
			return d.wrongType("a list")
		}
		return d.elementsOf(func(i int) error {
			if i == limits.Tasks {
				return batcherr.Of(batcherr.CodeRequestBodyTooLarge).With("MaxLimit", strconv.Itoa(limits.Tasks)).
					With(batcherr.ValueReason, "A collection has at most "+strconv.Itoa(limits.Tasks)+" tasks.")
			}
			task := &apiv1.Task{}
			tasks = append(tasks, task)
			s := c.shapes.taskCreate
			return d.object(task.ProtoReflect(), s.table, s.writable, s.required)
		})
	})
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, batcherr.MissingProperty("value")
	}
	return tasks, d.end()
}

func (c *call) appendAdded(buf []byte, result *apiv1.TaskAddResult, l *links) []byte {
	buf = append(buf, '{')
	status := c.codec.enums[result.GetStatus().Descriptor().FullName()].byNumber[result.GetStatus().Number()]
	buf = appendText(appendName(buf, "status"), status)
	buf = appendText(appendName(buf, "taskId"), result.GetTaskId())
	if result.GetStatus() == apiv1.TaskAddStatus_TASK_ADD_STATUS_SUCCESS {
		buf = appendText(appendName(buf, "eTag"), result.GetEtag())
		if result.GetLastModified() != nil {
			buf = appendTime(appendName(buf, "lastModified"), result.GetLastModified().AsTime())
		}
		buf = appendText(appendName(buf, "location"), l.taskURL(l.job, result.GetTaskId()))
	} else {
		buf = append(appendName(buf, "error"), '{')
		buf = append(c.appendError(buf, addError(result)), '}')
	}
	return append(buf, '}')
}

func listTasks(ctx context.Context, c *call) error {
	l, err := c.listing(&apiv1.Task{})
	if err != nil {
		return err
	}
	page, err := c.tasks.ListTasks(ctx, &apiv1.ListTasksRequest{JobId: c.param("jobId"), Options: l.options})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "tasks", page.GetTasks(), l, page.GetNextPageToken())
}

func getTask(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.Task{})
	if err != nil {
		return err
	}
	expand, err := c.expand(expandExplain)
	if err != nil {
		return err
	}
	task, err := c.tasks.GetTask(ctx, &apiv1.GetTaskRequest{
		JobId: c.param("jobId"), TaskId: c.param("taskId"), Expand: expand, Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	c.header("DataServiceId", c.base+c.path)
	return c.entity("tasks", task, selected)
}

func replaceTask(ctx context.Context, c *call) error {
	task := &apiv1.Task{}
	if _, err := c.read(task, c.shapes.taskReplace, false); err != nil {
		return err
	}
	w, err := c.tasks.UpdateTask(ctx, &apiv1.UpdateTaskRequest{
		JobId: c.param("jobId"), TaskId: c.param("taskId"), Constraints: task.GetConstraints(), Conditions: c.conditions,
	})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func deleteTask(ctx context.Context, c *call) error {
	_, err := c.tasks.DeleteTask(ctx, &apiv1.DeleteTaskRequest{JobId: c.param("jobId"), TaskId: c.param("taskId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.deleted()
}

func terminateTask(ctx context.Context, c *call) error {
	w, err := c.tasks.TerminateTask(ctx, &apiv1.TerminateTaskRequest{JobId: c.param("jobId"), TaskId: c.param("taskId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

func reactivateTask(ctx context.Context, c *call) error {
	w, err := c.tasks.ReactivateTask(ctx, &apiv1.ReactivateTaskRequest{JobId: c.param("jobId"), TaskId: c.param("taskId"), Conditions: c.conditions})
	if err != nil {
		return err
	}
	return c.written(w, "")
}

// listSubtasks has no pages: the first generation of clients reads one answer only.
func listSubtasks(ctx context.Context, c *call) error {
	selected, err := c.selection(&apiv1.Subtask{})
	if err != nil {
		return err
	}
	page, err := c.tasks.ListSubtasks(ctx, &apiv1.ListSubtasksRequest{JobId: c.param("jobId"), TaskId: c.param("taskId")})
	if err != nil {
		return err
	}
	return list(c, c.encoder(), "subtasks", page.GetSubtasks(), &listing{selected: selected}, "")
}
