"""The token that Vault or OpenBao is asked with: given, or by an AppRole login; renewed while it can be.

A token file is read again each time (an agent writes it and renews it). A token of the environment and one of a login
are renewed after two thirds of their lease; where that fails, an AppRole logs in anew. A token that nobody uses for the
whole of its lease ends; a login makes another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from sovereign_ext.config.keystore_kms import VaultService
from sovereign_ext.keystore.base import CredentialMissingError, CredentialUnavailableError
from sovereign_ext.keystore.exchange.small_file import read_token
from sovereign_ext.keystore.http import Answer, Clock, Hidden, Outbound, TransientError, decode
from sovereign_ext.keystore.renewal import Lasting, Renewed
from sovereign_ext.secret import Secret

_NO_KEY: Final = b"encryption key not found"  # transit says it with 400, as it does to all else it refuses
_VARIABLES: Final = ("VAULT_TOKEN", "BAO_TOKEN")


class VaultRefused(CredentialUnavailableError):
    """An error answer that asking again does not change."""

    def __init__(self, reason: str, message: str, status: int) -> None:
        super().__init__(reason, message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Held:
    token: Secret = field(repr=False)
    renewable: bool
    expires_s: float | None


class VaultWire:
    """Vault's HTTP API: base URL, namespace, errors."""

    def __init__(self, config: VaultService, outbound: Outbound) -> None:
        self._base = f"{config.endpoint}/v1/"
        self._namespace = (("x-vault-namespace", config.namespace),) if config.namespace else ()
        self.outbound = outbound

    async def ask(
        self, method: str, path: str, token: Secret | None, body: Mapping[str, object] | None = None
    ) -> Answer:
        """A 200, after as many tries as there are. Raises ``CredentialUnavailableError``, ``VaultRefused``."""
        headers = [("x-vault-request", "true"), *self._namespace]
        if token is not None:
            headers.append(("x-vault-token", token.reveal()))
        content = b"" if body is None else msgspec.json.encode(body)

        async def once() -> Answer:
            answer = await self.outbound.send(method, self._base + path, headers, content)
            if answer.status != 200:
                raise self._refusal(answer)
            return answer

        return await self.outbound.ask(once)

    def _refusal(self, answer: Answer) -> CredentialUnavailableError:
        told = f"{self.outbound.service} answered {answer.status}"
        if answer.status == 429:
            return TransientError("throttled", told, answer.retry_after_s)
        if answer.status >= 500 or answer.status in (412, 472, 473):
            # 503 is sealed or in standby without a way on; 412 a standby that has not caught up yet.
            return TransientError("unreachable", told, answer.retry_after_s)
        missing = answer.status == 404 or _NO_KEY in answer.body
        return VaultRefused("missing" if missing else "denied", told, answer.status)


class VaultToken:
    """Whatever ``config`` says where the token comes from. ``clock`` gives Unix seconds."""

    def __init__(
        self, config: VaultService, wire: VaultWire, environ: Mapping[str, str], clock: Clock
    ) -> None:
        self._config = config
        self._wire = wire
        self._environ = environ
        self._clock = clock
        self._held: _Held | None = None
        self._renewed = Renewed(self._make, clock)

    async def get(self) -> Secret:
        """Raises ``CredentialMissingError`` if none is given, ``CredentialUnavailableError``."""
        if self._config.token_file is not None:
            return read_token(self._config.token_file)
        return await self._renewed.get()

    def refused(self, token: Secret) -> bool:
        """``token`` was not accepted. Whether it is worth asking for another."""
        if self._held is not None and self._held.token is token:  # or another call has got a new one already
            self._held = None
        self._renewed.drop(token)
        return self._config.approle is not None or self._config.token_file is not None

    async def _make(self) -> Lasting[Secret]:
        held = self._held
        now_s = self._clock()
        if held is not None and held.renewable and (held.expires_s is None or now_s < held.expires_s):
            try:
                self._held = await self._renew(held)
                return self._lasting(self._held)
            except VaultRefused:
                pass  # its lease cannot be made longer any more
        self._held = await (self._log_in() if self._config.approle is not None else self._given())
        return self._lasting(self._held)

    def _lasting(self, held: _Held) -> Lasting[Secret]:
        if held.expires_s is None:
            return Lasting(held.token, None, None)
        now_s = self._clock()
        may_change = held.renewable or self._config.approle is not None
        renew_s = now_s + (held.expires_s - now_s) * 2 / 3 if may_change else None
        return Lasting(held.token, held.expires_s, renew_s)

    async def _log_in(self) -> _Held:
        approle = self._config.approle
        assert approle is not None
        secret_id = read_token(approle.secret_id_file)
        body = {"role_id": approle.role_id, "secret_id": secret_id.reveal()}
        try:
            answer = await self._wire.ask("POST", f"auth/{approle.mount}/login", None, body)
        except VaultRefused as error:  # 400 for a role id or secret id that is none
            told = f"{self._wire.outbound.service} refused the AppRole login ({error.status})"
            raise CredentialUnavailableError("denied", told) from None
        auth = decode(answer, _Login, self._wire.outbound).auth
        if not auth.client_token:
            raise self._wire.outbound.damaged("its answer to a login has no token")
        return self._hold(Secret(auth.client_token), auth.lease_duration, auth.renewable)

    async def _given(self) -> _Held:
        names = (self._config.token_env,) if self._config.token_env is not None else _VARIABLES
        for name in names:
            value = self._environ.get(name, "").strip()
            if value:
                return await self._looked_up(Secret(value))
        raise CredentialMissingError(f"no Vault token: environment variable {' or '.join(names)} is not set")

    async def _looked_up(self, token: Secret) -> _Held:
        try:
            answer = await self._wire.ask("GET", "auth/token/lookup-self", token)
        except VaultRefused:
            return self._hold(token, 0, renewable=False)  # it may not look at itself, or is refused later
        told = decode(answer, _LookUp, self._wire.outbound).data
        return self._hold(token, told.ttl, told.renewable)

    async def _renew(self, held: _Held) -> _Held:
        answer = await self._wire.ask("POST", "auth/token/renew-self", held.token, {})
        auth = decode(answer, _Login, self._wire.outbound).auth
        return self._hold(held.token, auth.lease_duration, auth.renewable)

    def _hold(self, token: Secret, lease_s: int, renewable: bool) -> _Held:
        """A lease of 0 is a token without end."""
        return _Held(token, renewable, self._clock() + lease_s if lease_s > 0 else None)


async def with_token(token: VaultToken, ask: Callable[[Secret], Awaitable[Answer]]) -> Answer:
    """``ask`` with the token, and once more with another if that one is refused (403)."""
    first = await token.get()
    try:
        return await ask(first)
    except VaultRefused as error:
        if error.status != 403 or not token.refused(first):
            raise
    return await ask(await token.get())


class _Auth(Hidden):
    client_token: str
    lease_duration: int = 0
    renewable: bool = False


class _Login(Hidden):
    auth: _Auth


class _TokenData(Hidden):
    ttl: int = 0
    renewable: bool = False


class _LookUp(Hidden):
    data: _TokenData
