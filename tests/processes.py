"Processes that a test has killed."

import time
from collections.abc import Sequence

import psutil


def running(process: psutil.Process) -> bool:
    "Whether a process still runs."
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for_end(processes: Sequence[psutil.Process], seconds: float = 10) -> None:
    "Wait until all have ended; an assertion fails if one does not."
    deadline = time.monotonic() + seconds
    while any(running(process) for process in processes):
        assert time.monotonic() < deadline, "a killed process still runs"
        time.sleep(0.01)
