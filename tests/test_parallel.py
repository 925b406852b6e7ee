"Interrupted commands that use several processes: one line, no traceback, and no process is left."

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest


def run_script(folder, text: str, seconds: float = 60) -> subprocess.CompletedProcess:
    "Run Python code as a file, which other processes can import."
    (folder / "run.py").write_text(text)
    return subprocess.run([sys.executable, folder / "run.py"], capture_output=True, text=True, timeout=seconds)


@pytest.mark.parametrize(
    "sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL]
)
def test_an_interrupted_pool_is_quiet_and_leaves_nothing(sign, tmp_path):
    "Ctrl-C reaches every process, as in a terminal; the other signals only the one that started them."
    command = [sys.executable, "-c", "from tiktok_mm.cli import main; main()", "synth", str(tmp_path), "--n", "60"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    run = subprocess.Popen([*command, "--workers", "2"], start_new_session=True, **pipes)
    while run.poll() is None and not list(tmp_path.glob("videos/*.mp4")):
        time.sleep(0.01)
    started = psutil.Process(run.pid).children()  # the workers, and what keeps track of their locks
    assert sum("spawn_main" in " ".join(process.cmdline()) for process in started) == 2
    (os.killpg if sign == signal.SIGINT else os.kill)(run.pid, sign)
    output, error = run.communicate(timeout=60)
    if sign == signal.SIGKILL:  # Python itself says what it has tidied up
        assert (run.returncode, output) == (-9, "") and "Traceback" not in error
    else:
        said = "tiktok-mm: interrupted; run the same command again to resume\n"
        assert (run.returncode, output, error) == (130, "", said)
    with contextlib.suppress(psutil.NoSuchProcess):
        assert not psutil.wait_procs(started, timeout=10)[1]


SUDDEN_END = """
import time
from multiprocessing import RLock

from tiktok_mm.lib.parallel import run_parallel


def work(seconds):
    lock = RLock()  # as progress bars and compilers of libraries make them
    time.sleep(seconds)
    raise ValueError("full")


if __name__ == "__main__":
    try:
        run_parallel(work, [1, 100], "working", workers=2)
    except ValueError as error:
        print(error)
"""


def test_locks_of_a_process_that_is_ended_are_not_reported(tmp_path):
    "An error in one process ends the others, whatever libraries hold there; nothing is said but the error."
    run = run_script(tmp_path, SUDDEN_END)
    assert (run.stdout, run.stderr) == ("full\n", "")


WITHOUT_GUARD = """
import time

from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.parallel import run_parallel

try:
    run_parallel(time.sleep, [0, 0, 0], "sleeping", workers=2)
except UserError as error:
    print(error)
"""


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path):
    "The processes import the script again, so they cannot start; nobody says that the work failed."
    run = run_script(tmp_path, WITHOUT_GUARD)
    assert run.stdout.count("\n") == 1 and 'if __name__ == "__main__":' in run.stdout
    assert (run.returncode, run.stderr) == (0, "")


def test_an_extraction_without_a_main_guard_blames_no_video(tmp_path, fixture_corpus):
    corpus = shutil.copytree(fixture_corpus, tmp_path / "corpus")
    run = run_script(
        tmp_path,
        "from tiktok_mm.data import open_corpus\n"
        "from tiktok_mm.pipeline.extract import extract\n"
        f"extract(open_corpus({str(corpus)!r}), progress=False)\n",
        seconds=120,
    )
    assert run.returncode == 1 and 'if __name__ == "__main__":' in run.stderr.splitlines()[-1]
    assert not (corpus / "failures.jsonl").exists()


SERVED = """
import os

from tiktok_mm.lib.parallel import run_limited


def work(name):
    return os.environ.get(name)


if __name__ == "__main__":
    for value in ("first", "second"):
        os.environ["SETTING"] = value
        print(dict(run_limited(work, ["SETTING"], path=str, libraries=True)))
"""


@pytest.mark.parametrize("folder", ["short", 100 * "long"])
def test_processes_know_the_environment_of_now(tmp_path, monkeypatch, folder):
    "Also where they are copies of an older one, and where its socket has no place: they are slower then."
    place = tmp_path.joinpath(*(folder[start : start + 100] for start in range(0, len(folder), 100)))
    place.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(place))
    run = run_script(tmp_path, SERVED)
    assert (run.stdout, run.stderr) == ("{'SETTING': 'first'}\n{'SETTING': 'second'}\n", "")


def test_only_the_cores_that_this_process_may_use_are_counted():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    code += "from tiktok_mm.lib.parallel import n_cores; print(n_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"
