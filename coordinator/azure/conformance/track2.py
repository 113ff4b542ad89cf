"""Drives a cluster through every operation of azure-batch 15 (the second generation of Python clients)."""

import datetime
import logging
import sys

from azure.batch import BatchClient
from azure.batch import models as m
from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

from report import ACCOUNT, BUCKET, ENDPOINT, EVERYTHING, KEY, PAGED_TASKS, Report, equal, newer, read_back, wait


def code_of(error):
    model = getattr(error, "model", None) or getattr(error, "error", None)
    return getattr(model, "code", None)


logging.disable(logging.CRITICAL)  # it logs a traceback for every error without a body
client = BatchClient(endpoint=ENDPOINT, credential=AzureNamedKeyCredential(ACCOUNT, KEY))
report = Report("azure-batch 15 (Python)", code_of)
op = report.operation
POOL, JOB, WAITING, SCHEDULE = report.name("pool"), report.name("job"), report.name("waiting"), report.name("sched")
FULL = report.name("full")  # with every property
USER = "c" + report.run  # nodes may share their machine
IMAGE = m.VirtualMachineConfiguration(
    image_reference=m.BatchVmImageReference(publisher="canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts"),
    node_agent_sku_id="batch.node.ubuntu 22.04")
HOUR = datetime.timedelta(hours=1)
BAD = {"etag": "0xBAD", "match_condition": MatchConditions.IfNotModified}
UNCHANGED = {"match_condition": MatchConditions.IfModified}
POLL = {"polling_interval": 1}
EARLY = datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc)


def read(model):
    """Reads every property of a model to the bottom, which parses it, and names those that are absent at the top."""
    absent = []
    for attribute, field in model._attr_to_rest_field.items():
        value = getattr(model, attribute)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "_attr_to_rest_field"):
                read(item)
        if value is None:
            absent.append(field._rest_name)
    return absent


def conditions(get):
    """Reads something under each condition that holds, and each that does not."""
    now = get()
    get(etag=now["eTag"], match_condition=MatchConditions.IfNotModified)
    get(etag="0xBAD", **UNCHANGED)
    get(if_modified_since=EARLY)
    get(if_unmodified_since=now.last_modified)
    report.expect_code("ConditionNotMet", lambda: get(**BAD))
    report.expect_code("ConditionNotMet", lambda: get(if_unmodified_since=EARLY))
    for unchanged in ({"etag": now["eTag"], **UNCHANGED}, {"if_modified_since": now.last_modified}):
        try:
            get(**unchanged)
        except HttpResponseError as error:  # an answer without a body, and so without a code
            equal(error.status_code, 304, f"status of what has not changed ({list(unchanged)})")
        else:
            raise AssertionError("what has not changed was read")
    report.expect_code("MultipleConditionHeadersNotSupported", lambda: get(**BAD, if_unmodified_since=EARLY))


def lists(list_them, field="state"):
    """Asks a list for what cannot be answered."""
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(filter="id startswith 'x'")))
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(filter="nosuch eq 1")))
    report.expect_code("InvalidQueryParameterValue", lambda: list(list_them(select=["nosuch"])))
    report.expect_code("OutOfRangeQueryParameterValue", lambda: list(list_them(max_results=1001)))
    for item in list_them(select=[field]):
        assert set(item.as_dict()) <= {field}, item


def present(exists, name):
    """Whether something exists: this client raises where it documents False."""
    try:
        return exists(name)
    except ResourceNotFoundError:
        return False


def sh(script):
    return f"/bin/sh -c '{script}'"


def accounts():
    def images():
        found = list(client.list_supported_images(filter="osType eq 'linux'", max_results=2))
        assert found and all(i.os_type == m.OSType.LINUX for i in found), "no Linux images"

    def counts():
        found = list(client.list_pool_node_counts(filter=f"poolId eq '{POOL}'"))
        equal([c.pool_id for c in found], [POOL], "pools")
        assert found[0].dedicated.total >= 1, "no node is counted"
        equal(found[0].dedicated.deallocated, 0, "deallocated nodes")

    def get():
        found = client.get_application("EVERYTHING")
        equal((found.id, found.display_name, found.versions), ("everything", "an application", ["1"]), "application")
        report.expect_code("ApplicationNotFound", lambda: client.get_application("nosuch"))

    op("Pools_ListSupportedImages", images)
    op("Pools_ListPoolNodeCounts", counts)
    op("Applications_ListApplications", lambda: list(client.list_applications()))
    op("Applications_GetApplication", get)


def pools():
    def add():
        client.create_pool(m.BatchPoolCreateOptions(
            id=POOL, display_name="a pool", vm_size="standard_d2_v2", virtual_machine_configuration=IMAGE, target_dedicated_nodes=1,
            task_slots_per_node=2, metadata=[m.BatchMetadataItem(name="a", value="b")],
            task_scheduling_policy=m.BatchTaskSchedulingPolicy(node_fill_type=m.BatchNodeFillType.PACK)))
        for wrong in ({"id": "bad id"}, {"taskSlotsPerNode": 0}, {"targetDedicatedNodes": -1}, {"resizeTimeout": "PT1M"}):
            body = {"id": POOL + "x", "vmSize": "x", "virtualMachineConfiguration": IMAGE.as_dict(), **wrong}
            report.expect_code("InvalidPropertyValue", lambda body=body: client.create_pool(m.BatchPoolCreateOptions(body)))
        report.expect_code("PoolExists", lambda: client.create_pool(m.BatchPoolCreateOptions(id=POOL.upper(), vm_size="x", virtual_machine_configuration=IMAGE)))

    def get():
        p = client.get_pool(POOL, expand=["stats"])
        equal((p.id, p.display_name, p.task_slots_per_node, p.target_dedicated_nodes), (POOL, "a pool", 2, 1), "properties")
        equal([(i.name, i.value) for i in p.metadata], [("a", "b")], "metadata")
        equal(p.task_scheduling_policy.node_fill_type, m.BatchNodeFillType.PACK, "policy")
        equal(p.virtual_machine_configuration.image_reference.version, "latest", "version")
        equal(p.url, f"{ENDPOINT.rstrip('/')}/pools/{POOL}", "url")
        equal(client.get_pool(POOL, select=["id"]).state, None, "state, which was not selected")
        conditions(lambda **options: client.get_pool(POOL, **options))
        full = m.BatchPoolCreateOptions({**EVERYTHING["pool"], "id": FULL})
        client.create_pool(full)
        found = client.get_pool(FULL)
        read_back("pool", full.as_dict(), found.as_dict(), read(found))
        report.expect_code("PoolNotFound", lambda: client.get_pool("nosuch"))

    def update():
        client.update_pool(POOL, m.BatchPoolUpdateOptions(metadata=[m.BatchMetadataItem(name="c", value="d")]))
        equal([i.name for i in client.get_pool(POOL).metadata], ["c"], "metadata")
        report.expect_code("ConditionNotMet", lambda: client.update_pool(POOL, m.BatchPoolUpdateOptions(), **BAD))

    def replace():
        client.replace_pool_properties(POOL, m.BatchPoolReplaceOptions(application_package_references=[], metadata=[m.BatchMetadataItem(name="e", value="f")]))
        equal([i.name for i in client.get_pool(POOL).metadata], ["e"], "metadata")

    def listed():
        found = [p.id for p in client.list_pools(filter=f"startswith(id,'{POOL}') and state eq 'active'", select=["id", "state"])]
        equal(found, [POOL], "pools")
        lists(client.list_pools)

    op("Pools_CreatePool", add)
    op("Pools_GetPool", get)
    op("Pools_PoolExists", lambda: equal((client.pool_exists(POOL), present(client.pool_exists, "nosuch")), (True, False), "exists"))
    op("Pools_ListPools", listed)
    op("Pools_UpdatePool", update)
    op("Pools_ReplacePoolProperties", replace)
    op("Pools_ListPoolUsageMetrics", lambda: list(client.list_pool_usage_metrics()))


def steady():
    return wait("pool steady", lambda: client.get_pool(POOL).allocation_state == m.AllocationState.STEADY)


def nodes():
    def listed():
        return wait("an idle node", lambda: list(client.list_nodes(POOL, filter="state eq 'idle'")))[0].id

    node = op("Nodes_ListNodes", listed)

    def get():
        n = client.get_node(POOL, node)
        equal((n.id, n.is_dedicated, bool(n.affinity_id)), (node, True, True), "properties")
        read_back("node", {}, n.as_dict(), read(n))
        report.expect_code("NodeNotFound", lambda: client.get_node(POOL, "nosuch"))

    def disable():
        client.disable_node_scheduling(POOL, node, m.BatchNodeDisableSchedulingOptions(node_disable_scheduling_option="requeue"))
        equal(client.get_node(POOL, node).scheduling_state, m.SchedulingState.DISABLED, "state")

    def enable():
        client.enable_node_scheduling(POOL, node)
        report.expect_code("NodeAlreadyInTargetSchedulingState", lambda: client.enable_node_scheduling(POOL, node))

    op("Nodes_GetNode", get)
    op("Nodes_DisableNodeScheduling", disable)
    op("Nodes_EnableNodeScheduling", enable)
    op("Nodes_ListNodeExtensions", lambda: equal(list(client.list_node_extensions(POOL, node)), [], "extensions"))
    op("Nodes_GetNodeExtension", lambda: client.get_node_extension(POOL, node, "none"), ["ResourceNotFound"])
    op("Nodes_GetNodeRemoteLoginSettings", lambda: client.get_node_remote_login_settings(POOL, node))
    op("Nodes_CreateNodeUser", lambda: client.create_node_user(POOL, node, m.BatchNodeUserCreateOptions(name=USER, password="Conf-Pass-1")))
    op("Nodes_ReplaceNodeUser", lambda: client.replace_node_user(POOL, node, USER, m.BatchNodeUserReplaceOptions(password="Conf-Pass-2")))
    op("Nodes_DeleteNodeUser", lambda: client.delete_node_user(POOL, node, USER))
    op("Nodes_UploadNodeLogs", lambda: client.upload_node_logs(POOL, node, m.UploadBatchServiceLogsOptions(
        container_url=f"s3://{BUCKET}/logs", start_time=datetime.datetime.now(datetime.timezone.utc) - HOUR)))
    return node


def node_files(node):
    def listed():
        found = list(client.list_node_files(POOL, node, recursive=True, filter="startswith(name,'workitems/')"))
        return next(f.name for f in found if f.name.endswith("/stdout.txt") and JOB in f.name)

    name = op("Nodes_ListNodeFiles", listed)

    def properties():
        equal(client.get_node_file_properties(POOL, node, name).is_directory, False, "directory")

    def read():
        text = b"".join(client.download_node_file(POOL, node, name))
        assert b"hello" in text, text

    op("Nodes_GetNodeFileProperties", properties)
    op("Nodes_GetNodeFile", read)
    op("Nodes_DeleteNodeFile", lambda: client.delete_node_file(POOL, node, name))


def jobs():
    def add():
        client.create_job(m.BatchJobCreateOptions(
            id=JOB, display_name="a job", priority=10, pool_info=m.BatchPoolInfo(pool_id=POOL), uses_task_dependencies=True,
            constraints=m.BatchJobConstraints(max_wall_clock_time=HOUR, max_task_retry_count=1),
            common_environment_settings=[m.EnvironmentSetting(name="COMMON", value="yes")], metadata=[m.BatchMetadataItem(name="a", value="b")]))
        report.expect_code("JobExists", lambda: client.create_job(m.BatchJobCreateOptions(id=JOB, pool_info=m.BatchPoolInfo(pool_id=POOL))))
        client.create_job(m.BatchJobCreateOptions(id=WAITING, pool_info=m.BatchPoolInfo(pool_id="nowhere-" + report.run)))

    def get():
        j = client.get_job(JOB, expand=["stats"])
        equal((j.id, j.display_name, j.priority, j.uses_task_dependencies, j.state), (JOB, "a job", 10, True, m.BatchJobState.ACTIVE), "properties")
        equal((j.constraints.max_wall_clock_time, j.constraints.max_task_retry_count), (HOUR, 1), "constraints")
        equal((j.pool_info.pool_id, j.execution_info.pool_id), (POOL, POOL), "pool")
        equal([(e.name, e.value) for e in j.common_environment_settings], [("COMMON", "yes")], "environment")
        equal(j.all_tasks_complete_mode, m.BatchAllTasksCompleteMode.NO_ACTION, "onAllTasksComplete")
        conditions(lambda **options: client.get_job(JOB, **options))
        full = m.BatchJobCreateOptions({**newer(EVERYTHING["job"]), "id": FULL})
        client.create_job(full)
        found = client.get_job(FULL)
        read_back("job", full.as_dict(), found.as_dict(), read(found))
        report.expect_code("JobNotFound", lambda: client.get_job("nosuch"))

    def update():
        client.update_job(JOB, m.BatchJobUpdateOptions(priority=20, constraints=m.BatchJobConstraints(max_task_retry_count=2)))
        j = client.get_job(JOB)
        equal((j.priority, j.constraints.max_task_retry_count, [i.name for i in j.metadata]), (20, 2, ["a"]), "properties")
        assert j.constraints.max_wall_clock_time > datetime.timedelta(days=10_000_000), "the time is limited still"
        report.expect_code("ConditionNotMet", lambda: client.update_job(JOB, m.BatchJobUpdateOptions(priority=1), **BAD))
        report.expect_code("OutOfRangePriority", lambda: client.update_job(JOB, m.BatchJobUpdateOptions(priority=5000)))

    def replace():
        job = client.get_job(JOB)
        job.priority = 30
        client.replace_job(JOB, job)
        equal(client.get_job(JOB).priority, 30, "priority")

    def listed():
        found = {j.id for j in client.list_jobs(filter=f"id eq '{JOB}' or id eq '{WAITING}'", max_results=1, select=["id"])}
        equal(found, {JOB, WAITING}, "jobs")
        lists(client.list_jobs)

    def disable():
        client.begin_disable_job(JOB, m.BatchJobDisableOptions(disable_tasks="requeue"), **POLL).result()
        equal(client.get_job(JOB).state, m.BatchJobState.DISABLED, "state")
        client.create_task(JOB, m.BatchTaskCreateOptions(id="patient", command_line=sh("exit 0")))
        equal(client.get_task(JOB, "patient").state, m.BatchTaskState.ACTIVE, "state of a task of a disabled job")

    def enable():
        client.begin_enable_job(JOB, **POLL).result()
        equal(client.get_job(JOB).state, m.BatchJobState.ACTIVE, "state")
        wait("the task that waited", lambda: client.get_task(JOB, "patient").state == m.BatchTaskState.COMPLETED)
        client.delete_task(JOB, "patient")

    op("Jobs_CreateJob", add)
    op("Jobs_GetJob", get)
    op("Jobs_ListJobs", listed)
    op("Jobs_UpdateJob", update)
    op("Jobs_ReplaceJob", replace)
    op("Jobs_DisableJob", disable)
    op("Jobs_EnableJob", enable)


def tasks():
    def add():
        client.create_task(JOB, m.BatchTaskCreateOptions(
            id="hello", command_line=sh("echo hello; mkdir -p sub; echo deep > \"sub/50% of #1? a+b&ü.txt\"; head -c 40000000 /dev/zero > large"), display_name="says hello",
            environment_settings=[m.EnvironmentSetting(name="E", value="ü")],
            constraints=m.BatchTaskConstraints(max_task_retry_count=0, retention_time=HOUR)))
        report.expect_code("TaskExists", lambda: client.create_task(JOB, m.BatchTaskCreateOptions(id="hello", command_line="x")))
        report.expect_code("InvalidPropertyValue", lambda: client.create_task(JOB, m.BatchTaskCreateOptions(id="a b", command_line="x")))
        report.expect_code("TaskDependenciesNotSpecifiedOnJob", lambda: client.create_task(WAITING, m.BatchTaskCreateOptions(
            id="depends", command_line="x", depends_on=m.BatchTaskDependencies(task_ids=["a"]))))
        report.expect_code("JobNotFound", lambda: client.create_task("nosuch", m.BatchTaskCreateOptions(id="hello", command_line="x")))

    def get():
        t = client.get_task(JOB, "hello", expand=["stats"])
        equal((t.id, t.display_name, t.required_slots), ("hello", "says hello", 1), "properties")
        equal((t.constraints.retention_time, t.constraints.max_task_retry_count), (HOUR, 0), "constraints")
        equal([(e.name, e.value) for e in t.environment_settings], [("E", "ü")], "environment")
        wait("task completed", lambda: client.get_task(JOB, "hello").state == m.BatchTaskState.COMPLETED)
        t = client.get_task(JOB, "hello")
        equal((t.execution_info.exit_code, t.execution_info.result), (0, m.BatchTaskExecutionResult.SUCCESS), "outcome")
        read(t)
        conditions(lambda **options: client.get_task(JOB, "hello", **options))
        full = m.BatchTaskCreateOptions({**newer(EVERYTHING["task"]), "id": "full"})
        client.create_task(FULL, full)
        found = client.get_task(FULL, "full")
        read_back("task", full.as_dict(), found.as_dict(), read(found))
        several = m.BatchTaskCreateOptions({**EVERYTHING["instances"], "id": "instances"})
        client.create_task(FULL, several)
        found = client.get_task(FULL, "instances")
        read_back("instances", several.as_dict(), found.as_dict(), read(found))
        report.expect_code("TaskNotFound", lambda: client.get_task(JOB, "nosuch"))

    def collection():
        hundred = [m.BatchTaskCreateOptions(id=f"many-{i:05}", command_line=sh("exit 0")) for i in range(100)]
        found = client.create_task_collection(WAITING, m.BatchTaskGroup(task_values=hundred))
        equal({r.status for r in found.result_values}, {m.BatchTaskAddStatus.SUCCESS}, "statuses")
        again = client.create_task_collection(WAITING, m.BatchTaskGroup(task_values=hundred[:1]))
        equal([r.error.code for r in again.result_values], ["TaskExists"], "errors")
        rest = [m.BatchTaskCreateOptions(id=f"many-{i:05}", command_line=sh("exit 0")) for i in range(100, PAGED_TASKS)]
        results = client.create_tasks(WAITING, rest, max_concurrency=4)
        equal({r.status for r in results.result_values}, {m.BatchTaskAddStatus.SUCCESS}, "statuses")
        too_many = [m.BatchTaskCreateOptions(id=f"over-{i}", command_line="x") for i in range(101)]
        report.expect_code("RequestBodyTooLarge", lambda: client.create_task_collection(WAITING, m.BatchTaskGroup(task_values=too_many)))
        files = [m.ResourceFile(http_url="https://example.com/" + "x" * 100, file_path=str(i)) for i in range(10_000)]
        large = m.BatchTaskCreateOptions(id="large", command_line="x", resource_files=files)
        report.expect_code("RequestBodyTooLarge", lambda: client.create_task_collection(WAITING, m.BatchTaskGroup(task_values=[large])))

    def listed():
        found = [t.id for t in client.list_tasks(WAITING, max_results=600, select=["id"], filter="startswith(id,'many-')")]
        equal((len(found), len(set(found))), (PAGED_TASKS, PAGED_TASKS), "tasks")
        pages = client.list_tasks(WAITING, max_results=1000, filter="startswith(id,'many-')", expand=["stats"]).by_page()
        found = [t.id for t in next(pages)]
        client.create_task(WAITING, m.BatchTaskCreateOptions(id="between", command_line="x"))  # a token outlives what is added meanwhile
        found += [t.id for page in pages for t in page]
        equal((len(found), len(set(found))), (PAGED_TASKS, PAGED_TASKS), "tasks of pages")
        client.delete_task(WAITING, "between")
        lists(lambda **options: client.list_tasks(JOB, **options))
        full = list(client.list_tasks(JOB, filter="executionInfo/exitCode eq 0", expand=["stats"]))
        equal([t.id for t in full], ["hello"], "filtered tasks")

    def replace():
        task = client.get_task(WAITING, "many-00000")
        task.constraints = m.BatchTaskConstraints(max_task_retry_count=3)
        client.replace_task(WAITING, "many-00000", task)
        equal(client.get_task(WAITING, "many-00000").constraints.max_task_retry_count, 3, "retries")
        report.expect_code("TaskCompleted", lambda: client.replace_task(JOB, "hello", task))
        report.expect_code("ConditionNotMet", lambda: client.replace_task(WAITING, "many-00000", task, **BAD))

    def terminate():
        client.terminate_task(WAITING, "many-00001")
        equal(client.get_task(WAITING, "many-00001").state, m.BatchTaskState.COMPLETED, "state")
        report.expect_code("TaskCompleted", lambda: client.terminate_task(WAITING, "many-00001"))

    def reactivate():
        report.expect_code("TaskNotCompleted", lambda: client.reactivate_task(WAITING, "many-00003"))
        report.expect_code("TaskSucceeded", lambda: client.reactivate_task(JOB, "hello"))
        client.reactivate_task(WAITING, "many-00001")
        equal(client.get_task(WAITING, "many-00001").state, m.BatchTaskState.ACTIVE, "state")

    def delete():
        client.delete_task(WAITING, "many-00002")
        report.expect_code("TaskNotFound", lambda: client.get_task(WAITING, "many-00002"))

    def counts():
        c = client.get_job_task_counts(WAITING)
        equal((c.task_counts.active, c.task_slot_counts.active), (PAGED_TASKS - 1, PAGED_TASKS - 1), "counts")

    op("Tasks_CreateTask", add)
    op("Tasks_GetTask", get)
    op("Tasks_CreateTaskCollection", collection)
    op("Tasks_ListTasks", listed)
    op("Tasks_ReplaceTask", replace)
    op("Tasks_TerminateTask", terminate)
    op("Tasks_ReactivateTask", reactivate)
    op("Tasks_DeleteTask", delete)
    op("Jobs_GetJobTaskCounts", counts)
    op("Tasks_ListSubTasks", lambda: equal(list(client.list_subtasks(JOB, "hello")), [], "subtasks"))


def task_files():
    def listed():
        names = {f.name: f for f in client.list_task_files(JOB, "hello", recursive=True)}
        assert {"stdout.txt", "wd/sub/50% of #1? a+b&ü.txt"} <= set(names), sorted(names)
        equal(names["stdout.txt"].properties.content_length, 6, "length")

    def read():
        equal(b"".join(client.download_task_file(JOB, "hello", "stdout.txt")), b"hello\n", "text")
        equal(b"".join(client.download_task_file(JOB, "hello", "wd/sub/50% of #1? a+b&ü.txt")), b"deep\n", "text of a path")
        equal(b"".join(client.download_task_file(JOB, "hello", "stdout.txt", ocp_range="bytes=1-3")), b"ell", "range")
        equal(b"".join(client.download_task_file(JOB, "hello", "stdout.txt", ocp_range="bytes=-2")), b"o\n", "range from the end")
        size, ends = 0, set()
        for chunk in client.download_task_file(JOB, "hello", "wd/large"):
            size, ends = size + len(chunk), ends | {chunk[:1], chunk[-1:]}
        equal((size, ends), (40_000_000, {b"\0"}), "a large file")
        try:
            client.download_task_file(JOB, "hello", "nosuch")
        except ResourceNotFoundError:  # the client does not read the error's body
            return
        raise AssertionError("a file that does not exist was read")

    def properties():
        found = client.get_task_file_properties(JOB, "hello", "stdout.txt")
        equal((found.content_length, found.is_directory), (6, False), "properties")

    op("Tasks_ListTaskFiles", listed)
    op("Tasks_GetTaskFile", read)
    op("Tasks_GetTaskFileProperties", properties)
    def delete():
        client.delete_task_file(JOB, "hello", "wd/large")
        report.expect_code("FileNotFound", lambda: client.delete_task_file(JOB, "hello", "wd/large"))
        report.expect_code("OperationInvalidForCurrentState", lambda: client.delete_task_file(JOB, "hello", "wd/sub"))
        client.delete_task_file(JOB, "hello", "wd/sub", recursive=True)
        equal([f.name for f in client.list_task_files(JOB, "hello", recursive=True, filter="startswith(name,'wd/')")], [], "files that are left")

    op("Tasks_DeleteTaskFile", delete)


def schedules():
    spec = m.BatchJobSpecification(pool_info=m.BatchPoolInfo(pool_id=POOL), priority=3)

    def add():
        client.create_job_schedule(m.BatchJobScheduleCreateOptions(
            id=SCHEDULE, schedule=m.BatchJobScheduleConfiguration(recurrence_interval=HOUR), job_specification=spec))

    def get():
        s = client.get_job_schedule(SCHEDULE)
        equal((s.schedule.recurrence_interval, s.job_specification.priority), (HOUR, 3), "properties")
        full = m.BatchJobScheduleCreateOptions({**newer(EVERYTHING["schedule"]), "id": FULL + "-s"})
        client.create_job_schedule(full)
        found = client.get_job_schedule(FULL + "-s")
        read_back("schedule", full.as_dict(), found.as_dict(), read(found))
        client.begin_delete_job_schedule(FULL + "-s", **POLL).result()

    def update():
        client.update_job_schedule(SCHEDULE, m.BatchJobScheduleUpdateOptions(metadata=[m.BatchMetadataItem(name="a", value="b")]))
        equal([i.name for i in client.get_job_schedule(SCHEDULE).metadata], ["a"], "metadata")

    def replace():
        schedule = client.get_job_schedule(SCHEDULE)
        schedule.schedule = m.BatchJobScheduleConfiguration(recurrence_interval=2 * HOUR)
        client.replace_job_schedule(SCHEDULE, schedule)
        equal(client.get_job_schedule(SCHEDULE).schedule.recurrence_interval, 2 * HOUR, "interval")

    def jobs_of():
        client.get_job_schedule(SCHEDULE)
        found = wait("a job of the schedule", lambda: [j.id for j in client.list_jobs_from_schedule(SCHEDULE)])
        equal(found, [SCHEDULE + ":job-1"], "jobs")
        client.get_job(found[0])

    op("JobSchedules_CreateJobSchedule", add)
    op("JobSchedules_JobScheduleExists", lambda: equal((present(client.job_schedule_exists, SCHEDULE), present(client.job_schedule_exists, "nosuch")), (True, False), "exists"))
    op("JobSchedules_GetJobSchedule", get)
    op("JobSchedules_ListJobSchedules", lambda: equal([s.id for s in client.list_job_schedules(filter=f"id eq '{SCHEDULE}'")], [SCHEDULE], "schedules"))
    op("Jobs_ListJobsFromSchedule", jobs_of)
    op("JobSchedules_UpdateJobSchedule", update)
    op("JobSchedules_ReplaceJobSchedule", replace)
    op("JobSchedules_DisableJobSchedule", lambda: client.disable_job_schedule(SCHEDULE))
    op("JobSchedules_EnableJobSchedule", lambda: client.enable_job_schedule(SCHEDULE))
    op("JobSchedules_TerminateJobSchedule", lambda: client.begin_terminate_job_schedule(SCHEDULE, **POLL).result())
    op("JobSchedules_DeleteJobSchedule", lambda: client.begin_delete_job_schedule(SCHEDULE, **POLL).result())


def preparation():
    job = report.name("prep")

    def status():
        report.expect_code("JobPreparationTaskNotSpecified", lambda: list(client.list_job_preparation_and_release_task_status(JOB)))
        client.create_job(m.BatchJobCreateOptions(
            id=job, pool_info=m.BatchPoolInfo(pool_id=POOL), job_preparation_task=m.BatchJobPreparationTask(command_line=sh("exit 0")),
            job_release_task=m.BatchJobReleaseTask(command_line=sh("exit 0"))))
        client.create_task(job, m.BatchTaskCreateOptions(id="t", command_line=sh("exit 0")))
        wait("task completed", lambda: client.get_task(job, "t").state == m.BatchTaskState.COMPLETED)
        found = list(client.list_job_preparation_and_release_task_status(job))
        equal([s.job_preparation_task_execution_info.exit_code for s in found], [0], "exit codes")

    op("Jobs_ListJobPreparationAndReleaseTaskStatus", status)
    report.cleanup(lambda: client.begin_delete_job(job, **POLL))


def resizing(node):
    formula = "$TargetDedicatedNodes = 1;"

    def resize():
        steady()
        client.begin_resize_pool(POOL, m.BatchPoolResizeOptions(target_dedicated_nodes=2), **POLL).result()
        equal(client.get_pool(POOL).current_dedicated_nodes, 2, "nodes")
        report.expect_code("InvalidPropertyValue", lambda: client.begin_resize_pool(POOL, m.BatchPoolResizeOptions(
            target_dedicated_nodes=1, resize_timeout=datetime.timedelta(minutes=1))))
        report.expect_code("ConditionNotMet", lambda: client.begin_resize_pool(POOL, m.BatchPoolResizeOptions(target_dedicated_nodes=1), **BAD))

    # A quick farm may have resized its pool before it is told to stop: then it is asked for more.
    TARGETS = (12, 18, 24)

    def stop():
        for target in TARGETS:
            client.begin_resize_pool(POOL, m.BatchPoolResizeOptions(target_dedicated_nodes=target), polling_interval=3600)  # not waited for
            try:
                report.expect_code("PoolBeingResized", lambda: client.begin_resize_pool(
                    POOL, m.BatchPoolResizeOptions(target_dedicated_nodes=target), polling_interval=3600))
                client.begin_stop_pool_resize(POOL, **POLL).result()
                break
            except Exception:
                if target == TARGETS[-1]:
                    raise
                steady()
        p = client.get_pool(POOL)
        equal((p.allocation_state, [e.code for e in p.resize_errors]), (m.AllocationState.STEADY, ["ResizeStopped"]), "allocation state")
        report.expect_code("OperationInvalidForCurrentState", lambda: client.begin_stop_pool_resize(POOL))

    def remove_nodes():
        steady()
        report.expect_code("InvalidPropertyValue", lambda: client.begin_remove_nodes(POOL, m.BatchNodeRemoveOptions(node_ids=[str(i) for i in range(101)])))
        client.begin_remove_nodes(POOL, m.BatchNodeRemoveOptions(node_ids=[node]), **POLL).result()
        report.expect_code("NodeNotFound", lambda: client.get_node(POOL, node))

    def enable():
        steady()
        client.enable_pool_auto_scale(POOL, m.BatchPoolEnableAutoScaleOptions(
            auto_scale_formula=formula, auto_scale_evaluation_interval=datetime.timedelta(minutes=5)))
        p = client.get_pool(POOL)
        equal((p.enable_auto_scale, p.auto_scale_formula), (True, formula), "properties")

    def evaluate():
        run = client.evaluate_pool_auto_scale(POOL, m.BatchPoolEvaluateAutoScaleOptions(auto_scale_formula="$TargetDedicatedNodes = 2 + 1;"))
        assert run.error is None and "$TargetDedicatedNodes=3" in run.results, run.results

    def disable():
        client.disable_pool_auto_scale(POOL)
        equal(client.get_pool(POOL).enable_auto_scale, False, "enabled")

    op("Pools_ResizePool", resize)
    op("Pools_StopPoolResize", stop)
    # The options are sent though they are optional: without them the client fails on its own.
    op("Nodes_DeallocateNode", lambda: client.begin_deallocate_node(POOL, node, {"nodeDeallocateOption": "requeue"}, **POLL).result())
    op("Nodes_StartNode", lambda: client.begin_start_node(POOL, node, **POLL).result())
    op("Nodes_RebootNode", lambda: client.begin_reboot_node(POOL, node, {"nodeRebootOption": "requeue"}, **POLL).result())
    op("Nodes_ReimageNode", lambda: client.begin_reimage_node(POOL, node, {"nodeReimageOption": "requeue"}, **POLL).result())
    op("Pools_RemoveNodes", remove_nodes)
    op("Pools_EnablePoolAutoScale", enable)
    op("Pools_EvaluatePoolAutoScale", evaluate)
    op("Pools_DisablePoolAutoScale", disable)


def endings():
    def terminate():
        client.begin_terminate_job(JOB, {"terminateReason": "enough"}, **POLL).result()
        job = client.get_job(JOB)
        equal((job.state, job.execution_info.termination_reason), (m.BatchJobState.COMPLETED, "enough"), "job")
        for late in (lambda: client.begin_terminate_job(JOB, {"terminateReason": "again"}), lambda: client.begin_disable_job(JOB, m.BatchJobDisableOptions(disable_tasks="wait")),
                     lambda: client.update_job(JOB, m.BatchJobUpdateOptions(priority=1)), lambda: client.reactivate_task(JOB, "hello")):
            report.expect_code("JobCompleted", late)
        report.expect_code("JobCompleted", lambda: client.create_task(JOB, m.BatchTaskCreateOptions(id="late", command_line="x")))

    def delete_job():
        for job in (JOB, WAITING, FULL):
            client.begin_delete_job(job, **POLL).result()
            report.expect_code("JobNotFound", lambda job=job: client.get_job(job))

    def delete_pool():
        client.begin_delete_pool(FULL, **POLL).result()
        client.begin_delete_pool(POOL, **POLL).result()
        report.expect_code("PoolNotFound", lambda: client.get_pool(POOL))

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
    resizing(node)
    endings()
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
