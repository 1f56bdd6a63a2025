"""Tiles in an S3-compatible store: moto's server, which checks our signatures, and a server that fails on demand."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from log_world import draft, fill
from shared_log_world import Site, until

from sovereign_ext.config.storage import Storage
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.errors import ConfigError, LeaseLost, LogUnavailable
from sovereign_ext.secret import Secret
from sovereign_ext.storing import shared_log
from sovereign_ext.tlog.checkpoint import Checkpoint, sign_checkpoint
from sovereign_ext.tlog.hashing import EMPTY_ROOT
from sovereign_ext.tlog.note import Signer, Verifier
from sovereign_ext.tlog.reader import LogReader
from sovereign_ext.tlog.s3keys import FixedKeys
from sovereign_ext.tlog.s3tiles import TRIES, Bucket, S3Tiles
from sovereign_ext.tlog.tiles import Tile

pytestmark = pytest.mark.services

_serial = count()


def nothing() -> None:
    pass


@pytest.fixture(scope="session")
def keys(moto_server: Any) -> AwsKeys:
    """Of a user that may do what the documentation says is needed, and no more."""
    allowed = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
    moto_server.boto("iam", "create_user", UserName="log")
    moto_server.boto(
        "iam", "put_user_policy", UserName="log", PolicyName="p", PolicyDocument=json.dumps(policy)
    )
    key = moto_server.boto("iam", "create_access_key", UserName="log")["AccessKey"]
    return AwsKeys(key["AccessKeyId"], Secret(key["SecretAccessKey"]))


@pytest.fixture
def bucket(moto_server: Any, keys: AwsKeys) -> Iterator[Bucket]:
    """An empty bucket; moto checks signatures and the policy from here on."""
    made = new_bucket(moto_server, keys)
    with moto_server.guard():
        yield made


def new_bucket(moto_server: Any, keys: AwsKeys, **options: Any) -> Bucket:
    name = f"tiles-{next(_serial)}"
    where = {"LocationConstraint": "eu-central-1"}
    moto_server.boto("s3", "create_bucket", Bucket=name, CreateBucketConfiguration=where, **options)
    return Bucket(moto_server.url, name, "eu-central-1", FixedKeys(keys), "logs/a/")


@contextmanager
def opened(bucket: Bucket, **options: Any) -> Iterator[S3Tiles]:
    tiles = S3Tiles(bucket, **options)
    try:
        yield tiles
    finally:
        tiles.close()


def signed(size: int) -> bytes:
    verifier = Verifier("log", bytes(32))
    return sign_checkpoint(Checkpoint("log", size, EMPTY_ROOT), [Signer(verifier, lambda _: bytes(64))])


def test_objects_come_and_go(bucket: Bucket) -> None:
    """What is written is read, also by a reader of tiles; what is not there is None; partial tiles go."""
    with opened(bucket) as tiles:
        tiles.probe()
        assert tiles.read("checkpoint") is None
        assert tiles.shown_ns() is None
        full = bytes(range(256)) * 32
        tiles.write(
            [("tile/0/000.p/3", full[:96]), ("tile/0/000.p/4", full[:128]), ("tile/0/x001/234", full)]
        )
        reader = LogReader(tiles)
        assert reader.tile(Tile(0, 0, 4)) == full[:128]
        assert reader.tile(Tile(0, 1234, 7)) == full[: 7 * 32]
        assert reader.get("tile/0/001") is None
        tiles.write([("tile/0/000", full)])
        tiles.drop_partial([Tile(0, 0)])
        assert [tiles.read(f"tile/0/000.p/{width}") for width in (3, 4)] == [None, None]
        assert reader.tile(Tile(0, 0, 3)) == full[:96]
        tiles.drop_partial([Tile(0, 0), Tile(1, 5)])  # nothing there


def test_a_bucket_with_object_lock(moto_server: Any, keys: AwsKeys) -> None:
    """Writing over and dropping go on; what was there stays as a version."""
    bucket = new_bucket(moto_server, keys, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    locked = {"ObjectLockEnabled": "Enabled", "Rule": rule}
    moto_server.boto(
        "s3", "put_object_lock_configuration", Bucket=bucket.bucket, ObjectLockConfiguration=locked
    )
    with moto_server.guard(), opened(bucket) as tiles:
        tiles.probe()
        tiles.show(signed(1), 1, nothing)
        tiles.show(signed(2), 2, nothing)
        tiles.write([("tile/0/000.p/3", b"x" * 96), ("tile/0/000", b"x" * 8192)])
        tiles.drop_partial([Tile(0, 0)])
        assert tiles.read("checkpoint") == signed(2)
        assert tiles.read("tile/0/000.p/3") is None
    kept = moto_server.boto("s3", "list_object_versions", Bucket=bucket.bucket, Prefix="logs/a/")["Versions"]
    names = [version["Key"] for version in kept]
    assert names.count("logs/a/checkpoint") == 2
    assert "logs/a/tile/0/000.p/3" in names


def test_a_wrong_key_is_refused_and_not_shown(bucket: Bucket) -> None:
    """The signature counts; the error names request and status, and neither key."""
    forged = FixedKeys(AwsKeys(bucket.keys.keys().access_key_id, Secret("forged-secret")))
    with opened(Bucket(bucket.endpoint, bucket.bucket, bucket.region, forged)) as tiles:
        with pytest.raises(LogUnavailable, match=r"cannot be used: PUT probe-\w+: status 403") as caught:
            tiles.probe()
        assert "forged" not in repr(caught.value)
        assert "forged" not in repr(bucket)


def test_routers_that_start_at_once_do_not_spoil_each_others_probe(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One looks, and tidies up, while another is half-way."""
    with opened(bucket) as one, opened(bucket) as two:
        put = one._put

        def interrupted(path: str, data: bytes, condition: dict[str, str]) -> Any:
            two.probe()
            return put(path, data, condition)

        monkeypatch.setattr(one, "_put", interrupted)
        one.probe()
        names = one._request("GET", one._root, "list-type=2", b"", {}).body
        assert b"<Key>" not in names


def test_the_checkpoint_does_not_go_backwards(bucket: Bucket) -> None:
    """Two writers: whoever was overtaken is told so, and the newer one stays. Further signatures may be added."""
    with opened(bucket) as one, opened(bucket) as two:
        one.show(signed(0), 0, nothing)
        two.show(signed(1), 1, nothing)
        with pytest.raises(LeaseLost):
            one.show(signed(0) + b"x", 0, nothing)
        one.show(signed(2), 2, nothing)
        two.show(signed(3), 3, nothing)
        with pytest.raises(LeaseLost, match="a newer checkpoint is shown"):
            one.show(signed(2), 2, nothing)
        cosigned = signed(3).rstrip() + "\n— other AAAAAGFi\n".encode()
        one.show(cosigned, 3, nothing)
        assert two.read("checkpoint") == cosigned
        assert two.shown_ns() is not None

        def lost() -> None:
            raise LeaseLost("over")

        with pytest.raises(LeaseLost, match="over"):
            two.show(signed(4), 4, lost)
        assert one.read("checkpoint") == cosigned


class Flaky(ThreadingHTTPServer):
    """Answers with what ``plan`` says, in order: a status, ``drop`` before or ``lose`` after it did its work."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan: list[str | int] = []
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.checksums: list[tuple[bytes, bytes]] = []  # what was said with a body, and the body


class _Handler(BaseHTTPRequestHandler):
    server: Flaky
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.checksums.append((b64decode(self.headers["x-amz-checksum-sha256"]), body))
        self.act(lambda: self.put(body))

    def do_GET(self) -> None:
        found = self.server.objects.get(self.path)
        self.act(lambda: (404, b"") if found is None else (200, found))

    do_HEAD = do_GET  # noqa: N815

    def put(self, body: bytes) -> tuple[int, bytes]:
        there = self.server.objects.get(self.path)
        etag = None if there is None else f'"{hash(there)}"'
        if self.headers.get("if-none-match") == "*" and there is not None:
            return 412, b""
        if (wanted := self.headers.get("if-match")) is not None and wanted != etag:
            return (404 if there is None else 412), b""
        self.server.objects[self.path] = body
        return 200, b""

    def act(self, work: Callable[[], tuple[int, bytes]]) -> None:
        self.server.asked.append(self.command)
        what = self.server.plan.pop(0) if self.server.plan else "work"
        if what == "drop":
            self.close_connection = True
            return
        status, body = (what, b"<Code>SlowDown</Code>") if isinstance(what, int) else work()
        if what == "lose":
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        if (there := self.server.objects.get(self.path)) is not None:
            self.send_header("etag", f'"{hash(there)}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def flaky() -> Iterator[Flaky]:
    server = Flaky()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@contextmanager
def on(flaky: Flaky) -> Iterator[tuple[S3Tiles, list[float]]]:
    pauses: list[float] = []
    keys = AwsKeys("AKIAIOSFODNN7EXAMPLE", Secret("s"))
    where = Bucket(f"http://127.0.0.1:{flaky.server_port}", "b", "us-east-1", FixedKeys(keys))
    with opened(where, sleep=pauses.append) as tiles:
        yield tiles, pauses


@pytest.mark.parametrize("fault", ["drop", "lose", 500, 503, 429])
def test_what_may_pass_is_tried_again(fault: str | int, flaky: Flaky) -> None:
    """With growing pauses; a tile that was stored though nobody said so is stored again."""
    with on(flaky) as (tiles, pauses):
        flaky.plan = [fault, fault]
        tiles.write([("tile/0/000", b"x")])
        assert tiles.read("tile/0/000") == b"x"
        assert pauses == [0.1, 0.2]
        flaky.plan = [fault] * TRIES
        with pytest.raises(OSError, match="GET /b/tile/0/001: "):
            tiles.read("tile/0/001")
        flaky.plan = [403]
        asked = len(flaky.asked)
        with pytest.raises(OSError, match="GET tile/0/002: status 403 SlowDown"):
            tiles.read("tile/0/002")
        assert len(flaky.asked) == asked + 1


def test_every_body_comes_with_its_checksum(flaky: Flaky) -> None:
    """Without one, a bucket with Object Lock refuses it."""
    with on(flaky) as (tiles, _):
        tiles.write([("tile/0/000", b"x"), ("tile/entries/000", b"")])
        tiles.show(signed(1), 1, nothing)
    assert len(flaky.checksums) == 3
    assert all(said == hashlib.sha256(body).digest() for said, body in flaky.checksums)


def test_a_conditional_put_whose_answer_was_lost(flaky: Flaky) -> None:
    """It is found to be there, and the next one is put on the condition of it."""
    with on(flaky) as (tiles, _):
        flaky.plan = ["lose"]
        tiles.show(signed(1), 1, nothing)
        flaky.plan = ["lose"]
        tiles.show(signed(2), 2, nothing)
        tiles.show(signed(3), 3, nothing)
        assert tiles.read("checkpoint") == signed(3)
        del flaky.objects["/b/checkpoint"]  # somebody removed it
        tiles.show(signed(4), 4, nothing)
        assert tiles.read("checkpoint") == signed(4)


def test_a_store_without_conditions_is_refused(flaky: Flaky, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that overwrites in spite of If-None-Match would let a checkpoint go backwards."""

    def put(handler: _Handler, body: bytes) -> tuple[int, bytes]:
        flaky.objects[handler.path] = body
        return 200, b""

    monkeypatch.setattr(_Handler, "put", put)
    monkeypatch.setattr(_Handler, "do_DELETE", lambda handler: handler.act(lambda: (204, b"")), raising=False)
    with on(flaky) as (tiles, _), pytest.raises(LogUnavailable, match="does not know conditional writes"):
        tiles.probe()


def test_full_tiles_are_read_once(flaky: Flaky) -> None:
    """They never change; partial ones, bundles and the checkpoint are asked for each time."""
    with on(flaky) as (tiles, _):
        paths = ["tile/0/000", "tile/0/000.p/3", "tile/entries/000", "checkpoint"]
        flaky.objects = {f"/b/{path}": b"x" for path in paths}
        for path in paths * 2:
            assert tiles.read(path) == b"x"
        assert len(flaky.asked) == 7


def test_replicas_share_a_bucket(bucket: Bucket, postgres: Any, tmp_path: Path) -> None:
    """The whole log on PostgreSQL and S3: two replicas append, leadership moves, receipts and fsck read the bucket."""
    made: list[S3Tiles] = []

    def tiles() -> S3Tiles:
        made.append(S3Tiles(bucket))
        return made[-1]

    site = Site(postgres.url, tmp_path, tiles)

    async def scenario() -> None:
        async with site.replica("b") as b:
            async with site.replica("a") as a:
                await until(lambda: b.status().role == "leader")
                await asyncio.gather(*(log.append(draft()) for log in (a, b) for _ in range(150)))
                await a.receipt(299, None, 10)
                await b.close()
                await until(lambda: a.status().role == "leader")
                await fill(a, 3)
                await a.receipt(302, None, 10)
                assert site.fsck(a).faults == []
            assert not (tmp_path / "tiles").exists()

    asyncio.run(scenario())
    for each in made:
        each.close()


def test_the_configuration_names_bucket_and_keys(bucket: Bucket, tmp_path: Path) -> None:
    """``storage.tiles.s3`` as routers read it; keys come from where it says, and are not shown."""
    pair = bucket.keys.keys()
    (tmp_path / "secret").write_text(f"{pair.secret_access_key.reveal()}\n")
    s3 = {
        "endpoint": bucket.endpoint,
        "bucket": bucket.bucket,
        "prefix": "logs/b/",
        "region": bucket.region,
        "access_key_id": {"env": "KEY_ID"},
        "secret_access_key": {"file": "secret"},
    }
    settings = {
        "database": {"url_env": "DB"},
        "shared": {"url_env": "VALKEY"},
        "tiles": {"s3": s3},
        "log_keys_dir": "keys",
        "key_hash": {"env": "KEY_HASH"},
    }
    environ = {"DB": "postgresql://u:p@127.0.0.1:1/x", "KEY_ID": pair.access_key_id}
    shared = shared_log(Storage.model_validate(settings), tmp_path, environ)
    assert shared is not None
    try:
        shared.tiles.probe()
        shared.tiles.write([("tile/0/000.p/1", bytes(32))])
        with opened(replace(bucket, prefix="logs/b/")) as other:
            assert other.read("tile/0/000.p/1") == bytes(32)
        with opened(bucket) as other:
            assert other.read("tile/0/000.p/1") is None
    finally:
        shared.tiles.close()
        shared.engine.dispose()
    with pytest.raises(ConfigError, match="environment variable KEY_ID is not set"):
        shared_log(Storage.model_validate(settings), tmp_path, {"DB": environ["DB"]})
