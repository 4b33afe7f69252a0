#!/usr/bin/env bash
# A Docker engine for the tests, on Debian, where none runs.
#
#   engine.sh install           put docker.io, docker compose, docker-registry and debootstrap on
#                               the machine (root)
#   engine.sh run COMMAND ...   run a command with DOCKER_HOST set to an engine that answers
#
# An engine that answers already is used and left alone. One that `run` starts has its own
# socket and data folder, and both are gone when the command ends.
set -euo pipefail

readonly PACKAGES=(docker.io docker-registry debootstrap iptables ca-certificates)
# Debian 12 has no `docker compose`; Debian 13's is one program that needs nothing but libc 2.34.
readonly COMPOSE_PACKAGE=pool/main/d/docker-compose/docker-compose_2.26.1-4_amd64.deb
readonly COMPOSE_SHA256=47681197cb2b1ab88206b42a1a92fc75f50d9530a6322d03494a473eed0408ea
readonly COMPOSE_PLUGINS=/usr/local/lib/docker/cli-plugins
readonly MIRROR=${CAMP_DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/camp
readonly DOWNLOAD_LIMIT_S=300
readonly APT_LIMIT_S=600
readonly START_LIMIT_S=60
readonly STOP_LIMIT_S=30

say() { printf 'engine: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

apt_get() {
    local attempt
    for attempt in 1 2 3 4; do
        DEBIAN_FRONTEND=noninteractive timeout "$APT_LIMIT_S" \
            apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120 "$@" \
            >&2 </dev/null && return 0
        say "apt-get $1 failed (attempt $attempt of 4)"
        sleep $((attempt * 5))
    done
    return 1
}

installed() {
    command -v docker >/dev/null && command -v dockerd >/dev/null &&
        command -v docker-registry >/dev/null && command -v debootstrap >/dev/null &&
        command -v iptables >/dev/null
}

composes() { docker compose version >/dev/null 2>&1; }

# curl and wget are not on a bare Debian; Python is, for everything here needs it.
download() {
    timeout "$DOWNLOAD_LIMIT_S" python3 - "$1" "$2" <<'PYTHON'
import sys
from shutil import copyfileobj
from urllib.request import urlopen

with urlopen(sys.argv[1], timeout=30) as answer, open(sys.argv[2], "wb") as file:
    copyfileobj(answer, file)
PYTHON
}

compose_package() {
    local kept=$CACHE/${COMPOSE_PACKAGE##*/} attempt
    mkdir -p "$CACHE"
    for attempt in 1 2 3 4; do
        sha256sum --check --status <<<"$COMPOSE_SHA256  $kept" 2>/dev/null && break
        rm -f "$kept"
        download "$MIRROR/$COMPOSE_PACKAGE" "$kept" && continue
        say "docker compose could not be downloaded (attempt $attempt of 4)"
        sleep $((attempt * 5))
    done
    sha256sum --check --status <<<"$COMPOSE_SHA256  $kept" 2>/dev/null && printf '%s\n' "$kept"
}

install_compose() {
    composes && return 0
    ((EUID == 0)) || die "docker compose is missing. Install it, or run once: sudo containers/base/engine.sh install"
    say "installing docker compose"
    local kept unpacked
    kept=$(compose_package) ||
        die "docker compose could not be fetched. Check the network, or set CAMP_DEBIAN_MIRROR."
    unpacked=$(mktemp -d)
    dpkg-deb -x "$kept" "$unpacked"
    mkdir -p "$COMPOSE_PLUGINS"
    mv "$unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$COMPOSE_PLUGINS"
    rm -rf "$unpacked"
    composes || die "docker compose does not run on this machine. Install it as Docker's manual says."
}

install() {
    install_packages
    install_compose
}

install_packages() {
    installed && return 0
    command -v apt-get >/dev/null ||
        die "This machine has no apt-get. Install a Docker engine, docker-registry and debootstrap, and run this again."
    ((EUID == 0)) ||
        die "Installing needs root. Run once: sudo containers/base/engine.sh install"
    say "installing ${PACKAGES[*]}"
    # A package must not start a service: the tests start what they need, and stop it.
    local policy=/usr/sbin/policy-rc.d ours=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        ours=1
    fi
    local failed=
    { apt_get update && apt_get install --no-install-recommends "${PACKAGES[@]}"; } || failed=1
    [[ -z $ours ]] || rm -f "$policy"
    [[ -z $failed ]] || die "The packages could not be installed. Check the network and apt's sources."
}

answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

start() {
    local folder=$1 waited
    export DOCKER_HOST=unix://$folder/docker.sock
    dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/docker.pid" \
        -H "$DOCKER_HOST" >"$folder/dockerd.log" 2>&1 </dev/null &
    engine_pid=$!
    for ((waited = 0; waited < START_LIMIT_S * 5; waited++)); do
        answers && return 0
        kill -0 "$engine_pid" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$folder/dockerd.log" >&2
    die "dockerd did not start within $START_LIMIT_S s; its last lines are above. It needs root, and a machine or a privileged container."
}

stop() {
    local waited
    [[ -n ${engine_pid:-} ]] || return 0
    kill -TERM "$engine_pid" 2>/dev/null || true
    for ((waited = 0; waited < STOP_LIMIT_S * 5; waited++)); do
        kill -0 "$engine_pid" 2>/dev/null || return 0
        sleep 0.2
    done
    say "dockerd did not stop within $STOP_LIMIT_S s and is killed"
    kill -KILL "$engine_pid" 2>/dev/null || true
}

# The engine leaves its network namespace mounted, and a killed one its containers' roots.
remove() {
    local attempt mounted
    for attempt in 1 2 3 4 5; do
        while read -r _ mounted _; do
            [[ $mounted != "$1"/* ]] || umount -l "$mounted" 2>/dev/null || true
        done </proc/self/mounts
        rm -rf "$1" 2>/dev/null && return 0
        sleep "0.$attempt"
    done
    say "$1 could not be removed whole; remove it by hand"
}

clean_up() {
    trap '' INT TERM
    [[ -z ${command_pid:-} ]] || kill -TERM "$command_pid" 2>/dev/null || true
    [[ -z ${command_pid:-} ]] || wait "$command_pid" 2>/dev/null || true
    stop
    [[ -z ${folder:-} ]] || remove "$folder"
}

run() {
    if command -v docker >/dev/null && answers; then
        exec "$@"
    fi
    install
    ((EUID == 0)) ||
        die "No Docker engine answers, and starting one needs root. Start yours, or run this as root."
    # Not under the checkout: a socket's path has 107 bytes at most.
    folder=$(mktemp -d "${TMPDIR:-/tmp}/camp-engine.XXXXXX")
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    start "$folder"
    say "an engine runs in $folder"
    # In the background, so that a signal reaches us while the command runs.
    "$@" <&0 &
    command_pid=$!
    local code=0
    wait "$command_pid" || code=$?
    command_pid=
    exit "$code"
}

case ${1:-} in
install) install ;;
run)
    shift
    (($#)) || die "Say what to run: engine.sh run COMMAND ..."
    run "$@"
    ;;
*) die "Say what to do: engine.sh install, or engine.sh run COMMAND ..." ;;
esac
