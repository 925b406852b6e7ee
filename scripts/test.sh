#!/usr/bin/env bash
# Every check of the project, in the environment that scripts/setup.sh made.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH" MPLBACKEND=Agg OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }

step "style and types"
ruff check .
ruff format --check nbs tests scripts setup.py
mypy

step "notebooks are clean, package and README are what the notebooks say"
git ls-files --cached --others --exclude-standard -z |
    tar --create --null --files-from - --ignore-failed-read 2>/dev/null | tar --extract --directory "$copy"
(cd "$copy" && nbdev_clean && nbdev_export && PYTHONPATH="$copy" python scripts/readme.py)
for made in nbs tiktok_mm README.md; do
    diff --recursive --brief --exclude __pycache__ --exclude .ipynb_checkpoints --exclude nbdev.yml \
        "$made" "$copy/$made" || {
        echo "run nbdev_clean, nbdev_export and 'make readme', and commit what changes" >&2
        exit 1
    }
done

step "notebooks run" # those of benchmarks each night
nbdev_test --n_workers 2 --timing --do_print --flags browser --skip_folder_re '^[_.]|^benchmarks$'

step "tests"
python -m pytest tests --numprocesses 2 --dist loadfile --durations 10 --quiet

step "passed"
