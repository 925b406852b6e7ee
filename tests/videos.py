"Small videos with every property that a download may have, encoded by PyAV."

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tiktok_mm.lib.store import read_jsonl

FASTEST = {
    "libx264": {"preset": "ultrafast"},
    "libx265": {"preset": "ultrafast"},
    "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"},
}
TEXTURE = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)


def copy_videos(source: Path, folder: Path, n: int) -> list[dict]:
    "Copy the first n videos of the small corpus, without their list; its rows of them."
    (folder / "videos").mkdir(parents=True)
    shutil.copy(source / "oracle.json", folder)
    rows = read_jsonl(source / "videos.jsonl")[:n]
    for row in rows:
        shutil.copy(source / "videos" / f"{row['id']}.mp4", folder / "videos")
    return rows


def image_of(n: int, width: int, height: int) -> np.ndarray:
    "Frame `n` of a film, (height, width, 3): a window that slides over a blurred texture, with a cut every 40 frames."
    smooth = np.asarray(
        av.VideoFrame.from_ndarray(TEXTURE[n // 40 :: 7, ::7]).reformat(400, 400).to_ndarray(format="rgb24")
    )
    return np.ascontiguousarray(np.roll(smooth, (3 * n, 2 * n), (0, 1))[:height, :width])


@contextmanager
def same_scheduling() -> Iterator[None]:
    "SVT-AV1 makes the thread that calls it a real-time one; a browser that is started from it then starves the rest."
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def make_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 120,
    size: tuple[int, int] = (96, 128),
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    **options: str,
) -> Path:
    "Encode `frames` images at 30 frames a second, or at `times` in milliseconds."
    options = FASTEST.get(codec, {"preset": "8"}) | options
    with same_scheduling(), av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(image_of(n, *size), "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (times[n], Fraction(1, 1000)) if times else (n, Fraction(1, 30))
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    return path
