"""Learn from short videos how many views they get.

>>> corpus = tiktok_mm.open_corpus("my_corpus")
>>> model = tiktok_mm.load_model("my_corpus/runs/random-65-10-25-seed42/ensemble-compact")
>>> model.predict("video.mp4")  # or tiktok_mm.predict(FOLDER, "video.mp4")

These names are imported when they are first used: `import tiktok_mm` alone loads nothing that takes time. This file is
written by hand; nbdev keeps the version in it.
"""

__version__ = "0.1.0"

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if "OMP_WAIT_POLICY" not in os.environ:
    # PyTorch's threads wait for each other in a loop of 300,000 steps. On a machine that does something else, too, a
    # training of the autoencoder then takes ten times as long; with 10,000 it takes as long as before on an idle one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from tiktok_mm.beyond.predict import load_model
    from tiktok_mm.beyond.predict import predict_video as predict
    from tiktok_mm.data import open_corpus
    from tiktok_mm.lib.store import Corpus

__all__ = ["Corpus", "load_model", "open_corpus", "predict"]

_HOME = {  # name → where it is
    "Corpus": ("lib.store", "Corpus"),
    "load_model": ("beyond.predict", "load_model"),
    "open_corpus": ("data", "open_corpus"),
    "predict": ("beyond.predict", "predict_video"),
}


def __getattr__(name: str) -> Any:
    "What `tiktok_mm` offers, imported from its module at the first use."
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: it offers {', '.join(__all__)}")
    module, attribute = _HOME[name]
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
