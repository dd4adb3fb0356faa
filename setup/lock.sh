#!/bin/sh
# Renew the lock files. They name no index and no download host: where packages come from is the choice of whoever
# installs, what they must be is fixed by the hashes. demo.lock takes its versions from dev.lock, so that an
# environment made for the tests serves the demo as well.
set -eu
cd "$(dirname "$0")/.."

uv=${UV:-uv}
if ! command -v "$uv" >/dev/null 2>&1; then
    echo "lock: the program uv is missing: install it (pipx install uv) or name it, make lock UV=/path/to/uv" >&2
    exit 2
fi

compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --no-emit-index-url --no-emit-find-links "$@"
}

compile pyproject.toml setup/build.in --all-extras --group dev --output-file setup/dev.lock
compile pyproject.toml setup/build.in --extra demo --constraint setup/dev.lock --output-file setup/demo.lock
compile setup/interop.in --output-file setup/interop.lock
