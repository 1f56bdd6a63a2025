"""What ``apply`` and ``export`` share: reading a declarative file, and the resources of a running gateway. Not a
subcommand.

Files that the declarative one names (keys, manifests, statements) are read here, relative to it, and sent as text:
nothing on the gateway's machine is named.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sovereign_ext.errors import ConfigError, StartError

if TYPE_CHECKING:
    from sovereign_ext.cli.api import Gateway
    from sovereign_ext.config.desired import Thing

FILES = {
    "key_file": "key",
    "ca_file": "ca",
    "tls_ca_file": "tls_ca",
    "jwks_file": "jwks",
    "root_file": "root",
    "manifest": "manifest_bundle",
}
"""Fields that name a file, and those that hold its text."""

_EVERY_PAGE = 1000


def read(file: str) -> dict[str, Any]:
    """The data of a file, ``-`` for standard input, as they are. Raises ``ConfigErrors``, ``OSError``."""
    from sovereign_ext.config.desired import strangers
    from sovereign_ext.config.yamltree import dotted, read_yaml
    from sovereign_ext.errors import ConfigErrors

    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    tree = read_yaml(text)
    faults = [
        ConfigError(each.reason, file=file, line=each.line, field=dotted(each.path)) for each in tree.faults
    ]
    if not faults and not isinstance(tree.data, dict):
        faults = [ConfigError("expected a mapping of sections", file=file)]
    if not faults:
        faults = [
            ConfigError("belongs to sovereign.yaml, it cannot be applied", file=file, field=name)
            for name in strangers(tree.data)
        ]
    if faults:
        raise ConfigErrors(faults)
    return tree.data  # type: ignore[no-any-return]


def with_texts(data: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """``data`` with the text of the files that they name. Raises ``StartError`` for one that cannot be read."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if name in FILES and isinstance(value, str):
            found[FILES[name]] = _text(base / value)
        elif name == "statements" and isinstance(value, list):
            found[name] = [item for each in value for item in _statements(each, base)]
        elif isinstance(value, Mapping):
            found[name] = with_texts(value, base)
        elif isinstance(value, list):
            found[name] = [with_texts(item, base) if isinstance(item, Mapping) else item for item in value]
        else:
            found[name] = value
    return found


def as_named(data: Mapping[str, Any]) -> dict[str, Any]:
    """``data`` as they are, without the statements that are in files: those have no name before they are read."""
    trust = data.get("trust")
    statements = trust.get("statements") if isinstance(trust, Mapping) else None
    if not isinstance(trust, Mapping) or not isinstance(statements, list):
        return dict(data)
    return {
        **data,
        "trust": {**trust, "statements": [each for each in statements if isinstance(each, Mapping)]},
    }


def there(gateway: Gateway, kinds: frozenset[str]) -> Iterator[Thing]:
    """The resources of those kinds. Raises ``StartError``."""
    from sovereign_ext.config.desired import MODELS, section_of, shown

    for kind in MODELS:
        if kind not in kinds:
            continue
        collection = section_of(kind).collection
        parents = [""]
        if kind == "deployment":
            listed = gateway.pages("/sf/v1/providers", {"page_size": _EVERY_PAGE}, "providers")
            parents = [f"{each['name']}/" for each in listed]
        for parent in parents:
            path = f"/sf/v1/{parent}{collection}"
            for message in gateway.pages(path, {"page_size": _EVERY_PAGE}, collection):
                yield shown(kind, message)


def path_of(name: str) -> str:
    """The path of a resource; slashes and colons in ids stay as they are."""
    return f"/sf/v1/{quote(name, safe='/:@+')}"


def _statements(named: Any, base: Path) -> list[Any]:
    if not isinstance(named, str):
        return [named]
    paths = sorted(glob.glob(named, root_dir=base, recursive=True)) if glob.has_magic(named) else [named]
    return [{"envelope": _text(base / path)} for path in paths if not (base / path).is_dir()]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise StartError(f"{path}: {reason}") from None
