"More videos than one machine holds: shards, a Ray cluster, corpora in object stores."

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from threading import Barrier, current_thread, main_thread
from unittest.mock import patch

import pytest
from command import tiktok_mm

from tiktok_mm.audio import AUDIO_PRESETS
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.store import write_jsonl
from tiktok_mm.pipeline.cluster import make_engine, run_on_ray
from tiktok_mm.pipeline.elsewhere import RemoteFolder, check_anywhere, only_run_elsewhere
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.pipeline.remote import extract_anywhere
from tiktok_mm.pipeline.shards import pack
from tiktok_mm.regression import train_by_id
from tiktok_mm.visual import VISUAL_PRESETS
from videos import copy_videos


def test_shards_train_to_the_same_digits(extracted, tmp_path):
    "A run of a packed corpus has the bytes of the same run of the folder: weights, log, predictions, metrics."
    folder, packed = shutil.copytree(extracted, tmp_path / "corpus"), tmp_path / "packed"
    assert pack(folder, packed, megabytes=1, progress=False) == (12, 1)
    made = []
    for corpus in (folder, packed):
        train_by_id(open_corpus(corpus), "ensemble-compact", epochs=1, max_steps=2, lr=0.001)
        files = [path for path in corpus.rglob("runs/**/*") if path.is_file()]
        made.append({path.relative_to(corpus).as_posix(): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert {"weights.safetensors", "predictions.csv"} <= {name.rpartition("/")[2] for name in made[1]}


def test_an_interrupted_pack_is_no_corpus(extracted, tmp_path):
    "Before its rows are written a packed folder cannot be opened; packed again it is whole."
    with patch("tiktok_mm.pipeline.shards.write_rows", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        pack(extracted, tmp_path / "packed", progress=False)
    with pytest.raises(UserError, match="view count"):
        open_corpus(tmp_path / "packed")
    assert pack(extracted, tmp_path / "packed", progress=False) == (12, 1)
    here, there = (check_corpus(open_corpus(path), progress=False) for path in (extracted, tmp_path / "packed"))
    assert (there.videos, there.usable, there.groups) == (here.videos, here.usable, here.groups)


DEATHS = """\
import multiprocessing, os, pathlib, signal, sys, time
place, deaths = pathlib.Path({!r}), {!r}
def watch(event, arguments):
    target = pathlib.Path(str(arguments[1])) if event == "os.rename" else None
    if target and target.parent.name == "visual" and target.stem in deaths:
        whose, times = deaths[target.stem]
        if (n := len(list(place.glob(target.stem + "-*")))) < times:
            (place / f"{{target.stem}}-{{n}}").touch()
            os.kill(multiprocessing.parent_process().pid if whose == "worker" else os.getpid(), signal.SIGKILL)
            time.sleep(30)
sys.addaudithook(watch)
"""


def features(corpus) -> dict[str, bytes]:
    "All features and sounds of a corpus."
    files = [*corpus.glob("features/*/*"), *corpus.glob("audio/*")]
    return {path.relative_to(corpus).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def few(fixture_corpus, tmp_path_factory) -> Path:
    "Four videos of the corpus, without features."
    folder = tmp_path_factory.mktemp("few") / "corpus"
    write_jsonl(folder / "videos.jsonl", copy_videos(fixture_corpus, folder, 4))
    return folder


@pytest.fixture(scope="module")
def expected(few, extracted) -> dict[str, bytes]:
    "The features of these videos, made on one machine."
    ids = {path.stem for path in (few / "videos").iterdir()}
    return {name: content for name, content in features(extracted).items() if Path(name).stem in ids}


@pytest.mark.nightly
def test_ray_loses_nothing(few, expected, monkeypatch, tmp_path, capfd):
    """A worker of Ray is killed once while a video is written, and each time that another is written: the first is run
    again, the second fails after two retries. The process that reads a third is killed: a failure with this reason, at
    once, as on one machine. Every byte is that of one machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'tiktok_mm[ray]'")
    corpus = shutil.copytree(few, tmp_path / "corpus")
    once, always, crashes, _ = sorted(path.stem for path in (corpus / "videos").iterdir())
    deaths = {once: ("worker", 1), always: ("worker", 100), crashes: ("process", 100)}
    (tmp_path / "sitecustomize.py").write_text(DEATHS.format(str(tmp_path), deaths))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    summary = extract(open_corpus(corpus), progress=False, engine=make_engine("ray", workers=2))
    assert [len(list(tmp_path.glob(f"{id}-*"))) for id in deaths] == [1, 3, 1]
    assert (summary.extracted, summary.cached) == (2, 0)
    assert {failure["id"]: failure["reason"] for failure in summary.failures} == {
        always: "the worker that ran this video died 3 times",
        crashes: "the process that read this video was killed, as when there is too little memory",
    }
    assert "raylet" not in capfd.readouterr().out
    monkeypatch.undo()
    summary = extract(open_corpus(corpus), progress=False)
    assert (summary.extracted, summary.cached, summary.failures) == (2, 2, [])
    assert features(corpus) == expected
    assert not list(corpus.rglob("*.tmp"))


LOST = """\
import os, pathlib, sys, time
place, node = pathlib.Path({!r}), os.environ.get("NODE_OF_TEST")
def watch(event, arguments):
    target = pathlib.Path(str(arguments[1])) if event == "os.rename" and node else None
    if target and target.parent.name == "visual":
        (place / f"{{node}}-{{target.stem}}-{{os.getpid()}}").touch()
        time.sleep(60 * (node == "lost"))
sys.addaudithook(watch)
"""


@pytest.mark.nightly
def test_ray_loses_a_node(few, expected, monkeypatch, tmp_path):
    """Of three machines one has no cores, and one is lost while it works on a video: the third makes each video, and
    makes it once. Every byte is that of one machine."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'tiktok_mm[ray]'")
    from ray.cluster_utils import Cluster

    corpus = shutil.copytree(few, tmp_path / "corpus")
    (tmp_path / "sitecustomize.py").write_text(LOST.format(str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=0, include_dashboard=False))
    try:
        nodes = {name: cluster.add_node(num_cpus=1, env_vars={"NODE_OF_TEST": name}) for name in ("lost", "kept")}

        def lose() -> None:
            wait_until(lambda: list(tmp_path.glob("lost-*")))
            cluster.remove_node(nodes["lost"], allow_graceful=False)

        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(lose)
            summary = extract(open_corpus(corpus), progress=False, engine=make_engine("ray", cluster.address))
            lost.result()
    finally:
        cluster.shutdown()
    assert (summary.extracted, summary.cached, summary.failures) == (4, 0, [])
    made = [path.name.split("-")[1] for path in tmp_path.glob("kept-*")]
    assert sorted(made) == sorted(path.stem for path in (corpus / "videos").iterdir())
    assert features(corpus) == expected
    assert not list(corpus.rglob("*.tmp"))
    assert extract(open_corpus(corpus), progress=False).cached == 4


def wait_until(condition, seconds: float = 60) -> None:
    "Wait for something that another process does."
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


SETTINGS = dict(visual=VISUAL_PRESETS["compact"], audio=AUDIO_PRESETS["compact"], workers=2, progress=False)


def test_two_extractions_elsewhere(few):
    "While the first one works, the second is refused and writes nothing; Ctrl-C leaves no lock and no video."
    import fsspec

    store, url = fsspec.filesystem("memory"), "memory://two/corpus"
    store.put(str(few), "/two/corpus", recursive=True)
    before, fetched = store.find("/two"), []

    def works(tasks, limits):
        with pytest.raises(UserError, match="another extract is at work in memory://two/corpus "):
            extract_anywhere(url, **SETTINGS)
        assert store.find("/two") == sorted([*before, "/two/corpus/extract.lock"])
        fetched.append(tasks[0]._scratch)
        fetched[0].mkdir()
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        extract_anywhere(url, **SETTINGS, engine=works)
    assert not store.exists("/two/corpus/extract.lock") and not fetched[0].exists()


HOLDS = """\
import sys, time
from tiktok_mm.pipeline import elsewhere
elsewhere.BEAT = 0.1
with elsewhere.only_run_elsewhere(elsewhere.RemoteFolder(sys.argv[1]), "extract"):
    time.sleep(60)
"""


def refused(url: str) -> bool:
    "Whether another run holds a folder."
    try:
        with only_run_elsewhere(RemoteFolder(url), "extract"):
            return False
    except UserError:
        return True


def test_a_killed_run_elsewhere(tmp_path, monkeypatch):
    "A run writes its lock again and again; one that was killed leaves it, and the next run takes its place later."
    lock, url = tmp_path / "extract.lock", tmp_path.as_uri()
    process = subprocess.Popen([sys.executable, "-c", HOLDS, url])
    wait_until(lock.exists)
    began = lock.stat().st_mtime_ns
    wait_until(lambda: lock.stat().st_mtime_ns > began)
    assert refused(url)
    process.kill()
    process.wait()
    assert refused(url)
    assert [path.name for path in tmp_path.iterdir()] == ["extract.lock"]
    monkeypatch.setattr("tiktok_mm.pipeline.elsewhere.BEAT", 0.1)
    monkeypatch.setattr("tiktok_mm.pipeline.elsewhere.SETTLED", 0.1)
    time.sleep(1)
    assert not refused(url)
    assert not list(tmp_path.iterdir())


def test_two_runs_that_find_a_dead_one(monkeypatch):
    "One of them works: also if the slower one removes what the faster one has just written."
    import fsspec

    store, lock, url = fsspec.filesystem("memory"), "/dead/extract.lock", "memory://dead"
    store.pipe_file(lock, b"a run that was killed")
    both = Barrier(2)

    def age(_):
        if current_thread() is not main_thread():  # the slower one
            wait_until(lambda: store.exists(lock) and store.cat_file(lock) != b"a run that was killed")
            time.sleep(0.3)
        return 1000.0

    def works() -> bool:
        with suppress(UserError), only_run_elsewhere(RemoteFolder(url), "extract"):
            both.wait(20)
            return True
        both.wait(20)
        return False

    monkeypatch.setattr("tiktok_mm.pipeline.elsewhere._age", age)
    monkeypatch.setattr("tiktok_mm.pipeline.elsewhere.SETTLED", 1.0)
    with ThreadPoolExecutor(1) as pool:
        slower = pool.submit(works)
        assert [works(), slower.result()] == [False, True]
    assert not store.exists(lock)


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:  # what the environment says of it
    "A local server that speaks S3."
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    yield keys | {"AWS_ENDPOINT_URL": "http://{}:{}".format(*server.get_host_and_port())}
    server.stop()


@contextmanager
def gs_server() -> Iterator[dict[str, str]]:  # what the environment says of it
    """A local server that speaks Google Cloud Storage. Unlike Google, the emulator overwrites an object that is to be
    created only if it does not exist, lets five connections wait, and prints tracebacks of those that are closed. The
    class that gcsfs has by default asks Google itself what kind of bucket it is."""
    import fsspec
    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers import objects
    from gcp_storage_emulator.server import create_server
    from gcsfs.core import GCSFileSystem

    overwrite = objects._multipart_upload

    def upload(request, response, storage):
        with suppress(NotFound):
            if request.query.get("ifGenerationMatch") == ["0"]:
                storage.get_file_obj(request.params["bucket_name"], request.data["meta"]["name"])
                response.status = HTTPStatus.PRECONDITION_FAILED
                return
        overwrite(request, response, storage)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    like_google = patch.multiple(HTTPServer, request_queue_size=128, handle_error=lambda *_: None)
    with like_google, patch.object(objects, "_multipart_upload", upload), create_server("127.0.0.1", port, True):
        fsspec.register_implementation("gs", GCSFileSystem, clobber=True)
        settings = {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false", "FSSPEC_GS_TOKEN": "anon"}
        yield settings | {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}"}


STORES = {"s3": (s3_server, ("s3fs", "moto", "flask_cors")), "gs": (gs_server, ("gcsfs", "gcp_storage_emulator"))}


@pytest.fixture(params=STORES)
def bucket(request, few, monkeypatch):
    "Four videos in a store of objects."
    start, needed = STORES[request.param]
    for name in needed:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'tiktok_mm[s3,gs,scale]'")
    import fsspec

    with start() as settings, TemporaryDirectory() as temporary:  # a short path, as Ray has sockets there
        settings["TMPDIR"] = temporary
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("tempfile.tempdir", None)  # TMPDIR is read again
        monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})  # as processes that start now read it
        fsspec.get_filesystem_class(request.param).clear_instance_cache()  # of a server of another test
        store = fsspec.filesystem(request.param, skip_instance_cache=True, use_listings_cache=False)
        store.mkdir("bucket")
        store.put(str(few), "bucket/corpus", recursive=True)
        yield store
        store.rm("bucket", recursive=True)


@pytest.mark.nightly
def test_a_corpus_in_a_store(bucket, few, expected, tmp_path):
    """Features in a store have the bytes of those in a folder, and so have their shards; what is there is not made
    again; `check` finds the same."""
    url = bucket.unstrip_protocol("bucket/corpus")
    first, _ = extract_anywhere(url, **SETTINGS)
    assert (first.extracted, first.cached, first.failures) == (4, 0, [])
    bucket.get("bucket/corpus", str(tmp_path / "copy"), recursive=True)
    assert features(tmp_path / "copy") == expected
    bucket.rm("bucket/corpus/features/visual", recursive=True)
    made = {path: bucket.modified(path) for path in bucket.find("bucket/corpus/features/audio")}
    again, _ = extract_anywhere(Path(url), **SETTINGS)
    assert (again.extracted, again.cached) == (4, 0)
    assert {path: bucket.modified(path) for path in made} == made
    assert extract_anywhere(url, **SETTINGS)[0].cached == 4
    here, there = check_corpus(open_corpus(tmp_path / "copy"), False), check_anywhere(url, False)
    assert there.to_dict() == here.to_dict()
    for source, packed in ((url, "there"), (tmp_path / "copy", "here")):
        assert pack(source, tmp_path / packed, progress=False) == (4, 1)
    for shard in (tmp_path / "there" / "shards").iterdir():
        assert shard.read_bytes() == (tmp_path / "here" / "shards" / shard.name).read_bytes()
    lost = sorted((few / "videos").iterdir())[0].name
    bucket.rm(f"bucket/corpus/videos/{lost}")
    assert {found["check"] for found in check_anywhere(url, False).to_dict()["findings"]} >= {"missing file"}
    assert not list(Path(gettempdir()).glob("tiktok-mm-*"))


@pytest.mark.nightly
def test_a_corpus_in_a_store_on_ray(bucket, expected, tmp_path):
    "The same on a cluster, whose workers fetch the videos."
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'tiktok_mm[ray]'")
    url = bucket.unstrip_protocol("bucket/corpus")
    made, _ = extract_anywhere(url, **SETTINGS, engine=make_engine("ray", workers=2))
    assert (made.extracted, made.cached, made.failures) == (4, 0, [])
    bucket.get("bucket/corpus", str(tmp_path / "copy"), recursive=True)
    assert features(tmp_path / "copy") == expected


@pytest.mark.nightly
def test_a_killed_run_in_a_store(bucket, expected, tmp_path, monkeypatch):
    "While a command works, a second one is refused; after the first was killed, the next run takes its place later."
    url, lock = bucket.unstrip_protocol("bucket/corpus"), "bucket/corpus/extract.lock"
    first = subprocess.Popen([sys.executable, "-m", "tiktok_mm", "extract", url])
    wait_until(lambda: bucket.exists(lock))
    answer = tiktok_mm("extract", url)
    assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
    assert f"another extract is at work in {url} (" in answer.stderr
    first.kill()
    first.wait()
    assert bucket.exists(lock) and refused(url)
    monkeypatch.setattr("tiktok_mm.pipeline.elsewhere.BEAT", 0.4)
    time.sleep(4)  # some stores round times to seconds
    made, _ = extract_anywhere(url, **SETTINGS)
    assert (made.extracted + made.cached, made.failures) == (4, [])
    assert not bucket.glob(lock + "*")
    bucket.get("bucket/corpus", str(tmp_path / "copy"), recursive=True)
    assert features(tmp_path / "copy") == expected


@pytest.mark.nightly
def test_one_of_many_runs(bucket):
    "Of runs that start at the same moment, one works."
    together, url = Barrier(8), bucket.unstrip_protocol("bucket/corpus")

    def run(_) -> bool:
        together.wait()
        try:
            with only_run_elsewhere(RemoteFolder(url), "extract"):
                together.wait()
                return True
        except UserError:
            together.wait()
            return False

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(run, range(8))) == 1


@pytest.mark.nightly
def test_mistakes_with_addresses(bucket):
    "One line each, and none of them waits long."
    url = bucket.unstrip_protocol("bucket/corpus")
    mistakes = {
        "is empty, or does not exist": lambda: check_anywhere(url.replace("corpus", "nothing"), False),
        "cannot be listed": lambda: check_anywhere(url.replace("//", "//no-"), False),
        "--out is for videos on this machine": lambda: extract_anywhere(url, **SETTINGS, out=Path("x")),
        "is not on this machine: copy it, or pack": lambda: open_corpus(url),
        "write auto, host:port": lambda: next(run_on_ray([None], address="nowhere")),
    }
    for says, mistake in mistakes.items():
        with pytest.raises(UserError, match=says) as raised:
            mistake()
        assert "\n" not in str(raised.value)
