// Drives a cluster through every operation of @azure/batch 10, the JavaScript client of the first generation.

import { createRequire } from "node:module";
import { Report, account, all, check, codeOf, endpoint, equal, everything, expectCode, key, named, older, pagedTasks, readBack, wait } from "./report.mjs";

// The client is where the program is run from, not where it lies.
const load = createRequire(`${process.cwd()}/`);
const { BatchServiceClient, BatchServiceMappers, BatchSharedKeyCredentials } = load("@azure/batch");
const { Serializer } = load("@azure/ms-rest-js");
const client = new BatchServiceClient(new BatchSharedKeyCredentials(account, key), endpoint);
const report = new Report("@azure/batch 10 (JavaScript)");
const op = (...args) => report.operation(...args);

const pool = report.name("pool");
const job = report.name("job");
const waiting = report.name("waiting");
const schedule = report.name("sched");
const full = report.name("full"); // with every property
const fullSchedule = `${full}-s`;
const user = `c${report.run}`; // nodes may share their machine
const virtualMachineConfiguration = {
  imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
  nodeAgentSKUId: "batch.node.ubuntu 22.04",
};
const sh = (script) => `/bin/sh -c '${script}'`;
const steady = () => wait("pool steady", async () => (await client.pool.get(pool)).allocationState === "steady");

const early = new Date(Date.UTC(2000, 0, 1));
const serializer = new Serializer(BatchServiceMappers);

/** What of a body the client has, as it sends it. */
const sends = (mapper, body) => serializer.serialize(BatchServiceMappers[mapper], body, mapper);
const knows = (mapper) => Object.keys(BatchServiceMappers[mapper].type.modelProperties);

/** Reads something under each condition that holds, and each that does not. */
async function conditions(get) {
  const now = await get({});
  await get({ ifMatch: now.eTag });
  await get({ ifNoneMatch: "0xBAD" });
  await get({ ifModifiedSince: early });
  await get({ ifUnmodifiedSince: now.lastModified });
  await expectCode("ConditionNotMet", () => get({ ifMatch: "0xBAD" }));
  await expectCode("ConditionNotMet", () => get({ ifUnmodifiedSince: early }));
  for (const unchanged of [{ ifNoneMatch: now.eTag }, { ifModifiedSince: now.lastModified }]) {
    const status = await get(unchanged).then(() => 200, (error) => error.statusCode);
    equal(status, 304, `status of what has not changed (${Object.keys(unchanged)})`);
  }
  await expectCode("MultipleConditionHeadersNotSupported", () => get({ ifMatch: "0xBAD", ifNoneMatch: "0xBAD" }));
}

/** Asks a list for what cannot be answered. */
async function lists(list, field = "state") {
  await expectCode("InvalidQueryParameterValue", () => list({ filter: "id startswith 'x'" }));
  await expectCode("InvalidQueryParameterValue", () => list({ filter: "nosuch eq 1" }));
  await expectCode("InvalidQueryParameterValue", () => list({ select: "nosuch" }));
  const filled = "maxParallelTasks"; // by the client, where it is absent
  for (const item of await list({ select: field })) equal(Object.keys(item).filter((name) => name !== filled), [field], "selected properties");
}

async function text(response) {
  const chunks = [];
  for await (const chunk of response.readableStreamBody) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Whether something exists: this client gives the status in the body. */
async function present(exists) {
  try {
    return (await exists()).body;
  } catch (error) {
    if (error.statusCode === 404) return false;
    throw error;
  }
}

async function pools() {
  await op("Pools_CreatePool", async () => {
    await client.pool.add({
      id: pool, displayName: "a pool", vmSize: "standard_d2_v2", virtualMachineConfiguration, targetDedicatedNodes: 1, taskSlotsPerNode: 2,
      metadata: [{ name: "a", value: "b" }], taskSchedulingPolicy: { nodeFillType: "Pack" },
    });
    for (const wrong of [{ id: "bad id" }, { taskSlotsPerNode: 0 }, { targetDedicatedNodes: -1 }, { resizeTimeout: "PT1M" }]) {
      await expectCode("InvalidPropertyValue", () => client.pool.add({ id: `${pool}x`, vmSize: "x", virtualMachineConfiguration, ...wrong }));
    }
    await expectCode("PoolExists", () => client.pool.add({ id: pool.toUpperCase(), vmSize: "x", virtualMachineConfiguration }));
  });
  await op("Pools_GetPool", async () => {
    const p = await client.pool.get(pool, { poolGetOptions: { expand: "stats" } });
    equal([p.id, p.displayName, p.taskSlotsPerNode, p.targetDedicatedNodes], [pool, "a pool", 2, 1], "properties");
    equal(p.metadata, [{ name: "a", value: "b" }], "metadata");
    equal(p.taskSchedulingPolicy.nodeFillType, "pack", "policy");
    equal(p.url, `${endpoint.replace(/\/$/, "")}/pools/${pool}`, "url");
    equal((await client.pool.get(pool, { poolGetOptions: { select: "id" } })).state, undefined, "state, which was not selected");
    await conditions((poolGetOptions) => client.pool.get(pool, { poolGetOptions }));
    const body = { ...named(older(everything.pool)), id: full };
    await client.pool.add(body);
    readBack("pool", named(sends("PoolAddParameter", body)), await client.pool.get(full), knows("CloudPool"));
    await expectCode("PoolNotFound", () => client.pool.get("nosuch"));
  });
  await op("Pools_PoolExists", async () => {
    equal([await present(() => client.pool.exists(pool)), await present(() => client.pool.exists("nosuch"))], [true, false], "exists");
  });
  await op("Pools_ListPools", async () => {
    const found = await client.pool.list({ poolListOptions: { filter: `startswith(id,'${pool}') and state eq 'active'`, select: "id,state" } });
    equal(found.map((p) => p.id), [pool], "pools");
    await lists((poolListOptions) => client.pool.list({ poolListOptions }));
  });
  await op("Pools_UpdatePool", async () => {
    await client.pool.patch(pool, { metadata: [{ name: "c", value: "d" }] });
    equal((await client.pool.get(pool)).metadata, [{ name: "c", value: "d" }], "metadata");
    await expectCode("ConditionNotMet", () => client.pool.patch(pool, {}, { poolPatchOptions: { ifMatch: "0xBAD" } }));
  });
  await op("Pools_ReplacePoolProperties", async () => {
    await client.pool.updateProperties(pool, { certificateReferences: [], applicationPackageReferences: [], metadata: [{ name: "e", value: "f" }] });
    equal((await client.pool.get(pool)).metadata, [{ name: "e", value: "f" }], "metadata");
  });
  await op("Pools_ListPoolUsageMetrics", () => client.pool.listUsageMetrics());
  await op("Pool_GetAllLifetimeStatistics", () => client.pool.getAllLifetimeStatistics(), ["OperationInvalidForCurrentState"]);
  await op("Job_GetAllLifetimeStatistics", () => client.job.getAllLifetimeStatistics(), ["OperationInvalidForCurrentState"]);
}

async function nodes() {
  const n = client.computeNode;
  const node = await op("Nodes_ListNodes", async () => {
    const found = await wait("an idle node", async () => {
      const page = await n.list(pool, { computeNodeListOptions: { filter: "state eq 'idle'" } });
      return page.length > 0 && page;
    });
    return found[0].id;
  });
  await op("Nodes_GetNode", async () => {
    const found = await n.get(pool, node);
    equal([found.id, found.isDedicated], [node, true], "properties");
    readBack("node", {}, found, knows("ComputeNode"));
    await expectCode("NodeNotFound", () => n.get(pool, "nosuch"));
  });
  await op("Nodes_DisableNodeScheduling", async () => {
    await n.disableScheduling(pool, node, { nodeDisableSchedulingOption: "requeue" });
    equal((await n.get(pool, node)).schedulingState, "disabled", "state");
  });
  await op("Nodes_EnableNodeScheduling", async () => {
    await n.enableScheduling(pool, node);
    await expectCode("NodeAlreadyInTargetSchedulingState", () => n.enableScheduling(pool, node));
  });
  await op("Nodes_ListNodeExtensions", async () => equal((await client.computeNodeExtension.list(pool, node)).length, 0, "extensions"));
  await op("Nodes_GetNodeExtension", () => client.computeNodeExtension.get(pool, node, "none"), ["ResourceNotFound"]);
  await op("Nodes_GetNodeRemoteLoginSettings", () => n.getRemoteLoginSettings(pool, node));
  await op("ComputeNode_GetRemoteDesktop", async () => {
    const status = await n.getRemoteDesktop(pool, node).then(() => 200, (error) => error.statusCode);
    equal(status, 409, "status"); // the client does not read the body of an error where a file is expected
  });
  await op("Nodes_CreateNodeUser", () => n.addUser(pool, node, { name: user, password: "Conf-Pass-1" }));
  await op("Nodes_ReplaceNodeUser", () => n.updateUser(pool, node, user, { password: "Conf-Pass-2" }));
  await op("Nodes_DeleteNodeUser", () => n.deleteUser(pool, node, user));
  await op("Nodes_UploadNodeLogs", () => n.uploadBatchServiceLogs(pool, node, { containerUrl: `s3://${process.env.BATCHYARD_BUCKET}/logs`, startTime: new Date(Date.now() - 3600_000) }));
  return node;
}

async function accounts() {
  await op("Pools_ListSupportedImages", async () => {
    const options = { filter: "osType eq 'linux'", maxResults: 2 };
    const found = await all(await client.account.listSupportedImages({ accountListSupportedImagesOptions: options }), (link) => client.account.listSupportedImagesNext(link));
    check(found.length > 2 && found.every((i) => i.osType === "linux"), "Linux images are missing");
  });
  await op("Pools_ListPoolNodeCounts", async () => {
    const found = await client.account.listPoolNodeCounts({ accountListPoolNodeCountsOptions: { filter: `poolId eq '${pool}'` } });
    equal(found.map((c) => c.poolId), [pool], "pools");
    check(found[0].dedicated.total >= 1, "no node is counted");
  });
  await op("Applications_ListApplications", () => client.application.list());
  await op("Applications_GetApplication", async () => {
    const found = await client.application.get("EVERYTHING");
    equal([found.id, found.displayName, found.versions], ["everything", "an application", ["1"]], "application");
    await expectCode("ApplicationNotFound", () => client.application.get("nosuch"));
  });
}

async function jobs() {
  await op("Jobs_CreateJob", async () => {
    await client.job.add({
      id: job, displayName: "a job", priority: 10, poolInfo: { poolId: pool }, usesTaskDependencies: true,
      constraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 1 }, commonEnvironmentSettings: [{ name: "COMMON", value: "yes" }],
      metadata: [{ name: "a", value: "b" }],
    });
    await expectCode("JobExists", () => client.job.add({ id: job, poolInfo: { poolId: pool } }));
    await client.job.add({ id: waiting, poolInfo: { poolId: `nowhere-${report.run}` } });
  });
  await op("Jobs_GetJob", async () => {
    const j = await client.job.get(job, { jobGetOptions: { expand: "stats" } });
    equal([j.id, j.displayName, j.priority, j.usesTaskDependencies, j.state], [job, "a job", 10, true, "active"], "properties");
    equal([j.constraints.maxWallClockTime, j.constraints.maxTaskRetryCount], ["PT1H", 1], "constraints");
    equal([j.poolInfo.poolId, j.executionInfo.poolId], [pool, pool], "pool");
    equal(j.commonEnvironmentSettings, [{ name: "COMMON", value: "yes" }], "environment");
    await conditions((jobGetOptions) => client.job.get(job, { jobGetOptions }));
    const body = { ...named(everything.job), id: full };
    await client.job.add(body);
    readBack("job", named(sends("JobAddParameter", body)), await client.job.get(full), knows("CloudJob"));
    await expectCode("JobNotFound", () => client.job.get("nosuch"));
  });
  await op("Jobs_ListJobs", async () => {
    const options = { filter: `id eq '${job}' or id eq '${waiting}'`, maxResults: 1, select: "id" };
    const found = await all(await client.job.list({ jobListOptions: options }), (link) => client.job.listNext(link));
    equal(found.map((j) => j.id).sort(), [job, waiting].sort(), "jobs");
    await lists((jobListOptions) => client.job.list({ jobListOptions }));
  });
  await op("Jobs_UpdateJob", async () => {
    await client.job.patch(job, { priority: 20, constraints: { maxTaskRetryCount: 2 } });
    const j = await client.job.get(job);
    equal([j.priority, j.constraints.maxTaskRetryCount, j.constraints.maxWallClockTime, j.metadata.length], [20, 2, "P10675199DT2H48M5.4775807S", 1], "properties");
    await expectCode("ConditionNotMet", () => client.job.patch(job, { priority: 1 }, { jobPatchOptions: { ifMatch: "0xBAD" } }));
    await expectCode("OutOfRangePriority", () => client.job.patch(job, { priority: 5000 }));
  });
  await op("Jobs_ReplaceJob", async () => {
    await client.job.update(job, { poolInfo: { poolId: pool } });
    const j = await client.job.get(job);
    equal([j.priority, j.metadata, j.constraints.maxTaskRetryCount], [0, undefined, 0], "properties");
  });
  await op("Jobs_DisableJob", async () => {
    await client.job.disable(job, "requeue");
    await wait("job disabled", async () => (await client.job.get(job)).state === "disabled");
    await client.task.add(job, { id: "patient", commandLine: sh("exit 0") });
    equal((await client.task.get(job, "patient")).state, "active", "state of a task of a disabled job");
  });
  await op("Jobs_EnableJob", async () => {
    await client.job.enable(job);
    await wait("job active", async () => (await client.job.get(job)).state === "active");
    await wait("the task that waited", async () => (await client.task.get(job, "patient")).state === "completed");
    await client.task.deleteMethod(job, "patient");
  });
}

async function addMany() {
  const many = Array.from({ length: pagedTasks }, (_, i) => ({ id: `many-${String(i).padStart(5, "0")}`, commandLine: sh("exit 0") }));
  for (let i = 0; i < many.length; i += 100) {
    const { value } = await client.task.addCollection(waiting, many.slice(i, i + 100));
    check(value.every((r) => r.status.toLowerCase() === "success"), "a task was not added");
  }
  const { value } = await client.task.addCollection(waiting, many.slice(0, 1));
  equal(value.map((r) => r.error.code), ["TaskExists"], "errors");
  const resourceFiles = Array.from({ length: 10_000 }, (_, i) => ({ httpUrl: `https://example.com/${"x".repeat(100)}`, filePath: String(i) }));
  await expectCode("RequestBodyTooLarge", () => client.task.addCollection(waiting, [{ id: "large", commandLine: "x", resourceFiles }]));
}

async function tasks() {
  await op("Tasks_CreateTask", async () => {
    await client.task.add(job, {
      id: "hello", commandLine: sh('echo hello; mkdir -p sub; echo deep > "sub/50% of #1? a+b&ü.txt"; head -c 40000000 /dev/zero > large'), displayName: "says hello",
      environmentSettings: [{ name: "E", value: "ü" }], constraints: { maxTaskRetryCount: 0, retentionTime: "PT1H" },
    });
    await expectCode("TaskExists", () => client.task.add(job, { id: "hello", commandLine: "x" }));
    await expectCode("InvalidPropertyValue", () => client.task.add(job, { id: "a.b", commandLine: "x" }));
    await expectCode("TaskDependenciesNotSpecifiedOnJob", () => client.task.add(waiting, { id: "depends", commandLine: "x", dependsOn: { taskIds: ["a"] } }));
    await expectCode("JobNotFound", () => client.task.add("nosuch", { id: "hello", commandLine: "x" }));
  });
  await op("Tasks_GetTask", async () => {
    let t = await client.task.get(job, "hello", { taskGetOptions: { expand: "stats" } });
    equal([t.id, t.displayName, t.requiredSlots, t.constraints.retentionTime], ["hello", "says hello", 1, "PT1H"], "properties");
    equal(t.environmentSettings, [{ name: "E", value: "ü" }], "environment");
    t = await wait("task completed", async () => {
      const now = await client.task.get(job, "hello");
      return now.state === "completed" && now;
    });
    equal([t.executionInfo.exitCode, t.executionInfo.result], [0, "success"], "outcome");
    await conditions((taskGetOptions) => client.task.get(job, "hello", { taskGetOptions }));
    const body = { ...everything.task, id: "full" };
    await client.task.add(full, body);
    readBack("task", sends("TaskAddParameter", body), await client.task.get(full, "full"), knows("CloudTask"));
    const several = { ...everything.instances, id: "instances" };
    await client.task.add(full, several);
    readBack("instances", sends("TaskAddParameter", several), await client.task.get(full, "instances"), knows("CloudTask"));
    await expectCode("TaskNotFound", () => client.task.get(job, "nosuch"));
  });
  await op("Tasks_CreateTaskCollection", addMany);
  await op("Tasks_ListTasks", async () => {
    const options = { maxResults: 600, select: "id", filter: "startswith(id,'many-')" };
    const found = await all(await client.task.list(waiting, { taskListOptions: options }), (link) => client.task.listNext(link));
    equal([found.length, new Set(found.map((t) => t.id)).size], [pagedTasks, pagedTasks], "tasks");
    const first = await client.task.list(waiting, { taskListOptions: { maxResults: 1000, filter: "startswith(id,'many-')", expand: "stats" } });
    await client.task.add(waiting, { id: "between", commandLine: "x" }); // a token outlives what is added meanwhile
    const paged = await all(first, (link) => client.task.listNext(link));
    equal([paged.length, new Set(paged.map((t) => t.id)).size], [pagedTasks, pagedTasks], "tasks of pages");
    await client.task.deleteMethod(waiting, "between");
    await lists((taskListOptions) => client.task.list(job, { taskListOptions }));
    const full = await client.task.list(job, { taskListOptions: { filter: "executionInfo/exitCode eq 0", expand: "stats" } });
    equal(full.map((t) => t.id), ["hello"], "filtered tasks");
  });
  await op("Tasks_ReplaceTask", async () => {
    await client.task.update(waiting, "many-00000", { constraints: { maxTaskRetryCount: 3 } });
    equal((await client.task.get(waiting, "many-00000")).constraints.maxTaskRetryCount, 3, "retries");
    await expectCode("TaskCompleted", () => client.task.update(job, "hello", { constraints: { maxTaskRetryCount: 3 } }));
    const taskUpdateOptions = { ifMatch: "0xBAD" };
    await expectCode("ConditionNotMet", () => client.task.update(waiting, "many-00000", { constraints: { maxTaskRetryCount: 3 }, taskUpdateOptions }));
  });
  await op("Tasks_TerminateTask", async () => {
    await client.task.terminate(waiting, "many-00001");
    equal((await client.task.get(waiting, "many-00001")).state, "completed", "state");
    await expectCode("TaskCompleted", () => client.task.terminate(waiting, "many-00001"));
  });
  await op("Tasks_ReactivateTask", async () => {
    await expectCode("TaskNotCompleted", () => client.task.reactivate(waiting, "many-00003"));
    await expectCode("TaskSucceeded", () => client.task.reactivate(job, "hello"));
    await client.task.reactivate(waiting, "many-00001");
    equal((await client.task.get(waiting, "many-00001")).state, "active", "state");
  });
  await op("Tasks_DeleteTask", async () => {
    await client.task.deleteMethod(waiting, "many-00002");
    await expectCode("TaskNotFound", () => client.task.get(waiting, "many-00002"));
  });
  await op("Jobs_GetJobTaskCounts", async () => {
    const { taskCounts, taskSlotCounts } = await client.job.getTaskCounts(waiting);
    equal([taskCounts.active, taskSlotCounts.active], [pagedTasks - 1, pagedTasks - 1], "counts");
  });
  await op("Tasks_ListSubTasks", async () => equal((await client.task.listSubtasks(job, "hello")).value, [], "subtasks"));
}

async function taskFiles() {
  await op("Tasks_ListTaskFiles", async () => {
    const found = await client.file.listFromTask(job, "hello", { recursive: true });
    const stdout = found.find((f) => f.name === "stdout.txt");
    check(stdout && found.some((f) => f.name === "wd/sub/50% of #1? a+b&ü.txt"), found.map((f) => f.name).join());
    equal(Number(stdout.properties.contentLength), 6, "length");
  });
  await op("Tasks_GetTaskFile", async () => {
    equal(await text(await client.file.getFromTask(job, "hello", "stdout.txt")), "hello\n", "text");
    equal(await text(await client.file.getFromTask(job, "hello", "wd/sub/50% of #1? a+b&ü.txt")), "deep\n", "text of a path");
    equal(await text(await client.file.getFromTask(job, "hello", "stdout.txt", { fileGetFromTaskOptions: { ocpRange: "bytes=1-3" } })), "ell", "range");
    equal(await text(await client.file.getFromTask(job, "hello", "stdout.txt", { fileGetFromTaskOptions: { ocpRange: "bytes=-2" } })), "o\n", "range from the end");
    let size = 0;
    for await (const chunk of (await client.file.getFromTask(job, "hello", "wd/large")).readableStreamBody) {
      check(chunk.every((byte) => byte === 0), "bytes of a large file");
      size += chunk.length;
    }
    equal(size, 40_000_000, "size of a large file");
    try {
      await client.file.getFromTask(job, "hello", "nosuch");
    } catch (error) {
      equal(error.statusCode, 404, "status");
      return;
    }
    throw new Error("a file that does not exist was read");
  });
  await op("Tasks_GetTaskFileProperties", async () => {
    const found = await client.file.getPropertiesFromTask(job, "hello", "stdout.txt");
    equal([Number(found.contentLength), String(found.ocpBatchFileIsdirectory).toLowerCase()], [6, "false"], "headers");
  });
  await op("Tasks_DeleteTaskFile", async () => {
    await client.file.deleteFromTask(job, "hello", "wd/large");
    await expectCode("FileNotFound", () => client.file.deleteFromTask(job, "hello", "wd/large"));
    await expectCode("OperationInvalidForCurrentState", () => client.file.deleteFromTask(job, "hello", "wd/sub"));
    await client.file.deleteFromTask(job, "hello", "wd/sub", { recursive: true });
    const left = await client.file.listFromTask(job, "hello", { recursive: true, fileListFromTaskOptions: { filter: "startswith(name,'wd/')" } });
    equal(left.map((f) => f.name), [], "files that are left");
  });
}

async function nodeFiles(node) {
  const name = await op("Nodes_ListNodeFiles", async () => {
    const options = { recursive: true, fileListFromComputeNodeOptions: { filter: "startswith(name,'workitems/')" } };
    const found = await all(await client.file.listFromComputeNode(pool, node, options), (link) => client.file.listFromComputeNodeNext(link));
    const stdout = found.find((f) => f.name.includes(job) && f.name.endsWith("/stdout.txt"));
    check(stdout, "stdout.txt of the task is missing");
    return stdout.name;
  });
  await op("Nodes_GetNodeFileProperties", async () => {
    const found = await client.file.getPropertiesFromComputeNode(pool, node, name);
    equal(String(found.ocpBatchFileIsdirectory).toLowerCase(), "false", "directory");
  });
  await op("Nodes_GetNodeFile", async () => check((await text(await client.file.getFromComputeNode(pool, node, name))).includes("hello"), "text"));
  await op("Nodes_DeleteNodeFile", () => client.file.deleteFromComputeNode(pool, node, name));
}

async function preparation() {
  const prepared = report.name("prep");
  await op("Jobs_ListJobPreparationAndReleaseTaskStatus", async () => {
    await expectCode("JobPreparationTaskNotSpecified", () => client.job.listPreparationAndReleaseTaskStatus(job));
    await client.job.add({
      id: prepared, poolInfo: { poolId: pool }, jobPreparationTask: { commandLine: sh("exit 0") }, jobReleaseTask: { commandLine: sh("exit 0") },
    });
    await client.task.add(prepared, { id: "t", commandLine: sh("exit 0") });
    await wait("task completed", async () => (await client.task.get(prepared, "t")).state === "completed");
    const found = await client.job.listPreparationAndReleaseTaskStatus(prepared);
    equal(found.map((s) => s.jobPreparationTaskExecutionInfo.exitCode), [0], "exit codes");
  });
  await client.job.deleteMethod(prepared).catch((error) => console.error(`cleanup: ${codeOf(error)}`));
}

async function schedules() {
  const s = client.jobSchedule;
  const jobSpecification = { poolInfo: { poolId: pool }, priority: 3 };
  await op("JobSchedules_CreateJobSchedule", () => s.add({ id: schedule, schedule: { recurrenceInterval: "PT1H" }, jobSpecification }));
  await op("JobSchedules_JobScheduleExists", async () => {
    equal([await present(() => s.exists(schedule)), await present(() => s.exists("nosuch"))], [true, false], "exists");
  });
  await op("JobSchedules_GetJobSchedule", async () => {
    const found = await s.get(schedule);
    equal([found.schedule.recurrenceInterval, found.jobSpecification.priority], ["PT1H", 3], "properties");
    const body = { ...everything.schedule, id: fullSchedule };
    await s.add(body);
    readBack("schedule", sends("JobScheduleAddParameter", body), await s.get(fullSchedule), knows("CloudJobSchedule"));
    await s.deleteMethod(fullSchedule);
  });
  await op("JobSchedules_ListJobSchedules", async () => {
    equal((await s.list({ jobScheduleListOptions: { filter: `id eq '${schedule}'` } })).map((x) => x.id), [schedule], "schedules");
  });
  await op("Jobs_ListJobsFromSchedule", async () => {
    await s.get(schedule);
    const found = await wait("a job of the schedule", async () => {
      const page = await client.job.listFromJobSchedule(schedule);
      return page.length > 0 && page;
    });
    equal(found.map((j) => j.id), [`${schedule}:job-1`], "jobs");
    await client.job.get(found[0].id);
  });
  await op("JobSchedules_UpdateJobSchedule", async () => {
    await s.patch(schedule, { metadata: [{ name: "a", value: "b" }] });
    equal((await s.get(schedule)).metadata, [{ name: "a", value: "b" }], "metadata");
  });
  await op("JobSchedules_ReplaceJobSchedule", () => s.update(schedule, { schedule: { recurrenceInterval: "PT2H" }, jobSpecification }));
  await op("JobSchedules_DisableJobSchedule", () => s.disable(schedule));
  await op("JobSchedules_EnableJobSchedule", () => s.enable(schedule));
  await op("JobSchedules_TerminateJobSchedule", () => s.terminate(schedule));
  await op("JobSchedules_DeleteJobSchedule", () => s.deleteMethod(schedule));
}

async function certificates() {
  const c = client.certificate;
  const thumbprint = "a".repeat(40);
  await op("Certificate_List", async () => equal((await c.list()).length, 0, "certificates"));
  await op("Certificate_Add", () => c.add({ thumbprint, thumbprintAlgorithm: "sha1", data: "AA==" }), ["InvalidRestAPIForAccountSetting"]);
  await op("Certificate_Get", () => c.get("sha1", thumbprint), ["CertificateNotFound"]);
  await op("Certificate_Delete", () => c.deleteMethod("sha1", thumbprint), ["CertificateNotFound"]);
  await op("Certificate_CancelDeletion", () => c.cancelDeletion("sha1", thumbprint), ["CertificateNotFound"]);
}

async function resizing(node) {
  const formula = "$TargetDedicatedNodes = 1;";
  await op("Pools_ResizePool", async () => {
    await steady();
    await client.pool.resize(pool, { targetDedicatedNodes: 2 });
    await steady();
    equal((await client.pool.get(pool)).currentDedicatedNodes, 2, "nodes");
    await expectCode("InvalidPropertyValue", () => client.pool.resize(pool, { targetDedicatedNodes: 1, resizeTimeout: "PT1M" }));
    await expectCode("ConditionNotMet", () => client.pool.resize(pool, { targetDedicatedNodes: 1 }, { poolResizeOptions: { ifMatch: "0xBAD" } }));
  });
  await op("Pools_StopPoolResize", async () => {
    // A quick farm may have resized its pool before it is told to stop: then it is asked for more.
    const targets = [12, 18, 24];
    for (const targetDedicatedNodes of targets) {
      await client.pool.resize(pool, { targetDedicatedNodes });
      try {
        await expectCode("PoolBeingResized", () => client.pool.resize(pool, { targetDedicatedNodes }));
        await client.pool.stopResize(pool);
        break;
      } catch (err) {
        if (targetDedicatedNodes === targets.at(-1)) throw err;
        await steady();
      }
    }
    await steady();
    equal((await client.pool.get(pool)).resizeErrors.map((e) => e.code), ["ResizeStopped"], "errors");
    await expectCode("OperationInvalidForCurrentState", () => client.pool.stopResize(pool));
  });
  const idleAgain = () => wait("the node is idle again", async () => (await client.computeNode.get(pool, node)).state === "idle");
  await op("Nodes_RebootNode", async () => {
    await client.computeNode.reboot(pool, node);
    await idleAgain();
  });
  await op("Nodes_ReimageNode", async () => {
    await client.computeNode.reimage(pool, node);
    await idleAgain();
  });
  await op("Pools_RemoveNodes", async () => {
    await steady();
    await client.pool.removeNodes(pool, { nodeList: [node] });
    await steady();
    await expectCode("NodeNotFound", () => client.computeNode.get(pool, node));
  });
  await op("Pools_EnablePoolAutoScale", async () => {
    await steady();
    await client.pool.enableAutoScale(pool, { autoScaleFormula: formula, autoScaleEvaluationInterval: "PT5M" });
    const p = await client.pool.get(pool);
    equal([p.enableAutoScale, p.autoScaleFormula], [true, formula], "properties");
  });
  await op("Pools_EvaluatePoolAutoScale", async () => {
    const run = await client.pool.evaluateAutoScale(pool, "$TargetDedicatedNodes = 2 + 1;");
    check(!run.error && run.results.includes("$TargetDedicatedNodes=3"), run.results);
  });
  await op("Pools_DisablePoolAutoScale", async () => {
    await client.pool.disableAutoScale(pool);
    equal((await client.pool.get(pool)).enableAutoScale, false, "enabled");
  });
}

async function endings() {
  const gone = async (get) => get().then(() => false, (error) => codeOf(error)?.endsWith("NotFound"));
  await op("Jobs_TerminateJob", async () => {
    await client.job.terminate(job, { terminateReason: "enough" });
    await wait("job completed", async () => (await client.job.get(job)).state === "completed");
    equal((await client.job.get(job)).executionInfo.terminateReason, "enough", "reason");
    await expectCode("JobCompleted", () => client.job.terminate(job));
    await expectCode("JobCompleted", () => client.job.disable(job, "wait"));
    await expectCode("JobCompleted", () => client.job.patch(job, { priority: 1 }));
    await expectCode("JobCompleted", () => client.task.reactivate(job, "hello"));
    await expectCode("JobCompleted", () => client.task.add(job, { id: "late", commandLine: "x" }));
  });
  await op("Jobs_DeleteJob", async () => {
    await client.job.deleteMethod(job);
    await client.job.deleteMethod(waiting);
    await client.job.deleteMethod(full);
    await wait("job gone", () => gone(() => client.job.get(job)));
  });
  await op("Pools_DeletePool", async () => {
    await client.pool.deleteMethod(full);
    await client.pool.deleteMethod(pool);
    await wait("pool gone", () => gone(() => client.pool.get(pool)));
  });
}

await pools();
const node = await nodes();
await accounts();
await jobs();
await tasks();
await taskFiles();
await nodeFiles(node);
await preparation();
await schedules();
await certificates();
await resizing(node);
await endings();
process.exitCode = report.failed ? 1 : 0;
