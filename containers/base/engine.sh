#!/usr/bin/env bash
# A Docker engine for the tests, on Debian, where none runs.
#
#   engine.sh install           put docker.io, docker-registry and debootstrap on the machine (root)
#   engine.sh run COMMAND ...   run a command with DOCKER_HOST set to an engine that answers
#
# An engine that answers already is used and left alone. One that `run` starts has its own
# socket and data folder, and both are gone when the command ends.
set -euo pipefail

readonly PACKAGES=(docker.io docker-registry debootstrap iptables ca-certificates)
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

install() {
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
