"""What calls used: tokens and money. For bills there is ``/sf/v1/usage``, which reconciles with the log; this does not.

Token counts are those that the provider reports; a call without them is not counted. Money is in US dollars, as
floating-point numbers: good for rates, not for invoices.
"""

from __future__ import annotations

from typing import Final

from sovereign_ext.telemetry.facts import CallEnded
from sovereign_ext.telemetry.families.base import Hears, Making
from sovereign_ext.telemetry.families.genai import operation, provider_name
from sovereign_ext.telemetry.readings import Readings

TOKENS: Final = tuple(float(4**power) for power in range(14))
"""The boundaries that the conventions advise: 1 to 67,108,864."""

_NANO: Final = 1e-9


class Usage:
    """Counted when the call is over and written down: what the log did not take is not billed."""

    def __init__(self, making: Making) -> None:
        make = making.instruments
        self._making = making
        self._tokens = make.counter(
            "sovereign_tokens_total",
            "Tokens as providers counted them. cached_input and cache_write are part of input, reasoning of output.",
            ("tenant", "type"),
        )
        self._usage = make.histogram(
            "gen_ai_client_token_usage",
            "Tokens of a call, as its provider counted them.",
            TOKENS,
            ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
        )
        self._cost = make.counter(
            "sovereign_cost_usd_total", "What calls cost by their deployments' prices.", ("provider",)
        )
        self._billed = make.counter(
            "sovereign_billed_usd_total", "What tenants owe: cost and margin.", ("tenant",)
        )

    def hears(self) -> Hears:
        return {CallEnded: self._ended}

    def _ended(self, fact: CallEnded) -> None:
        facts, making = fact.facts, self._making
        if not fact.durable:
            return
        tenant = making.tenants(facts.tenant)
        if facts.deployment is not None:
            model, kind = making.deployed(facts.deployment)
            named = (operation(facts.endpoint), provider_name(kind), making.models(model))
            for direction, count in (("input", facts.prompt_tokens), ("output", facts.completion_tokens)):
                if count is not None:
                    self._usage.add((*named, direction), count)
                    self._tokens.add((tenant, direction), count)
            for part, count in (
                ("cached_input", facts.cached_tokens),
                ("cache_write", facts.cache_write_tokens),
                ("reasoning", facts.reasoning_tokens),
            ):
                if count:
                    self._tokens.add((tenant, part), count)
        if facts.cost_nano_usd:
            self._cost.add((making.providers(facts.provider or ""),), facts.cost_nano_usd * _NANO)
        if facts.billed_nano_usd:
            self._billed.add((tenant,), facts.billed_nano_usd * _NANO)

    def read(self, readings: Readings) -> None:
        pass
