"""The Azure Batch quickstart: upload files, make a pool, a job and a task for each file, wait, read what they printed, clean up.

Run it with the variables of an account:  eval "$(batchyard account env)" && python main.py
"""

import os
import time
import uuid

import boto3
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential
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
    client.create_pool(models.BatchPoolCreateOptions(
        id=POOL,
        vm_size="standard_d2s_v3",
        target_dedicated_nodes=1,
        virtual_machine_configuration=models.VirtualMachineConfiguration(
            image_reference=models.BatchVmImageReference(publisher="canonical", offer="0001-com-ubuntu-server-jammy", sku="22_04-lts"),
            node_agent_sku_id="batch.node.ubuntu 22.04",
        ),
    ))


def add_tasks(client, inputs):
    client.create_job(models.BatchJobCreateOptions(id=JOB, pool_info=models.BatchPoolInfo(pool_id=POOL)))
    client.create_tasks(JOB, [
        models.BatchTaskCreateOptions(id=f"Task{i}", command_line=f"/bin/bash -c \"cat {file.file_path}\"", resource_files=[file])
        for i, file in enumerate(inputs)
    ])


def wait_for_tasks(client, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(task.state == models.BatchTaskState.COMPLETED for task in client.list_tasks(JOB)):
            return
        time.sleep(0.5)
    raise TimeoutError(f"the tasks of {JOB} did not complete in {seconds} seconds")


def print_output(client):
    for task in client.list_tasks(JOB):
        if task.execution_info.result != models.BatchTaskExecutionResult.SUCCESS:
            raise RuntimeError(f"{task.id}: {task.execution_info.failure_info}")
        text = b"".join(client.download_task_file(JOB, task.id, "stdout.txt")).decode()
        print(f"{task.id} on {task.node_info.node_id}: {text}", end="")


def main():
    client = BatchClient(
        endpoint=os.environ["AZURE_BATCH_ENDPOINT"],
        credential=AzureNamedKeyCredential(os.environ["AZURE_BATCH_ACCOUNT"], os.environ["AZURE_BATCH_ACCESS_KEY"]),
    )
    store = boto3.client("s3", config=Config(signature_version="s3v4"))  # else boto3 signs URLs in a way that most stores refuse
    inputs = [upload(store, name, text) for name, text in FILES.items()]
    try:
        create_pool(client)
        add_tasks(client, inputs)
        wait_for_tasks(client, 120)
        print_output(client)
    finally:
        client.begin_delete_job(JOB, polling_interval=1).wait()
        client.begin_delete_pool(POOL, polling_interval=1).wait()
        for name in FILES:
            store.delete_object(Bucket=BUCKET, Key=f"quickstart/{RUN}/{name}")


if __name__ == "__main__":
    main()
