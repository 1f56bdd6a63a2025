"""Texts without credentials, from what is installed: source code, minified JavaScript, lock files, data, documentation
and natural languages; base64 of binaries; hashes and identifiers.

Taken from the standard library, the packages of this and the judges' environments, the tests' Node packages and the
system's translations. What is taken is settled by the files' names and the sizes asked for, not by chance; another
machine has other texts. Only hashes and identifiers are made up, from a seed. Deliberately does not look for anything.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import struct
import sysconfig
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
BODY: Final = 1_000_000
"""Bytes of text in one request; longer files are cut."""

TRANSLATIONS: Final = Path("/usr/share/locale")

_SOURCE = (".py", ".pyi", ".c", ".h", ".pyx", ".go", ".proto", ".sh")
_SCRIPT = (".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".map", ".css")
_DATA = (".json", ".json.gz", ".lock", ".yml", ".yaml", ".toml", ".cfg", ".xml", ".sum", ".dectest")
_PROSE = (".md", ".mdx", ".rst", ".txt", ".html", "license", "metadata", "notice", "copying")
_BINARY = (".so", ".png", ".pyc", ".exe", ".gif", ".ico", ".wav", ".zip", ".whl", ".tzst", ".mo")

Take = Callable[[Path], bool]


def _ending(*endings: str) -> Take:
    return lambda path: path.name.lower().endswith(endings)


def texts(megabytes: dict[str, float]) -> Iterator[tuple[str, str]]:
    """Family and text, for each family as many megabytes (10^6 bytes of UTF-8) as asked for and there are."""
    files = _files()
    for family, wanted in megabytes.items():
        left = int(wanted * 1e6)
        for text in FAMILIES[family](files):
            size = len(text.encode())
            yield family, text
            left -= size
            if left <= 0:
                break


def body(text: str, number: int = 0) -> bytes:
    """A chat request that holds the text; clients that write ASCII only take turns with others."""
    message = {"role": "user", "content": text}
    return json.dumps({"model": "m", "messages": [message]}, ensure_ascii=bool(number % 2)).encode()


def _files() -> list[Path]:
    paths = sysconfig.get_paths()
    roots = [Path(paths["stdlib"]), Path(paths["purelib"]), ROOT / "requirements", ROOT / "docs"]
    roots += [each for each in (ROOT / "tests" / "judges").glob("node*/node_modules") if each.is_dir()]
    judges = os.environ.get("SOVEREIGN_JUDGES_PYTHON") or ROOT / ".venv-judges" / "bin" / "python"
    roots += Path(judges).parent.parent.glob("lib/python3*/site-packages")
    found: dict[str, Path] = {}
    for root in roots:
        for directory, below, names in os.walk(root):
            # Tests of cryptography hold true private keys; those of other packages may hold any true credential.
            skipped = {
                "__pycache__",
                "test",
                "tests",
                "certdata",
                *(["site-packages"] if root == roots[0] else []),
            }
            below[:] = [each for each in below if each not in skipped]
            for name in names:
                path = Path(directory, name)
                found.setdefault(f"{root.name}/{path.relative_to(root)}", path)
    return [found[name] for name in sorted(found, key=lambda each: hashlib.sha256(each.encode()).digest())]


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError:  # a link to nowhere
        return b""
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _of_files(take: Take) -> Callable[[list[Path]], Iterator[str]]:
    def read(files: list[Path]) -> Iterator[str]:
        seen: set[bytes] = set()
        for path in filter(take, files):
            content = _read(path)[: 4 * BODY]
            digest = hashlib.sha256(content).digest()
            if content and digest not in seen:
                seen.add(digest)
                text = content.decode("utf-8", "ignore")
                yield from (text[at : at + BODY] for at in range(0, len(text), BODY))

    return read


def _minified(files: list[Path]) -> Iterator[str]:
    """Scripts with lines of hundreds of characters."""
    for text in _of_files(_ending(*_SCRIPT))(files):
        if len(text) > 200 * (text.count("\n") + 1):
            yield text


def _languages(files: list[Path]) -> Iterator[str]:
    """The system's messages in their translations, where it has some; texts of which a tenth is not ASCII."""
    found = sorted(
        TRANSLATIONS.glob("*/LC_MESSAGES/*.mo"), key=lambda path: hashlib.sha256(bytes(path)).digest()
    )
    for path in found:
        text = "\n".join(_messages(_read(path)))
        if len(text) > 1_000:
            yield text[:BODY]
    for text in _of_files(_ending(*_SOURCE, *_SCRIPT, *_DATA, *_PROSE))(files):
        if sum(1 for char in text if char > "\x7f") > len(text) / 10:
            yield text


def _messages(catalog: bytes) -> Iterator[str]:
    """The translations in a file of gettext's (the manual's chapter on the format of MO files)."""
    if len(catalog) < 28 or catalog[:4] != b"\xde\x12\x04\x95":
        return
    count, _, table = struct.unpack_from("<3I", catalog, 8)
    for number in range(count):
        size, start = struct.unpack_from("<2I", catalog, table + 8 * number)
        yield catalog[start : start + size].decode("utf-8", "ignore")


def _base64(files: list[Path]) -> Iterator[str]:
    """Binaries as people paste them: in lines, in one line, URL-safe, in hexadecimal, as a data URI in a page."""
    for number, path in enumerate(filter(_ending(*_BINARY), files)):
        content = _read(path)[: BODY // 2]
        one = base64.b64encode(content).decode()
        yield (
            base64.encodebytes(content).decode(),
            one,
            base64.urlsafe_b64encode(content).decode(),
            content.hex(),
            f'<img alt="x" src="data:image/png;base64,{one}">',
        )[number % 5]


def _identifiers(files: list[Path]) -> Iterator[str]:
    """Hashes, UUIDs, nonces and the like beside the words that stand beside them."""
    rng = random.Random(6)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

    def of(count: int) -> str:
        return "".join(rng.choices(alphabet, k=count))

    def b64(count: int) -> str:
        return base64.b64encode(rng.randbytes(count)).decode()

    shapes: tuple[Callable[[], str], ...] = (
        lambda: f"commit {rng.randbytes(20).hex()}",
        lambda: f"{rng.randbytes(32).hex()}  dist/app-{rng.randrange(99)}.tar.gz",
        lambda: f"    --hash=sha256:{rng.randbytes(32).hex()} \\",
        lambda: f'"integrity": "sha512-{b64(64)}",',
        lambda: f"request_id={uuid.UUID(bytes=rng.randbytes(16), version=4)} user_id={rng.getrandbits(63)}",
        lambda: f"image: registry.example/app@sha256:{rng.randbytes(32).hex()}",
        lambda: f'ETag: "{rng.randbytes(16).hex()}"',
        lambda: f"nonce={b64(24)} state={base64.urlsafe_b64encode(rng.randbytes(32)).decode()}",
        lambda: f"task_{of(24)} run-{of(16)} chatcmpl-{of(29)} call_{of(24)} msg_{of(24)}",
        lambda: f"req_{of(14)} cus_{of(14)} pi_{of(24)} price_{of(24)} evt_{of(24)} price_1{of(23)}",
        lambda: f"arn:aws:iam::{rng.randrange(10**12):012}:role/{of(12)} AROA{of(17).upper()}",
        lambda: f"x-amz-content-sha256: {rng.randbytes(32).hex()} x-amz-request-id: {of(16).upper()}",
        lambda: f"x-amz-id-2: {b64(56)}",
        lambda: f"Signature={rng.randbytes(32).hex()}",
        lambda: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{b64(32)[:43]} someone@example.com",
        lambda: f"fingerprint SHA256:{b64(32)[:43]} checksum={b64(20)} sha1={rng.randbytes(20).hex()}",
        lambda: f"public_key: {b64(32)} wireguard peer {b64(32)}",
        lambda: f"slack: team T{of(10).upper()} channel C{of(10).upper()} user U{of(10).upper()}",
        lambda: f"https://docs.example.com/d/{of(44)}/edit?tab=t.{of(12)} https://youtu.be/{of(11)}",
        lambda: "sk-" + "-".join(rng.choices(("learn", "image", "toggle", "spinner", "container"), k=4)),
    )  # fmt: skip
    while True:
        yield "\n".join(rng.choice(shapes)() for _ in range(5_000))


FAMILIES: Final[dict[str, Callable[[list[Path]], Iterator[str]]]] = {
    "source code": _of_files(_ending(*_SOURCE)),
    "JavaScript": _of_files(_ending(*_SCRIPT)),
    "minified JavaScript": _minified,
    "data and lock files": _of_files(_ending(*_DATA)),
    "documentation": _of_files(_ending(*_PROSE)),
    "natural languages": _languages,
    "base64 and hexadecimal": _base64,
    "hashes and identifiers": _identifiers,
}
