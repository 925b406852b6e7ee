"The videos of the replica, made like those of the synthetic corpus: one for each id, at its first request."

import io
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import av

from tiktok_mm.synthetic.plans import VideoPlan, plan_video
from tiktok_mm.synthetic.video import write_video


def clip_plan(id: str) -> VideoPlan:
    "The plan of the video of `id`, two to three seconds long."
    return plan_video(int(id), seed=42, authors=89, seconds=(2, 3))


@cache
def make_clip(id: str) -> bytes:
    "The mp4 of `id`."
    with TemporaryDirectory() as folder:
        write_video(clip_plan(id), path := Path(folder) / "clip.mp4")
        return path.read_bytes()


@cache
def make_sound(id: str) -> bytes:
    "The mp4 of `id` without its video stream."
    with TemporaryDirectory() as folder:
        write_video(replace(clip_plan(id), sound=True), path := Path(folder) / "clip.mp4")
        with av.open(str(path)) as whole, av.open(buffer := io.BytesIO(), "w", format="mp4") as out:
            stream = out.add_stream_from_template(whole.streams.audio[0])
            for packet in whole.demux(audio=0):
                if packet.dts is None:
                    continue
                packet.stream = stream
                out.mux(packet)
        return buffer.getvalue()
