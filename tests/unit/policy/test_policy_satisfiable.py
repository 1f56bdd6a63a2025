"""Policies under which every call is refused are found when the file is checked."""

from __future__ import annotations

import pytest

from sovereign_ext.config.load import parse
from sovereign_ext.policy.satisfiable import warnings

TEXT = """\
version: 1
policies:
  - {id: p, %s}
models: [{id: m}]
providers:
  - {id: a, kind: mock, endpoint: "http://a.example:1", data_handling: {trains: false, retention_days: 30}}
  - {id: b, kind: mock, endpoint: "http://b.example:1"}
deployments:
  - {id: m.a, model: m, provider: a, upstream_model: u}
  - {id: m.b, model: m, provider: b, upstream_model: u, price: {input_per_mtok: 1, output_per_mtok: 2}}
"""


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("required_tier: open", None),
        ("data_handling: {no_training: true}", None),
        ("data_handling: {max_retention_days: 30}", None),
        (
            "data_handling: {no_training: true, max_retention_days: 29}",
            (
                "'m.a' fails data_handling (does not train, 30 days of retention); "
                "'m.b' fails data_handling (training unknown, unknown retention)"
            ),
        ),
        ("cost_cap_usd: 1, providers: [a]", "'m.a' fails cost (no price)"),
        (
            "cost_cap_usd: 1, data_handling: {no_training: true}",
            "'m.a' fails cost (no price); 'm.b' fails data_handling (training unknown, unknown retention)",
        ),
        ("cost_cap_usd: 1, allowed_origins: [DE]", None),  # registry.reach says so
        ('condition: "1 > 2"', None),  # only known when it is asked
    ],
)
def test_warnings(policy: str, reason: str | None) -> None:
    """One for the policy, with what each deployment lacks."""
    wanted = [] if reason is None else [f"f.yaml: policies[0]: can never be satisfied: {reason}"]
    assert [str(warning) for warning in warnings(parse(TEXT % policy), "f.yaml")] == wanted


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ("cost_cap_usd: 0", "'m.a'"),
        ("cost_cap_usd: 0, providers: [b]", None),
        ("required_tier: open", None),
    ],
)
def test_a_cap_warns_of_what_has_no_price(policy: str, reason: str | None) -> None:
    """The policy can be satisfied, but not by all that its author may expect."""
    wanted = (
        []
        if reason is None
        else [f"f.yaml: policies[0].cost_cap_usd: never lets {reason} answer, since the price is not known"]
    )
    assert [str(warning) for warning in warnings(parse(TEXT % policy), "f.yaml")] == wanted


def test_many_deployments_are_not_all_listed() -> None:
    more = "".join(f"  - {{id: m.{n}, model: m, provider: b, upstream_model: u}}\n" for n in range(9))
    (warning,) = warnings(parse(TEXT % "data_handling: {max_retention_days: 1}" + more))
    assert warning.reason.endswith("; and 7 more")
