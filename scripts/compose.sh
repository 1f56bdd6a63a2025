#!/bin/sh
# What docker-compose.yml cannot hold: digests of images, a configuration of one's own, secrets.
#
#   compose.sh digests     asks the registries which image each tag means now, and writes the digests into .env
#   compose.sh init        makes compose/local with a configuration and new secrets; what is there stays as it is
#
# Digests are written all or none, other lines of .env stay. Keep .env: with the same digests the same images run, and
# `digests` run again is the way to newer ones. Plain POSIX sh.
set -eu
umask 077
cd "$(dirname "$0")/.."

die() { printf 'compose.sh: %s\n' "$*" >&2; exit 1; }

# VARIABLE IMAGE:TAG, a line each, of every image that is pinned by a variable.
images() {
    sed -n 's/^ *image: \([^@ ]*\)@\${\([A-Z_]*\):.*/\2 \1/p' docker-compose.yml
    sed -n 's/^FROM \([^@ ]*\)@\${\([A-Z_]*\)}.*/\2 \1/p' Dockerfile
}

digests() {
    new=$(mktemp ./.env.XXXXXX)
    trap 'rm -f "$new"' EXIT
    [ ! -f .env ] || grep -v '^[A-Z]*_DIGEST=' .env >"$new" || true
    images | while read -r variable image; do
        digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}' </dev/null) ||
            die "no digest of $image (docker's message is above); .env is as it was"
        printf '%s\n' "$digest" | grep -Eqx 'sha256:[0-9a-f]{64}' || die "$image: $digest is no digest; .env is as it was"
        printf '%s=%s\n' "$variable" "$digest" >>"$new"
        printf '%s@%s\n' "$image" "$digest"
    done
    mv "$new" .env
    chmod 644 .env
}

random() { od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n'; }

# secret NAME TEXT: readable for the container's user, whoever that is; the directory keeps others on this machine out.
secret() {
    [ ! -e "compose/local/secrets/$1" ] || return 0
    printf '%s\n' "$2" >"compose/local/secrets/$1.new"
    chmod 444 "compose/local/secrets/$1.new"
    mv "compose/local/secrets/$1.new" "compose/local/secrets/$1"
    echo "made compose/local/secrets/$1"
}

init() {
    mkdir -p compose/local/config compose/local/provider-keys compose/local/secrets
    chmod 755 compose/local/config compose/local/provider-keys
    if [ ! -e compose/local/config/sovereign.yaml ]; then
        cp compose/sovereign.yaml compose/local/config/sovereign.yaml
        chmod 644 compose/local/config/sovereign.yaml
        echo "made compose/local/config/sovereign.yaml"
    fi
    secret postgres-password "$(random)"
    secret key-hash "$(random)"
    secret database-password "$(random)"
    secret database-url "postgresql://sovereign:$(cat compose/local/secrets/database-password)@postgres:5432/sovereign"
    secret valkey.conf "requirepass $(random)"
    secret valkey-url "redis://:$(sed 's/^requirepass //' compose/local/secrets/valkey.conf)@valkey:6379/0"
}

case ${1:-} in
digests | init) "$1" ;;
*) die "usage: compose.sh digests|init" ;;
esac
