"""Rules between different parts of the file: ids are unique, names refer to something, a key opens one door.

Works on the plain data of the file, valid or not, so that these faults are reported together with all
others. What is not of the expected shape is passed over: the model complains about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from sovereign_ext.config.yamltree import Path

Fault = tuple[Path, str]

_SECTIONS: Final = ("admins", "tenants", "policies", "models", "providers", "deployments")
_ID_LIKE: Final = re.compile(r"[A-Za-z0-9._:/@+-]{1,80}")


def find_faults(data: object) -> Iterator[Fault]:
    """Every fault of this kind in ``data``, the file's content as dicts and lists."""
    if not isinstance(data, Mapping):
        return
    for section in _SECTIONS:
        yield from _repeated(((*path, "id"), item.get("id")) for path, item in _items(data, section))
    yield from _keys(data)
    yield from _tenant_policies(data)
    yield from _identities(data)
    yield from _policy_providers(data)
    yield from _shadows(data)
    yield from _trust(data)
    models, providers = _ids(data, "models"), _ids(data, "providers")
    for path, item in _items(data, "deployments"):
        yield from _unknown((*path, "model"), item.get("model"), models, "model")
        yield from _unknown((*path, "provider"), item.get("provider"), providers, "provider")


def shown(text: str) -> str:
    """``text`` for a message: an id in quotes, anything else (it may be a secret in the wrong field)
    hidden.
    """
    return f"'{text}'" if _ID_LIKE.fullmatch(text) and not text.startswith("sk-") else "(not shown)"


def _keys(data: Mapping[str, Any]) -> Iterator[Fault]:
    hashes: list[tuple[Path, Any]] = []
    for section in ("admins", "tenants"):
        for path, owner in _items(data, section):
            keys = list(_items(owner, "keys", path))
            yield from _repeated(((*place, "id"), key.get("id")) for place, key in keys)
            hashes += [((*place, "hash"), key.get("hash")) for place, key in keys]
    seen: dict[str, Path] = {}
    for path, value in hashes:
        if isinstance(value, str) and seen.setdefault(value, path) != path:
            first = seen[value]
            yield path, f"the same key as {first[0]}[{first[1]}].keys[{first[3]}]; a key belongs to one owner"


def _tenant_policies(data: Mapping[str, Any]) -> Iterator[Fault]:
    policies = _ids(data, "policies")
    for path, tenant in _items(data, "tenants"):
        named = tenant.get("policies")
        if isinstance(named, Sequence) and not isinstance(named, str):
            places = [((*path, "policies", index), value) for index, value in enumerate(named)]
            for place, value in places:
                yield from _unknown(place, value, policies, "policy")
            yield from _repeated(places)
            yield from _key_policies(path, tenant, frozenset(_strings(named)))


def _key_policies(path: Path, tenant: Mapping[str, Any], allowed: frozenset[str]) -> Iterator[Fault]:
    for place, key in _items(tenant, "keys", path):
        for index, value in enumerate(_strings(key.get("policies"))):
            if value not in allowed:
                yield (*place, "policies", index), f"{shown(value)} is not among this tenant's policies"


def _identities(data: Mapping[str, Any]) -> Iterator[Fault]:
    """A workload belongs to one tenant."""
    yield from _repeated(
        ((*path, "identities", index), value)
        for path, tenant in _items(data, "tenants")
        for index, value in enumerate(_strings(tenant.get("identities")))
    )


def _policy_providers(data: Mapping[str, Any]) -> Iterator[Fault]:
    providers = _ids(data, "providers")
    for path, policy in _items(data, "policies"):
        chain = policy.get("providers")
        if not isinstance(chain, Sequence) or isinstance(chain, str):
            continue
        places: list[tuple[Path, Any]] = []
        for index, link in enumerate(chain):
            place = (*path, "providers", index)
            if isinstance(link, Sequence) and not isinstance(link, str):
                places += [((*place, inner), value) for inner, value in enumerate(link)]
            else:
                places.append((place, link))
        for place, value in places:
            yield from _unknown(place, value, providers, "provider")
        yield from _repeated(places)


def _shadows(data: Mapping[str, Any]) -> Iterator[Fault]:
    policies = _ids(data, "policies")
    for path, policy in _items(data, "policies"):
        named = policy.get("shadows")
        if not isinstance(named, Sequence) or isinstance(named, str):
            continue
        places = [((*path, "shadows", index), value) for index, value in enumerate(named)]
        for place, value in places:
            yield from _unknown(place, value, policies, "policy")
            if value == policy.get("id"):
                yield place, "a policy cannot be its own shadow"
        yield from _repeated(places)


def _trust(data: Mapping[str, Any]) -> Iterator[Fault]:
    """Signatories have one id each, models name publishers that exist, policies scopes that somebody may give."""
    trust = data.get("trust")
    trust = trust if isinstance(trust, Mapping) else {}
    for section in ("publishers", "witnesses", "observers"):
        yield from _repeated(
            ((*path, "id"), item.get("id")) for path, item in _items(trust, section, ("trust",))
        )
    publishers = _ids(trust, "publishers")
    for path, model in _items(data, "models"):
        yield from _unknown((*path, "publisher"), model.get("publisher"), publishers, "publisher")
    scopes = frozenset(
        scope for _, witness in _items(trust, "witnesses") for scope in _strings(witness.get("scopes"))
    )
    for path, policy in _items(data, "policies"):
        for index, scope in enumerate(_strings(policy.get("required_scopes"))):
            if scope not in scopes:
                yield (*path, "required_scopes", index), f"no witness may vouch for {shown(scope)}"


def _strings(value: object) -> list[str]:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else []


def _items(
    data: Mapping[str, Any], section: str, under: Path = ()
) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    values = data.get(section)
    if isinstance(values, Sequence) and not isinstance(values, str):
        for index, value in enumerate(values):
            if isinstance(value, Mapping):
                yield (*under, section, index), value


def _ids(data: Mapping[str, Any], section: str) -> frozenset[str]:
    return frozenset(item["id"] for _, item in _items(data, section) if isinstance(item.get("id"), str))


def _repeated(places: Iterable[tuple[Path, Any]]) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, value in places:
        if isinstance(value, str):
            if value in seen:
                yield path, f"{shown(value)} appears twice"
            seen.add(value)


def _unknown(path: Path, value: object, known: frozenset[str], noun: str) -> Iterator[Fault]:
    if isinstance(value, str) and value not in known:
        # Comparing is quadratic in the length: only what could be an id is worth it.
        near = get_close_matches(value, known, n=1) if len(value) <= 80 and len(known) <= 1000 else []
        yield path, f"there is no {noun} {shown(value)}" + (f"; did you mean '{near[0]}'?" if near else "")
