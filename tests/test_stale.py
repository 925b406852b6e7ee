"A file is used only if its source, its settings and the code that made it are still the same; else it is made again."

import errno
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command import tiktok_mm

from tiktok_mm.audio import AudioConfig, stored_sound_provenance
from tiktok_mm.data import check_corpus, open_corpus
from tiktok_mm.lib.core import UserError
from tiktok_mm.lib.splits import near_duplicates
from tiktok_mm.lib.store import features_header, load_features, read_jsonl, save_features, stored_provenance
from tiktok_mm.lib.whisper_models import checkpoint_file
from tiktok_mm.pipeline.extract import extract
from tiktok_mm.pipeline.sheet import update_contact_sheet
from tiktok_mm.regression import train_by_id
from tiktok_mm.visual import VisualConfig

pytestmark = pytest.mark.usefixtures("in_this_process")
RUN, EPOCHS = "ensemble-compact", 1
DENSER = VisualConfig(frame_skip=100)


@pytest.fixture(scope="module")
def source(fixture_corpus, tmp_path_factory):
    "Three videos of the small corpus, the first of which has no sound, without features."
    folder = tmp_path_factory.mktemp("stale") / "source"
    (folder / "videos").mkdir(parents=True)
    shutil.copy(fixture_corpus / "oracle.json", folder)
    rows = read_jsonl(fixture_corpus / "videos.jsonl")
    silent = next(row for row in rows if check_sound(fixture_corpus, row["id"]) is False)
    rows = [silent, *(row for row in rows if row is not silent)][:3]
    for row in rows:
        shutil.copy(fixture_corpus / "videos" / f"{row['id']}.mp4", folder / "videos")
    write_rows(folder, rows)
    return folder


def check_sound(corpus, id) -> bool:
    "Whether a video of a corpus has sound."
    from tiktok_mm.audio import has_sound

    return has_sound(corpus / "videos" / f"{id}.mp4")


def write_rows(folder, rows) -> None:
    "Write the metadata of a corpus."
    (folder / "videos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def extracted(source):
    "The same with features."
    folder = shutil.copytree(source, source.parent / "extracted")
    run_extract(folder)
    return folder


@pytest.fixture
def corpus(extracted, tmp_path):
    "A copy with features, which a test may change."
    return shutil.copytree(extracted, tmp_path / "corpus")


def run_extract(folder, visual=VisualConfig(), audio=AudioConfig()):
    "Extract what is not up to date."
    return extract(open_corpus(folder), visual, audio, workers=1, progress=False)


def ids_of(folder) -> list[str]:
    "The ids of a corpus: without sound, with sound, with sound."
    return [row["id"] for row in read_jsonl(folder / "videos.jsonl")]


MADE = ("features/*/*", "audio/*", "transcripts.jsonl", "failures.jsonl", "contact_sheet.png", "runs/**/*.*")


def made(folder) -> dict[str, tuple[int, bytes]]:
    "Everything that was made: when it was written, and its content."
    files = [path for pattern in MADE for path in Path(folder).glob(pattern) if path.is_file()]
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def changed(before, folder) -> set[str]:
    "The files that were written or removed since."
    after = made(folder)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def equals_fresh_run(folder, **settings) -> bool:
    "Whether the features have the bytes of an extraction without any cached file."
    fresh = folder.parent / "fresh"
    shutil.copytree(folder, fresh, ignore=shutil.ignore_patterns("features", "audio", "transcripts.jsonl"))
    run_extract(fresh, **settings)
    contents = [{name: content for name, (_, content) in made(one).items()} for one in (folder, fresh)]
    return contents[0] == contents[1]


def of(id, *kinds) -> set[str]:
    "The files of a video."
    names = {"visual": f"features/visual/{id}.safetensors", "audio": f"features/audio/{id}.safetensors"}
    return {(names | {"wav": f"audio/{id}.wav"})[kind] for kind in kinds}


def test_nothing_changed(corpus):
    "Another time of the videos, later or earlier, changes nothing: a second run writes no file."
    before = made(corpus)
    for time in (2_000_000_000, 1_000_000_000):
        for video in (corpus / "videos").iterdir():
            os.utime(video, (time, time))
        assert run_extract(corpus).cached == 3
    assert not changed(before, corpus)


def test_a_replaced_video(corpus):
    "Another video with an older time: its features, its sound and its transcript are made again, and no other."
    _, one, other = ids_of(corpus)
    before, video = made(corpus), corpus / "videos" / f"{one}.mp4"
    shutil.copy(corpus / "videos" / f"{other}.mp4", video)
    os.utime(video, (0, 0))
    summary = run_extract(corpus)
    assert (summary.extracted, summary.cached) == (1, 2)
    assert changed(before, corpus) == {*of(one, "visual", "audio", "wav"), "transcripts.jsonl"}
    texts = {row["id"]: row["text"] for row in read_jsonl(corpus / "transcripts.jsonl")}
    assert texts[one] == texts[other] != ""
    assert equals_fresh_run(corpus)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.95])
def test_one_byte_of_a_video(corpus, place):
    "The size and the time stay, one byte changes."
    one = ids_of(corpus)[1]
    before, video = made(corpus), corpus / "videos" / f"{one}.mp4"
    content, stat = bytearray(video.read_bytes()), video.stat()
    content[int(place * len(content))] ^= 1
    video.write_bytes(content)
    os.utime(video, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    run_extract(corpus)
    assert changed(before, corpus) >= of(one, "visual", "audio", "wav")
    assert changed(before, corpus) <= {*of(one, "visual", "audio", "wav"), "transcripts.jsonl"}
    assert equals_fresh_run(corpus)


def test_a_video_without_sound_in_the_place_of_one_with_sound(corpus):
    silent, one, _ = ids_of(corpus)
    shutil.copy(corpus / "videos" / f"{silent}.mp4", corpus / "videos" / f"{one}.mp4")
    run_extract(corpus)
    assert not (corpus / "audio" / f"{one}.wav").exists()
    assert equals_fresh_run(corpus)


def test_a_run_that_was_killed_after_the_sound(corpus):
    "The sound of a replaced video was written and the rest was not; then the first video came back."
    _, one, other = ids_of(corpus)
    before, wav = made(corpus), corpus / "audio" / f"{one}.wav"
    shutil.copy(corpus / "audio" / f"{other}.wav", wav)
    assert stored_sound_provenance(wav).source != stored_provenance(corpus / of(one, "audio").pop()).source
    run_extract(corpus)
    assert {name: content for name, (_, content) in made(corpus).items()} == {n: c for n, (_, c) in before.items()}


def other_checkpoint(folder) -> str:
    "The small checkpoint with other weights."
    stored = torch.load(checkpoint_file("demo"), weights_only=True)
    stored["model_state_dict"]["encoder.ln_post.bias"] += 0.01
    torch.save(stored, folder / "other.pt")
    return str(folder / "other.pt")


SETTINGS = {
    "frame_skip": ("visual", lambda folder: {"visual": DENSER}),
    "kernel": ("visual", lambda folder: {"visual": VisualConfig(kernel="bilinear")}),
    "language": ("audio", lambda folder: {"audio": AudioConfig(language="en")}),
    "whisper": ("audio", lambda folder: {"audio": AudioConfig(other_checkpoint(folder))}),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_setting(corpus, setting):
    "The features that depend on it are made again; other features and the sound stay."
    stage, settings = SETTINGS[setting]
    settings, before = settings(corpus.parent), made(corpus)
    assert run_extract(corpus, **settings).extracted == 3
    expected = {name for id in ids_of(corpus) for name in of(id, stage)}
    assert expected <= changed(before, corpus) <= expected | {"transcripts.jsonl"}
    assert run_extract(corpus, **settings).cached == 3
    assert equals_fresh_run(corpus, **settings)


def test_a_checkpoint_in_the_place_of_another(corpus):
    "The name of a checkpoint does not identify it, in the same process neither."
    file = corpus.parent / "mine.pt"
    shutil.copy(checkpoint_file("demo"), file)
    audio = AudioConfig(str(file))
    run_extract(corpus, audio=audio)
    before = made(corpus)
    shutil.move(other_checkpoint(corpus.parent), file)
    assert run_extract(corpus, audio=audio).extracted == 3
    assert changed(before, corpus) >= {name for id in ids_of(corpus) for name in of(id, "audio")}
    assert equals_fresh_run(corpus, audio=audio)


@pytest.mark.parametrize("stage", ["visual", "audio"])
def test_another_version_of_the_code(corpus, stage):
    "Features of another version of a stage, and those without a provenance, are made again."
    one, before = ids_of(corpus)[1], made(corpus)
    file = corpus / "features" / stage / f"{one}.safetensors"
    arrays, provenance = load_features(file), stored_provenance(file)
    save_features(file, arrays, replace(provenance, version=99), features_header(file)["metadata"])
    line = check_corpus(open_corpus(corpus), progress=False)
    assert f"{one} ({stage} features of another version of tiktok-mm)" in str(line)
    assert run_extract(corpus).extracted == 1
    assert changed(before, corpus) == of(one, stage)  # written again, with the same bytes
    assert file.read_bytes() == before[f"features/{stage}/{one}.safetensors"][1]
    content = file.read_bytes().replace(b"provenance", b"somethings")
    file.write_bytes(content)
    assert run_extract(corpus).extracted == 1
    assert file.read_bytes() == before[f"features/{stage}/{one}.safetensors"][1]


def test_transcripts(corpus):
    "A run that was killed before it wrote them, and rows that went: transcripts.jsonl is made again, and nothing else."
    before, path = made(corpus), corpus / "transcripts.jsonl"
    content = path.read_bytes()
    for damaged in (content[:-40], content.replace(b'"text": "', b'"text": "not '), b"no JSON\n" + content, b""):
        path.write_bytes(damaged)
        run_extract(corpus)
        assert path.read_bytes() == content
    assert changed(before, corpus) == {"transcripts.jsonl"}
    write_rows(corpus, read_jsonl(corpus / "videos.jsonl")[1:])
    run_extract(corpus)
    assert [row["id"] for row in read_jsonl(path)] == ids_of(corpus)
    assert changed(before, corpus) == {"transcripts.jsonl"}


def test_contact_sheet(corpus):
    "It is drawn again if it would show something else; a sheet that shows what is not there any more is removed."
    sheet = update_contact_sheet(open_corpus(corpus))
    before = made(corpus)
    assert update_contact_sheet(open_corpus(corpus)) == sheet and not changed(before, corpus)
    rows = read_jsonl(corpus / "videos.jsonl")
    rows[0]["views"] = 123_456
    write_rows(corpus, rows)
    update_contact_sheet(open_corpus(corpus))
    assert changed(before, corpus) == {"contact_sheet.png"}
    before = made(corpus)
    run_extract(corpus, visual=DENSER)
    update_contact_sheet(open_corpus(corpus))
    assert "contact_sheet.png" in changed(before, corpus)
    shutil.copy(corpus / "videos" / f"{rows[1]['id']}.mp4", corpus / "videos" / f"{rows[2]['id']}.mp4")
    done = tiktok_mm("extract", corpus, "--frame-skip", 100, "--no-sheet")
    assert (done.returncode, sheet.exists()) == (0, False), done.stderr


def test_a_full_disk_at_the_picture_is_one_line(corpus, monkeypatch):
    "The features are kept; the same command draws the sheet."

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("tiktok_mm.pipeline.sheet.save_figure", full)
        with pytest.raises(UserError, match="the disk is full: make room"):
            update_contact_sheet(open_corpus(corpus))
    assert update_contact_sheet(open_corpus(corpus)).exists() and run_extract(corpus).cached == 3


def test_linked_videos(source, tmp_path):
    "A linked folder, a link, and a link that a column `path` names: a change behind the link is seen."
    folder, (inside, link, named) = tmp_path / "linked", ids_of(source)
    (folder / "kept").mkdir(parents=True)
    behind = shutil.copytree(source / "videos", tmp_path / "behind")
    for id in (link, named):
        (behind / f"{id}.mp4").rename(tmp_path / f"{id}.mp4")
    (folder / "videos").symlink_to(behind)
    (folder / f"{link}.mp4").symlink_to(tmp_path / f"{link}.mp4")
    (folder / "kept" / "any name.mp4").symlink_to(tmp_path / f"{named}.mp4")
    (folder / "list.csv").write_text(f"id,views,path\n{inside},10,\n{link},20,\n{named},30,kept/any name.mp4\n")
    demo = AudioConfig("demo")
    assert run_extract(folder, audio=demo).extracted == 3
    before = made(folder)
    shutil.copy(source / "videos" / f"{link}.mp4", tmp_path / f"{named}.mp4")
    assert run_extract(folder, audio=demo).extracted == 1
    assert changed(before, folder) == {*of(named, "visual", "audio", "wav"), "transcripts.jsonl"}


def test_what_cannot_be_made_again_is_not_kept(corpus):
    "A video is replaced by a broken one: its features are removed. Where only the file of a video is gone, they stay."
    gone, broken, _ = ids_of(corpus)
    before = made(corpus)
    (corpus / "videos" / f"{gone}.mp4").unlink()
    (corpus / "videos" / f"{broken}.mp4").write_bytes(b"<html>403 Forbidden</html>")
    assert run_extract(corpus).failed == 2
    expected = {*of(broken, "visual", "audio"), "transcripts.jsonl", "failures.jsonl"}
    assert changed(before, corpus) - of(broken, "wav") == expected
    assert broken not in [row["id"] for row in read_jsonl(corpus / "transcripts.jsonl")]
    run_extract(corpus, visual=DENSER)  # those of the missing one have other settings now
    assert not (corpus / "features" / "visual" / f"{gone}.safetensors").exists()
    assert (corpus / "features" / "audio" / f"{gone}.safetensors").exists()
    assert "stale features" not in str(check_corpus(open_corpus(corpus), progress=False))


@pytest.fixture(scope="module")
def trained(fixture_corpus, tmp_path_factory):
    "The small corpus with features and one trained run."
    folder = shutil.copytree(fixture_corpus, tmp_path_factory.mktemp("stale") / "trained")
    run_extract(folder)
    train(folder)
    return folder


@pytest.fixture
def with_run(trained, tmp_path):
    "A copy with a trained run, which a test may change."
    return shutil.copytree(trained, tmp_path / "corpus")


def train(folder) -> None:
    "Train a run, or load it."
    train_by_id(open_corpus(folder), RUN, epochs=1, max_steps=2)


def experiment_of(folder) -> Path:
    "The folder of its only experiment."
    (experiment,) = (folder / "runs").iterdir()
    return experiment


WEIGHTS = {"autoencoder": "autoencoder/weights.safetensors", "run": f"{RUN}-*/weights.safetensors"}


def trained_again(folder, action) -> set[str]:
    "What training makes again after an action: autoencoder, run, ids of embeddings."

    def files():
        experiment = experiment_of(folder)
        found = {name: next(experiment.glob(pattern)) for name, pattern in WEIGHTS.items()}
        found |= {path.stem: path for path in experiment.glob("autoencoder/embeddings/*")}
        return {name: path.stat().st_mtime_ns for name, path in found.items()}

    before = files()
    action()
    train(folder)
    after = files()
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def matches_fresh_training(folder) -> bool:
    "Whether weights, embeddings and predictions have the bytes of a training without any file."

    def results(one):
        files = [path for pattern in ("**/*.safetensors", "*/predictions.csv") for path in one.glob(pattern)]
        return {path.relative_to(one).as_posix(): path.read_bytes() for path in files}

    fresh = shutil.copytree(folder, folder.parent / "fresh", ignore=shutil.ignore_patterns("runs"))
    train(fresh)
    return results(experiment_of(folder)) == results(experiment_of(fresh))


def mirror(folder, id, ffmpeg) -> None:
    "Replace a video by its mirror image, with an old time, and extract it."
    video, mirrored = folder / "videos" / f"{id}.mp4", folder / "mirrored.mp4"
    subprocess.run([ffmpeg, "-v", "error", "-i", video, "-vf", "hflip", "-c:a", "copy", mirrored], check=True)
    mirrored.replace(video)
    os.utime(video, (0, 0))
    assert run_extract(folder).extracted == 1


def part(folder, name) -> list[str]:
    "The ids of a part of the split."
    return json.loads((experiment_of(folder) / "split.json").read_text())[name]


def test_a_second_training_makes_nothing(with_run):
    assert not trained_again(with_run, lambda: None)


def test_a_video_to_train_on_is_replaced(with_run, ffmpeg):
    "The autoencoder has seen it: everything is made again, as in an empty folder."
    one = part(with_run, "train")[0]
    again = trained_again(with_run, lambda: mirror(with_run, one, ffmpeg))
    assert again == {"autoencoder", "run", *ids_of(with_run)}
    assert matches_fresh_training(with_run)


def test_a_video_to_test_on_is_replaced(with_run, ffmpeg):
    "Nothing was trained on it: its embedding and the predictions are made again."
    one = part(with_run, "test")[0]
    assert trained_again(with_run, lambda: mirror(with_run, one, ffmpeg)) == {one}
    assert matches_fresh_training(with_run)


def test_features_of_other_settings(with_run):
    "All are made again, once all videos have the new settings."
    again = trained_again(with_run, lambda: run_extract(with_run, visual=DENSER))
    assert again == {"autoencoder", "run", *ids_of(with_run)}
    assert matches_fresh_training(with_run)


def test_other_view_counts(with_run):
    "The run learned the old ones; the autoencoder knows none."

    def count_again():
        rows = read_jsonl(with_run / "videos.jsonl")
        write_rows(with_run, [{**row, "views": 2 * row["views"]} for row in rows])
        assert run_extract(with_run).cached == len(rows)

    assert trained_again(with_run, count_again) == {"run"}
    assert matches_fresh_training(with_run)


def test_mixed_settings_are_refused(with_run):
    "An extraction with other settings was interrupted: one line says how many videos have which, and what to run."
    some = open_corpus(with_run)
    extract(some.subset(some.table.index < 4), DENSER, progress=False)
    line = "4 of 12 videos: visual features of other settings (--frame-skip 100) than most (--frame-skip 200). Run "
    with pytest.raises(UserError) as refused:
        train(with_run)
    command = f"tiktok-mm extract {with_run} --frame-skip 200 --whisper demo"
    assert str(refused.value) == line + command
    checked = check_corpus(some, progress=False)
    assert (checked.findings.check == "stale features").sum() == 4 and checked.ok
    assert str(checked).endswith(f"training may start; before it, run {command}")
    assert run_extract(with_run).extracted == 4
    assert not trained_again(with_run, lambda: None)


def test_a_replaced_video_is_not_trained_on(with_run):
    "A video was replaced and nobody extracted it, or the extraction was killed between its stages."
    one, other = ids_of(with_run)[:2]
    shutil.copy(with_run / "videos" / f"{one}.mp4", with_run / "videos" / f"{other}.mp4")
    with pytest.raises(UserError, match="1 of 12 videos: replaced after its features"):
        train(with_run)
    (with_run / "features" / "audio" / f"{one}.safetensors").unlink()
    with pytest.raises(UserError, match="1 of 12 videos: its extraction was interrupted; 1 of 12 videos: replaced"):
        train(with_run)


def test_near_duplicates_are_those_of_today(with_run):
    one, other = ids_of(with_run)[:2]
    before = near_duplicates(open_corpus(with_run).table, progress=False)
    shutil.copy(with_run / "videos" / f"{one}.mp4", with_run / "videos" / f"{other}.mp4")
    after = near_duplicates(open_corpus(with_run).table, progress=False)
    assert before[one] != before[other] and after[one] == after[other]
