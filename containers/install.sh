#!/bin/sh
# Install what the lock file names into $UV_PROJECT_ENVIRONMENT: `install.sh dependencies`, then,
# with the sources beside it, `install.sh project`. For the builder stage of the Dockerfile.
set -eu

export VIRTUAL_ENV="$UV_PROJECT_ENVIRONMENT"
packages='camp controlplane migrations'
scratch=${TMPDIR:-/tmp}

# The lock file holds the addresses of the index it was made with, and uv fetches from them
# whatever its default index is. Behind a mirror: the same versions and hashes, from there.
dependencies() {
    if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
        uv sync --locked --no-default-groups --all-extras --no-editable --no-install-project --compile-bytecode
        return
    fi
    uv venv --quiet "$UV_PROJECT_ENVIRONMENT"
    uv export --quiet --frozen --no-default-groups --all-extras --no-emit-project --output-file "$scratch/requirements.txt"
    uv pip sync --compile-bytecode --require-hashes "$scratch/requirements.txt"
}

# What the project adds goes to /layer as well, to become a layer of its own. Compiled alone:
# uv would compile every dependency again.
project() {
    touch "$scratch/before"
    if [ -z "${UV_DEFAULT_INDEX:-}" ]; then
        uv sync --locked --no-default-groups --all-extras --no-editable --no-compile-bytecode
    else
        uv pip install --no-deps --no-compile-bytecode .
    fi
    site=$("$VIRTUAL_ENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for package in $packages; do
        "$VIRTUAL_ENV/bin/python" -m compileall -q --invalidation-mode unchecked-hash "$site/$package"
    done
    mkdir /layer
    find "$VIRTUAL_ENV" -type f -cnewer "$scratch/before" -exec cp --parents -t /layer {} +
}

case ${1:-} in
dependencies | project)
    "$1"
    # uv's lock on the environment: open to everybody, and of no use to anybody in an image.
    rm -f "$VIRTUAL_ENV/.lock" "/layer$VIRTUAL_ENV/.lock"
    ;;
*)
    echo "Say what to install: install.sh dependencies, or install.sh project" >&2
    exit 2
    ;;
esac
