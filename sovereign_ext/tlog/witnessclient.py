"""Talks to one witness: asks for a cosignature (C2SP tlog-witness) and for how far it mirrors (C2SP tlog-mirror).

Blocking, one request at a time, on the thread that calls. What comes back is verified before it is believed. When
to ask, and to ask again, is ``witnessing``'s matter.

With ``http.client``: each checkpoint asks twice, and httpx costs three times as much. Deliberately not here: redirects,
and proxies from the environment. These are peers that the operator named.
"""

from __future__ import annotations

import http.client
import select
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from sovereign_ext.errors import VerificationError, WitnessRefused
from sovereign_ext.roots import tls_context
from sovereign_ext.tlog.addcheckpoint import SIZE_TYPE, AddCheckpoint, parse_size, with_lines
from sovereign_ext.tlog.checkpoint import Checkpoint, origin_hash
from sovereign_ext.tlog.cosignature import Cosignature, MirrorAck, find_cosignature, verify_ack
from sovereign_ext.tlog.note import Signature, Verifier
from sovereign_ext.tlog.proof import NodeReader, consistency_proof, tree_root
from sovereign_ext.tlog.witnesses import WitnessPeer

TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_AHEAD_S: Final = 300
"""A cosigner's clock may be so far ahead of ours."""

_ROUNDS: Final = 4  # a witness that names another size after each answer is not waited for


class WitnessClient:
    """One witness, for one log. ``nodes(size)`` reads the log's own tree, ``now_s`` gives Unix seconds."""

    def __init__(
        self, peer: WitnessPeer, log: Verifier, nodes: Callable[[int], NodeReader], now_s: Callable[[], int]
    ) -> None:
        self._peer = peer
        self._log = log
        self._nodes = nodes
        self._now_s = now_s
        self._old = 0  # what the witness cosigned last, as far as we know
        self._tls = tls_context(peer.roots)
        self._http: http.client.HTTPConnection | None = None  # kept open between requests

    def close(self) -> None:
        """Let go of the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def cosign(self, checkpoint: Checkpoint, note: bytes) -> tuple[Signature, Cosignature]:
        """Have ``checkpoint`` (``note`` is what the log signed) cosigned. Raises ``WitnessRefused``."""
        for _ in range(_ROUNDS):
            if self._old > checkpoint.size:
                raise WitnessRefused(
                    f"it has cosigned size {self._old}, this checkpoint has {checkpoint.size}: "
                    "was the log restored from a backup?"
                )
            proof = consistency_proof(self._old, checkpoint.size, self._nodes(checkpoint.size))
            request = AddCheckpoint(self._old, tuple(proof), note)
            status, kind, body = self._send("POST", "add-checkpoint", request.encode())
            if status == 200:
                return self._accept(checkpoint, body)
            if status != 409 or kind != SIZE_TYPE:
                raise WitnessRefused(_refusal(status))
            self._adopt(body)
        raise WitnessRefused("it names another size each time")

    def mirrored(self, head: Checkpoint) -> MirrorAck | None:
        """How far the mirror has come, by its signed word; ``None`` when it has nothing that we can judge.

        ``head`` is our published checkpoint. Raises ``WitnessRefused`` when the mirror serves another tree.
        """
        assert self._peer.mirror_key is not None
        status, _, body = self._send("GET", f"{origin_hash(self._log.name)}/checkpoint", None)
        if status == 404:
            return None
        if status != 200:
            raise WitnessRefused(f"its mirror checkpoint: HTTP status {status}")
        try:
            checkpoint, ack = verify_ack(body, self._log, self._peer.mirror_key)
        except VerificationError as error:
            raise WitnessRefused(f"its mirror checkpoint: {error}") from None
        if checkpoint.size > head.size:
            return None  # it was quicker than we are told of our own publication: ask again
        if checkpoint.root != tree_root(checkpoint.size, self._nodes(head.size)):
            raise WitnessRefused(f"it mirrors a tree of size {checkpoint.size} that is not this log's")
        self._check_time(ack.time_s)
        return ack

    def _accept(self, checkpoint: Checkpoint, body: bytes) -> tuple[Signature, Cosignature]:
        try:
            found = find_cosignature(with_lines(checkpoint.text(), body), self._peer.key)
        except VerificationError as error:
            raise WitnessRefused(f"its answer: {error}") from None
        if found is None:
            raise WitnessRefused("its answer is not signed by the witness's key")
        self._check_time(found[1].time_s)
        self._old = checkpoint.size
        return found

    def _adopt(self, body: bytes) -> None:
        try:
            told = parse_size(body)
        except VerificationError as error:
            raise WitnessRefused(f"its answer: {error}") from None
        if told == self._old:
            raise WitnessRefused(
                f"it holds another root for size {told}: this log forked, or its witness errs"
            )
        self._old = told

    def _check_time(self, time_s: int) -> None:
        if not 0 < time_s <= self._now_s() + MAX_AHEAD_S:
            raise WitnessRefused(f"its cosignature is dated {time_s}, which is no time or in the future")

    def _send(self, method: str, path: str, body: bytes | None) -> tuple[int, str, bytes]:
        """Status, media type and body of an answer. Raises ``WitnessRefused`` when there is none."""
        try:
            connection = self._connection()
            connection.request(method, f"{urlsplit(self._peer.url).path}/{path}", body)
            with connection.getresponse() as response:
                received = response.read(MAX_ANSWER_BYTES + 1)
                kind = response.getheader("content-type", "").partition(";")[0].strip().lower()
                status = response.status
        except (http.client.HTTPException, OSError, ValueError) as error:
            self.close()
            raise WitnessRefused(f"it cannot be asked: {type(error).__name__}") from None
        if len(received) > MAX_ANSWER_BYTES:
            self.close()
            raise WitnessRefused(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        return status, kind, received

    def _connection(self) -> http.client.HTTPConnection:
        """The one that was kept open if it still is, or a new one. Raises ``ValueError`` for a URL that is none."""
        if self._http is not None and not _ended(self._http):
            return self._http
        self.close()
        url = urlsplit(self._peer.url)
        where, port = url.hostname or "", url.port
        if url.scheme == "https":
            self._http = http.client.HTTPSConnection(where, port, timeout=TIMEOUT_S, context=self._tls)
        else:
            self._http = http.client.HTTPConnection(where, port, timeout=TIMEOUT_S)
        return self._http


def _ended(connection: http.client.HTTPConnection) -> bool:
    """Whether the peer has closed what was kept open, or sent something that nobody asked for."""
    if connection.sock is None:
        return False
    readable = select.poll()
    readable.register(connection.sock, select.POLLIN)
    return bool(readable.poll(0))


def _refusal(status: int) -> str:
    known = {
        403: "it does not accept the log's signature: is the key right there?",
        404: "it does not know this log",
        422: "it says that this log's tree does not extend the one it cosigned",
    }
    return known.get(status, f"HTTP status {status}")
