"""AWS STS: temporary keys for a role, by keys of one's own or by a web identity token (API version 2011-06-15)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sovereign_ext.credentials import AwsKeys
from sovereign_ext.keystore.exchange.aws_api import AwsApi, endpoint_of
from sovereign_ext.keystore.http import Clock, Outbound, Surroundings
from sovereign_ext.secret import Secret

DURATION_S: Final = 3_600
"""What STS gives at most when a role assumes a role, and by default otherwise."""

_VERSION: Final = "2011-06-15"
_SESSION: Final = re.compile(r"[^A-Za-z0-9_+=,.@-]")


@dataclass(frozen=True, slots=True)
class Role:
    """What is to be assumed. ``external_id`` is what the role's owner asked for; ``session`` shows in CloudTrail."""

    arn: str
    session: str
    external_id: str | None = None

    def form(self, action: str) -> dict[str, str]:
        """The parameters common to both actions."""
        form = {
            "Action": action,
            "Version": _VERSION,
            "RoleArn": self.arn,
            "RoleSessionName": _SESSION.sub("-", self.session)[:64],
            "DurationSeconds": str(DURATION_S),
        }
        return form if self.external_id is None else form | {"ExternalId": self.external_id}


@dataclass(frozen=True, slots=True)
class TemporaryKeys:
    """Keys and until when they hold, in Unix seconds."""

    keys: AwsKeys = field(repr=False)
    expires_s: float


class Sts:
    """STS of any region, over one ``outbound``; where it is, ``endpoint_of`` says."""

    def __init__(self, outbound: Outbound, environ: Mapping[str, str], clock: Clock) -> None:
        self._outbound = outbound
        self._environ = environ
        self._clock = clock

    @classmethod
    def from_environment(cls, around: Surroundings) -> Sts:
        """With the roots of ``AWS_CA_BUNDLE``, if it is set. Raises ``ConfigError`` if they are none."""
        outbound = around.outbound("AWS STS", ca_file=around.environ.get("AWS_CA_BUNDLE") or None)
        return cls(outbound, around.environ, around.clock)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._outbound.aclose()

    async def assume_role(self, region: str, role: Role, keys: AwsKeys) -> TemporaryKeys:
        """``AssumeRole`` signed with ``keys``. Raises ``CredentialUnavailableError``."""
        return await self._ask(region, role.form("AssumeRole"), keys)

    async def assume_role_with_web_identity(self, region: str, role: Role, token: Secret) -> TemporaryKeys:
        """``AssumeRoleWithWebIdentity``: the token is the proof, nothing is signed."""
        form = role.form("AssumeRoleWithWebIdentity")
        form.pop("ExternalId", None)  # the action has none
        return await self._ask(region, form | {"WebIdentityToken": token.reveal()}, None)

    async def _ask(self, region: str, form: Mapping[str, str], keys: AwsKeys | None) -> TemporaryKeys:
        url = endpoint_of("sts", region, self._environ)
        api = AwsApi("sts", region, url, self._outbound, self._clock)
        return self._read(await self._outbound.ask(lambda: api.query(form, keys)))

    def _read(self, texts: Mapping[str, str]) -> TemporaryKeys:
        try:
            keys = AwsKeys(
                texts["AccessKeyId"], Secret(texts["SecretAccessKey"]), Secret(texts["SessionToken"])
            )
            return TemporaryKeys(keys, instant_s(texts["Expiration"]))
        except (KeyError, ValueError):
            raise self._outbound.damaged("its answer has no keys with an expiry") from None


def instant_s(text: str) -> float:
    """Unix seconds of an ISO 8601 time; without an offset it is UTC. Raises ``ValueError``."""
    moment = datetime.fromisoformat(text)
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except OverflowError:
        raise ValueError("outside the years there are") from None
