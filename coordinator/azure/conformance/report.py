"""What the Python conformance programs share: the account's address and one line of report for each operation."""

import json
import os
import sys
import time
import uuid

ACCOUNT = os.environ["AZURE_BATCH_ACCOUNT"]
KEY = os.environ["AZURE_BATCH_ACCESS_KEY"]
ENDPOINT = os.environ["AZURE_BATCH_ENDPOINT"]
# What a node must have run, in seconds; a cluster that starts may take its time.
PATIENCE = float(os.environ.get("BATCHYARD_CONFORMANCE_PATIENCE", "60"))
BUCKET = os.environ["BATCHYARD_BUCKET"]
PAGED_TASKS = int(os.environ.get("BATCHYARD_CONFORMANCE_TASKS", "2500"))

# Bodies with every property that the service knows, and what may be absent when one is read.
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "everything.json"), encoding="utf-8") as file:
    EVERYTHING = json.load(file)


class Report:
    """Prints operation, client, pass or fail, and a reason, separated by tabs. An operation is reported once."""

    def __init__(self, client, code_of):
        self.client = client
        self.code_of = code_of
        self.run = uuid.uuid4().hex[:8]
        self.failed = 0

    def name(self, what):
        return f"conf-{what}-{self.run}"

    def operation(self, operation, call, refused_with=()):
        """Reports call, which must succeed or, given codes, be refused with one of them. Returns its result, or None."""
        try:
            result = call()
        except Exception as error:  # whatever a client raises is a finding
            code = self.code_of(error)
            if code and code in refused_with:
                self.line(operation, True, f"refused as documented: {code}")
                return None
            self.line(operation, False, f"{type(error).__name__}: {code or error}")
            return None
        if refused_with:
            self.line(operation, False, "succeeded, though it must be refused with " + " or ".join(refused_with))
            return result
        self.line(operation, True, "")
        return result

    def line(self, operation, passed, reason):
        self.failed += not passed
        print(operation, self.client, "pass" if passed else "fail", " ".join(str(reason).split())[:300], sep="\t", flush=True)

    def expect_code(self, code, call):
        """Fails unless call is refused with code."""
        try:
            call()
        except Exception as error:
            if self.code_of(error) != code:
                raise AssertionError(f"refused with {self.code_of(error) or error}, not {code}") from error
            return
        raise AssertionError(f"not refused with {code}")

    def cleanup(self, *calls):
        for call in calls:
            try:
                call()
            except Exception as error:
                print(f"cleanup: {error}", file=sys.stderr)


def wait(what, ready, patience=None):
    """Polls until ready() is true and returns its value."""
    deadline = time.monotonic() + (patience or PATIENCE)
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {patience or PATIENCE:.0f} s")
        time.sleep(0.2)


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def unlike(sent, got, path=""):
    """The paths of what was sent and does not read back as it was sent."""
    if path.endswith(("/password", "/accountKey", "/sasKey")):
        return [path] if got else []  # never shown
    if isinstance(sent, dict) and isinstance(got, dict):
        return [p for name in sent for p in unlike(sent[name], got.get(name), f"{path}/{name}")]
    if isinstance(sent, list) and isinstance(got, list) and len(sent) == len(got):
        return [p for i, item in enumerate(sent) for p in unlike(item, got[i], f"{path}/{i}")]
    return [] if sent == got else [f"{path}: {got!r}, not {sent!r}"]


def read_back(kind, sent, got, absent):
    """Fails unless what was sent is read back, and all that a client knows of is there but for what may be absent."""
    equal(unlike(sent, got), [], f"properties of the {kind}")
    equal(sorted(set(absent) - set(EVERYTHING["absent"][kind])), [], f"absent properties of the {kind}")


def newer(body):
    """A body as api-versions from 2025-06-01 on have it, which know no tokens for tasks."""
    if isinstance(body, dict):
        return {name: newer(value) for name, value in body.items() if name != "authenticationTokenSettings"}
    return [newer(item) for item in body] if isinstance(body, list) else body


def older(pool):
    """The body of a pool as api-versions before 2025-06-01 have it."""
    pool = json.loads(json.dumps(pool))
    for disk in pool["virtualMachineConfiguration"]["dataDisks"]:
        disk["storageAccountType"] = disk.pop("managedDisk")["storageAccountType"]
    return pool
