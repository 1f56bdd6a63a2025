"""The processor's own wiring: what its anchors do is in the state of the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sovereign_ext._gen.sovereign.log.v1 import log_pb2
from sovereign_ext.app import Processor
from sovereign_ext.cli.supervise.probe import free_ports
from sovereign_ext.settings import Settings
from sovereign_ext.tenants.keys import KeyKind, hash_key, mint

pytestmark = pytest.mark.services

PATIENCE_S = 20.0


async def _log(settings: Settings, key: str) -> log_pb2.Log:
    async with grpc.aio.insecure_channel(f"unix:{settings.management_socket}") as channel:
        ask = channel.unary_unary(
            "/sovereign.log.v1.LogService/GetLog",
            request_serializer=log_pb2.GetLogRequest.SerializeToString,
            response_deserializer=log_pb2.Log.FromString,
        )
        found = await ask(log_pb2.GetLogRequest(), metadata=(("authorization", f"Bearer {key}"),))
    assert isinstance(found, log_pb2.Log)
    return found


def test_an_anchor_that_nobody_answers_for_is_in_the_state_of_the_log(tmp_path: Path) -> None:
    """With what is queued for it and why the last attempt failed."""
    admin = mint(KeyKind.ADMIN, bytes(32)).reveal()
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "rekor.pem").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    file = tmp_path / "sovereign.yaml"
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    file.write_text(
        "version: 1\norigin: sovereign.test/anchors\n"
        f"admins:\n  - id: root\n    keys: [{{id: one, hash: '{hash_key(admin)}'}}]\n"
        f"log:\n  anchors: [{{id: corp, url: '{url}', key_file: rekor.pem, every_s: 1}}]\n"
    )
    (tmp_path / "run").mkdir()
    settings = Settings(file, tmp_path / "state", tmp_path / "run", "127.0.0.1", 8080)

    async def play() -> None:
        processor = Processor(settings, {})
        await processor.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (log := await _log(settings, admin)).anchors[0].last_error:
                    await asyncio.sleep(0.01)
        finally:
            await processor.stop()
        (anchor,) = log.anchors
        assert (anchor.id, anchor.kind, anchor.size) == ("corp", "rekor-v2", 0)
        assert anchor.queued >= 1
        assert "ConnectError" in anchor.last_error

    asyncio.run(play())
