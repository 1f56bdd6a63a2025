"""Provider keys in environment variables, by a naming scheme.

``SOVEREIGN_KEY__<TENANT>__<PROVIDER>``, and ``SOVEREIGN_KEY__<PROVIDER>`` for a key that all tenants may use. An id is
written in upper case. ``-`` between two letters or digits is ``_``; any other character but letters and digits is
``_X`` and two hex digits (``_X2E`` is ``.``, ``_X5F`` is ``_``), and so is ``-`` before an ``x`` (``_X2D``). So
every id has a name, no two ids have the same one, and no name of an id holds the ``__`` between ids.

``SOVEREIGN_KEY__ACME__CLOUD_A`` is the key of tenant ``acme`` for provider ``cloud-a``. Reading is more generous than
writing (``CLOUD_X2DA`` works too); two variables for one pair are refused, since nobody could say which counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from sovereign_ext.config.trust import IDENTIFIER_PATTERN
from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.base import SHARED, CredentialUnavailableError
from sovereign_ext.secret import Secret

PREFIX: Final = "SOVEREIGN_KEY__"
_SEPARATOR: Final = "__"
_IDENTIFIER: Final = re.compile(IDENTIFIER_PATTERN)
_NAME: Final = re.compile(r"(?:[A-Z0-9]|_X[0-9A-F]{2}|_(?!X|_|$))+")
_TOKEN: Final = re.compile(r"_X([0-9A-F]{2})|_|[A-Z]")
_UNUSUAL: Final = re.compile(r"[^a-z0-9]")

Pair = tuple[str, str]


def variable(tenant: str, provider: str) -> str:
    """The variable of a tenant's key for a provider; ``tenant`` is ``SHARED`` for the shared one."""
    parts = [provider] if tenant == SHARED else [tenant, provider]
    return PREFIX + _SEPARATOR.join(map(_encoded, parts))


def pair_of(name: str) -> Pair | None:
    """Whose key for which provider a variable holds; ``None`` for a name that is none by the scheme."""
    if not name.startswith(PREFIX):
        return None
    parts = [_decoded(part) for part in name.removeprefix(PREFIX).split(_SEPARATOR)]
    if None in parts or len(parts) > 2:
        return None
    *tenants, provider = (part or "" for part in parts)
    return (tenants[0] if tenants else SHARED), provider


def strays(names: Iterable[str]) -> tuple[str, ...]:
    """Variables that begin like a key's and are none: a slip of the pen, most likely."""
    return tuple(sorted(name for name in names if name.startswith(PREFIX) and pair_of(name) is None))


class EnvironmentKeys:
    """The link ``env``. The environment is that of the process, so it never changes."""

    name = "env"

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises ``ConfigError`` where two variables are for one pair."""
        self._environ = environ
        self._variables: dict[Pair, str] = {}
        for name in sorted(environ):
            pair = pair_of(name)
            if pair is None:
                continue
            if pair in self._variables:
                both = f"{self._variables[pair]} and {name}"
                raise ConfigError(f"the environment variables {both} are for the same key; keep one")
            self._variables[pair] = name

    async def find(self, tenant: str, provider: str) -> Secret | None:
        """The variable's text without space around it. One that is set but empty hides nothing: it is a fault."""
        name = self._variables.get((tenant, provider))
        if name is None:
            return None
        value = self._environ[name].strip()
        if not value:
            raise CredentialUnavailableError("damaged", f"environment variable {name} is empty")
        return Secret(value)


def _encoded(identifier: str) -> str:
    return _UNUSUAL.sub(_escaped, identifier).upper()


def _escaped(found: re.Match[str]) -> str:
    text, at = found.string, found.start()
    if (
        found[0] == "-"
        and text[at - 1 : at].isalnum()
        and text[at + 1 : at + 2].isalnum()
        and text[at + 1] != "x"
    ):
        return "_"
    return f"_X{ord(found[0]):02X}"


def _decoded(part: str) -> str | None:
    if not _NAME.fullmatch(part):
        return None
    identifier = _TOKEN.sub(_unescaped, part)
    return identifier if _IDENTIFIER.fullmatch(identifier) else None


def _unescaped(found: re.Match[str]) -> str:
    if found[1] is not None:
        return chr(int(found[1], 16))
    return "-" if found[0] == "_" else found[0].lower()
