#!/usr/bin/env bash
# Create .venv, or bring it up to date; with --browser also install what some tests need: Chromium, its driver, Xvfb
# and OpenCV's libraries. Does nothing when there is nothing to do.
set -euo pipefail
cd "$(dirname "$0")/.."

# Install Debian packages where we may; say in one line what to install where we may not.
system_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "please install with your system's package manager: $*" >&2
        return 1
    fi
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            echo "please run once: sudo apt-get install -y $*" >&2
            return 1
        fi
        as_root=(sudo -n)
    fi
    echo "installing system packages: $*"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

find_python() {
    for python in python3.11 python3 python3.12 python3.13; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$python"
            return
        fi
    done
    return 1
}

if [ ! -x .venv/bin/pip ]; then
    if ! python=$(find_python); then
        system_packages python3 python3-venv
        python=$(find_python) || { echo "Python 3.11 or newer is needed" >&2; exit 1; }
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        system_packages "$("$python" -c 'import sys; print(f"python3.{sys.version_info[1]}-venv")')"
    fi
    echo "creating .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

checksum() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }

wanted=$(cat settings.ini setup.py constraints.txt scripts/fix_torchvision.py | checksum | cut -d' ' -f1)
if [ "$(cat .venv/.installed 2>/dev/null || true)" != "$wanted" ]; then
    echo "installing packages into .venv (about 2 GB and a few minutes the first time)"
    .venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
    .venv/bin/python scripts/fix_torchvision.py
    .venv/bin/python -c "import librosa, numpy; librosa.stft(numpy.zeros(4096))"  # compiles once, for all later starts
    echo "$wanted" > .venv/.installed
fi

have() { for program in "$@"; do if command -v "$program" >/dev/null; then return 0; fi; done; return 1; }

if [ "${1:-}" = --browser ]; then
    missing=()
    have chromium chromium-browser google-chrome || missing+=(chromium)
    have chromedriver || missing+=(chromium-driver)
    have Xvfb || missing+=(xvfb)
    .venv/bin/python -c "import cv2" 2>/dev/null || missing+=(libgl1 libglib2.0-0)
    [ ${#missing[@]} = 0 ] || system_packages "${missing[@]}" || [ "${CI:-}" != true ]
fi
