"""scripts/compose.sh: digests all or none, secrets once."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
from compose_file import ROOT, VARIABLES, copied

pytestmark = pytest.mark.services

DOCKER = """\
#!/bin/sh
# Says a digest that depends on the name, as `docker buildx imagetools inspect NAME --format {{.Manifest.Digest}}` does.
echo "$*" >>"$JOURNAL"
case "$4" in *"${BROKEN:-nothing}"*)
    [ -z "${SAYS:-}" ] || { echo "$SAYS"; exit 0; }
    echo "no such host" >&2
    exit 1 ;;
esac
printf 'sha256:%s\\n' "$(printf '%s' "$4" | sha256sum | cut -c1-64)"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the script needs of a checkout, and a registry's stand-in."""
    copied(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/docker").chmod(0o755)
    return tmp_path


def script(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts/compose.sh", *arguments], capture_output=True, text=True, timeout=60, check=False,
        cwd="/", env={"PATH": f"{checkout}/bin:/usr/bin:/bin", "JOURNAL": f"{checkout}/journal", **environment},
    )  # fmt: skip


def test_digests_of_all_images_are_written(checkout: Path) -> None:
    """Of the base image too; lines of one's own stay."""
    (checkout / ".env").write_text("SOVEREIGN_PORT=9000\nENVOY_DIGEST=sha256:old\n")
    done = script(checkout, "digests")
    assert done.returncode == 0, done.stderr
    lines = dict(line.split("=") for line in (checkout / ".env").read_text().splitlines())
    assert lines.pop("SOVEREIGN_PORT") == "9000"
    assert set(lines) == set(VARIABLES)
    assert len(set(lines.values())) == len(VARIABLES)
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in lines.values())
    asked = (checkout / "journal").read_text()
    assert "python:3.13-slim-trixie --format" in asked
    assert "envoyproxy/envoy:v1.40.0 --format" in asked


@pytest.mark.parametrize("says", ["", "Name: valkey", "sha256:abc"])
def test_a_digest_that_cannot_be_had_changes_nothing(checkout: Path, says: str) -> None:
    """One registry is away, or answers something else: one line why, no half file."""
    (checkout / ".env").write_text("ENVOY_DIGEST=sha256:old\n")
    done = script(checkout, "digests", BROKEN="valkey", SAYS=says)
    assert done.returncode == 1
    assert "valkey/valkey" in done.stderr
    assert (checkout / ".env").read_text() == "ENVOY_DIGEST=sha256:old\n"
    assert sorted(path.name for path in checkout.glob(".env*")) == [".env"]


def test_secrets_are_made_once_and_are_nobody_s(checkout: Path) -> None:
    """Long, different every time, readable in a container but not on the way to it; a second run keeps them."""
    first = script(checkout, "init")
    assert first.returncode == 0, first.stderr
    local = checkout / "compose/local"
    found = {path.name: path.read_text() for path in (local / "secrets").iterdir()}
    named = re.findall(
        r"file: \./compose/local/secrets/(\S+)}", (ROOT / "docker-compose.yml").read_text("utf-8")
    )
    assert set(found) == set(named)
    random = [re.search(r"[0-9a-f]{64}", text) for text in found.values()]
    assert len({match[0] for match in random if match}) == 4, "two of them stand in URLs as well"
    assert found["database-password"].strip() in found["database-url"]
    assert found["valkey.conf"].split()[1] in found["valkey-url"]
    for value in found.values():
        assert value.strip() not in first.stdout
    assert stat.S_IMODE(local.stat().st_mode) == 0o700
    assert stat.S_IMODE((local / "config").stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in (local / "secrets").iterdir()} == {0o444}
    (local / "config/sovereign.yaml").write_text("mine")
    assert script(checkout, "init").stdout == ""
    assert {path.name: path.read_text() for path in (local / "secrets").iterdir()} == found
    assert (local / "config/sovereign.yaml").read_text() == "mine"


def test_wrong_usage_is_told(checkout: Path) -> None:
    done = script(checkout)
    assert (done.returncode, done.stderr) == (1, "compose.sh: usage: compose.sh digests|init\n")
