"""The management API as subcommands ask it: of the gateway in a state directory, or of one that is named.

With ``--url``, or ``SF_BASE_URL`` together with ``SF_ADMIN_KEY``, the key is taken from ``--admin-key-file``, else
``SF_ADMIN_KEY``, else ``SF_API_KEY``: a key on the command line would be seen by everybody on the machine. Not a
subcommand.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from sovereign_ext.cli.up import add_state_dir
from sovereign_ext.errors import StartError
from sovereign_ext.secret import Secret

_TIMEOUT_S = 60.0
_READ_BYTES = 65_536
_UNREADABLE = "nothing that could be read"

Query = Mapping[str, str | int | Sequence[str] | None]


def add_gateway(parser: argparse.ArgumentParser) -> None:
    """``--url``, ``--admin-key-file`` and ``--state-dir``."""
    parser.add_argument(
        "--url", metavar="URL", help="another gateway, such as https://host:8443, with SF_ADMIN_KEY"
    )
    parser.add_argument(
        "--admin-key-file", type=Path, metavar="FILE", help="the key to show, instead of SF_ADMIN_KEY's"
    )
    add_state_dir(parser)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway. Everything raises ``StartError`` with what it said, or that it did not answer.

    ``timeout_s`` is how long each wait for it may take.
    """

    url: str
    key: Secret
    timeout_s: float = _TIMEOUT_S

    @classmethod
    def of(cls, args: argparse.Namespace) -> Gateway:
        """The one that ``add_gateway``'s options name."""
        key = _key(args.admin_key_file)
        url = args.url or (os.environ.get("SF_BASE_URL") if key is not None else None)
        if url is None:
            return cls.local(args.state_dir, key)
        key = key or _from_environment("SF_API_KEY")
        if key is None:
            raise StartError("--url needs a key in SF_ADMIN_KEY or SF_API_KEY, or --admin-key-file")
        return cls.named(url, key)

    @classmethod
    def named(cls, url: str, key: str, timeout_s: float = _TIMEOUT_S) -> Gateway:
        """The one at ``url``, which may be a base URL as SDKs take it."""
        return cls(url.rstrip("/").removesuffix("/v1"), Secret(key), timeout_s)

    @classmethod
    def local(cls, state_dir: Path, key: str | None = None, timeout_s: float = _TIMEOUT_S) -> Gateway:
        """The one that runs on a state directory, by default with the admin key that is kept there."""
        from sovereign_ext.cli.supervise import demo, layout, lock

        root = state_dir.absolute()
        if lock.running(layout.lock_file(root)) is None:
            raise StartError(f"nothing is running on {root}: start it with `sovereign up`, or give --url")
        places = layout.Layout(root, root / "run")
        try:
            port = json.loads(places.record.read_text(encoding="utf-8"))["port"]
        except (OSError, ValueError, KeyError):
            raise StartError(f"what runs on {root} is only just starting") from None
        secret = Secret(key) if key else demo.keys_of(places)[1]
        return cls(f"http://127.0.0.1:{port}", secret, timeout_s)

    def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """The answer to one question."""
        return self.send("GET", path, query)

    def send(
        self, method: str, path: str, query: Query | None = None, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """The answer to one call, with ``document`` as its body."""
        body = b"".join(self.stream(path, query, method=method, document=document))
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise StartError(f"the gateway says 200: {_UNREADABLE}")
        return answer

    def pages(self, path: str, query: Query, member: str) -> Iterator[dict[str, Any]]:
        """All items of a list, page after page."""
        for page in self.whole_pages(path, query):
            yield from page.get(member, ())

    def whole_pages(self, path: str, query: Query) -> Iterator[dict[str, Any]]:
        """All pages of a list; one is asked for when it is wanted."""
        token = ""
        while True:
            page = self.get(path, {**query, "page_token": token or None})
            yield page
            token = page.get("next_page_token", "")
            if not token:
                return

    def stream(
        self,
        path: str,
        query: Query | None = None,
        *,
        method: str = "GET",
        document: Mapping[str, Any] | None = None,
    ) -> Iterator[bytes]:
        """An answer in pieces, as they come. An answer that is cut off raises, too."""
        connection, base = self._connection()
        what = "answer"
        try:
            target = base + path + _question(query or {})
            headers = {"authorization": f"Bearer {self.key.reveal()}", "content-type": "application/json"}
            body = None if document is None else json.dumps(document)
            connection.request(method, target, body=body, headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise StartError(f"the gateway says {response.status}: {_message(response.read())}")
            what = "whole answer"
            while piece := response.read1(_READ_BYTES):
                yield piece
            if response.length:
                raise http.client.IncompleteRead(b"", response.length)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise StartError(f"no {what} from {self.url} ({reason})") from None
        finally:
            connection.close()

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        """To the gateway, not open yet, and what its paths begin with."""
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise StartError(f"--url must be like https://host:8443, is {self.url}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(host, port, timeout=self.timeout_s), parts.path


def _key(file: Path | None) -> str | None:
    if file is None:
        return _from_environment("SF_ADMIN_KEY")
    key = file.read_text(encoding="utf-8").strip()
    if not key:
        raise StartError(f"{file} is empty")
    return _word(key, str(file))


def _from_environment(name: str) -> str | None:
    key = os.environ.get(name)
    return _word(key, name) if key else None


def _word(key: str, where: str) -> str:
    """What a header takes. Raises ``StartError``, which shows nothing of it."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise StartError(f"{where} holds no key: a key is one word of printable ASCII")
    return key


def _question(query: Query) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "", [], ())}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def _message(body: bytes) -> str:
    """Of a ``google.rpc.Status``, with a line for each field that is at fault where there are several; or of the model
    API's error, where Envoy answered."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        error = answer.get("error")
        text = answer.get("message") or (error.get("message") if isinstance(error, dict) else None)
        if text:
            return "\n  ".join((str(text), *_faults(answer)))
    return _UNREADABLE


def _faults(answer: dict[str, Any]) -> list[str]:
    faults = [
        f"{each.get('field')}: {each.get('description')}"
        for detail in answer.get("details") or ()
        for each in detail.get("field_violations") or ()
    ]
    return faults if len(faults) > 1 else []
