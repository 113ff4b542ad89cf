"""What the Python conformance programs share: the account's address and one line of report for each operation."""

import os
import sys
import time
import uuid

ACCOUNT = os.environ["AZURE_BATCH_ACCOUNT"]
KEY = os.environ["AZURE_BATCH_ACCESS_KEY"]
ENDPOINT = os.environ["AZURE_BATCH_ENDPOINT"]
# What a node must have run, in seconds; a cluster that starts may take its time.
PATIENCE = float(os.environ.get("BATCHYARD_CONFORMANCE_PATIENCE", "60"))
PAGED_TASKS = int(os.environ.get("BATCHYARD_CONFORMANCE_TASKS", "2500"))


class Refused(Exception):
    """The service refused a call; code is Azure Batch's."""


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
