#!/usr/bin/env bash
# Print which base image to build on: BASE_IMAGE when it is set, else the Dockerfile's own when
# it is here or can be pulled, else a stand-in of the same layout, made on the spot.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

readonly STAND_IN=python-stand-in:3.13-slim
readonly PULL_LIMIT_S=120

wanted=${BASE_IMAGE:-}
if [[ -z $wanted ]]; then
    wanted=$(sed -n 's/^ARG BASE_IMAGE=//p' "$here/../Dockerfile" | head -n 1)
    if ! docker image inspect "$wanted" >/dev/null 2>&1 &&
        ! timeout "$PULL_LIMIT_S" docker pull --quiet "$wanted" >/dev/null 2>&1; then
        printf 'base: %s cannot be pulled; a stand-in takes its place\n' "$wanted" >&2
        "$here/make-stand-in.sh" "$STAND_IN"
        wanted=$STAND_IN
    fi
fi
printf '%s\n' "$wanted"
