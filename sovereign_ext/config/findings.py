"""The block ``findings`` of the configuration file: who is told at once of credentials that were found (ADR 0020).

Only the shape. The URLs are the operator's, never a tenant's or a caller's, so any host may be named, also one of the
own network. Secrets are not in the file: it names a variable or a file that holds each.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from sovereign_ext.config.storage import SecretSource
from sovereign_ext.config.trust import (
    URL_PATTERN,
    Frozen,
    Identifier,
    InlineText,
    at_most_one,
    document_path,
)
from sovereign_ext.config.urls import is_protected

MOST_WEBHOOKS: Final = 16
MOST_SECRETS: Final = 4


def known_kinds(names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` as they are. Raises ``ValueError`` if one is neither a kind nor a family of credentials."""
    if names:
        # Here, because all detectors take time to import, and few configurations name any.
        from sovereign_ext.scanner.selection import names as every_name  # noqa: PLC0415

        known = every_name()
        for name in names:
            if name not in known:
                raise ValueError(
                    f"there is no kind or family of credentials {name!r}; docs/scanner.md lists them"
                )
    return names


def _unreadable_on_its_way(url: str) -> str:
    if not is_protected(url):
        raise ValueError("must be https, or on this host: it tells where credentials are")
    return url


class Webhook(Frozen):
    """Who is sent an event for each call with findings, signed as Standard Webhooks says.

    Every one of ``secrets`` signs, so that the receiver may change to another at its own time. ``tenants`` and
    ``kinds`` restrict which events; none given: all. A new one begins with what is found from now on, or at the log's
    entry ``from_index``. ``give_up_hours`` is for how long an event is tried that the receiver does not take.
    """

    id: Identifier
    url: Annotated[
        str, StringConstraints(pattern=URL_PATTERN, max_length=2_000), AfterValidator(_unreadable_on_its_way)
    ]
    secrets: tuple[SecretSource, ...] = Field(min_length=1, max_length=MOST_SECRETS)
    ca_file: str | None = Field(default=None, min_length=1)
    ca: InlineText | None = None
    tenants: tuple[Identifier, ...] = ()
    kinds: tuple[str, ...] = ()
    from_index: int | None = Field(default=None, ge=0, lt=1 << 63)
    give_up_hours: int = Field(default=72, ge=1, le=720)

    @field_validator("kinds")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return known_kinds(value)

    @model_validator(mode="after")
    def _one_bundle(self) -> Self:
        at_most_one(self.ca_file, self.ca, "ca_file or ca")
        return self

    @cached_property
    def ca_path(self) -> str | None:
        """Where the roots of its server are."""
        return document_path(self.ca_file, self.ca)


class Findings(Frozen):
    """What happens to findings beside the log."""

    webhooks: tuple[Webhook, ...] = Field(default=(), max_length=MOST_WEBHOOKS)

    @field_validator("webhooks")
    @classmethod
    def _each_once(cls, webhooks: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        ids = [each.id for each in webhooks]
        if len(set(ids)) != len(ids):
            raise ValueError("two webhooks have the same id")
        return webhooks
