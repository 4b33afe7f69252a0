#!/usr/bin/env bash
# Build the image with its labels filled in: build.sh TAG [CHECKOUT]
#
# BASE_IMAGE      python:3.13-slim@sha256:…, to pin the base; see base/base-image.sh.
# PIP_INDEX_URL   and what goes with it reaches the build, and nothing of it the image.
# Run it as `uv run containers/build.sh`: reading the migrations needs camp's dependencies.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

tag=${1:?Say which tag to build: build.sh TAG [CHECKOUT]}
checkout=$(cd "${2:-$here/..}" && pwd)

base=$("$here/base/base-image.sh")
labels=$(cd "$here/.." && PYTHONPATH=. python scripts/image_labels.py "$checkout")

# uv reads neither pip's variables nor its files: what pip was told, uv is told too.
export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-}}
options=(--build-arg "BASE_IMAGE=$base")
while IFS= read -r label; do options+=(--build-arg "$label"); done <<<"$labels"
for name in PIP_INDEX_URL PIP_TRUSTED_HOST UV_DEFAULT_INDEX UV_INSECURE_HOST \
    HTTP_PROXY HTTPS_PROXY NO_PROXY http_proxy https_proxy no_proxy; do
    # By name only: the value stays out of the process list.
    [[ -z ${!name:-} ]] || options+=(--build-arg "$name")
done
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

# On the host's network, since a mirror or a proxy may listen on its loopback.
docker build --network host "${options[@]}" -f "$checkout/containers/Dockerfile" -t "$tag" \
    "$checkout"
