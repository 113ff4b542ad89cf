"""Drives a cluster through every operation of azure-batch 14 (the first generation of Python clients)."""

import datetime
import sys

import azure.batch.models as m
from azure.batch import BatchServiceClient
from azure.batch.batch_auth import SharedKeyCredentials
from azure.batch.custom.custom_errors import CreateTasksErrorException

from report import ACCOUNT, BUCKET, ENDPOINT, EVERYTHING, KEY, PAGED_TASKS, Report, equal, older, read_back, wait


def code_of(error):
    return getattr(getattr(error, "error", None), "code", None)


client = BatchServiceClient(SharedKeyCredentials(ACCOUNT, KEY), batch_url=ENDPOINT)
report = Report("azure-batch 14 (Python)", code_of)
op = report.operation
POOL, JOB, WAITING, SCHEDULE = report.name("pool"), report.name("job"), report.name("waiting"), report.name("sched")
FULL = report.name("full")  # with every property
USER = "c" + report.run  # nodes may share their machine
IMAGE = m.VirtualMachineConfiguration(
    image_reference=m.ImageReference(publisher="canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts"),
    node_agent_sku_id="batch.node.ubuntu 22.04")
HOUR = datetime.timedelta(hours=1)
EARLY = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)


def read(model):
    """The properties of a model that are absent."""
    return [rule["key"] for name, rule in model._attribute_map.items() if getattr(model, name) is None]


def conditions(get):
    """Reads something under each condition that holds, and each that does not."""
    now = get()
    get(if_match=now.e_tag)
    get(if_none_match="0xBAD")
    get(if_modified_since=EARLY)
    get(if_unmodified_since=now.last_modified)
    report.expect_code("ConditionNotMet", lambda: get(if_match="0xBAD"))
    report.expect_code("ConditionNotMet", lambda: get(if_unmodified_since=EARLY))
    for unchanged in ({"if_none_match": now.e_tag}, {"if_modified_since": now.last_modified}):
        try:
            get(**unchanged)
        except m.BatchErrorException as error:  # an answer without a body, and so without a code
            equal(error.response.status_code, 304, f"status of what has not changed ({list(unchanged)})")
        else:
            raise AssertionError("what has not changed was read")
    report.expect_code("MultipleConditionHeadersNotSupported", lambda: get(if_match="0xBAD", if_none_match="0xBAD"))


def lists(list_them, field="state"):
    """Asks a list for what cannot be answered."""
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(filter="id startswith 'x'")))
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(filter="nosuch eq 1")))
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(select="nosuch")))
    for item in list_them(select=field):
        assert set(item.serialize(keep_readonly=True)) <= {field}, item


def sh(script):
    return f"/bin/sh -c '{script}'"


def accounts():
    def images():
        found = list(client.account.list_supported_images(m.AccountListSupportedImagesOptions(filter="osType eq 'linux'", max_results=2)))
        assert found and all(i.os_type == m.OSType.linux for i in found), "no Linux images"

    def counts():
        found = list(client.account.list_pool_node_counts(m.AccountListPoolNodeCountsOptions(filter=f"poolId eq '{POOL}'")))
        equal([c.pool_id for c in found], [POOL], "pools")
        assert found[0].dedicated.total >= 1, "no node is counted"

    def get():
        found = client.application.get("EVERYTHING")
        equal((found.id, found.display_name, found.versions), ("everything", "an application", ["1"]), "application")
        report.expect_code("ApplicationNotFound", lambda: client.application.get("nosuch"))

    op("Pools_ListSupportedImages", images)
    op("Pools_ListPoolNodeCounts", counts)
    op("Applications_ListApplications", lambda: list(client.application.list()))
    op("Applications_GetApplication", get)


def pools():
    def add():
        client.pool.add(m.PoolAddParameter(
            id=POOL, display_name="a pool", vm_size="standard_d2_v2", virtual_machine_configuration=IMAGE, target_dedicated_nodes=1,
            task_slots_per_node=2, metadata=[m.MetadataItem(name="a", value="b")], task_scheduling_policy=m.TaskSchedulingPolicy(node_fill_type="pack")))
        for wrong in ({"id": "bad.id"}, {"task_slots_per_node": 0}, {"target_dedicated_nodes": -1}, {"resize_timeout": datetime.timedelta(minutes=1)}):
            body = m.PoolAddParameter(**{"id": POOL + "x", "vm_size": "x", "virtual_machine_configuration": IMAGE, **wrong})
            report.expect_code("InvalidPropertyValue", lambda body=body: client.pool.add(body))
        report.expect_code("PoolExists", lambda: client.pool.add(m.PoolAddParameter(id=POOL.upper(), vm_size="x", virtual_machine_configuration=IMAGE)))

    def get():
        p = client.pool.get(POOL, m.PoolGetOptions(expand="stats"))
        equal((p.id, p.display_name, p.task_slots_per_node, p.target_dedicated_nodes), (POOL, "a pool", 2, 1), "properties")
        equal([(i.name, i.value) for i in p.metadata], [("a", "b")], "metadata")
        equal(p.task_scheduling_policy.node_fill_type, m.ComputeNodeFillType.pack, "policy")
        equal(p.virtual_machine_configuration.image_reference.version, "latest", "version")
        equal(p.url, f"{ENDPOINT.rstrip('/')}/pools/{POOL}", "url")
        equal(client.pool.get(POOL, m.PoolGetOptions(select="id")).state, None, "state, which was not selected")
        conditions(lambda **options: client.pool.get(POOL, m.PoolGetOptions(**options)))
        full = m.PoolAddParameter.from_dict({**older(EVERYTHING["pool"]), "id": FULL})
        client.pool.add(full)
        found = client.pool.get(FULL)
        read_back("pool", full.serialize(), found.serialize(keep_readonly=True), read(found))
        report.expect_code("PoolNotFound", lambda: client.pool.get("nosuch"))

    def exists():
        assert client.pool.exists(POOL) and not client.pool.exists("nosuch")

    def patch():
        client.pool.patch(POOL, m.PoolPatchParameter(metadata=[m.MetadataItem(name="c", value="d")]))
        equal([i.name for i in client.pool.get(POOL).metadata], ["c"], "metadata")
        report.expect_code("ConditionNotMet", lambda: client.pool.patch(POOL, m.PoolPatchParameter(), m.PoolPatchOptions(if_match="0xBAD")))

    def update():
        client.pool.update_properties(POOL, m.PoolUpdatePropertiesParameter(
            certificate_references=[], application_package_references=[], metadata=[m.MetadataItem(name="e", value="f")]))
        equal([i.name for i in client.pool.get(POOL).metadata], ["e"], "metadata")

    def listed():
        found = [p.id for p in client.pool.list(m.PoolListOptions(filter=f"startswith(id,'{POOL}') and state eq 'active'", select="id,state"))]
        equal(found, [POOL], "pools")
        lists(lambda **options: client.pool.list(m.PoolListOptions(**options)))

    op("Pools_CreatePool", add)
    op("Pools_GetPool", get)
    op("Pools_PoolExists", exists)
    op("Pools_ListPools", listed)
    op("Pools_UpdatePool", patch)
    op("Pools_ReplacePoolProperties", update)
    op("Pools_ListPoolUsageMetrics", lambda: list(client.pool.list_usage_metrics()))


def steady():
    return wait("pool steady", lambda: client.pool.get(POOL).allocation_state == m.AllocationState.steady)


def nodes():
    """Returns a node that is idle or running, None if there is none."""
    def listed():
        return wait("an idle node", lambda: list(client.compute_node.list(POOL, m.ComputeNodeListOptions(filter="state eq 'idle'"))))[0].id

    node = op("Nodes_ListNodes", listed)

    def get():
        n = client.compute_node.get(POOL, node)
        equal((n.id, n.is_dedicated, n.affinity_id != ""), (node, True, True), "properties")
        read_back("node", {}, n.serialize(keep_readonly=True), read(n))
        report.expect_code("NodeNotFound", lambda: client.compute_node.get(POOL, "nosuch"))

    def disable():
        client.compute_node.disable_scheduling(POOL, node, node_disable_scheduling_option="requeue")
        equal(client.compute_node.get(POOL, node).scheduling_state, m.SchedulingState.disabled, "state")

    def enable():
        client.compute_node.enable_scheduling(POOL, node)
        report.expect_code("NodeAlreadyInTargetSchedulingState", lambda: client.compute_node.enable_scheduling(POOL, node))

    op("Nodes_GetNode", get)
    op("Nodes_DisableNodeScheduling", disable)
    op("Nodes_EnableNodeScheduling", enable)
    op("Nodes_ListNodeExtensions", lambda: equal(list(client.compute_node_extension.list(POOL, node)), [], "extensions"))
    op("Nodes_GetNodeExtension", lambda: client.compute_node_extension.get(POOL, node, "none"), ["ResourceNotFound"])
    op("Nodes_GetNodeRemoteLoginSettings", lambda: client.compute_node.get_remote_login_settings(POOL, node))
    op("ComputeNode_GetRemoteDesktop", lambda: client.compute_node.get_remote_desktop(POOL, node), ["OperationNotValidOnNode"])
    op("Nodes_CreateNodeUser", lambda: client.compute_node.add_user(POOL, node, m.ComputeNodeUser(name=USER, password="Conf-Pass-1")))
    op("Nodes_ReplaceNodeUser", lambda: client.compute_node.update_user(POOL, node, USER, m.NodeUpdateUserParameter(password="Conf-Pass-2")))
    op("Nodes_DeleteNodeUser", lambda: client.compute_node.delete_user(POOL, node, USER))
    op("Nodes_UploadNodeLogs", lambda: client.compute_node.upload_batch_service_logs(POOL, node, m.UploadBatchServiceLogsConfiguration(
        container_url=f"s3://{BUCKET}/logs", start_time=datetime.datetime.utcnow() - HOUR)))
    return node


def node_files(node):
    def listed():
        found = list(client.file.list_from_compute_node(POOL, node, recursive=True, file_list_from_compute_node_options=m.FileListFromComputeNodeOptions(
            filter="startswith(name,'workitems/')")))
        return next(f.name for f in found if f.name.endswith("/stdout.txt") and JOB in f.name)

    name = op("Nodes_ListNodeFiles", listed)

    def properties():
        headers = client.file.get_properties_from_compute_node(POOL, node, name, raw=True).headers
        equal(headers["ocp-batch-file-isdirectory"], False, "directory")
        return headers

    def read():
        text = b"".join(client.file.get_from_compute_node(POOL, node, name))
        assert b"hello" in text, text

    op("Nodes_GetNodeFileProperties", properties)
    op("Nodes_GetNodeFile", read)
    op("Nodes_DeleteNodeFile", lambda: client.file.delete_from_compute_node(POOL, node, name))


def jobs():
    def add():
        client.job.add(m.JobAddParameter(
            id=JOB, display_name="a job", priority=10, pool_info=m.PoolInformation(pool_id=POOL), uses_task_dependencies=True,
            constraints=m.JobConstraints(max_wall_clock_time=HOUR, max_task_retry_count=1),
            common_environment_settings=[m.EnvironmentSetting(name="COMMON", value="yes")], metadata=[m.MetadataItem(name="a", value="b")]))
        report.expect_code("JobExists", lambda: client.job.add(m.JobAddParameter(id=JOB, pool_info=m.PoolInformation(pool_id=POOL))))
        client.job.add(m.JobAddParameter(id=WAITING, pool_info=m.PoolInformation(pool_id="nowhere-" + report.run)))

    def get():
        j = client.job.get(JOB, m.JobGetOptions(expand="stats"))
        equal((j.id, j.display_name, j.priority, j.uses_task_dependencies, j.state), (JOB, "a job", 10, True, m.JobState.active), "properties")
        equal((j.constraints.max_wall_clock_time, j.constraints.max_task_retry_count), (HOUR, 1), "constraints")
        equal((j.pool_info.pool_id, j.execution_info.pool_id), (POOL, POOL), "pool")
        equal([(e.name, e.value) for e in j.common_environment_settings], [("COMMON", "yes")], "environment")
        equal(j.on_all_tasks_complete, m.OnAllTasksComplete.no_action, "onAllTasksComplete")
        conditions(lambda **options: client.job.get(JOB, m.JobGetOptions(**options)))
        full = m.JobAddParameter.from_dict({**EVERYTHING["job"], "id": FULL})
        client.job.add(full)
        found = client.job.get(FULL)
        read_back("job", full.serialize(), found.serialize(keep_readonly=True), read(found))
        report.expect_code("JobNotFound", lambda: client.job.get("nosuch"))

    def patch():
        client.job.patch(JOB, m.JobPatchParameter(priority=20, constraints=m.JobConstraints(max_task_retry_count=2)))
        j = client.job.get(JOB)
        equal((j.priority, j.constraints.max_task_retry_count, [i.name for i in j.metadata]), (20, 2, ["a"]), "properties")
        assert j.constraints.max_wall_clock_time > datetime.timedelta(days=10_000_000), "the time is limited still"
        report.expect_code("ConditionNotMet", lambda: client.job.patch(JOB, m.JobPatchParameter(priority=1), m.JobPatchOptions(if_match="0xBAD")))
        report.expect_code("OutOfRangePriority", lambda: client.job.patch(JOB, m.JobPatchParameter(priority=5000)))

    def update():
        client.job.update(JOB, m.JobUpdateParameter(pool_info=m.PoolInformation(pool_id=POOL)))
        j = client.job.get(JOB)
        equal((j.priority, j.metadata, j.constraints.max_task_retry_count), (0, None, 0), "properties")

    def disable():
        client.job.disable(JOB, "requeue")
        wait("job disabled", lambda: client.job.get(JOB).state == m.JobState.disabled)
        client.task.add(JOB, m.TaskAddParameter(id="patient", command_line=sh("exit 0")))
        equal(client.task.get(JOB, "patient").state, m.TaskState.active, "state of a task of a disabled job")

    def enable():
        client.job.enable(JOB)
        wait("job active", lambda: client.job.get(JOB).state == m.JobState.active)
        wait("the task that waited", lambda: client.task.get(JOB, "patient").state == m.TaskState.completed)
        client.task.delete(JOB, "patient")

    def listed():
        found = {j.id for j in client.job.list(m.JobListOptions(filter=f"id eq '{JOB}' or id eq '{WAITING}'", max_results=1, select="id"))}
        equal(found, {JOB, WAITING}, "jobs")
        lists(lambda **options: client.job.list(m.JobListOptions(**options)))

    op("Jobs_CreateJob", add)
    op("Jobs_GetJob", get)
    op("Jobs_ListJobs", listed)
    op("Jobs_UpdateJob", patch)
    op("Jobs_ReplaceJob", update)
    op("Jobs_DisableJob", disable)
    op("Jobs_EnableJob", enable)


def tasks():
    def add():
        client.task.add(JOB, m.TaskAddParameter(
            id="hello", command_line=sh("echo hello; mkdir -p sub; echo deep > \"sub/50% of #1? a+b&ü.txt\"; head -c 40000000 /dev/zero > large"), display_name="says hello",
            environment_settings=[m.EnvironmentSetting(name="E", value="ü")], constraints=m.TaskConstraints(max_task_retry_count=0, retention_time=HOUR)))
        report.expect_code("TaskExists", lambda: client.task.add(JOB, m.TaskAddParameter(id="hello", command_line="x")))
        report.expect_code("InvalidPropertyValue", lambda: client.task.add(JOB, m.TaskAddParameter(id="a/b", command_line="x")))
        report.expect_code("TaskDependenciesNotSpecifiedOnJob", lambda: client.task.add(WAITING, m.TaskAddParameter(
            id="depends", command_line="x", depends_on=m.TaskDependencies(task_ids=["a"]))))
        report.expect_code("JobNotFound", lambda: client.task.add("nosuch", m.TaskAddParameter(id="hello", command_line="x")))

    def get():
        t = client.task.get(JOB, "hello", m.TaskGetOptions(expand="stats"))
        equal((t.id, t.display_name, t.required_slots), ("hello", "says hello", 1), "properties")
        equal((t.constraints.retention_time, t.constraints.max_task_retry_count), (HOUR, 0), "constraints")
        equal([(e.name, e.value) for e in t.environment_settings], [("E", "ü")], "environment")
        wait("task completed", lambda: client.task.get(JOB, "hello").state == m.TaskState.completed)
        t = client.task.get(JOB, "hello")
        equal((t.execution_info.exit_code, t.execution_info.result), (0, m.TaskExecutionResult.success), "outcome")
        conditions(lambda **options: client.task.get(JOB, "hello", m.TaskGetOptions(**options)))
        full = m.TaskAddParameter.from_dict({**EVERYTHING["task"], "id": "full"})
        client.task.add(FULL, full)
        found = client.task.get(FULL, "full")
        read_back("task", full.serialize(), found.serialize(keep_readonly=True), read(found))
        several = m.TaskAddParameter.from_dict({**EVERYTHING["instances"], "id": "instances"})
        client.task.add(FULL, several)
        found = client.task.get(FULL, "instances")
        read_back("instances", several.serialize(), found.serialize(keep_readonly=True), read(found))
        report.expect_code("TaskNotFound", lambda: client.task.get(JOB, "nosuch"))

    def collection():
        many = [m.TaskAddParameter(id=f"many-{i:05}", command_line=sh("exit 0")) for i in range(PAGED_TASKS)]
        results = client.task.add_collection(WAITING, many)
        equal({r.status for r in results.value}, {m.TaskAddStatus.success}, "statuses")
        equal(len(results.value), PAGED_TASKS, "results")
        again = client.task.add_collection(WAITING, many[:3])  # those that exist count as added
        equal({r.error.code for r in again.value}, {"TaskExists"}, "errors")
        try:
            files = [m.ResourceFile(http_url="https://example.com/" + "x" * 100, file_path=str(i)) for i in range(10_000)]
            client.task.add_collection(WAITING, [m.TaskAddParameter(id="large", command_line="x", resource_files=files)])
        except CreateTasksErrorException as error:
            equal([e.error.code for e in [error.errors[-1]] if hasattr(e, "error")] or ["RequestBodyTooLarge"], ["RequestBodyTooLarge"], "error of a large task")
        else:
            raise AssertionError("a body over the limit was taken")

    def listed():
        found = [t.id for t in client.task.list(WAITING, m.TaskListOptions(max_results=600, select="id", filter="startswith(id,'many-')"))]
        equal((len(found), len(set(found))), (PAGED_TASKS, PAGED_TASKS), "tasks")
        pages = client.task.list(WAITING, m.TaskListOptions(max_results=1000, filter="startswith(id,'many-')", expand="stats"))
        found = [t.id for t in pages.advance_page()]
        client.task.add(WAITING, m.TaskAddParameter(id="between", command_line="x"))  # a token outlives what is added meanwhile
        while pages.next_link:
            found += [t.id for t in pages.advance_page()]
        equal((len(found), len(set(found))), (PAGED_TASKS, PAGED_TASKS), "tasks of pages")
        client.task.delete(WAITING, "between")
        lists(lambda **options: client.task.list(JOB, m.TaskListOptions(**options)))
        full = list(client.task.list(JOB, m.TaskListOptions(filter="executionInfo/exitCode eq 0", expand="stats")))
        equal([t.id for t in full], ["hello"], "filtered tasks")

    def update():
        client.task.update(WAITING, "many-00000", m.TaskConstraints(max_task_retry_count=3))
        equal(client.task.get(WAITING, "many-00000").constraints.max_task_retry_count, 3, "retries")
        report.expect_code("TaskCompleted", lambda: client.task.update(JOB, "hello", m.TaskConstraints(max_task_retry_count=3)))
        report.expect_code("ConditionNotMet", lambda: client.task.update(
            WAITING, "many-00000", m.TaskConstraints(max_task_retry_count=3), m.TaskUpdateOptions(if_match="0xBAD")))

    def terminate():
        client.task.terminate(WAITING, "many-00001")
        equal(client.task.get(WAITING, "many-00001").state, m.TaskState.completed, "state")
        report.expect_code("TaskCompleted", lambda: client.task.terminate(WAITING, "many-00001"))

    def reactivate():
        report.expect_code("TaskNotCompleted", lambda: client.task.reactivate(WAITING, "many-00003"))
        report.expect_code("TaskSucceeded", lambda: client.task.reactivate(JOB, "hello"))
        client.task.reactivate(WAITING, "many-00001")
        equal(client.task.get(WAITING, "many-00001").state, m.TaskState.active, "state")

    def delete():
        client.task.delete(WAITING, "many-00002")
        report.expect_code("TaskNotFound", lambda: client.task.get(WAITING, "many-00002"))

    def counts():
        c = client.job.get_task_counts(WAITING)
        equal((c.task_counts.active, c.task_slot_counts.active), (PAGED_TASKS - 1, PAGED_TASKS - 1), "counts")

    op("Tasks_CreateTask", add)
    op("Tasks_GetTask", get)
    op("Tasks_CreateTaskCollection", collection)
    op("Tasks_ListTasks", listed)
    op("Tasks_ReplaceTask", update)
    op("Tasks_TerminateTask", terminate)
    op("Tasks_ReactivateTask", reactivate)
    op("Tasks_DeleteTask", delete)
    op("Jobs_GetJobTaskCounts", counts)
    op("Tasks_ListSubTasks", lambda: equal(list(client.task.list_subtasks(JOB, "hello").value), [], "subtasks"))


def task_files():
    def listed():
        names = {f.name: f for f in client.file.list_from_task(JOB, "hello", recursive=True)}
        assert {"stdout.txt", "wd/sub/50% of #1? a+b&ü.txt"} <= set(names), sorted(names)
        equal(names["stdout.txt"].properties.content_length, 6, "length")

    def read():
        equal(b"".join(client.file.get_from_task(JOB, "hello", "stdout.txt")), b"hello\n", "text")
        equal(b"".join(client.file.get_from_task(JOB, "hello", "wd/sub/50% of #1? a+b&ü.txt")), b"deep\n", "text of a path")
        part = client.file.get_from_task(JOB, "hello", "stdout.txt", m.FileGetFromTaskOptions(ocp_range="bytes=1-3"))
        equal(b"".join(part), b"ell", "range")
        last = client.file.get_from_task(JOB, "hello", "stdout.txt", m.FileGetFromTaskOptions(ocp_range="bytes=-2"))
        equal(b"".join(last), b"o\n", "range from the end")
        size, ends = 0, set()
        for chunk in client.file.get_from_task(JOB, "hello", "wd/large"):
            size, ends = size + len(chunk), ends | {chunk[:1], chunk[-1:]}
        equal((size, ends), (40_000_000, {b"\0"}), "a large file")
        report.expect_code("InvalidRange", lambda: client.file.get_from_task(JOB, "hello", "stdout.txt", m.FileGetFromTaskOptions(ocp_range="bytes=99-100")))
        report.expect_code("FileNotFound", lambda: client.file.get_from_task(JOB, "hello", "nosuch"))

    def properties():
        headers = client.file.get_properties_from_task(JOB, "hello", "stdout.txt", raw=True).headers
        equal((headers["Content-Length"], headers["ocp-batch-file-isdirectory"]), (6, False), "headers")

    op("Tasks_ListTaskFiles", listed)
    op("Tasks_GetTaskFile", read)
    op("Tasks_GetTaskFileProperties", properties)
    def delete():
        client.file.delete_from_task(JOB, "hello", "wd/large")
        report.expect_code("FileNotFound", lambda: client.file.delete_from_task(JOB, "hello", "wd/large"))
        report.expect_code("OperationInvalidForCurrentState", lambda: client.file.delete_from_task(JOB, "hello", "wd/sub"))
        client.file.delete_from_task(JOB, "hello", "wd/sub", recursive=True)
        left = client.file.list_from_task(JOB, "hello", recursive=True, file_list_from_task_options=m.FileListFromTaskOptions(filter="startswith(name,'wd/')"))
        equal([f.name for f in left], [], "files that are left")

    op("Tasks_DeleteTaskFile", delete)


def schedules():
    spec = m.JobSpecification(pool_info=m.PoolInformation(pool_id=POOL), priority=3)

    def add():
        client.job_schedule.add(m.JobScheduleAddParameter(id=SCHEDULE, schedule=m.Schedule(recurrence_interval=HOUR), job_specification=spec))

    def get():
        s = client.job_schedule.get(SCHEDULE)
        equal((s.schedule.recurrence_interval, s.job_specification.priority), (HOUR, 3), "properties")
        full = m.JobScheduleAddParameter.from_dict({**EVERYTHING["schedule"], "id": FULL + "-s"})
        client.job_schedule.add(full)
        found = client.job_schedule.get(FULL + "-s")
        read_back("schedule", full.serialize(), found.serialize(keep_readonly=True), read(found))
        client.job_schedule.delete(FULL + "-s")

    def patch():
        client.job_schedule.patch(SCHEDULE, m.JobSchedulePatchParameter(metadata=[m.MetadataItem(name="a", value="b")]))
        equal([i.name for i in client.job_schedule.get(SCHEDULE).metadata], ["a"], "metadata")

    def jobs_of():
        client.job_schedule.get(SCHEDULE)
        found = wait("a job of the schedule", lambda: [j.id for j in client.job.list_from_job_schedule(SCHEDULE)])
        equal(found, [SCHEDULE + ":job-1"], "jobs")
        client.job.get(found[0])

    op("JobSchedules_CreateJobSchedule", add)
    op("JobSchedules_JobScheduleExists", lambda: equal((client.job_schedule.exists(SCHEDULE), client.job_schedule.exists("nosuch")), (True, False), "exists"))
    op("JobSchedules_GetJobSchedule", get)
    op("JobSchedules_ListJobSchedules", lambda: equal([s.id for s in client.job_schedule.list(m.JobScheduleListOptions(filter=f"id eq '{SCHEDULE}'"))], [SCHEDULE], "schedules"))
    op("Jobs_ListJobsFromSchedule", jobs_of)
    op("JobSchedules_UpdateJobSchedule", patch)
    op("JobSchedules_ReplaceJobSchedule", lambda: client.job_schedule.update(SCHEDULE, m.JobScheduleUpdateParameter(schedule=m.Schedule(recurrence_interval=2 * HOUR), job_specification=spec)))
    op("JobSchedules_DisableJobSchedule", lambda: client.job_schedule.disable(SCHEDULE))
    op("JobSchedules_EnableJobSchedule", lambda: client.job_schedule.enable(SCHEDULE))
    op("JobSchedules_TerminateJobSchedule", lambda: client.job_schedule.terminate(SCHEDULE))
    op("JobSchedules_DeleteJobSchedule", lambda: client.job_schedule.delete(SCHEDULE))


def preparation():
    job = report.name("prep")

    def status():
        report.expect_code("JobPreparationTaskNotSpecified", lambda: list(client.job.list_preparation_and_release_task_status(JOB)))
        client.job.add(m.JobAddParameter(
            id=job, pool_info=m.PoolInformation(pool_id=POOL), job_preparation_task=m.JobPreparationTask(command_line=sh("exit 0")),
            job_release_task=m.JobReleaseTask(command_line=sh("exit 0"))))
        client.task.add(job, m.TaskAddParameter(id="t", command_line=sh("exit 0")))
        wait("task completed", lambda: client.task.get(job, "t").state == m.TaskState.completed)
        found = list(client.job.list_preparation_and_release_task_status(job))
        equal([s.job_preparation_task_execution_info.exit_code for s in found], [0], "exit codes")

    op("Jobs_ListJobPreparationAndReleaseTaskStatus", status)
    report.cleanup(lambda: client.job.delete(job))


def certificates():
    op("Certificate_List", lambda: equal(list(client.certificate.list()), [], "certificates"))
    op("Certificate_Add", lambda: client.certificate.add(m.CertificateAddParameter(thumbprint="a" * 40, thumbprint_algorithm="sha1", data="AA==")),
       ["InvalidRestAPIForAccountSetting"])
    op("Certificate_Get", lambda: client.certificate.get("sha1", "a" * 40), ["CertificateNotFound"])
    op("Certificate_Delete", lambda: client.certificate.delete("sha1", "a" * 40), ["CertificateNotFound"])
    op("Certificate_CancelDeletion", lambda: client.certificate.cancel_deletion("sha1", "a" * 40), ["CertificateNotFound"])


def resizing(node):
    def resize():
        steady()
        client.pool.resize(POOL, m.PoolResizeParameter(target_dedicated_nodes=2))
        steady()
        equal(client.pool.get(POOL).current_dedicated_nodes, 2, "nodes")
        report.expect_code("InvalidPropertyValue", lambda: client.pool.resize(POOL, m.PoolResizeParameter(
            target_dedicated_nodes=1, resize_timeout=datetime.timedelta(minutes=1))))
        report.expect_code("ConditionNotMet", lambda: client.pool.resize(
            POOL, m.PoolResizeParameter(target_dedicated_nodes=1), m.PoolResizeOptions(if_match="0xBAD")))

    # A quick farm may have resized its pool before it is told to stop: then it is asked for more.
    TARGETS = (12, 18, 24)

    def stop():
        for target in TARGETS:
            client.pool.resize(POOL, m.PoolResizeParameter(target_dedicated_nodes=target))
            try:
                report.expect_code("PoolBeingResized", lambda: client.pool.resize(POOL, m.PoolResizeParameter(target_dedicated_nodes=target)))
                client.pool.stop_resize(POOL)
                break
            except Exception:
                if target == TARGETS[-1]:
                    raise
                steady()
        steady()
        equal([e.code for e in client.pool.get(POOL).resize_errors], ["ResizeStopped"], "errors")
        report.expect_code("OperationInvalidForCurrentState", lambda: client.pool.stop_resize(POOL))

    def remove_nodes():
        report.expect_code("InvalidPropertyValue", lambda: client.pool.remove_nodes(POOL, m.NodeRemoveParameter(node_list=[str(i) for i in range(101)])))
        client.pool.remove_nodes(POOL, m.NodeRemoveParameter(node_list=[node]))
        steady()
        report.expect_code("NodeNotFound", lambda: client.compute_node.get(POOL, node))

    formula = "$TargetDedicatedNodes = 1;"

    def enable():
        steady()
        client.pool.enable_auto_scale(POOL, auto_scale_formula=formula, auto_scale_evaluation_interval=datetime.timedelta(minutes=5))
        p = client.pool.get(POOL)
        equal((p.enable_auto_scale, p.auto_scale_formula), (True, formula), "properties")

    def evaluate():
        run = client.pool.evaluate_auto_scale(POOL, "$TargetDedicatedNodes = 2 + 1;")
        assert run.error is None and "$TargetDedicatedNodes=3" in run.results, run.results

    def disable():
        client.pool.disable_auto_scale(POOL)
        equal(client.pool.get(POOL).enable_auto_scale, False, "enabled")

    op("Pools_ResizePool", resize)
    op("Pools_StopPoolResize", stop)
    def idle_after(action):
        action(POOL, node)
        wait("the node is idle again", lambda: client.compute_node.get(POOL, node).state == m.ComputeNodeState.idle)

    op("Nodes_RebootNode", lambda: idle_after(client.compute_node.reboot))
    op("Nodes_ReimageNode", lambda: idle_after(client.compute_node.reimage))
    op("Pools_RemoveNodes", remove_nodes)
    op("Pools_EnablePoolAutoScale", enable)
    op("Pools_EvaluatePoolAutoScale", evaluate)
    op("Pools_DisablePoolAutoScale", disable)


def endings():
    def terminate():
        client.job.terminate(JOB, "enough")
        wait("job completed", lambda: client.job.get(JOB).state == m.JobState.completed)
        equal(client.job.get(JOB).execution_info.terminate_reason, "enough", "reason")
        for late in (lambda: client.job.terminate(JOB), lambda: client.job.disable(JOB, "wait"), lambda: client.job.patch(JOB, m.JobPatchParameter(priority=1)),
                     lambda: client.task.reactivate(JOB, "hello")):
            report.expect_code("JobCompleted", late)
        report.expect_code("JobCompleted", lambda: client.task.add(JOB, m.TaskAddParameter(id="late", command_line="x")))

    def gone(exists):
        def missing():
            try:
                exists()
            except m.BatchErrorException as error:
                return error.error.code.endswith("NotFound")
        return missing

    def delete_job():
        client.job.delete(JOB)
        client.job.delete(WAITING)
        client.job.delete(FULL)
        wait("job gone", gone(lambda: client.job.get(JOB)))

    def delete_pool():
        client.pool.delete(FULL)
        client.pool.delete(POOL)
        wait("pool gone", gone(lambda: client.pool.get(POOL)))

    op("Jobs_TerminateJob", terminate)
    op("Jobs_DeleteJob", delete_job)
    op("Pools_DeletePool", delete_pool)


def main():
    pools()
    node = nodes()
    accounts()
    jobs()
    tasks()
    task_files()
    node_files(node)
    preparation()
    schedules()
    certificates()
    resizing(node)
    endings()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
