#!/bin/sh
# Makes or updates .venv: through uv where it is present, otherwise with Python's own venv and pip.
set -eu
cd "$(dirname "$0")/.."

# A name may stand on PATH and still not run (a version manager's shim), so each is tried.
find_python() {
    for name in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
}

python=$(find_python)
if command -v uv >/dev/null 2>&1; then
    # Without a Python of its own the machine gets one from uv.
    [ -x .venv/bin/python ] || uv venv --quiet --python "${python:-3.11}" .venv
    uv pip install --quiet --python .venv/bin/python -c constraints.txt -e '.[test,dev,docs]'
    exit 0
fi

if [ -z "$python" ]; then
    echo "setup: needs Python 3.11 or newer on PATH (or PYTHON=/path/to/python), or uv" >&2
    exit 1
fi
# No pip in it: an interrupted start, or an environment that uv made while it was here.
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    "$python" -m venv .venv
fi
.venv/bin/python -m pip install --quiet -c constraints.txt -e '.[test,dev,docs]'
