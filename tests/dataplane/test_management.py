"""The management API as clients have it: JSON over HTTP through real Envoy's grpc_json_transcoder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from management_stack import KEYS, Gateway, gateway_in

from sovereign_ext.routing.health import Verdict
from sovereign_ext.tlog.tiles import MAX_ENTRY_BYTES, encode_bundle

pytestmark = pytest.mark.dataplane


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_in(tmp_path_factory.mktemp("mgmt")) as running:
        yield running


@pytest.mark.parametrize("key", ["acme", "admin"])
def test_receipt_for_owner_and_admin(gateway: Gateway, key: str) -> None:
    """The log's document, its caching header, and no trace of gRPC framing."""
    answer = gateway.request("/sf/v1/receipts/0", key)
    assert answer.status == 200
    assert answer.json == gateway.run(gateway.world.log.receipt(0, "acme", 5))
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert "grpc-accept-encoding" not in answer.headers


def test_foreign_and_absent_receipts_are_one_404(gateway: Gateway) -> None:
    """Status, body and headers are the same but for the clock."""
    foreign, absent = (gateway.request(f"/sf/v1/receipts/{index}", "globex") for index in (0, 12345))
    assert foreign.status == absent.status == 404
    assert foreign.json == absent.json
    assert foreign.json["code"] == 5
    assert foreign.json["message"] == "there is no such entry"
    assert foreign.json["details"][0]["reason"] == "ENTRY_NOT_FOUND"
    assert foreign.headers.keys() == absent.headers.keys()


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "INVALID_API_KEY"),
        ("unknown", "INVALID_API_KEY"),
        ("expired", "EXPIRED_API_KEY"),
        ("revoked", "REVOKED_API_KEY"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/sf/v1/receipts/0", "/sf/v1/log", "/sf/v1/providers", "/sf/v1/providers/alpha"]
)
def test_without_a_valid_key(gateway: Gateway, path: str, key: str | None, reason: str) -> None:
    """401 as RFC 9110 wants it, with a body that says why."""
    answer = gateway.request(path, key)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json["code"] == 16
    assert answer.json["details"][0]["reason"] == reason


def test_two_authorization_headers_are_none(gateway: Gateway) -> None:
    """What two parties could read differently opens nothing."""
    twice = tuple(("authorization", f"Bearer {KEYS[name]}") for name in ("acme", "admin"))
    assert gateway.request("/sf/v1/log", headers=twice).status == 401


@pytest.mark.parametrize("name", ["x", "01", "-1", "1%2F2", "..%2f0", "%FF", "%00", "9" * 400])
def test_malformed_receipt_names(gateway: Gateway, name: str) -> None:
    """400 from the service, also for bytes that are no UTF-8."""
    answer = gateway.request(f"/sf/v1/receipts/{name}", "acme")
    assert answer.status == 400
    assert b"DecodeError" not in answer.body
    assert answer.body


def test_providers(gateway: Gateway) -> None:
    """The whole document, in snake case, with false and zero said and absent numbers left out."""
    deployment = gateway.world.snapshot.deployments["beta-small"]

    async def fail() -> None:
        gateway.world.health.report(
            deployment, Verdict.FAILURE, gateway.world.monotonic, reason="connect_failure", retry_after_s=10
        )

    gateway.run(fail())
    answer = gateway.request("/sf/v1/providers?page_size=1", "acme")
    assert answer.status == 200
    assert [provider["name"] for provider in answer.json["providers"]] == ["providers/alpha"]
    token = answer.json["next_page_token"]
    second = gateway.request(f"/sf/v1/providers?page_size=1&page_token={token}", "acme").json
    assert second["next_page_token"] == ""
    (beta,) = second["providers"]
    score = beta["deployments"][0]["health"].pop("score")
    assert 0 < score < 1
    (shown,) = beta.pop("deployments")
    wanted = {"name": "providers/beta", "kind": "mock", "endpoint": "", "declared": True, "etag": ""}
    assert {name: beta[name] for name in wanted} == wanted
    assert (
        shown.items()
        >= (
            {
                "name": "providers/beta/deployments/beta-small",
                "model": "org/small",
                "upstream_model": "s-2",
                "capabilities": ["chat"],
                "health": {
                    "state": "COOLING",
                    "reason": "connect_failure",
                    "consecutive_failures": 1,
                    "retry_in_s": 10,
                    "window": {"successes": 0, "failures": 1, "success_rate": 0},
                },
                "standing": {
                    "tier": "open",
                    "reasons": ["no_evidence"],
                    "scopes": [],
                    "drift": "unknown",
                    "model_hash": "",
                    "model_hash_basis": "none",
                },
            }
        ).items()
    )
    assert (
        gateway.request("/sf/v1/providers/beta", "admin").json["endpoint"] == "http://beta.internal:9000/v1"
    )
    assert gateway.request("/sf/v1/providers/gamma", "acme").status == 404


@pytest.mark.parametrize("query", ["page_size=-1", "page_token=nonsense", "page_size=x", "pagesize=1"])
def test_bad_queries(gateway: Gateway, query: str) -> None:
    """Wrong values and unknown names are 400, whoever finds them."""
    answer = gateway.request(f"/sf/v1/providers?{query}", "acme")
    assert answer.status == 400
    assert answer.json


def test_log_status(gateway: Gateway) -> None:
    """int64 is a string in protobuf's JSON; time is RFC 3339."""
    log = gateway.request("/sf/v1/log", "globex").json
    assert log["checkpoint_time"].endswith("Z")
    assert {name: log[name] for name in ("name", "size", "published_size", "healthy")} == {
        "name": "log",
        "size": "1",
        "published_size": "1",
        "healthy": True,
    }


@pytest.mark.parametrize("prefix", ["", "/api/v2"])
def test_public_files_are_exact(gateway: Gateway, prefix: str) -> None:
    """Checkpoint and tiles byte for byte under both prefixes, without a key."""
    tiles = gateway.world.paths.tiles
    checkpoint = gateway.request(f"{prefix}/checkpoint")
    assert checkpoint.body == (tiles / "checkpoint").read_bytes()
    assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
    assert checkpoint.headers["cache-control"] == "no-store"
    for path in ("tile/0/000.p/1", "tile/entries/000.p/1"):
        tile = gateway.request(f"{prefix}/{path}")
        assert (tile.status, tile.body) == (200, (tiles / path).read_bytes())
        assert tile.headers["content-type"] == "application/octet-stream"
        assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_largest_entry_bundle_passes(gateway: Gateway) -> None:
    """256 entries of the greatest length: 16 MiB, far over Envoy's default for transcoded answers."""
    bundle = encode_bundle([bytes([number]) * MAX_ENTRY_BYTES for number in range(256)])
    file = gateway.world.paths.tiles / "tile/entries/x001/000"
    file.parent.mkdir(parents=True)
    file.write_bytes(bundle)
    answer = gateway.request("/tile/entries/x001/000")
    assert answer.status == 200
    assert answer.body == bundle


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tile/0/001", 404),
        ("/tile/0/000.p/2", 404),
        ("/tile/0/000.p/01", 404),
        ("/tile/0/000.p/256", 404),
        ("/tile//0/000.p/1", 404),
        ("/tile/..%2f..%2flog.db", 404),
        ("/api/v2/tile/entries/..%5c..%5clog.db", 404),
        ("/tile/0/000.p/1%FF", 400),
        ("/tile/0/000.p/1%00", 400),
        ("/tile/%2e%2e/%2e%2e/log.db", 418),
        ("/tile/../log.db", 418),
        ("/api/v2/tile/../../log.db", 418),
    ],
)
def test_hostile_and_absent_tiles(gateway: Gateway, path: str, status: int) -> None:
    """Never a file; what Envoy normalises out of our paths goes to the model API like any unknown path."""
    answer = gateway.request(path)
    assert answer.status == status
    assert b"SQLite" not in answer.body


def test_trusted_root_and_keys(gateway: Gateway) -> None:
    """The published files, without a key."""
    public = gateway.world.paths.public
    for path, file in (("trusted_root", "trusted_root.json"), ("log_keys", "log-keys.json")):
        answer = gateway.request(f"/sf/v1/{path}")
        assert answer.json
        assert answer.body == (public / file).read_bytes()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sf/v1/nothing",
        "/sf/v1/receipts",
        "/sf/v1/receipts/1/2",
        "/sf/v1/log/",
        "/v1/chat/completions",
        "/tile/",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_paths_never_meet_the_transcoder(gateway: Gateway, path: str, method: str) -> None:
    """They fall through to the route of the model API, whatever the method."""
    answer = gateway.request(path, "acme", method)
    assert answer.status == 418


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", ["/sf/v1/receipts/0", "/checkpoint", "/tile/0/000.p/1"])
def test_wrong_methods(gateway: Gateway, path: str, method: str) -> None:
    """405, and which method would do."""
    answer = gateway.request(path, "acme", method)
    assert answer.status == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/sovereign.log.v1.LogService/GetLog", "/grpc.health.v1.Health/Check"])
def test_grpc_paths_are_not_open(gateway: Gateway, path: str) -> None:
    """Clients have the HTTP paths only."""
    answer = gateway.request(
        path, "admin", "POST", (("content-type", "application/grpc"), ("te", "trailers"))
    )
    assert answer.headers["grpc-status"] != "0"
    assert gateway.request(path, "admin", "POST").status == 418


def test_an_incident_says_nothing_but_its_id(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """INTERNAL is a 500 in JSON with the id that is in our log."""
    root = gateway.world.paths.public / "trusted_root.json"
    aside = root.with_suffix(".aside")
    root.rename(aside)
    root.mkdir()
    try:
        answer = gateway.request("/sf/v1/trusted_root")
    finally:
        root.rmdir()
        aside.rename(root)
    assert answer.status == 500
    incident = answer.json["details"][0]["request_id"]
    assert answer.json["message"] == f"internal error {incident}"
    assert incident in caplog.text
    assert "Directory" not in answer.body.decode()


def test_what_is_not_published_is_a_503_with_a_hint(gateway: Gateway) -> None:
    """RetryInfo in the body, Retry-After in the header."""
    root = gateway.world.paths.public / "log-keys.json"
    aside = root.with_suffix(".aside")
    root.rename(aside)
    try:
        answer = gateway.request("/sf/v1/log_keys")
    finally:
        aside.rename(root)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json["details"][1] == {
        "@type": "type.googleapis.com/google.rpc.RetryInfo",
        "retry_delay": "1s",
    }


TENANT = {"policies": ["any"], "default_policy": "any", "limits": [{"per": "minute", "requests": "60"}]}


def test_a_tenant_from_its_making_to_its_end(gateway: Gateway) -> None:
    """The standard methods as JSON: 64-bit numbers are text, masks are in the query, the reason in a header."""
    made = gateway.request("/sf/v1/tenants?tenant_id=initech", "admin", "POST", body=TENANT)
    assert made.status == 200
    assert made.headers["cache-control"] == "private, no-store"
    assert made.json["name"] == "tenants/initech"
    assert made.json["limits"] == [{"per": "minute", "requests": "60", "model": ""}]
    path = "/sf/v1/tenants/initech"
    changed = gateway.request(
        f"{path}?update_mask=margin_percent", "admin", "PATCH", body={"margin_percent": "4.5", "policies": []}
    )
    assert (changed.json["margin_percent"], changed.json["policies"]) == ("4.5", ["any"])
    assert gateway.request(path, "admin").json == changed.json
    stale = gateway.request(f"{path}?etag={made.json['etag']}", "admin", "DELETE")
    assert (stale.status, stale.json["details"][0]["reason"]) == (409, "ETAG_MISMATCH")
    reason = (("x-sf-reason", "ticket 9"),)
    assert gateway.request(path, "admin", "DELETE", reason).json == {}
    row = gateway.world.log.resources
    (gone,) = [each for each in row.since(int(changed.json["etag"])) if each.name == "tenants/initech"]
    receipt = gateway.request(f"/sf/v1/receipts/{gone.revision}", "admin").json
    statement = json.loads(base64.b64decode(receipt["bundle"]["dsseEnvelope"]["payload"]))
    assert statement["predicate"]["reason"] == "ticket 9"
    assert statement["predicate"]["method"].endswith(".DeleteTenant")
    assert gateway.request(path, "admin").status == 404


def test_one_name_in_the_path_and_another_in_the_body(gateway: Gateway) -> None:
    """What a proxy in between reads in the path is what is changed; the same name twice is no conflict."""
    gateway.request("/sf/v1/tenants?tenant_id=hooli", "admin", "POST", body=TENANT)
    other = {"name": "tenants/acme", "margin_percent": "1"}
    assert gateway.request("/sf/v1/tenants/hooli", "admin", "PATCH", body=other).status == 400
    same = {"name": "tenants/hooli", "margin_percent": "1"}
    assert gateway.request("/sf/v1/tenants/hooli", "admin", "PATCH", body=same).json["margin_percent"] == "1"


def test_every_method_of_a_path_is_allowed_by_name(gateway: Gateway) -> None:
    """405 names all of them."""
    answer = gateway.request("/sf/v1/tenants/acme", "admin", "PUT")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, PATCH, DELETE")


@pytest.mark.parametrize("reason", ["caf\u00e9", "a\u0084b", "x" * 501])
def test_a_reason_is_short_printable_ascii(gateway: Gateway, reason: str) -> None:
    """It is kept in the log for ever, and read in terminals."""
    headers = (("x-sf-reason", reason.encode().decode("latin-1")),)
    answer = gateway.request("/sf/v1/tenants?tenant_id=pied-piper", "admin", "POST", headers, TENANT)
    assert (answer.status, answer.json["details"][0]["reason"]) == (400, "INVALID_REASON")


@pytest.mark.parametrize(
    ("body", "field", "fault"),
    [
        ({**TENANT, "limit": []}, "tenant.limit", "unknown field; did you mean limits?"),
        ({**TENANT, "zzz": 1}, "tenant.zzz", "unknown field"),
        (
            {**TENANT, "limits": [{"per": "minute", "request": 1}]},
            "tenant.limits[0].request",
            "did you mean requests",
        ),
        ({**TENANT, "policies": "any"}, "tenant.policies", "expected a list"),
        ({**TENANT, "default_policy": ["any"]}, "tenant.default_policy", "expected no list"),
    ],
)
def test_members_that_do_not_exist_are_no_success(
    gateway: Gateway, body: dict[str, object], field: str, fault: str
) -> None:
    """The transcoder would drop them, and a misspelt limit would be none."""
    answer = gateway.request("/sf/v1/tenants?tenant_id=misspelt", "admin", "POST", body=body)
    assert answer.status == 400
    assert answer.json["details"][0]["reason"] == "INVALID_FIELD"
    (violation,) = answer.json["details"][1]["field_violations"]
    assert violation["field"] == field
    assert fault in violation["description"]
    assert gateway.request("/sf/v1/tenants/misspelt", "admin").status == 404


@pytest.mark.parametrize(
    "body", [b"{", b'{"policies": ["a"], "policies": ["b"]}', b"\xff", b"[" * 100_000, b"nul"]
)
def test_bodies_that_are_no_json(gateway: Gateway, body: bytes) -> None:
    """400 with a reason, also for what two readers could read differently."""
    answer = gateway.request("/sf/v1/tenants?tenant_id=misspelt", "admin", "POST", body=body)
    assert (answer.status, answer.json["details"][0]["reason"]) == (400, "INVALID_REQUEST")


def test_names_in_camel_case_and_free_objects_stay_allowed(gateway: Gateway) -> None:
    """Protobuf's JSON takes both spellings of a field; what is free in the contract is not looked into."""
    body = {"policies": ["any"], "defaultPolicy": "any"}
    assert gateway.request("/sf/v1/tenants?tenant_id=camel", "admin", "POST", body=body).status == 200
    asked = {
        "request": {"model": "org/small", "messages": [{"role": "user", "content": "x", "any": {"thing": 1}}]}
    }
    answer = gateway.request("/sf/v1/policies/any:evaluate", "admin", "POST", body=asked)
    assert answer.status == 200, answer.body
