"Figures with what people really have: names in every script, very long ones, very small and very large counts."

import json
from itertools import combinations
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tiktok_mm.lib.figures import plot_confusion, plot_losses, plot_predictions, show_frames
from tiktok_mm.lib.store import Corpus
from tiktok_mm.lib.text import fit_text, fonts_for, printable, text_width
from tiktok_mm.pipeline.sheet import contact_sheet

pytestmark = pytest.mark.filterwarnings("error")  # among them matplotlib's about missing letters and layouts
NAMES = [
    "a_name_of_sixty_characters_that_a_person_gave_to_this_run_ok",
    "Ensemble of two transformers with late fusion, compact, seed 42",
    "日本の料理を作るトピックの名前はとても長いです。三十文字よりも長い",
    "رقص في الشارع مع موسيقى جميلة وناس كثيرين يصفقون ويضحكون هنا",
    "हिन्दी नृत्य ไทยสวัสดี 한국어",
    "$5 and $6 🎉🫶🏽 \U000f0000",
    "",
]


def pixels(size: tuple[int, int], frames: int) -> np.ndarray:
    "A clip whose frames of `size` (height, width) are letterboxed into 128×72 pixels."
    clip = np.zeros((3, frames, 128, 72), np.uint8)
    top, left = (128 - size[0]) // 2, (72 - size[1]) // 2
    clip[:, :, top : top + size[0], left : left + size[1]] = np.linspace(1, 255, size[1]).astype(np.uint8)
    return clip


def sheet(tmp_path, clips, texts=NAMES, views=(0.0,), **kwargs):
    "The contact sheet of clips with the transcripts `texts`; ids have 60 characters."
    ids = [f"{n:02}_a_name_of_sixty_characters_that_a_collector_gave_to_a_file" for n in range(len(clips))]
    counts = [views[n % len(views)] + n * 1e-9 for n in range(len(ids))]
    corpus = Corpus(tmp_path / ("x" * 60), pd.DataFrame({"id": ids, "views_k": counts}))
    for id in ids:
        corpus.features("visual", id).parent.mkdir(parents=True, exist_ok=True)
        corpus.features("visual", id).touch()
    transcript = {id: {"text": text * 40, "sound": True} for id, text in zip(ids, texts)}
    with (
        patch("tiktok_mm.pipeline.sheet.load_clip", lambda _corpus, id: clips[ids.index(id)]),
        patch("tiktok_mm.pipeline.sheet.load_transcript", lambda _corpus, id: transcript[id]),
    ):
        return contact_sheet(corpus, **kwargs)


def boxes_of(fig):
    "The boxes of all frames and texts of a figure, in inches, as drawn."
    fig.canvas.draw()
    drawn = [ax.get_window_extent() for ax in fig.axes] + [text.get_window_extent() for text in fig.texts]
    return [box.transformed(fig.dpi_scale_trans.inverted()) for box in drawn if box.width > 0]


@pytest.mark.parametrize("n_frames, frames", [(1, 6), (2, 6), (7, 1), (50, 6), (50, 50)])
def test_nothing_in_a_contact_sheet_overlaps(tmp_path, n_frames, frames):
    shapes = [(40, 72), (128, 72), (72, 72), (20, 72), (128, 30), (1, 1), (96, 72)]
    shapes = shapes[: 2 if frames == 50 else None]
    fig = sheet(tmp_path, [pixels(shape, n_frames) for shape in shapes], frames=frames)
    width, height = fig.get_size_inches()
    boxes = boxes_of(fig)
    assert all(box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < width + 0.01 and box.y1 < height + 0.01 for box in boxes)
    for a, b in combinations(boxes, 2):
        apart = a.x1 <= b.x0 + 0.01 or b.x1 <= a.x0 + 0.01 or a.y1 <= b.y0 + 0.03 or b.y1 <= a.y0 + 0.03
        assert apart, (a, b)
    heights = {round(box.height, 2) for box in boxes[: len(fig.axes)]}
    assert max(heights) == 1.3 and min(heights) > 1.29
    plt.close(fig)


def test_the_frames_of_a_contact_sheet_keep_their_shape(tmp_path):
    fig = sheet(tmp_path, [pixels((128, 72), 9), pixels((40, 72), 9)])
    shapes = [box.width / box.height for box in boxes_of(fig)[: len(fig.axes)]]
    assert shapes == pytest.approx([72 / 128] * 6 + [72 / 40] * 2)  # six upright frames, or two wide ones
    shown = [ax.images[0].get_array().shape for ax in fig.axes]
    assert shown == [(128, 72, 3)] * 6 + [(40, 72, 3)] * 2
    plt.close(fig)


@pytest.mark.parametrize("videos", [1, 2, 8])
def test_a_contact_sheet_has_as_many_videos_as_asked_for(tmp_path, videos):
    texts, counts = [*NAMES, "last"], (0.0, 0.001, 0.99996, 21100, 4e9)
    fig = sheet(tmp_path, [pixels((128, 72), 1)] * 8, texts, counts, videos=videos)
    views = [text.get_text() for text in fig.texts if text.get_weight() == "bold"]
    assert len(fig.axes) == len(views) == videos and views[0] == "0 views"
    plt.close(fig)


def figures() -> dict:
    "Every figure of the report, with names and numbers that are hard to show."
    rng = np.random.default_rng(0)
    views = 10 ** rng.uniform(-3, 7, 40)
    log = [{"epoch": n, "train_loss": 1e-9 / (n + 1), "valid_loss": 1e13 / (n + 1)} for n in range(3)]
    classes = np.arange(40) % 4
    clips = [rng.random((3, 4, *shape)) for shape in ((128, 72), (72, 128), (20, 72))]
    return {
        "predictions": lambda: plot_predictions(views, dict.fromkeys(NAMES[:4], views[::-1])),
        "one count": lambda: plot_predictions(np.zeros(3), {NAMES[0]: np.zeros(3)}),
        "losses": lambda: plot_losses({name: log[:n] for n, name in enumerate(NAMES, 1)}),
        "confusion": lambda: plot_confusion(classes, dict.fromkeys(NAMES[:4], classes)),
        "frames": lambda: show_frames(dict(zip(NAMES, clips))),
        "one frame": lambda: show_frames(dict.fromkeys(NAMES, clips[0][:, :1])),
    }


@pytest.mark.parametrize("name", figures())
def test_a_figure_fits_the_width_of_a_page_and_its_names_are_not_wider(name):
    fig = figures()[name]()
    fig.canvas.draw()
    assert fig.get_size_inches()[0] <= 11
    panels = [ax for ax in fig.axes if ax.get_title()]
    titles = [(ax.title.get_window_extent(), ax) for ax in panels]
    for (a, _), (b, _) in combinations(titles, 2):
        assert not a.overlaps(b)
    plt.close(fig)


@pytest.mark.parametrize("n", [1, 12])
def test_the_figure_of_collected_views(tmp_path, n):
    pytest.importorskip("pydantic", reason="no pydantic: pip install 'tiktok_mm[scrape]'")
    from tiktok_mm.scraping.manifest import Manifest, views_figure

    lines = [
        {"id": str(i), "state": "verified", "topic": NAMES[i % 6], "views_k": i * 10.0 ** (i - 3), "views_exact": True}
        for i in range(n)
    ]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    fig = views_figure(Manifest(tmp_path))
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert len(labels) == min(n, 6) and labels[0].endswith("…") and len(fig.axes[0].collections) == len(labels)
    fig.canvas.draw()
    plt.close(fig)


@pytest.mark.parametrize("name", NAMES)
def test_text_is_drawn_with_fonts_that_have_its_letters(name):
    text = printable(name)
    fig = plt.figure(figsize=(2, 1))
    fig.text(0, 0.5, fit_text(name, 2, lines=2), family=fonts_for(name))
    fig.canvas.draw()  # matplotlib would warn of a missing letter
    plt.close(fig)
    assert text_width(text, 9) < 9 and "\0" not in text and text.count("□□") == 0
