"""Attestation results as signed tokens: EAT claims (RFC 9711) in a JWT (RFC 7519), read into ``VerifiedEvidence``.

In order: signature, issuer, times, nonce; then what the token says of debugging, measurement and key, which is
reported and not judged. Understood besides the standard claims are those of Intel Trust Authority (versions 1 and
2 of its tokens) and Azure Attestation; docs/reference/evidence.md has the table. Standard claims come first. Raw
quotes of processors are not read: the issuer has appraised them, and its key is what is trusted.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any, Final

from sovereign_ext.config.trust import EvidenceKind
from sovereign_ext.errors import EvidenceRefused, VerificationError
from sovereign_ext.registry.appraisal import NO_EVIDENCE, Expected, lifetime
from sovereign_ext.registry.binding import read_binding
from sovereign_ext.registry.evidence import VerifiedEvidence, spelled_as_allowed
from sovereign_ext.registry.jose import Claims, KeySet, read_json_object, verify_compact

MEASUREMENT_CLAIM: Final = "x-sovereign-measurement"

_PLATFORMS: Final = ("tdx", "sgx", "x-ms-isolation-tee")
"""Where version 2 of Intel's tokens and Azure's guest attestation put what they say of the platform."""

_RUNTIME: Final = ("attester_runtime_data", "x-ms-runtime")
"""Claims of the attested workload itself, which the platform's report covers by their hash."""

_DEBUG_OFF: Final = frozenset(
    ("disabled", "disabled-since-boot", "disabled-permanently", "disabled-fully-and-permanently")
)
_DEBUG_OFF_NUMBERS: Final = range(1, 5)
_DEBUG_FLAGS: Final = (
    "tdx_is_debuggable",
    "tdx_td_attributes_debug",
    "sgx_is_debuggable",
    "x-ms-sgx-is-debuggable",
    "x-ms-sevsnpvm-is-debuggable",
)

_MEASURED_COMPONENT_JSON: Final = 296
"""CoAP Content-Format of application/measured-component+json (draft-ietf-rats-eat-measured-component)."""

_VENDOR_MEASUREMENTS: Final = (
    ("tdx_mrtd", "tdx_rtmr0", "tdx_rtmr1", "tdx_rtmr2", "tdx_rtmr3"),
    ("x-ms-sevsnpvm-launchmeasurement", "x-ms-sevsnpvm-hostdata"),
    ("x-ms-sgx-mrenclave",),
    ("sgx_mrenclave",),
)

_LATEST_S: Final = 2**40


def encode_nonce(nonce: bytes) -> str:
    """A nonce as it is sent and as ``eat_nonce`` has to say it: base64url without padding."""
    return urlsafe_b64encode(nonce).rstrip(b"=").decode()


def verify_token(token: bytes, keys: KeySet, expected: Expected) -> VerifiedEvidence:
    """What an attestation result says, once it is known to be its issuer's, fresh and, if asked, an answer to us.

    Raises ``EvidenceRefused``: ``no_evidence`` when it cannot be believed, ``evidence_expired`` when it is too old.
    """
    try:
        claims = verify_compact(token, keys)
        measured = tuple(_measured(claims))
    except VerificationError as error:
        raise EvidenceRefused(NO_EVIDENCE, str(error)) from None
    wanted = expected.config.issuer
    if wanted is not None and claims.get("iss") != wanted:
        raise EvidenceRefused(NO_EVIDENCE, f"token is from {_shown(claims.get('iss'))}, expected {wanted!r}")
    if expected.nonce is not None and encode_nonce(expected.nonce) not in _nonces(claims):
        raise EvidenceRefused(NO_EVIDENCE, "token does not hold the nonce that was sent")
    issued = _moment(claims, "iat")
    if issued is None:
        if expected.nonce is None:
            raise EvidenceRefused(
                NO_EVIDENCE, "token has neither iat nor a nonce of ours: its age is unknown"
            )
        issued = expected.now_s
    expires, not_before = _moment(claims, "exp"), _moment(claims, "nbf")
    life = lifetime(
        expected,
        issued,
        expires_s=_LATEST_S if expires is None else expires,
        not_before_s=not_before or 0,
    )
    bound = read_binding(_levels_of_workload(claims))
    return VerifiedEvidence(
        kind=EvidenceKind.EAT,
        document="sha256:" + hashlib.sha256(token).hexdigest(),
        issued_at_s=life.issued_at_s,
        expires_at_s=life.expires_at_s,
        measurement=spelled_as_allowed(measured, expected.config.measurements),
        debug=not _debug_is_off(claims),
        bound_spki=bound.spki,
        bound_certificate=bound.certificate,
    )


def _moment(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST_S:
        raise EvidenceRefused(NO_EVIDENCE, f"token's {name} is not a time in seconds")
    return value


def _nonces(claims: Claims) -> Iterator[str]:
    for level in _levels_of_workload(claims):
        for name in ("eat_nonce", "nonce"):
            value = level.get(name)
            yield from (
                item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str)
            )


def _levels_of_platform(claims: Claims) -> Iterator[Claims]:
    yield claims
    yield from (level for name in _PLATFORMS if isinstance(level := claims.get(name), dict))


def _levels_of_workload(claims: Claims) -> Iterator[Claims]:
    yield claims
    for level in _levels_of_platform(claims):
        yield from (data for name in _RUNTIME if isinstance(data := level.get(name), dict))


# -- debugging -----------------------------------------------------------------------------------------------------


def _debug_is_off(claims: Claims) -> bool:
    """Whether everything that speaks of debugging says it is off, and nothing that matters is silent.

    A submodule may be silent where the entity itself is not. One that is a token of its own is not read, and could
    hide that it is in debug mode.
    """
    own = [word for level in _levels_of_platform(claims) for word in _debug_words(level)]
    submodules = claims.get("submods", {})
    if not isinstance(submodules, dict) or not all(isinstance(inner, dict) for inner in submodules.values()):
        return False
    if own:
        return all(own) and not any(_debug_is_on(inner) for inner in submodules.values())
    return bool(submodules) and all(_debug_is_off(inner) for inner in submodules.values())


def _debug_is_on(claims: Claims) -> bool:
    speaks = any(True for level in _levels_of_platform(claims) for _ in _debug_words(level))
    return (speaks or "submods" in claims) and not _debug_is_off(claims)


def _debug_words(level: Claims) -> Iterator[bool]:
    """For each statement about debugging, whether it says that it is off."""
    if "dbgstat" in level:
        said = level["dbgstat"]
        if isinstance(said, bool):
            yield False
        elif isinstance(said, int):
            yield said in _DEBUG_OFF_NUMBERS
        else:
            yield isinstance(said, str) and said in _DEBUG_OFF
    yield from (level[name] is False for name in _DEBUG_FLAGS if name in level)


# -- measurement ---------------------------------------------------------------------------------------------------


def _measured(claims: Claims) -> Iterator[str]:
    """The components of the measurement, from the first place that has one."""
    found = list(_measured_components(claims.get("measurements")))
    if found:
        yield from found
        return
    for level in _levels_of_platform(claims):
        for names in _VENDOR_MEASUREMENTS:
            if isinstance(level.get(names[0]), str):
                yield from (value for name in names if isinstance(value := level.get(name), str))
                return
    own = claims.get(MEASUREMENT_CLAIM)
    if isinstance(own, str):
        yield from own.split(":")


def _measured_components(claim: Any) -> Iterator[str]:
    """Digests (hex) in an EAT ``measurements`` claim. Other formats, such as CoSWID, are passed over."""
    for entry in claim if isinstance(claim, list) else ():
        if not isinstance(entry, list) or len(entry) != 2 or entry[0] != _MEASURED_COMPONENT_JSON:
            continue
        body = entry[1] if isinstance(entry[1], str) else json.dumps(entry[1])
        component = read_json_object(body.encode("utf-8", "replace"), "measured component")
        if not set(component) <= {"id", "digested-measurement"}:
            # The draft: whoever does not know the profile that gives them a meaning must reject the token.
            raise VerificationError("measured component has members of an unknown profile")
        match component.get("digested-measurement"):
            case [str() | int(), str(value)]:
                yield _decoded(value).hex()
            case _:
                raise VerificationError("measured component has no digest")


def _decoded(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
    except ValueError:
        raise VerificationError("a digest in the token is not base64url") from None


def _shown(value: Any) -> str:
    return repr(value[:100]) if isinstance(value, str) else "nobody"
