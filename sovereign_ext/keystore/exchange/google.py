"""What calls to Vertex AI are authorised with: an access token for the stored service account, or for the platform's.

Stored is the service account's key file, as Google's console gives it out, or a ready access token as plain text. Where
nothing is stored the gateway's own identity is used: ``GOOGLE_APPLICATION_CREDENTIALS`` or the metadata server (which
is also where Workload Identity of GKE is). A key file's ``token_uri`` counts only if it is Google's;
``SOVEREIGN_GOOGLE_TOKEN_URL`` replaces it.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.config.model import Provider
from sovereign_ext.config.urls import is_protected
from sovereign_ext.errors import ConfigError
from sovereign_ext.keystore.base import Minted
from sovereign_ext.keystore.exchange.google_platform import GooglePlatform
from sovereign_ext.keystore.exchange.google_token import GoogleTokens, read_service_account
from sovereign_ext.keystore.http import Surroundings
from sovereign_ext.secret import Secret

TOKEN_URL_VARIABLE: Final = "SOVEREIGN_GOOGLE_TOKEN_URL"  # noqa: S105 - a name


class GoogleMinter:
    """A ``Minter`` for Vertex AI."""

    def __init__(self, tokens: GoogleTokens, platform: GooglePlatform) -> None:
        self._tokens = tokens
        self._platform = platform

    @classmethod
    def from_surroundings(cls, around: Surroundings) -> GoogleMinter:
        """Raises ``ConfigError`` for a token URL that would send assertions in the clear."""
        url = around.environ.get(TOKEN_URL_VARIABLE) or None
        if url is not None and not is_protected(url):
            raise ConfigError(f"{TOKEN_URL_VARIABLE} has to be https, or http on this host")
        outbound = around.outbound("Google's token service")
        tokens = GoogleTokens(outbound, around.environ, around.clock, url)
        return cls(tokens, GooglePlatform(around.environ, tokens, around.clock))

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._tokens.aclose()

    async def mint(self, provider: Provider, stored: Secret | None) -> Minted:
        if stored is None:
            token = await self._platform.token()
        elif stored.reveal().lstrip().startswith("{"):
            token = await self._tokens.of_service_account(read_service_account(stored))
        else:
            return Minted(stored, None)
        return Minted(token.token, token.expires_s)
