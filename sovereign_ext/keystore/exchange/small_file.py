"""Small files that hold a credential of the gateway's own: read again for every use, so that they can be rotated."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sovereign_ext.keystore.base import CredentialUnavailableError
from sovereign_ext.secret import Secret

_MAX_CHARACTERS: Final = 64 * 1024


def read_small(path: str) -> str:
    """The text of a file; ``~`` is the home directory. Raises ``CredentialUnavailableError``."""
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            text = file.read(_MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError, RuntimeError) as error:  # RuntimeError: no home directory
        raise CredentialUnavailableError(
            "unreachable", f"file {path} cannot be read: {type(error).__name__}"
        ) from None
    if len(text) > _MAX_CHARACTERS:
        raise CredentialUnavailableError(
            "damaged", f"file {path} is longer than {_MAX_CHARACTERS} characters"
        )
    return text


def read_token(path: str) -> Secret:
    """The one token that is in a file. Raises ``CredentialUnavailableError`` if there is none."""
    text = read_small(path).strip()
    if not text:
        raise CredentialUnavailableError("damaged", f"file {path} is empty")
    return Secret(text)
