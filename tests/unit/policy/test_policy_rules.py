"""Each rule by itself: at the edge of what passes, and in the words that are shown."""

from __future__ import annotations

from decimal import Decimal

import pytest
from policy_world import CHAT, candidate, check

from sovereign_ext.config.model import Policy
from sovereign_ext.config.trust import DataHandling, DataRequirement, Drift, Tier
from sovereign_ext.policy.registry import RULES
from sovereign_ext.policy.rules.base import Candidate, RequestFacts, RuleFailure

BY_NAME = {rule.name: rule for rule in RULES}
GERMAN, SOMEONE = {"country": "DE"}, {"country": "FR", "organisation": "example-org"}
NO_TRAINING = DataRequirement(no_training=True)
SHORT = DataRequirement(max_retention_days=30)

CASES = [
    # rule, policy, candidate, (expected, actual) or None if it passes
    ("tier", Policy(id="p", required_tier=Tier.SEALED),
     candidate(tier=Tier.WITNESSED, reasons=("no_evidence",)), ("at least sealed", "witnessed (no_evidence)")),
    ("scopes", Policy(id="p", required_scopes=("hipaa", "fda")), candidate(scopes=("fda", "hipaa")), None),
    ("scopes", Policy(id="p", required_scopes=("hipaa", "fda")), candidate(scopes=("fda", "gdpr")),
     ("all of fda, hipaa", "fda, gdpr")),
    ("scopes", Policy(id="p", required_scopes=("fda",)), candidate(), ("all of fda", "none")),
    ("origin", Policy(id="p", allowed_origins=("DE",)), candidate(provider_origin=GERMAN, model_origin=GERMAN), None),
    ("origin", Policy(id="p", allowed_origins=("DE", "example-org")),
     candidate(provider_origin=SOMEONE, model_origin=GERMAN), None),
    ("origin", Policy(id="p", allowed_origins=("DE",)), candidate(provider_origin=GERMAN),
     ("provider and model each of DE", "provider DE; model unknown")),
    ("origin", Policy(id="p", allowed_origins=("DE",)), candidate(model_origin=GERMAN, provider_origin=SOMEONE),
     ("provider and model each of DE", "provider FR, example-org; model DE")),
    ("origin", Policy(id="p", allowed_origins=("de",)), candidate(provider_origin=GERMAN, model_origin=GERMAN),
     ("provider and model each of de", "provider DE; model DE")),
    ("drift", Policy(id="p", max_drift=Drift.WATCH), candidate(drift=Drift.WATCH), None),
    ("drift", Policy(id="p", max_drift=Drift.STABLE), candidate(drift=Drift.WATCH),
     ("reported, and at most stable", "watch")),
    ("drift", Policy(id="p", max_drift=Drift.DRIFTED), candidate(), ("reported, and at most drifted", "unknown")),
    ("latency", Policy(id="p", latency_cap_ms=800), candidate(p95_ms=800), None),
    ("latency", Policy(id="p", latency_cap_ms=800), candidate(p95_ms=801), ("p95 of at most 800 ms", "801 ms")),
    ("latency", Policy(id="p", latency_cap_ms=800), candidate(), None),
    ("cost", Policy(id="p", cost_cap_usd=Decimal("0.05")), candidate(cost_nano_usd=50_000_000), None),
    ("cost", Policy(id="p", cost_cap_usd=Decimal("0.05")), candidate(cost_nano_usd=50_000_001),
     ("an estimate of at most 0.05 USD", "0.050000001 USD")),
    ("cost", Policy(id="p", cost_cap_usd=Decimal(1_000_000)), candidate(),
     ("an estimate of at most 1000000 USD", "no price")),
    ("cost", Policy(id="p", cost_cap_usd=Decimal(0)), candidate(cost_nano_usd=0), None),
    ("data_handling", Policy(id="p", data_handling=NO_TRAINING), candidate(handling=DataHandling(trains=False)), None),
    ("data_handling", Policy(id="p", data_handling=NO_TRAINING), candidate(),
     ("no training", "training unknown, unknown retention")),
    ("data_handling", Policy(id="p", data_handling=NO_TRAINING),
     candidate(handling=DataHandling(trains=True, retention_days=0)), ("no training", "trains, 0 days of retention")),
    ("data_handling", Policy(id="p", data_handling=SHORT), candidate(handling=DataHandling(retention_days=30)), None),
    ("data_handling", Policy(id="p", data_handling=SHORT), candidate(handling=DataHandling(retention_days=31)),
     ("at most 30 days of retention", "training unknown, 31 days of retention")),
    ("data_handling", Policy(id="p", data_handling=DataRequirement(max_retention_days=0)),
     candidate(handling=DataHandling(trains=False)),
     ("at most 0 days of retention", "does not train, unknown retention")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "policy", "each", "wanted"), CASES)
def test_rules(name: str, policy: Policy, each: Candidate, wanted: tuple[str, str] | None) -> None:
    """The bound itself passes, one step further fails; what is not known never passes but for latency."""
    failure = check(BY_NAME[name], policy, each)
    assert failure == (None if wanted is None else RuleFailure(name, *wanted))


@pytest.mark.parametrize(
    ("text", "actual"),
    [
        ("provider == 'a' && model == 'm' && deployment == 'm-a'", None),
        ("tenant == 'acme'", "false"),
        ("'DE' in origin.provider && !('US' in origin.model)", None),
        ("tier in ['witnessed', 'sealed'] && 'fda' in scopes && drift == 'stable'", None),
        ("cost_usd <= 0.05 && cost_nano_usd == 50000000", None),
        ("region != 'us'", "error: region is not known"),
        ("p95_ms < 100 || tier == 'sealed'", None),
        ("request.max_tokens < 100", "error: request.max_tokens is not known"),
        ("request.capability == 'chat' && request.prompt_tokens < 11", None),
        ("100 / (request.prompt_tokens - 10) > 0", "error: divide by zero"),
        ("[1,2,3].all(x, x > 0) // a comment", None),
    ],
)
def test_conditions(text: str, actual: str | None) -> None:
    """Unknown is an error, an error never passes, and CEL's ``||`` and ``&&`` do not need what they do not use."""
    each = candidate(
        tier=Tier.SEALED,
        scopes=("fda",),
        drift=Drift.STABLE,
        provider_origin=GERMAN,
        cost_nano_usd=50_000_000,
    )
    request = RequestFacts(CHAT.capability, 10)
    failure = check(BY_NAME["condition"], Policy(id="p", condition=text), each, request)
    assert (failure and failure.actual) == actual
