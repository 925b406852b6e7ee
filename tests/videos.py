"Small videos with every oddity that a download may have, made by PyAV."

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MOVIE = np.random.default_rng(0).integers(0, 255, (400, 400, 3), dtype=np.uint8)


def picture(n: int, width: int, height: int) -> np.ndarray:
    "Frame `n` of a film: a window that slides over a blurred texture, with a cut every 40 frames."
    smooth = np.asarray(
        av.VideoFrame.from_ndarray(MOVIE[n // 40 :: 7, ::7]).reformat(400, 400).to_ndarray(format="rgb24")
    )
    return np.ascontiguousarray(np.roll(smooth, (3 * n, 2 * n), (0, 1))[:height, :width])


def make_video(
    path: Path,
    codec: str = "libx264",
    frames: int = 120,
    size: tuple[int, int] = (96, 128),
    pixels: str = "yuv420p",
    times: list[int] | None = None,
    **options: str,
) -> Path:
    "Encode `frames` pictures; `times` in units of 1/1000 s instead of 30 frames a second."
    options = (
        {"preset": "ultrafast" if codec in ("libx264", "libx265") else "8"} | options
        if codec != "libvpx-vp9"
        else {"cpu-used": "8", "deadline": "realtime"} | options
    )
    with av.open(str(path), "w") as box:
        stream = box.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(n, *size), "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (times[n], Fraction(1, 1000)) if times else (n, Fraction(1, 30))
            box.mux(stream.encode(frame))
        box.mux(stream.encode(None))
    return path
