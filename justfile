# Recipes for developers; `./justw RECIPE` runs them on a machine without just and uv.

set positional-arguments := true

# What runs long says itself how it ended, also by Ctrl-C: [no-exit-message] keeps just from
# adding a line about signals.

# `uv run` tells what it starts where uv is: it need not be on PATH.
uv := env("UV", "uv")

# List the recipes
default:
    @just --list --unsorted

# Install the locked dependencies into .venv
setup:
    {{uv}} sync --frozen --compile-bytecode

# Format the code and put right what ruff can
fmt:
    {{uv}} run --frozen ruff check --fix-only --quiet .
    {{uv}} run --frozen ruff format .

# Check style, formatting, imports and shell scripts
lint:
    {{uv}} run --frozen ruff check .
    {{uv}} run --frozen ruff format --check .
    {{uv}} run --frozen lint-imports
    {{uv}} run --frozen shellcheck justw .ci/run containers/*.sh containers/base/*.sh
    {{uv}} run --frozen hadolint containers/Dockerfile

# Check the types
types:
    {{uv}} run --frozen mypy

# Run the tests with coverage, or only those named: just test tests/unit -k lease
[no-exit-message]
test *ARGS:
    #!/bin/sh
    set -eu
    if [ "$#" -gt 0 ]; then
        exec {{uv}} run --frozen pytest "$@"
    fi
    exec {{uv}} run --frozen pytest -n 2 --dist worksteal --cov --cov-report=term

# Build the container image: just image camp:dev
image TAG="camp:dev":
    {{uv}} run --frozen containers/build.sh "$1"

# Run the tests on a Docker engine; as root on Debian without one, an engine comes and goes
[no-exit-message]
test-docker *ARGS:
    {{uv}} run --frozen containers/base/engine.sh run pytest tests/docker -m docker "$@"

# Simulate rollouts with faults: just sim 42, just sim 1..20000
[no-exit-message]
sim *ARGS:
    {{uv}} run --frozen python -m tests.simulation.run "$@"

# Deploy, fail and roll back under load, all on this machine
[no-exit-message]
demo *ARGS:
    {{uv}} run --frozen camp demo "$@"

# Run a benchmark: just bench rollout
[no-exit-message]
bench NAME *ARGS:
    #!/bin/sh
    set -eu
    name=$1
    shift
    exec {{uv}} run --frozen python -m "benchmarks.$name" "$@"

# Fuzz the service by its OpenAPI document: just fuzz --cases 400
[no-exit-message]
fuzz *ARGS:
    {{uv}} run --frozen python -m tests.fuzzing.run "$@"

# Run a migration command: just migrate upgrade
migrate *ARGS:
    {{uv}} run --frozen camp migrate "$@"

# Keep PostgreSQL, Redis and Traefik running until Ctrl-C
[no-exit-message]
servers:
    {{uv}} run --frozen python -m controlplane.embedded.servers

# Everything that must hold before a commit
check: lint types test
