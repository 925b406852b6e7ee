"""Record the words once with espeak-ng: one small Ogg/Opus file per voice, and an index of each word's samples.

    python scripts/record_words.py

Needs espeak-ng on the path. Running it again writes the same files.
"""

import json
import subprocess
from pathlib import Path

import av
import numpy as np

FOLDER = Path(__file__).parents[1] / "tiktok_mm" / "assets" / "words"
SAMPLE_RATE = 16_000
BIT_RATE = 12_000
PAUSE = 0.08  # seconds of silence around each word of a file
WORDS = [
    "baby",
    "beach",
    "birthday",
    "car",
    "challenge",
    "chocolate",
    "city",
    "coffee",
    "dance",
    "dog",
    "fashion",
    "fire",
    "flower",
    "football",
    "funny",
    "game",
    "garden",
    "guitar",
    "holiday",
    "jump",
    "kitchen",
    "love",
    "magic",
    "mountain",
    "music",
    "ocean",
    "party",
    "pizza",
    "rainbow",
    "recipe",
    "river",
    "robot",
    "school",
    "secret",
    "snow",
    "summer",
    "travel",
    "wedding",
    "winter",
    "yoga",
]
VOICES = {  # name in this package: espeak-ng's name of the accent and the speaker
    "us-m1": "en-us+m1",
    "us-m7": "en-us+m7",
    "us-f1": "en-us+f1",
    "us-linda": "en-us+linda",
    "gb-m3": "en+m3",
    "gb-m5": "en+m5",
    "gb-f2": "en+f2",
    "scotland-m2": "en-gb-scotland+m2",
    "scotland-f3": "en-gb-scotland+f3",
    "caribbean-m4": "en-029+m4",
    "caribbean-f5": "en-029+f5",
    "midlands-m6": "en-gb-x-gbcwmd+m6",
    "lancaster-steph": "en-gb-x-gbclan+steph",
    "rp-f4": "en-gb-x-rp+f4",
}
HELD_OUT_VOICE = "rp-f4"  # neither this accent nor this speaker is in another voice


def resampled(audio, rate):
    "16-bit mono `audio` at `rate` Hz as float32 samples at 16 kHz"
    frame = av.AudioFrame.from_ndarray(audio[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE)
    frames = resampler.resample(frame) + resampler.resample(None)
    return np.concatenate([f.to_ndarray()[0] for f in frames])


def trimmed(audio, floor=0.02):
    "`audio` without the silence before and after, at a peak of 0.7"
    audio = audio / np.abs(audio).max()
    loud = np.flatnonzero(np.abs(audio) > floor)
    return 0.7 * audio[loud[0] : loud[-1] + 1]


def spoken(word, voice):
    "`word` spoken by espeak-ng's `voice`: float32 samples at 16 kHz"
    command = ["espeak-ng", "-v", voice, "-s", "150", "--stdout", word]
    wav = subprocess.run(command, check=True, capture_output=True).stdout
    data = wav[wav.index(b"data") + 8 :]
    rate = int.from_bytes(wav[24:28], "little")
    return trimmed(resampled(np.frombuffer(data, np.int16), rate))


def write_opus(path, audio):
    "Write float32 `audio` at 16 kHz as Ogg/Opus, the same bytes for the same samples"
    with av.open(str(path), "w", format="ogg", options={"fflags": "+bitexact"}) as out:
        stream = out.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", bit_rate=BIT_RATE)
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        frame = av.AudioFrame.from_ndarray(audio[None].astype(np.float32), format="flt", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def record(name, voice):
    "Record every word by `voice` as `name`.ogg and return each word's (first, last) sample"
    pause, parts, offsets, at = np.zeros(round(PAUSE * SAMPLE_RATE), np.float32), [], [], 0
    for word in WORDS:
        audio = spoken(word, voice)
        offsets.append([at + len(pause), at + len(pause) + len(audio)])
        parts += [pause, audio]
        at = offsets[-1][1]
    write_opus(FOLDER / f"{name}.ogg", np.concatenate([*parts, pause]))
    return offsets


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    offsets = {name: record(name, voice) for name, voice in VOICES.items()}
    index = dict(sample_rate=SAMPLE_RATE, words=WORDS, held_out=HELD_OUT_VOICE, voices=VOICES, offsets=offsets)
    (FOLDER / "index.json").write_text(json.dumps(index) + "\n")


if __name__ == "__main__":
    main()
