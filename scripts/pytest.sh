#!/bin/sh
# Runs pytest in .venv and leaves its exit code in build/pytest.status, since make itself answers every failure
# with 2. Options after the script's name go to pytest.
set -u
cd "$(dirname "$0")/.."
mkdir -p build
rm -f build/pytest.status
.venv/bin/python -m pytest "$@"
status=$?
echo "$status" >build/pytest.status
exit "$status"
