#!/usr/bin/env bash
# Run notebooks of nbs/benchmarks, all cells, one after the other, and store their outputs: scripts/bench.sh speed speech …
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
unset MPLBACKEND  # figures go into the notebooks

python -c 'import cv2, faster_whisper, transformers' 2>/dev/null && pip show --quiet torchcodec 2>/dev/null ||
    pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
for name in "$@"; do
    printf '== %s (after %d s)\n' "$name" "$SECONDS"
    python scripts/run_notebook.py "nbs/benchmarks/$name.ipynb"
    nbdev_clean --fname "nbs/benchmarks/$name.ipynb"
done
