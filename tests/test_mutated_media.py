"Damaged files and lying headers: each is decoded, or recorded with a reason that a person understands."

import re
import subprocess
from pathlib import Path

import pytest

from mutations import gif, lying_avis, lying_mp4s, mutated, written
from tiktok_mm.audio import AudioConfig
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.media import probe_all
from tiktok_mm.lib.parallel import Limits
from tiktok_mm.lib.store import find_real_data, load_features
from tiktok_mm.pipeline.extract import extract

LIMITS = Limits(seconds=60, seconds_per_mb=0, gigabytes=2)
UNDERSTOOD = (  # what a reason begins with, behind the name of the file
    "damaged",
    "cut ",
    "encrypted",
    "given up: ",
    "its sound cannot be decoded",
    "no decoder for ",
    "no video stream",
    "nothing but zeros",
    "an empty file",
    r"[\w ()]+, not a video",
    "there is too little memory",
    r"the process that read this video crashed \(SIG",
)


def assert_understood(reason: str, what: str) -> None:
    "One short line in words, without names of Python's errors or numbers of the system's."
    text = re.sub(r"^m\d+\.mp4: ", "", reason)
    assert re.match("|".join(UNDERSTOOD), text), f"{what}: {reason}"
    assert "\n" not in text and len(text) < 120 and not re.search(r"Err(no|or)\b|0x", text), f"{what}: {reason}"


def assert_decoded_or_recorded(folder: Path, contents: dict[str, bytes], limits: Limits = LIMITS) -> dict[str, str]:
    "Check and extract a corpus of these files; gives what was done to each file, and its reason or nothing."
    ids = written(folder, contents)
    corpus = open_corpus(folder)
    media = probe_all(corpus.table, progress=False, limits=limits)
    for id, error, frames in zip(media.index, media.error, media.frames):
        assert error or frames > 0, ids[id]
        if error:
            assert_understood(error, ids[id])
    summary = extract(corpus, audio=AudioConfig("demo"), progress=False, limits=limits)
    failed = {failure["id"]: failure["reason"] for failure in summary.failures}
    for id, name in ids.items():
        if id in failed:
            assert_understood(failed[id], name)
        else:
            clip = load_features(corpus.features("visual", id))["clip"]
            assert clip.shape[0] == 3 and clip.shape[1] >= 1 and corpus.features("audio", id).exists()
    assert not list(folder.rglob("*.tmp"))
    return {name: failed.get(id, "") for id, name in ids.items()}


@pytest.fixture(scope="module")
def smallest(fixture_corpus) -> Path:
    "The smallest film of the fixture."
    return min((fixture_corpus / "videos").iterdir(), key=lambda path: path.stat().st_size)


@pytest.fixture(scope="module")
def films(smallest, ffmpeg, tmp_path_factory, long) -> list[bytes]:
    "A film in several containers, and real clips where they are."
    folder, paths = tmp_path_factory.mktemp("films"), [smallest]
    for name, options in {"x.mkv": [], "x.ts": [], "f.mp4": ["-movflags", "frag_keyframe+empty_moov"]}.items():
        command = [ffmpeg, "-v", "error", "-i", smallest, "-c", "copy", *options, folder / name]
        subprocess.run(command, check=True)
        paths.append(folder / name)
    real = sorted((find_real_data(Path(__file__).parent) / "clips").glob("*.mp4"), key=lambda path: path.stat().st_size)
    return [path.read_bytes() for path in [*paths, *(real if long else real[:2])]]


def test_damaged_files_and_lying_headers(films, smallest, tmp_path, long):
    "40 damaged files, or 1,000 with --long; a million by a million pixels, a billion frames, a time base of zero."
    files = [mutated(films, number) for number in range(1000 if long else 40)]
    damaged = {f"{number}: {done}": content for number, (done, content) in enumerate(files)}
    contents = lying_mp4s(smallest.read_bytes()) | lying_avis() | damaged
    outcomes = assert_decoded_or_recorded(tmp_path / "corpus", contents)
    assert outcomes["a million by a million pixels"] == "m0014.mp4: damaged: no frame can be decoded"
    assert outcomes["a time base of zero"] == ""
    decoded = sum(not outcomes[name] for name in damaged)
    assert 0.1 * len(damaged) < decoded < 0.9 * len(damaged)


def test_the_same_seed_gives_the_same_files(films):
    assert [mutated(films, n) for n in range(5)] == [mutated(films, n) for n in range(5)]
    assert len({mutated(films, 0, seed) for seed in range(5)}) == 5


def extracted(folder: Path, **limits) -> list[tuple]:
    "The failures of an extraction within limits: id, stage, reason."
    summary = extract(open_corpus(folder), audio=AudioConfig("demo"), progress=False, limits=Limits(**limits))
    assert not list(folder.rglob("*.tmp"))
    return [(failure["id"], failure["stage"], failure["reason"]) for failure in summary.failures]


def test_a_file_that_takes_all_memory(smallest, tmp_path):
    "A hundred bytes that decode to a gigabyte a frame: given up, in the check, too; the other film is extracted."
    written(tmp_path / "corpus", {"large": (large := gif(14_000, 14_000, 2)), "film": smallest.read_bytes()})
    reason, limits = "given up: reading this video takes more than 0.7 GB of memory", dict(seconds=90, gigabytes=0.7)
    assert len(large) < 100
    media = probe_all(open_corpus(tmp_path / "corpus").table, progress=False, limits=Limits(**limits))
    assert media.error.tolist() == [reason, ""]
    assert extracted(tmp_path / "corpus", **limits) == [("m0000", "decoding", reason)]
    assert f"m0000 ({reason})" in str(check_corpus(open_corpus(tmp_path / "corpus"), progress=False))


def test_a_file_that_takes_for_ever(tmp_path):
    "A hundred kilobytes that decode to 4,000 large frames."
    written(tmp_path / "corpus", {"long": gif(2500, 2500, 4000)})
    reason = "given up: reading this video takes more than 2 s"
    assert extracted(tmp_path / "corpus", seconds=2, seconds_per_mb=0) == [("m0000", "decoding", reason)]
