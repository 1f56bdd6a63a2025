"""The gateway's own Google identity: a service account's key file, or whatever this machine or pod runs as."""

from __future__ import annotations

from collections.abc import Mapping

from sovereign_ext.keystore.exchange.google_token import AccessToken, GoogleTokens, read_service_account
from sovereign_ext.keystore.exchange.small_file import read_small
from sovereign_ext.keystore.http import Clock, Surroundings
from sovereign_ext.keystore.renewal import Lasting, Renewed, lasting
from sovereign_ext.secret import Secret


class GooglePlatform:
    """Tokens for ``credentials_file``, ``GOOGLE_APPLICATION_CREDENTIALS`` or the metadata server, in this order."""

    def __init__(
        self,
        environ: Mapping[str, str],
        tokens: GoogleTokens,
        clock: Clock,
        credentials_file: str | None = None,
    ) -> None:
        self._file = credentials_file or environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        self._tokens = tokens
        self._clock = clock
        self._renewed = Renewed(self._make, clock)

    @classmethod
    def from_environment(
        cls,
        around: Surroundings,
        *,
        credentials_file: str | None = None,
        token_url: str | None = None,
        ca_file: str | None = None,
    ) -> GooglePlatform:
        """With connections of its own; ``ca_file`` are the roots for the token URL."""
        outbound = around.outbound("Google's token service", ca_file=ca_file)
        tokens = GoogleTokens(outbound, around.environ, around.clock, token_url)
        return cls(around.environ, tokens, around.clock, credentials_file)

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._tokens.aclose()

    async def token(self) -> AccessToken:
        """A token that still holds for minutes. Raises ``CredentialUnavailableError``."""
        return await self._renewed.get()

    def refused(self, token: AccessToken) -> None:
        """Google did not accept ``token``: the next one is made anew."""
        self._renewed.drop(token)

    async def _make(self) -> Lasting[AccessToken]:
        if self._file:
            token = await self._tokens.of_service_account(
                read_service_account(Secret(read_small(self._file)))
            )
        else:
            token = await self._tokens.of_platform()
        return lasting(token, self._clock(), token.expires_s)
