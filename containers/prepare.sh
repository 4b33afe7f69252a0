#!/usr/bin/env bash
# Write containers/.env for compose.yaml: prepare.sh IMAGE
#
# IMAGE is camp's, with a tag or digest, such as registry.example/camp:1.0.0. Secrets are made on
# the spot, and only the file's owner can read them. A file that is there already stays as it is.
set -euo pipefail
umask 077
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The user in camp's image, for whom root makes the file.
readonly USER_IN_IMAGE=10001:10001

die() {
    printf 'prepare: %s\n' "$*" >&2
    exit 1
}

secret() { head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'; }

image=${1:?Say which image to begin with: prepare.sh registry.example/camp:1.0.0}
case $image in
*:latest) die "latest is no version: it names another image tomorrow. Give a version or a digest." ;;
*@sha256:*) ;;
*) [[ ${image##*/} == *:* ]] || die "$image has no version; add one, such as $image:1.0.0." ;;
esac
[[ ! -e $here/.env ]] || die "$here/.env is there already and stays. Change it, or remove it to begin anew; the database keeps the password it was made with."

socket=${DOCKER_HOST:-unix:///var/run/docker.sock}
[[ $socket == unix://* && -S ${socket#unix://} ]] ||
    die "No Docker engine's socket at $socket. Start the engine, or say where: DOCKER_HOST=unix:///…"
socket=$(readlink -f "${socket#unix://}")

owner=$(id -u):$(id -g)
((EUID)) || owner=$USER_IN_IMAGE
password=$(secret)

declare -A values=(
    [CAMP_IMAGE]=$image
    [CAMP_USER]=$owner
    [DOCKER_SOCKET]=$socket
    [DOCKER_GID]=$(stat -c %g "$socket")
    [DEV_MOCK_TOKEN]=$(secret)
    [CAMP_AGENT_TOKEN]=$(secret)
    [CAMP_SMOKE_TOKEN]=$(secret)
    [POSTGRES_PASSWORD]=$password
    [DATABASE_URL]=postgresql://camp:$password@postgres:5432/camp
)
made=$(mktemp "$here/.env.XXXXXX")
trap 'rm -f "$made"' EXIT
while IFS= read -r line; do
    name=${line%%=*}
    [[ $line != *= || -z ${values[$name]:-} ]] || line+=${values[$name]}
    printf '%s\n' "$line"
done <"$here/example.env" >"$made"
((EUID)) || chown "$owner" "$made"
mv "$made" "$here/.env"
printf 'prepare: %s is written; start with: docker compose -f %s up\n' \
    "$here/.env" "$here/compose.yaml"
