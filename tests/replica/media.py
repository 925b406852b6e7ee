"Tiny real videos: H.264 and AAC, 72×128, 10 frames a second, different for every id, made when first asked for."
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np


def make_clip(id: str, seconds: int, picture: bool = True) -> bytes:
    "An mp4 of `seconds` whose colours, movement and tone come from `id`; without `picture` there is sound only."
    with TemporaryDirectory() as folder:
        _write(path := Path(folder)/"clip.mp4", np.random.default_rng(int(id)), seconds, picture)
        return path.read_bytes()


def _write(path: Path, rng: np.random.Generator, seconds: int, picture: bool) -> None:
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        if picture: video = out.add_stream("libx264", rate=10, width=72, height=128, pix_fmt="yuv420p", options={"preset": "ultrafast", "g": "10"})
        audio = out.add_stream("aac", rate=16000, layout="mono")
        colours = rng.integers(0, 256, (2, 3))
        ramp = np.linspace(0, 1, 128)[:, None, None] ** rng.uniform(0.3, 3)
        back = (colours[0]*ramp + colours[1]*(1 - ramp)).repeat(72, 1).astype(np.uint8)
        speed, width = rng.integers(1, 6, 2) * (1, 8)
        for t in range(seconds * 10 * picture):
            frame = back.copy()
            top = t * speed % 100
            frame[top:top + width, 10:10 + width] = 255 - colours[0]
            for packet in video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")): out.mux(packet)
        tone = 0.3 * np.sin(np.arange(seconds * 16000) * 2 * np.pi * rng.uniform(200, 800) / 16000)
        for start in range(0, len(tone), 1024):
            sound = av.AudioFrame.from_ndarray(tone[None, start:start + 1024].astype(np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16000, start
            for packet in audio.encode(sound): out.mux(packet)
        for stream in out.streams:
            for packet in stream.encode(): out.mux(packet)
