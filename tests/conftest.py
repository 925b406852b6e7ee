"What all tests share: where the fixture and, if it is there, the real data are."

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tiktok_mm.lib.media import av_logging_off
from tiktok_mm.lib.store import find_real_data

ROOT = Path(__file__).parents[1]
av_logging_off()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the nightly tests, too, and many more random cases: hours")


def pytest_configure(config):
    config.addinivalue_line("markers", "nightly: takes minutes; run with --long only")
    settings.register_profile("short", max_examples=60, deadline=None, derandomize=True, database=None)
    settings.register_profile("long", max_examples=3000, deadline=None, database=None)
    settings.load_profile("long" if config.getoption("--long") else "short")


def pytest_collection_modifyitems(config, items):
    "Leave out what is for the night."
    if config.getoption("--long"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    config.hook.pytest_deselected(items=nightly)
    items[:] = [item for item in items if item not in nightly]


@pytest.fixture(scope="session")
def long(request) -> bool:
    "Whether the tests with random cases draw many more of them."
    return request.config.getoption("--long")


@pytest.fixture(scope="session")
def fixture_corpus() -> Path:
    "The small corpus of the repository."
    return ROOT / "tests" / "fixtures" / "corpus"


@pytest.fixture(scope="session")
def real_data() -> Path:
    "The folder of real clips and view counts, which is not part of the repository."
    folder = find_real_data(ROOT)
    if not folder.is_dir():
        pytest.skip(f"real data is not at {folder}: set TIKTOK_MM_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    "An ffmpeg binary to compare with."
    return pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()


@contextmanager
def without_processes():
    "Check and extract in this process, as one of their own would: with one thread."
    import torch

    from tiktok_mm.pipeline.extract import extract_one

    def run_here(todo, *_, **__):
        return ((task, extract_one(task)) for task in todo)

    def run_limited(read, todo, *_, **__):
        return ((path, read(path)) for path in todo)

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiktok_mm.pipeline.extract.run_here", run_here)
        patch.setattr("tiktok_mm.lib.media.run_limited", run_limited)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def in_this_process():
    "No other processes, whose start takes longer than these few videos."
    with without_processes():
        yield


@pytest.fixture(scope="session")
def extracted(fixture_corpus, tmp_path_factory, worker_id) -> Path:
    "The small corpus with its features, made once for all; a test that changes it takes a copy."
    from tiktok_mm.data import open_corpus
    from tiktok_mm.pipeline.extract import extract

    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "extracted"
    with FileLock(f"{folder}.lock"), without_processes():
        if not folder.exists():
            made = shutil.copytree(fixture_corpus, tmp_path_factory.mktemp("extracting") / "corpus")
            extract(open_corpus(made), progress=False)
            made.rename(folder)
    return folder
