// The Azure Batch quickstart: make a pool, a job and some tasks, wait, read what they printed, clean up.
//
// Run it with the variables of an account:  npm install && eval "$(batchyard account env)" && node main.mjs

import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { BatchServiceClient, BatchSharedKeyCredentials } from "@azure/batch";

const run = randomBytes(4).toString("hex");
const pool = `quickstart-pool-${run}`;
const job = `quickstart-job-${run}`;

const credentials = new BatchSharedKeyCredentials(process.env.AZURE_BATCH_ACCOUNT, process.env.AZURE_BATCH_ACCESS_KEY);
const client = new BatchServiceClient(credentials, process.env.AZURE_BATCH_ENDPOINT);

async function createPool() {
  await client.pool.add({
    id: pool,
    vmSize: "standard_d2s_v3",
    targetDedicatedNodes: 1,
    virtualMachineConfiguration: {
      imageReference: { publisher: "canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts" },
      nodeAgentSKUId: "batch.node.ubuntu 22.04",
    },
  });
}

async function addTasks() {
  await client.job.add({ id: job, poolInfo: { poolId: pool }, commonEnvironmentSettings: [{ name: "GREETING", value: "hello" }] });
  const tasks = [0, 1, 2].map((i) => ({ id: `task${i}`, commandLine: `/bin/sh -c 'echo $GREETING from $AZ_BATCH_TASK_ID'` }));
  const added = await client.task.addCollection(job, tasks);
  for (const result of added.value) {
    if (result.status !== "success") throw new Error(`${result.taskId}: ${result.error?.code}`);
  }
}

async function waitForTasks(seconds) {
  const deadline = Date.now() + seconds * 1000;
  while (Date.now() < deadline) {
    const counts = await client.job.getTaskCounts(job);
    if (counts.taskCounts.completed === 3) return;
    await sleep(500);
  }
  throw new Error(`the tasks of ${job} did not complete in ${seconds} seconds`);
}

async function printOutput() {
  for (const task of await client.task.list(job)) {
    if (task.executionInfo.result !== "success") throw new Error(`${task.id}: ${JSON.stringify(task.executionInfo.failureInfo)}`);
    const file = await client.file.getFromTask(job, task.id, "stdout.txt");
    for await (const chunk of file.readableStreamBody) process.stdout.write(`${task.id}: ${chunk}`);
  }
}

try {
  await createPool();
  await addTasks();
  await waitForTasks(120);
  await printOutput();
} finally {
  await client.job.deleteMethod(job);
  await client.pool.deleteMethod(pool);
}
