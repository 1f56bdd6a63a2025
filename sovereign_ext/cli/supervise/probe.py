"""Is it there? Ports that are free, ports that listen, and a gateway that answers a real call.

Only ``http.client``, because this is on the start path. Deliberately not here: what to do about the answer.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import random
import socket
from typing import Any

from sovereign_ext.errors import StartError

HOST = "127.0.0.1"
_TIMEOUT_S = 2.0
_SERVERS = range(20_000, 32_000)
"""Ports below those of clients, on Linux (32768 to 60999) and elsewhere (49152 to 65535)."""


def require_free(port: int) -> None:
    """Raise ``StartError`` in one clear line unless we may listen on the port."""
    try:
        _bind(port).close()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise StartError(f"cannot listen on port {port}: {error.strerror}") from error
        taken = True
    else:
        taken = listens(port)  # BSD lets us bind beside somebody who listens on every address
    if taken:
        raise StartError(f"port {port} is taken: choose another one with --port")


def is_free(port: int) -> bool:
    """Whether we may listen on the port."""
    try:
        require_free(port)
    except StartError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """So many different ports that are free now, in no order.

    Not those that the kernel would give: it gives them to clients as well, so that one may be taken before its server
    listens, or while that is started again.
    """
    found: list[int] = []
    for port in random.sample(_SERVERS, len(_SERVERS)):
        if len(found) == count:
            break
        with contextlib.suppress(OSError):
            _bind(port).close()
            found.append(port)
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((HOST, port), timeout=_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def get_json(port: int, path: str, key: str) -> tuple[int, Any]:
    """GET through the gateway: the status and the decoded body (``None`` when it is not JSON).

    Raises ``OSError`` when there is no answer; a half answer is a ``ConnectionError`` too.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=_TIMEOUT_S)
    try:
        connection.request(
            "GET", path, headers={"authorization": f"Bearer {key}", "accept": "application/json"}
        )
        response = connection.getresponse()
        body = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"not an HTTP answer: {type(error).__name__}") from error
    finally:
        connection.close()
    try:
        return response.status, json.loads(body)
    except ValueError:
        return response.status, None


def answers(port: int, key: str) -> str | None:
    """What keeps the gateway from answering ``GET /v1/models`` and ``GET /sf/v1/log``; ``None`` when it does.

    The second tells it from another server that took the port meanwhile. 401 is an answer too: the user may have
    taken the demo's tenant out of the configuration.
    """
    for path in ("/v1/models", "/sf/v1/log"):
        try:
            status, _ = get_json(port, path, key)
        except OSError as error:
            return f"no answer on port {port} ({error.strerror or error})"
        if status not in (200, 401):
            return f"GET {path} on port {port} answers {status}"
    return None


def is_mirrored(port: int, key: str) -> bool:
    """Whether a mirror has said how far it holds the log, or nobody mirrors it."""
    try:
        status, log = get_json(port, "/sf/v1/log", key)
    except OSError:
        return False
    if status != 200 or not isinstance(log, dict):
        return status == 401
    return bool(log.get("mirrors")) or not log.get("cosigners")


def _bind(port: int) -> socket.socket:
    # Without SO_REUSEPORT: Envoy sets it, and two gateways that share a port would each get half of the
    # calls.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound
