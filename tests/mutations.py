"Media files that are damaged in every way that a seed can draw, and files whose headers lie."

import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

MILLION, BILLION = 10**6, 10**9


def flip_bits(content: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    "One to fifty bits are another, in the first 4 kB or anywhere."
    end = min(len(content), 4096) if rng.random() < 0.5 else len(content)
    for place in rng.integers(end, size=rng.integers(1, 50)):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def cut(content: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    "The end is missing, or the beginning, or a part between them."
    first, last = sorted(rng.integers(len(content), size=2))
    return [content[:first], content[last:], content[:first] + content[last:]][rng.integers(3)]


def splice(content: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    "A part of another file is in the place of a part of this one, or between two parts of it."
    other = others[rng.integers(len(others))]
    first, last = sorted(rng.integers(len(other), size=2))
    place = int(rng.integers(len(content)))
    skipped = int(rng.integers(2)) * (last - first)
    return content[:place] + other[first:last] + content[place + skipped :]


def overwrite(content: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    "Up to 4 kB of zeros, of ones or of noise lie over what was there."
    place, length = int(rng.integers(len(content))), int(rng.integers(1, 4096))
    filling = [bytes(length), b"\xff" * length, rng.bytes(length)][rng.integers(3)]
    content[place : place + length] = filling[: len(content) - place]
    return content


def lie(content: bytearray, rng: np.random.Generator, others: Sequence[bytes]) -> bytearray:
    "One to three numbers of headers are zero, as large as they can be, or a billion."
    boxes = [b"mvhd", b"mdhd", b"tkhd", b"stts", b"ctts", b"stsc", b"stsz", b"stco", b"elst", b"avc1", b"mp4a", b"trun"]
    places = [place for box in boxes if (place := content.find(box)) > 0] or [0]
    values = [0, 1, MILLION, BILLION, 2**31 - 1, 2**32 - 1]
    for _ in range(rng.integers(1, 4)):
        place = places[rng.integers(len(places))] + 4 * int(rng.integers(-1, 12))
        content[max(0, place) : max(0, place) + 4] = struct.pack(">I", values[rng.integers(len(values))])
    return content


MUTATIONS: list[Callable] = [flip_bits, cut, splice, overwrite, lie]


def mutated(films: Sequence[bytes], number: int, seed: int = 0) -> tuple[str, bytes]:  # (what was done, content)
    "Film `number`, after one or two mutations that the seed draws."
    rng = np.random.default_rng((seed, number))
    content, done = bytearray(films[number % len(films)]), []
    for _ in range(rng.integers(1, 3)):
        change = MUTATIONS[rng.integers(len(MUTATIONS))]
        if content:
            content = change(content, rng, films)
            done.append(change.__name__)
    return "+".join(done), bytes(content)


def patched(content: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    "Other bytes `offset` bytes behind the first box of this name."
    place = content.index(box) + 4 + offset
    return content[:place] + value + content[place + len(value) :]


def number(value: int) -> bytes:
    "Four bytes, as mp4 has them."
    return struct.pack(">I", value)


def lying_mp4s(content: bytes) -> dict[str, bytes]:
    "An mp4 file with headers that lie: what they say, and the file."
    sizes, chunks = content.index(b"stsz"), content.index(b"stsc")
    constant = content[: sizes + 8] + number(1) + number(BILLION) + content[sizes + 16 :]
    return {
        "65,535 by 65,535 pixels": patched(content, b"avc1", 24, b"\xff" * 4),
        "a track of 65,535 by 65,535 pixels": patched(content, b"tkhd", 76, b"\xff" * 8),
        "a billion frames": patched(content, b"stsz", 8, number(BILLION)),
        "a billion frames of a byte": constant,
        "a billion frames in a chunk": constant[: chunks + 16] + number(BILLION) + constant[chunks + 20 :],
        "a billion times": patched(content, b"stts", 4, number(BILLION)),
        "a billion frames that last 0": patched(content, b"stts", 8, number(BILLION) + number(0)),
        "frames that last 2,000,000,000": patched(content, b"stts", 12, number(2 * BILLION)),
        "a time base of zero": patched(content, b"mdhd", 12, number(0)),
        "a film with a time base of zero": patched(content, b"mvhd", 12, number(0)),
        "a duration of zero": patched(content, b"mdhd", 16, number(0)),
        "chunks behind the end": patched(content, b"stco", 8, number(2 * BILLION)),
        "a box of 4 GB": content.replace(content[content.index(b"moov") - 4 :][:8], number(2**32 - 1) + b"moov", 1),
        "boxes within boxes": content[:32] + b"".join(number(8 * n) + b"moov" for n in range(20_000, 0, -1)),
    }


def avi(width: int, height: int, rate: int, scale: int, frames: int, codec: bytes = b"FFV1") -> bytes:
    "An AVI file of one packet whose header says what it is told to say."

    def chunk(name: bytes, data: bytes) -> bytes:
        return name + struct.pack("<I", len(data)) + data

    main = struct.pack("<10I", 1, 0, 0, 0x10, frames, 0, 1, 0, width & 0xFFFFFFFF, height & 0xFFFFFFFF) + bytes(16)
    stream = b"vids" + codec + struct.pack("<10I", 0, 0, 0, scale, rate, 0, frames, 0, 0, 0) + bytes(8)
    form = struct.pack("<IiiHH4s5I", 40, width, height, 1, 24, codec, 0, 0, 0, 0, 0)
    stream_list = chunk(b"LIST", b"strl" + chunk(b"strh", stream) + chunk(b"strf", form))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + stream_list)
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi" + chunk(b"00dc", b"\x00\x01\x02\x03" * 200)))


def lying_avis() -> dict[str, bytes]:
    "AVI files with headers that lie: what they say, and the file."
    return {
        "a million by a million pixels": avi(MILLION, MILLION, 30, 1, 10),
        "16,000 by 16,000 pixels, raw": avi(16_000, 16_000, 30, 1, 10, codec=bytes(4)),
        "no pixels": avi(0, 0, 30, 1, 10),
        "-1 by -1 pixels": avi(-1, -1, 30, 1, 10),
        "a billion frames in an AVI": avi(64, 64, 30, 1, BILLION),
        "an AVI with a time base of zero": avi(64, 64, 0, 0, 10),
        "a billion frames a second": avi(64, 64, BILLION, 1, 10),
    }


def gif(width: int, height: int, frames: int) -> bytes:
    "A GIF whose frames change one pixel of a large canvas: a few bytes each."
    frame = b"\x2c" + struct.pack("<4HB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    delay = b"\x21\xf9\x04\x00\x02\x00\x00\x00"
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\x00\x00\x00\xff\xff\xff"
    return screen + (delay + frame) * frames + b"\x3b"


def written(folder: Path, contents: dict[str, bytes]) -> dict[str, str]:  # id → what was done
    "A corpus of these files, with one view count each."
    (folder / "videos").mkdir(parents=True)
    ids = {f"m{n:04}": name for n, name in enumerate(contents)}
    for id, name in ids.items():
        (folder / "videos" / f"{id}.mp4").write_bytes(contents[name])
    (folder / "views.csv").write_text("id,views\n" + "".join(f"{id},{1000 + n}\n" for n, id in enumerate(ids)))
    return ids
