"""The Azure Batch quickstart, with the client of azure-batch 14 and older.

Run it with the variables of an account:  eval "$(batchyard account env)" && python main.py
"""

import os
import time
import uuid

import boto3
from azure.batch import BatchServiceClient, models
from azure.batch.batch_auth import SharedKeyCredentials
from botocore.config import Config

BUCKET = os.environ["BATCHYARD_BUCKET"]
RUN = uuid.uuid4().hex[:8]
POOL, JOB = f"quickstart-pool-{RUN}", f"quickstart-job-{RUN}"
FILES = {f"taskdata{i}.txt": f"Batch processing number {i}\n" for i in range(3)}


def upload(store, name, text):
    """Upload an input file and return it as a resource file: by a URL that is signed for reading it."""
    key = f"quickstart/{RUN}/{name}"
    store.put_object(Bucket=BUCKET, Key=key, Body=text.encode())
    url = store.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=3600)
    return models.ResourceFile(http_url=url, file_path=name)


def create_pool(client):
    client.pool.add(models.PoolAddParameter(
        id=POOL,
        vm_size="standard_d2s_v3",
        target_dedicated_nodes=1,
        virtual_machine_configuration=models.VirtualMachineConfiguration(
            image_reference=models.ImageReference(publisher="canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts"),
            node_agent_sku_id="batch.node.ubuntu 22.04",
        ),
    ))


def add_tasks(client, inputs):
    client.job.add(models.JobAddParameter(id=JOB, pool_info=models.PoolInformation(pool_id=POOL)))
    client.task.add_collection(JOB, [
        models.TaskAddParameter(id=f"Task{i}", command_line=f"/bin/bash -c \"cat {file.file_path}\"", resource_files=[file])
        for i, file in enumerate(inputs)
    ])


def wait_for_tasks(client, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(task.state == models.TaskState.completed for task in client.task.list(JOB)):
            return
        time.sleep(0.5)
    raise TimeoutError(f"the tasks of {JOB} did not complete in {seconds} seconds")


def print_output(client):
    for task in client.task.list(JOB):
        if task.execution_info.result != models.TaskExecutionResult.success:
            raise RuntimeError(f"{task.id}: {task.execution_info.failure_info}")
        text = b"".join(client.file.get_from_task(JOB, task.id, "stdout.txt")).decode()
        print(f"{task.id} on {task.node_info.node_id}: {text}", end="")


def main():
    credentials = SharedKeyCredentials(os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_ACCESS_KEY"])
    client = BatchServiceClient(credentials, batch_url=os.environ["AZURE_BATCH_ENDPOINT"])
    store = boto3.client("s3", config=Config(signature_version="s3v4"))  # else boto3 signs URLs in a way that most stores refuse
    inputs = [upload(store, name, text) for name, text in FILES.items()]
    try:
        create_pool(client)
        add_tasks(client, inputs)
        wait_for_tasks(client, 120)
        print_output(client)
    finally:
        client.job.delete(JOB)
        client.pool.delete(POOL)
        for name in FILES:
            store.delete_object(Bucket=BUCKET, Key=f"quickstart/{RUN}/{name}")


if __name__ == "__main__":
    main()
