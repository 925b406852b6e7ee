#!/usr/bin/env bash
# The checks that take less than a minute on two cores: tests and notebooks without a browser and without training.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" MPLBACKEND=Agg OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0

# notebooks of lib that train models, or encode or measure long
slow='^(_|\.|figures|metrics|report|winograd)'

python -m pytest -q tests/test_{layout,package,data,visual,scrape_pages,cases_pages}.py
for notebooks in nbs/01_data.ipynb nbs/lib nbs/formats nbs/scraping; do
    echo "== $notebooks"
    nbdev_test --path "$notebooks" --skip_file_re "$slow" --n_workers 2 --do_print
done
