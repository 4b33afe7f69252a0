#!/usr/bin/env bash
# Make an image that stands in for python:3.13-slim where no public registry can be reached.
#
#   make-stand-in.sh TAG [CACHE_FOLDER]
#
# It is Debian 13 with its own Python 3.13, laid out as the official image: python and pip in
# /usr/local/bin, no bytecode of the standard library. What only this machine needs (its
# certificates, for pip and uv behind a proxy) is in here, and so never in the Dockerfile.
# Needs root and debootstrap. The file system is kept in the cache folder between runs.
set -euo pipefail

readonly SUITE=trixie
readonly INCLUDE=python3,python3-venv,python3-pip,ca-certificates
readonly MIRROR=${CAMP_DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly BUNDLE=/etc/ssl/certs/ca-certificates.crt
readonly LIMIT_S=600

say() { printf 'stand-in: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

bootstrap() {
    local root=$1 attempt
    for attempt in 1 2 3; do
        rm -rf "$root"
        timeout "$LIMIT_S" debootstrap --variant=minbase --include="$INCLUDE" \
            "$SUITE" "$root" "$MIRROR" >"$root.log" 2>&1 </dev/null && return 0
        tail -n 5 "$root.log" >&2
        say "debootstrap failed (attempt $attempt of 3)"
        sleep $((attempt * 5))
    done
    return 1
}

lay_out() {
    local root=$1
    # The official image lets pip install, and has nobody else's Python beside its own.
    rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
    ln -sf /usr/bin/python3 "$root/usr/local/bin/python3"
    ln -sf /usr/bin/python3 "$root/usr/local/bin/python"
    ln -sf /usr/bin/pip3 "$root/usr/local/bin/pip"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
    find "$root/usr" -name __pycache__ -prune -exec rm -rf {} +
}

trust() {
    local root=$1
    [[ -r $BUNDLE ]] || return 0
    cp "$BUNDLE" "$root$BUNDLE"
    printf '[global]\ncert = %s\n' "$BUNDLE" >"$root/etc/pip.conf"
    mkdir -p "$root/etc/uv"
    printf 'system-certs = true\n' >"$root/etc/uv/uv.toml"
}

(($# >= 1)) || die "Say which tag to make: make-stand-in.sh TAG [CACHE_FOLDER]"
tag=$1
cache=${2:-${XDG_CACHE_HOME:-$HOME/.cache}/camp}
# Another certificate bundle or another recipe is another stand-in.
recipe=$(cat "${BASH_SOURCE[0]}" "$BUNDLE" 2>/dev/null | sha256sum | cut -c1-16)
kept=$cache/stand-in-$recipe.tar

# An import makes a new image each time, and a new base voids every cached layer above it.
found=$(docker image inspect --format '{{index .Config.Labels "camp.stand-in"}}' "$tag" 2>/dev/null || true)
[[ $found != "$recipe" ]] || exit 0

if [[ ! -s $kept ]]; then
    ((EUID == 0)) || die "Making the stand-in needs root, for debootstrap."
    command -v debootstrap >/dev/null || die "debootstrap is missing: containers/base/engine.sh install"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/making.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    say "making $tag with debootstrap; this takes one to three minutes"
    bootstrap "$work/root" || die "The base system could not be made. Check that $MIRROR can be reached, or set CAMP_DEBIAN_MIRROR."
    lay_out "$work/root"
    trust "$work/root"
    tar -C "$work/root" --numeric-owner -cf "$work/root.tar" .
    mv "$work/root.tar" "$kept"
fi

docker import \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' \
    --change "LABEL camp.stand-in=$recipe" "$kept" "$tag" >/dev/null
say "$tag is ready"
