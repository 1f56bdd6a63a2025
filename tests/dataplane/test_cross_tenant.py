"""Every method × every caller × own, foreign and missing names, over HTTP through real Envoy.

Methods come from the descriptors, so a new one is in here by itself; what it names must be in ``NAMES``, or the test
fails. Everything of acme has ``acme`` in its name and everything of globex ``globex``: whoever is bound to one of them
must never read the other's name, in no answer, whatever its status.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor
from management_stack import CONFIG, KEYS, Gateway, Response, gateway_in
from oidc_issuer import AUDIENCE, ISSUER, SigningKey, claims, token

from sovereign_ext.attest.statement import finding_statement
from sovereign_ext.config.model import Config
from sovereign_ext.config.oidc import Oidc
from sovereign_ext.management import descriptor, names
from sovereign_ext.management.access import Role, access_of
from sovereign_ext.management.jwks import issuers
from sovereign_ext.metering.findings import FINDING_KIND, finding_rows
from sovereign_ext.tlog.service import EntryDraft

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "metering"))

from findings_world import facts, found

pytestmark = pytest.mark.dataplane

NAMES: Final = {
    "tenants/*": ("tenants/acme", "tenants/globex"),
    "tenants/*/keys/*": ("tenants/acme/keys/acme", "tenants/globex/keys/globex"),
    "tenants/*/providerKeys/*": ("tenants/acme/providerKeys/acmeai", "tenants/globex/providerKeys/globexai"),
    "tenants/*/invoices/*": ("tenants/acme/invoices/2026-10", "tenants/globex/invoices/2026-10"),
    "providerKeys/*": ("providerKeys/acmeai", "providerKeys/globexai"),
    "operators/*": ("operators/acme-admin", "operators/globex-admin"),
    "operators/*/keys/*": (
        "operators/acme-admin/keys/acme-admin",
        "operators/globex-admin/keys/globex-admin",
    ),
    "receipts/*": ("receipts/0", "receipts/1"),
    "auditRows/*": ("auditRows/0", "auditRows/1"),
    "findings/*": ("findings/2-1", "findings/3-1"),
    "policies/*": ("policies/acme-only", "policies/globex-only"),
    "policies/*/versions/*": ("policies/acme-only/versions/0", "policies/globex-only/versions/0"),
    "providers/*": ("providers/acmeai", "providers/globexai"),
    "providers/*/deployments/*": (
        "providers/acmeai/deployments/acmeai-small",
        "providers/globexai/deployments/globexai-small",
    ),
    "deployments/*": ("deployments/acmeai-small", "deployments/globexai-small"),
    "models/**": ("models/org/acme", "models/org/globex"),
    "models/*": ("models/org%2Facme", "models/org%2Fglobex"),
    "publishers/*": ("publishers/acme", "publishers/globex"),
    "witnesses/*": ("witnesses/acme", "witnesses/globex"),
    "observers/*": ("observers/acme", "observers/globex"),
    "statements/*": ("statements/acme", "statements/globex"),
    "mirrors/*": ("mirrors/acme", "mirrors/globex"),
    "anchors/*": ("anchors/acme", "anchors/globex"),
}
"""For each pattern of names one of acme's and one of globex's."""

FIELDS: Final = {"RollbackPolicy": {"revision": "0"}}
"""What a method must be given before it looks at the name."""

NOT_THERE: Final = re.compile(
    r"(publishers|witnesses|observers|statements|mirrors|anchors)/|/(providerKeys|versions)(/|$)"
)
"""Names of which this gateway has none, so nothing is asserted of one's own."""

SIGNER: Final = SigningKey("k1", "ES256")


@dataclass(frozen=True)
class Who:
    """A caller: the key or token, what it is, and the side (0 is acme's, 1 is globex's) that it is bound to."""

    name: str
    key: str | None
    role: Role | None = None
    side: int | None = None
    status: int = 0  # of every answer, for those whom nothing opens

    def __str__(self) -> str:
        return self.name


def _oidc(name: str, role: Role | None, side: int | None, status: int = 0, **changes: Any) -> Who:
    """With a token made now, while tests are collected: it has to live until the last of them runs."""
    said = claims(**{"exp": int(time.time()) + 86_400, **changes})
    return Who(f"oidc {name}", token(SIGNER, said), role, side, status)


CALLERS: Final = (
    Who("admin", "admin", Role.ADMIN),
    Who("acme's admin", "acme-admin", Role.TENANT_ADMIN, 0),
    Who("globex's admin", "globex-admin", Role.TENANT_ADMIN, 1),
    Who("auditor", "auditor", Role.AUDITOR),
    Who("acme's auditor", "acme-auditor", Role.AUDITOR, 0),
    Who("acme's key", "acme", Role.TENANT, 0),
    Who("globex's key", "globex", Role.TENANT, 1),
    Who("nobody", None, status=401),
    Who("expired", "expired", status=401),
    Who("revoked", "revoked", status=401),
    Who("unknown", "unknown", status=401),
    Who("revoked operator", "old-admin", status=401),
    Who("admin of a tenant that is gone", "stray-admin", status=403),
    _oidc("admin", Role.ADMIN, None),
    _oidc("acme's admin", Role.TENANT_ADMIN, 0, groups=["acme-admins"]),
    _oidc("globex's auditor", Role.AUDITOR, 1, groups=["globex-auditors"]),
    _oidc("without a role", None, None, 403, groups=[]),
    _oidc("expired", None, None, 401, exp=1),
    _oidc("of another audience", None, None, 401, aud="other"),
)
MARKS: Final = ("acme", "globex")


def _config() -> Config:
    """Two tenants that have nothing in common, as the file declares them."""
    data = CONFIG.model_dump()
    acme, globex = data["tenants"]
    acme |= {"policies": ["acme-only"], "default_policy": "acme-only"}
    globex |= {"policies": ["globex-only"], "default_policy": "globex-only"}
    data["policies"] = [{"id": f"{mark}-only", "providers": [f"{mark}ai"]} for mark in MARKS]
    data["models"] = [{"id": f"org/{mark}"} for mark in MARKS]
    data["providers"] = [
        {"id": f"{mark}ai", "kind": "mock", "endpoint": f"http://{mark}.internal:9000/v1"} for mark in MARKS
    ]
    data["deployments"] = [
        {
            "id": f"{mark}ai-small",
            "model": f"org/{mark}",
            "provider": f"{mark}ai",
            "upstream_model": f"{mark}-1",
        }
        for mark in MARKS
    ]
    return Config.model_validate(data)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_in(tmp_path_factory.mktemp("cross"), _config()) as running:
        assert running.run(running.world.append("globex", "two")) == 1
        for number, mark in enumerate(MARKS, 2):
            said = facts(found(secret=mark), tenant=mark, key=mark, policy=f"{mark}-only", decision_id=mark)
            statement, rows = finding_statement(said), finding_rows(said)
            draft = EntryDraft(FINDING_KIND, mark, mark, statement, b"{}", findings=rows)
            assert running.run(running.world.log.append(draft)).index == number
        grants = [{"claim": "groups", "value": "router-admins", "role": "admin"}]
        grants.append({"claim": "groups", "value": "acme-admins", "role": "tenant_admin", "tenant": "acme"})
        grants.append({"claim": "groups", "value": "globex-auditors", "role": "auditor", "tenant": "globex"})
        issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "k", "grants": grants}
        keys = json.dumps({"keys": [SIGNER.jwk()]}).encode()
        known = issuers(Oidc.model_validate({"issuers": [issuer]}), {"k": keys}, lambda: 0.0)
        running.world.tokens.use(known, 30)
        yield running


METHODS: Final = {
    method.full_name: method
    for service in descriptor.SERVICES
    for method in service.methods
    if not access_of(method).public
}
ROUTES: Final = [route for route in descriptor.routes() if not route.public]


@dataclass(frozen=True)
class Case:
    """One route with the names it can be asked for. ``missing`` holds several ways not to be there."""

    route: descriptor.Route
    own: str
    foreign: str
    missing: tuple[str, ...]

    @classmethod
    def of(cls, route: descriptor.Route, side: int) -> Case:
        variable = re.search(r"\{[^=}]+=([^}]+)\}", route.template)
        if variable is None:
            return cls(route, route.template, route.template, ())
        assert variable[1] in NAMES, f"tell NAMES of one of acme's and one of globex's {variable[1]}"
        pair = NAMES[variable[1]]
        own, foreign = pair[side], pair[1 - side]
        parts = foreign.split("/")
        if variable[1] == "tenants/*/invoices/*":  # there is one for every month of a tenant
            ways = {f"tenants/nothing/invoices/{parts[-1]}"}
        else:
            nothing = {"findings": "99999-1"}.get(parts[0], "99999" if parts[-1].isdigit() else "nothing")
            ways = {"/".join([*parts[:-1], nothing])}
            if variable[1] not in ("models/**", "models/*"):
                ways.add("/".join(part if at % 2 == 0 else nothing for at, part in enumerate(parts)))

        def path(name: str) -> str:
            return route.template[: variable.start()] + name + route.template[variable.end() :]

        return cls(route, path(own), path(foreign), tuple(path(way) for way in sorted(ways)))


def ask(gateway: Gateway, who: Who, route: descriptor.Route, path: str, **fields: Any) -> Response:
    """One request, with what its kind of method needs to get as far as the name; ``fields`` go where they belong."""
    method = METHODS[route.grpc_method]
    known = method.input_type.fields_by_name
    query = {name: "brand-new" for name in known if name.endswith("_id")}
    fields = {**FIELDS.get(method.name, {}), **fields}
    whole = _body(method) == "*"
    if "validate_only" in known and not whole:
        query["validate_only"] = "true"
    body = None if route.http_method in ("GET", "DELETE") else {}
    if whole and body is not None:
        body |= fields
        query = {}
    else:
        query |= fields
    return gateway.request(
        f"{path}?{urlencode(query)}" if query else path, who.key, route.http_method, body=body
    )


def _body(method: MethodDescriptor) -> str:
    return str(method.GetOptions().Extensions[annotations_pb2.http].body)


def harmless(route: descriptor.Route) -> bool:
    """Whether the method may be tried on what is there: it reads, or can be told only to check."""
    whole = _body(METHODS[route.grpc_method]) == "*"
    known = METHODS[route.grpc_method].input_type.fields_by_name
    reads = route.http_method == "GET" or route.template.endswith(":evaluate")
    return reads or ("validate_only" in known and not whole)


def same(one: Response, other: Response) -> bool:
    """Told apart by nothing but the clock."""
    return (one.status, one.body, one.headers.keys()) == (other.status, other.body, other.headers.keys())


def clean(who: Who, answer: Response) -> bool:
    """Nothing of the other tenant's is in it."""
    return who.side is None or MARKS[1 - who.side] not in answer.body.decode("utf-8", "replace").lower()


def _route_id(route: descriptor.Route) -> str:
    return f"{route.http_method} {route.template}"


@pytest.mark.parametrize("route", ROUTES, ids=_route_id)
@pytest.mark.parametrize("who", CALLERS, ids=str)
def test_every_method_and_every_caller(gateway: Gateway, route: descriptor.Route, who: Who) -> None:
    """Wrong key 401, wrong role 403 whatever is named; foreign is missing, to the byte; one's own is there."""
    case = Case.of(route, who.side or 0)
    itself = "operators/" in case.own and who.role is not Role.ADMIN  # an operator sees itself, a token none
    if itself and who.key in KEYS:
        case = replace(case, own=re.sub("(?:acme|globex)-admin", who.key, case.own))
    access = access_of(METHODS[route.grpc_method])
    allowed = who.role in access.roles and not (access.unbound and who.side is not None)
    others = [ask(gateway, who, route, path) for path in case.missing]
    if not allowed:
        expected = who.status or 403
        answers = [ask(gateway, who, route, path) for path in (case.own, case.foreign)] + others
        assert {answer.status for answer in answers} == {expected}
        assert all(same(answers[0], each) and clean(who, each) for each in answers)
        return
    if case.missing:
        assert {answer.status for answer in others} == {404}, [answer.body for answer in others]
        assert all(same(others[0], each) for each in others)
    if who.side is not None and case.missing:
        foreign = ask(gateway, who, route, case.foreign)
        assert same(foreign, others[0]), (foreign.status, foreign.body, others[0].body)
        assert clean(who, foreign)
    if harmless(route) and not NOT_THERE.search(case.own) and not (itself and who.key not in KEYS):
        own = ask(gateway, who, route, case.own)
        assert own.status not in (401, 403, 404, 500, 501), own.body
        assert clean(who, own), own.body


WITH_TENANT: Final = [
    route
    for route in ROUTES
    if "tenant" in METHODS[route.grpc_method].input_type.fields_by_name
    and METHODS[route.grpc_method].input_type.fields_by_name["tenant"].message_type is None
]
WITH_FILTER: Final = [r for r in ROUTES if "filter" in METHODS[r.grpc_method].input_type.fields_by_name]
WITH_PAGES: Final = [r for r in ROUTES if "page_token" in METHODS[r.grpc_method].input_type.fields_by_name]
BOUND: Final = [who for who in CALLERS if who.side is not None]


@pytest.mark.parametrize("route", WITH_TENANT, ids=_route_id)
@pytest.mark.parametrize("who", BOUND, ids=str)
def test_another_tenant_in_a_field(gateway: Gateway, route: descriptor.Route, who: Who) -> None:
    """What asks for a tenant by a field gets the same for one that is another's and for one that is nobody's."""
    path = Case.of(route, who.side or 0).own
    foreign, missing = (
        ask(gateway, who, route, path, tenant=name) for name in (MARKS[1 - (who.side or 0)], "nothing")
    )
    assert same(foreign, missing), (foreign.body, missing.body)
    assert clean(who, foreign)


@pytest.mark.parametrize("route", WITH_FILTER, ids=_route_id)
@pytest.mark.parametrize("who", BOUND, ids=str)
def test_another_tenant_in_a_filter(gateway: Gateway, route: descriptor.Route, who: Who) -> None:
    """A filter sees what the caller sees, and finds nothing beyond it."""
    path, other = Case.of(route, who.side or 0).own, MARKS[1 - (who.side or 0)]
    foreign, missing = (
        ask(gateway, who, route, path, filter=f'tenant="{name}"') for name in (other, "nothing")
    )
    assert (foreign.status, foreign.body.replace(other.encode(), b"nothing")) == (
        missing.status,
        missing.body,
    )
    every = ask(gateway, who, route, path, filter='tenant!="nothing"')
    assert clean(who, every), every.body


@pytest.mark.parametrize("route", WITH_PAGES, ids=_route_id)
@pytest.mark.parametrize("who", BOUND, ids=str)
def test_pages_of_others(gateway: Gateway, route: descriptor.Route, who: Who) -> None:
    """A token is a place in an order, not a permission: made for any place it shows nothing of others."""
    path = Case.of(route, who.side or 0).own
    for place in ("", "tenants/a", "a", "operators/a", "zzz"):
        answer = ask(gateway, who, route, path, page_token=names.page_token(place), page_size=1000)
        assert answer.status in (200, 400, 403, 404), answer.body
        assert clean(who, answer), answer.body


def test_nothing_of_anybody_has_changed(gateway: Gateway) -> None:
    """After all these attempts the log has no entry but those it began with, so no change was made."""
    assert gateway.world.log.status().size == 4


def test_every_method_is_asked(gateway: Gateway) -> None:
    """The routes above are all that Envoy has, and all methods have one."""
    public = {route.grpc_method for route in descriptor.routes() if route.public}
    assert {route.grpc_method for route in ROUTES} | public == {
        method.full_name for service in descriptor.SERVICES for method in service.methods
    }


@pytest.mark.parametrize("route", [route for route in descriptor.routes() if route.public], ids=_route_id)
def test_what_is_public_names_nobody(gateway: Gateway, route: descriptor.Route) -> None:
    """Without a key there is no tenant's name either; entries in tiles are hashes of what they say."""
    path = re.sub(r"\{path=\*\*\}", "entries/000.p/2", route.template)
    answer = gateway.request(path)
    assert answer.status in (200, 404)
    assert not any(mark in answer.body.decode("utf-8", "replace").lower() for mark in MARKS)


def test_the_case_table_is_no_wider_than_the_protos(tmp_path: Path) -> None:
    """Names here follow the patterns of the contract, so that a test cannot pass on a path that nothing serves."""
    for pattern, pair in NAMES.items():
        expression = re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^/]+")
        assert all(re.fullmatch(expression, name) for name in pair), pattern
