"""The log's public files and its state, over gRPC, from a real log."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from management_world import ORIGIN, World, run

from sovereign_ext.anchor.service import AnchorStatus
from sovereign_ext.errors import LogUnavailable
from sovereign_ext.management.descriptor import PUBLIC, SERVICES
from sovereign_ext.management.log import MAX_PATH_CHARS
from sovereign_ext.storage.webhooks import WebhookRow
from sovereign_ext.tlog.hashing import leaf_hash
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.tiles import decode_bundle
from sovereign_ext.webhook.service import WebhookStatus

pytestmark = pytest.mark.services


def test_checkpoint_is_the_published_file(tmp_path: Path) -> None:
    """Byte for byte, as text, and never cached."""

    async def scenario(world: World) -> None:
        await world.append("acme", "one")
        answer = await world.call("LogService.GetCheckpoint")
        assert answer.message.content_type == "text/plain; charset=utf-8"
        assert answer.message.data == (world.paths.tiles / "checkpoint").read_bytes()
        assert answer.message.data.startswith(f"{ORIGIN}\n1\n".encode())
        assert answer.headers == {"cache-control": "no-store"}

    run(tmp_path, scenario)


def test_tiles_are_the_published_files(tmp_path: Path) -> None:
    """Hashes and entries belong together, and caches may keep them for ever."""

    async def scenario(world: World) -> None:
        for number in range(3):
            await world.append("acme", str(number))
        hashes = await world.call("LogService.GetTile", path="0/000.p/3")
        entries = await world.call("LogService.GetTile", path="entries/000.p/3")
        for answer in (hashes, entries):
            assert answer.message.content_type == "application/octet-stream"
            assert answer.headers == {"cache-control": "public, max-age=31536000, immutable"}
        leaves = [leaf_hash(entry) for entry in decode_bundle(entries.message.data)]
        assert len(leaves) == 3
        assert hashes.message.data == b"".join(leaves)

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "0/000",
        "0/000.p/3",
        "0/000.p/0",
        "0/000.p/02",
        "0/000.p/256",
        "0/0",
        "00/000.p/2",
        "0/x000/000.p/2",
        "64/000",
        "-1/000",
        "1/000",
        "entries/001",
        "entries/000.p/3",
        "0/000.p/2/",
        "/0/000.p/2",
        "0//000.p/2",
        "./0/000.p/2",
        "0/../0/000.p/2",
        "../checkpoint",
        "../../log.db",
        "../../keys/log.pem",
        "..%2f..%2flog.db",
        "0/000.p/2\0",
        "0/000.p/2\n",
        "0/٠٠٠.p/2",
        "/etc/passwd",
    ],
)
def test_everything_else_is_absent(tmp_path: Path, path: str) -> None:
    """Paths that are no tile's, tiles of later, ways out of the directory: 404, whatever is on the disk."""

    async def scenario(world: World) -> None:
        await world.append("acme", "one")
        await world.append("acme", "two")
        assert (await world.call("LogService.GetTile", path="0/000.p/2")).code is grpc.StatusCode.OK
        answer = await world.call("LogService.GetTile", path=path)
        assert answer.code is grpc.StatusCode.NOT_FOUND
        assert answer.text == "there is no such tile"

    run(tmp_path, scenario)


@pytest.fixture(scope="module")
def published() -> Iterator[tuple[LogReader, Path]]:
    """A directory with one tile and files around it that must stay unread."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "tiles")
        (root / "tile/0/000.p").mkdir(parents=True)
        (root / "tile/0/000.p/1").write_bytes(b"h" * 32)
        (root / "tile/secret").write_bytes(b"secret")
        (root.parent / "secret").write_bytes(b"secret")
        yield LogReader(root), root


PIECES = st.sampled_from(
    ["..", ".", "/", "tile", "0", "000", "x000", ".p", "1", "secret", "%2e", "\\", "\0", "entries", "é"]
)


@pytest.mark.services
@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES | st.text(max_size=3), max_size=9))
def test_no_path_reads_anything_but_a_tile(published: tuple[LogReader, Path], pieces: list[str]) -> None:
    """However a path is put together, only the canonical name of the tile reads it."""
    path = "".join(pieces)
    content = published[0].get(f"tile/{path}")
    assert content is None or path == "0/000.p/1"


def test_an_endless_path_is_absent(tmp_path: Path) -> None:
    """Longer than any tile's name: not even looked at."""

    async def scenario(world: World) -> None:
        answer = await world.call("LogService.GetTile", path="0/" + "x000/" * 100_000 + "000")
        assert answer.code is grpc.StatusCode.NOT_FOUND

    run(tmp_path, scenario)
    assert len("entries/" + "x999/" * 6 + "999.p/255") < MAX_PATH_CHARS


def test_status_says_where_the_log_stands(tmp_path: Path) -> None:
    """Origin, id, sizes and the time of the checkpoint, for tenants and admins."""

    async def scenario(world: World) -> None:
        before = datetime.now(UTC)
        await world.append("acme", "one")
        await world.append("globex", "two")
        for key in ("globex", "admin"):
            log = (await world.call("LogService.GetLog", key=key)).message
            assert (log.name, log.origin, log.size, log.published_size) == ("log", ORIGIN, 2, 2)
            assert log.healthy
            age = log.checkpoint_time.ToDatetime(UTC) - before
            assert -1 < age.total_seconds() < 60
        receipt = await world.log.receipt(0, None, 5)
        assert log.log_id == receipt["log"]["logId"]

    run(tmp_path, scenario)


def test_webhooks_are_told_to_admins_only(tmp_path: Path) -> None:
    """A tenant is not to know whom the operator tells. While the database is away the rest is still told."""

    async def scenario(world: World) -> None:
        row = WebhookRow("siem", "t", 7, 5, 2, 1_000, 3, 2_000, 3_000, "answered 500", 4_000)
        world.webhooks = (WebhookStatus(row, 9), WebhookStatus(WebhookRow("new", "t", 0), 0))
        assert not (await world.call("LogService.GetLog", key="acme")).message.webhooks
        siem, new = (await world.call("LogService.GetLog", key="admin")).message.webhooks
        assert (siem.id, siem.next_index, siem.waiting, siem.delivered, siem.given_up) == ("siem", 7, 9, 5, 2)
        times = (siem.delivered_time, siem.failing_since, siem.retry_time, siem.gone_time)
        assert [each.ToMilliseconds() for each in times] == [1_000, 2_000, 3_000, 4_000]
        assert (siem.attempts, siem.last_error) == (3, "answered 500")
        assert [name.name for name, _ in new.ListFields()] == ["id"]
        world.webhooks = LogUnavailable("gone")
        log = (await world.call("LogService.GetLog", key="admin")).message
        assert (log.name, list(log.webhooks)) == ("log", [])

    run(tmp_path, scenario)


def test_anchors_are_told_and_their_errors_to_admins_only(tmp_path: Path) -> None:
    """An error may name hosts of the operator. A log that nobody anchors has none."""

    async def scenario(world: World) -> None:
        assert not (await world.call("LogService.GetLog", key="admin")).message.anchors
        world.anchors = (
            AnchorStatus("corp", "rekor-v2", 8, 1_800_000_000_250, 0, 0, 0, None),
            AnchorStatus("far", "rekor-v1", 0, None, 2, 5, 3, "ConnectError: no route"),
        )
        for key, error in (("admin", "ConnectError: no route"), ("acme", "")):
            corp, far = (await world.call("LogService.GetLog", key=key)).message.anchors
            assert (corp.id, corp.kind, corp.size, corp.queued, corp.last_error) == (
                "corp",
                "rekor-v2",
                8,
                0,
                "",
            )
            assert corp.time.ToMilliseconds() == 1_800_000_000_250
            assert (far.id, far.kind, far.size, far.queued, far.last_error) == (
                "far",
                "rekor-v1",
                0,
                2,
                error,
            )
            assert not far.HasField("time")

    run(tmp_path, scenario)


def test_the_state_is_told_without_anchors_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A database in trouble is when the state is wanted most."""

    async def scenario(world: World) -> None:
        world.anchors = LogUnavailable("cannot read the anchors: OperationalError")
        log = (await world.call("LogService.GetLog", key="admin")).message
        assert (log.origin, len(log.anchors)) == (ORIGIN, 0)

    run(tmp_path, scenario)
    assert "cannot read the anchors: OperationalError" in caplog.text


def test_trusted_root_and_keys_are_the_published_files(tmp_path: Path) -> None:
    """Byte for byte, so that their digests can be compared."""

    async def scenario(world: World) -> None:
        for method, file in (("GetTrustedRoot", "trusted_root.json"), ("GetLogKeys", "log-keys.json")):
            answer = await world.call(f"LogService.{method}")
            assert answer.message.content_type == "application/json"
            assert answer.message.data == (world.paths.public / file).read_bytes()

    run(tmp_path, scenario)


def test_what_is_not_published_yet_is_unavailable(tmp_path: Path) -> None:
    """A file that will come is a 503 with a hint, not a 404; and the log has no time then."""

    async def scenario(world: World) -> None:
        (world.paths.tiles / "checkpoint").unlink()
        (world.paths.public / "trusted_root.json").unlink()
        for method in ("GetCheckpoint", "GetTrustedRoot"):
            answer = await world.call(f"LogService.{method}")
            assert answer.code is grpc.StatusCode.UNAVAILABLE
            assert answer.headers["retry-after"] == "1"
        log = (await world.call("LogService.GetLog", key="admin")).message
        assert not log.HasField("checkpoint_time")

    run(tmp_path, scenario)


def test_a_disk_error_is_an_incident_without_paths(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The directory's name stays with us."""

    async def scenario(world: World) -> None:
        (world.paths.tiles / "checkpoint").unlink()
        (world.paths.tiles / "checkpoint").mkdir()
        answer = await world.call("LogService.GetCheckpoint")
        assert answer.code is grpc.StatusCode.INTERNAL
        assert str(tmp_path) not in str(answer)

    run(tmp_path, scenario)
    assert "IsADirectoryError" in caplog.text


def test_public_is_what_answers_without_a_key(tmp_path: Path) -> None:
    """The list that the Envoy configuration is given agrees with the services, method by method."""

    async def scenario(world: World) -> None:
        for service in SERVICES:
            for method in service.methods:
                answer = await world.call(f"{service.name}.{method.name}")
                refused = answer.code is grpc.StatusCode.UNAUTHENTICATED
                assert refused is (method.full_name not in PUBLIC), method.full_name

    run(tmp_path, scenario)


def test_reads_go_on_side_by_side(tmp_path: Path) -> None:
    """Many readers at once each get the same bytes."""

    async def scenario(world: World) -> None:
        await world.append("acme", "one")
        answers = await asyncio.gather(
            *(world.call("LogService.GetTile", path="0/000.p/1") for _ in range(50))
        )
        assert len({answer.message.data for answer in answers}) == 1

    run(tmp_path, scenario)
