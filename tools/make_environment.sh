#!/bin/sh
# Make a virtual environment and install the package into it: make_environment.sh FOLDER EXTRA
set -eu
folder=$1
extra=$2

if [ ! -x "$folder/bin/python" ]; then
    python=""
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python 3.11 or newer is needed: install it, or name one with make PYTHON=/path/to/python." >&2
        exit 1
    fi
    if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "This Python has no venv; type: sudo apt-get install python$version-venv" >&2
        exit 1
    fi
    echo "Making $folder with $("$python" --version)"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
fi
echo "Installing napari-mitoxai [$extra]; the first time takes some minutes (the deep-learning libraries are several GB)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
