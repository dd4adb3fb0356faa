#!/bin/sh
# Make ready what one command of the Makefile needs: sh setup/setup.sh demo|check|browser|test|interop
# This part only finds a Python; setup/install.py does the rest. PYTHON=... chooses the Python.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONHOME PYTHONPATH PYTHONSAFEPATH
goal=${1:?usage: setup.sh demo|check|browser|test|interop}

# The usual case costs one Python start: everything is there already.
if [ -z "${PYTHON:-}" ] && [ -x .venv/bin/python ] && .venv/bin/python -m setup.install --is-ready "$goal" 2>/dev/null
then
    exit 0
fi

fits() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

makes_environments() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

# The first fitting Python that can make virtual environments, else the first fitting one.
find_python() {
    first=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python3.14}; do
        fits "$candidate" || continue
        if makes_environments "$candidate"; then
            echo "$candidate"
            return
        fi
        first=${first:-$candidate}
    done
    echo "$first"
}

python=$(find_python)
if [ -z "$python" ]; then
    if [ -n "${PYTHON:-}" ]; then
        echo "set-up: PYTHON=$PYTHON is not a Python 3.11 or later: name another one, or leave PYTHON out." >&2
    else
        packages="python3 python3-venv"
        [ "$goal" = test ] && packages="$packages chromium redis-server postgresql"
        [ "$goal" = browser ] && packages="$packages chromium"
        [ "$goal" = interop ] && packages="$packages libapache2-mod-auth-openidc libapache2-mod-auth-mellon simplesamlphp php-cli php-xml php-mbstring"
        echo "set-up: there is no Python 3.11 or later here, which everything else needs." >&2
        if command -v apt-get >/dev/null 2>&1; then
            echo "Debian 12, Ubuntu 24.04 and later bring it: sudo apt-get install -y $packages" >&2
        elif command -v brew >/dev/null 2>&1; then
            echo "Install it and try again: brew install python@3.13" >&2
        else
            echo "Install it, or name it with PYTHON=/path/to/python3, and try again." >&2
        fi
    fi
    exit 2
fi

exec "$python" -m setup.install "$goal"
