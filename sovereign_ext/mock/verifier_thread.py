"""A mock attestation verifier with an event loop in a thread of its own, for code that is not asynchronous."""

from __future__ import annotations

from typing import Any

from sovereign_ext.mock.thread import RunningMock
from sovereign_ext.mock.verifier import ATTEST_PATH, KEYS_PATH, Verifier


class RunningVerifier(RunningMock):
    """``with RunningVerifier(Verifier(certificate_pem)) as verifier: verifier.attest_url``.

    ``options`` are those of ``MockServer``.
    """

    def __init__(self, verifier: Verifier, **options: Any) -> None:
        super().__init__(verifier.kind, wire=verifier, **options)
        self.verifier = verifier

    @property
    def attest_url(self) -> str:
        """What a configuration has as ``evidence.url``."""
        return self.url + ATTEST_PATH

    @property
    def jwks_url(self) -> str:
        """What a configuration has as ``evidence.jwks_url``."""
        return self.url + KEYS_PATH

    def behave(self, **changes: Any) -> None:
        """Let tokens from now on be as at the start, but for these changes: see ``Behaviour``."""
        self._call(lambda: self.verifier.behave(**changes))
