"""Tiles that are signed with the gateway's own keys: a role's, as a task of ECS or a pod of EKS has them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sovereign_ext.config.storage import Storage
from sovereign_ext.credentials import AwsKeys
from sovereign_ext.errors import LogUnavailable
from sovereign_ext.secret import Secret
from sovereign_ext.storing import shared_log
from sovereign_ext.tlog.s3keys import FixedKeys
from sovereign_ext.tlog.s3tiles import Bucket, S3Tiles
from sovereign_ext.tlog.tilestore import TileStore

pytestmark = pytest.mark.services

ROLE = "arn:aws:iam::123456789012:role/tiles"
TOKEN = "agent-token"
REGION = "eu-central-1"


class Server(ThreadingHTTPServer):
    """Answers with what ``answer`` makes of a request's access key; ``seen`` are headers of all of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, key_id: str) -> tuple[int, bytes]:
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers.get("content-length", 0)))
        found = re.search("Credential=([A-Z0-9]+)/", self.headers.get("authorization", ""))
        status, body = self.server.answer(found[1] if found else "")
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


class Agent(Server):
    """A container's credentials endpoint; the last of ``pairs`` is given for ever."""

    def __init__(self, *pairs: AwsKeys) -> None:
        super().__init__()
        self.pairs = list(pairs)

    def answer(self, key_id: str) -> tuple[int, bytes]:
        pair = self.pairs.pop(0) if len(self.pairs) > 1 else self.pairs[0]
        assert pair.session_token is not None
        body = {
            "AccessKeyId": pair.access_key_id,
            "SecretAccessKey": pair.secret_access_key.reveal(),
            "Token": pair.session_token.reveal(),
            "Expiration": "2100-01-01T00:00:00Z",
        }
        return 200, json.dumps(body).encode()

    @property
    def environ(self) -> dict[str, str]:
        return {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": TOKEN}


class Store(Server):
    """An S3 that accepts one access key and does nothing."""

    accepted = "ASIANEW"
    code = "ExpiredToken"

    def answer(self, key_id: str) -> tuple[int, bytes]:
        return (200, b"") if key_id == self.accepted else (400, f"<Code>{self.code}</Code>".encode())


@contextmanager
def serving(server: Server) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def tiles(endpoint: str, bucket: str, environ: dict[str, str], base: Path) -> Iterator[TileStore]:
    """As a router makes them of a configuration that names no keys."""
    settings = {
        "database": {"url_env": "DB"},
        "shared": {"url_env": "VALKEY"},
        "tiles": {"s3": {"endpoint": endpoint, "bucket": bucket, "region": REGION, "prefix": "log/"}},
        "log_keys_dir": "keys",
        "key_hash": {"env": "KEY_HASH"},
    }
    environ = {"DB": "postgresql://u:p@127.0.0.1:1/x", **environ}
    shared = shared_log(Storage.model_validate(settings), base, environ)
    assert shared is not None
    try:
        yield shared.tiles
    finally:
        shared.tiles.close()
        shared.engine.dispose()


def pair(key_id: str, token: str = "t") -> AwsKeys:
    return AwsKeys(key_id, Secret(f"secret-of-{key_id}"), Secret(token))


@pytest.fixture(scope="module")
def bucket(moto_server: Any) -> str:
    """One bucket, and a role that may do in it what the documentation says is needed."""
    where = {"LocationConstraint": REGION}
    moto_server.boto("s3", "create_bucket", Bucket="of-a-role", CreateBucketConfiguration=where)
    allowed = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
    moto_server.boto("iam", "create_role", RoleName="tiles", AssumeRolePolicyDocument=trust)
    moto_server.boto(
        "iam", "put_role_policy", RoleName="tiles", PolicyName="p", PolicyDocument=json.dumps(policy)
    )
    return "of-a-role"


def test_a_task_writes_tiles_with_its_role(moto_server: Any, bucket: str, tmp_path: Path) -> None:
    """The agent is asked once, with its token; moto checks signatures, session tokens and the role's policy."""
    made = moto_server.boto("sts", "assume_role", RoleArn=ROLE, RoleSessionName="task")["Credentials"]
    agent = Agent(AwsKeys(made["AccessKeyId"], Secret(made["SecretAccessKey"]), Secret(made["SessionToken"])))
    with (
        serving(agent),
        moto_server.guard(),
        tiles(moto_server.url, bucket, agent.environ, tmp_path) as store,
    ):
        store.probe()
        store.write([(f"tile/0/000.p/{width}", bytes(32 * width)) for width in range(1, 20)])
        assert store.read("tile/0/000.p/3") == bytes(96)
        assert store.read("tile/0/001") is None
    assert [each["authorization"] for each in agent.seen] == [TOKEN]


def test_a_pod_writes_tiles_with_its_web_identity(moto_server: Any, bucket: str, tmp_path: Path) -> None:
    """IRSA: the token of the service account is exchanged at STS."""
    (tmp_path / "token").write_text("header.claims.signature\n")
    environ = {
        "AWS_ROLE_ARN": ROLE,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ENDPOINT_URL": moto_server.url,
    }
    with tiles(moto_server.url, bucket, environ, tmp_path) as store:
        store.probe()  # STS is asked before moto asks everybody for a signature
        with moto_server.guard():
            store.write([("tile/0/002", b"x")])
            assert store.read("tile/0/002") == b"x"


def test_keys_that_expired_on_the_way_are_got_anew(tmp_path: Path) -> None:
    """Once, for the request that was refused; the new ones come with their own session token."""
    agent, store = Agent(pair("ASIAOLD", "old"), pair("ASIANEW", "new")), Store()
    with serving(agent), serving(store), tiles(store.url, "the-log", agent.environ, tmp_path) as written:
        written.write([("tile/0/000", b"x")])
    assert [each["x-amz-security-token"] for each in store.seen] == ["old", "new"]
    assert len(agent.seen) == 2


def test_keys_that_are_refused_again_are_not_shown(tmp_path: Path) -> None:
    """A second refusal is the answer."""
    agent, store = Agent(pair("ASIAOLD", "old"), pair("ASIAODD", "odd")), Store()
    with serving(agent), serving(store), tiles(store.url, "the-log", agent.environ, tmp_path) as written:
        with pytest.raises(LogUnavailable, match=r"PUT probe-\w+: status 400 ExpiredToken") as caught:
            written.probe()
        assert "secret-of" not in repr(caught.value)
        assert "ASIA" not in repr(caught.value)
    assert len(store.seen) == 2


def test_a_fixed_pair_is_not_tried_twice() -> None:
    """There is no other; what is refused for another reason is not tried with others either."""
    store = Store()
    where = Bucket(store.url, "b", REGION, FixedKeys(pair("ASIAOLD")))
    with serving(store):
        fixed = S3Tiles(where)
        with pytest.raises(OSError, match="status 400 ExpiredToken"):
            fixed.write([("tile/0/000", b"x")])
        fixed.close()
    assert len(store.seen) == 1


def test_a_router_without_any_keys_does_not_start(tmp_path: Path) -> None:
    """It says where they may come from."""
    said = "the gateway has no AWS keys of its own: set AWS_ACCESS_KEY_ID"
    with (
        tiles("http://127.0.0.1:1", "the-log", {}, tmp_path) as store,
        pytest.raises(LogUnavailable, match=said),
    ):
        store.probe()
