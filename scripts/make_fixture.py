"""Make the small corpus that tests and notebooks read: twelve videos in under 2 MB, at tests/fixtures/corpus.

    python scripts/make_fixture.py

Running it again writes the same files.
"""

import shutil
from pathlib import Path

from tiktok_mm.synthetic.corpus import make_corpus

FIXTURE = Path(__file__).parents[1] / "tests" / "fixtures" / "corpus"


def main() -> None:
    shutil.rmtree(FIXTURE, ignore_errors=True)
    make_corpus(FIXTURE, n=12, seed=24, seconds=(7, 12))
    total = sum(path.stat().st_size for path in FIXTURE.rglob("*") if path.is_file())
    print(f"{FIXTURE.name}: {len(list((FIXTURE / 'videos').iterdir()))} videos, {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
