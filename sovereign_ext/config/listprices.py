"""What deployments cost and models take where the file does not say: the list prices of ``genai-prices``.

The package is a table that comes with its release; nothing is fetched, and it is imported only when a deployment needs
it. A provider is known by its endpoint, a model by its name there. Deliberately not here: prices that change while a
configuration is in use, discounts (batches, off-peak hours), and charges that are not for tokens.

Where the table knows more than a ``Price`` can say: of prices that grow with the length of the prompt the first one is
taken, of prices that depend on the time of day the dearest, and a model that is charged by the request has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from sovereign_ext.config.model import Capability, Config, Deployment, Provider, ProviderKind
from sovereign_ext.config.trust import ListPrice, Price

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

_OWN: Final = frozenset({ProviderKind.VLLM, ProviderKind.OLLAMA, ProviderKind.MOCK})
"""Kinds that people run themselves: what a token costs there nobody can look up."""

_BILLIONTH: Final = Decimal(1).scaleb(-9)


def with_list_prices(config: Config, at: datetime) -> Config:
    """``config`` with a price and a context window for every deployment, as far as the table knows them.

    What the file says stays, of the window also what it says of the model. ``at`` chooses among prices that begin on a
    date.
    """
    providers = {provider.id: provider for provider in config.providers}
    windows = {model.id: model.context_window for model in config.models}
    deployments = []
    for deployment in config.deployments:
        window = deployment.context_window or windows[deployment.model]
        found = None
        if deployment.price is None or window is None:
            found = _listed(deployment, providers[deployment.provider])
        if found is not None:
            missing: dict[str, object] = {}
            if deployment.price is None:
                missing["price"] = _price(found, deployment, at)
            if window is None:
                missing["context_window"] = found.context_window or None
            deployments.append(deployment.model_copy(update=missing))
        else:
            deployments.append(deployment)
    return config.model_copy(update={"deployments": tuple(deployments)})


def source() -> str:
    """The table and its version, as entries name it."""
    import genai_prices  # noqa: PLC0415 - 0.15 s that start-up pays only if it must

    return f"genai-prices {genai_prices.__version__}"


def _listed(deployment: Deployment, provider: Provider) -> ModelInfo | None:
    """What the table says of the model at that endpoint; ``None`` if it does not know them."""
    if provider.kind in _OWN:
        return None
    from genai_prices.data_snapshot import get_snapshot  # noqa: PLC0415 - as above

    try:
        _, found = get_snapshot().find_provider_model(
            deployment.upstream_model, None, None, provider.endpoint
        )
    except LookupError:
        return None
    return found


def _price(found: ModelInfo, deployment: Deployment, at: datetime) -> Price | None:
    listed = max(_prices(found, at), key=lambda each: (_base(each.input_mtok), _base(each.output_mtok)))
    if listed.input_mtok is None or listed.requests_kcount is not None:
        return None
    if listed.output_mtok is None and Capability.CHAT in deployment.capabilities:
        return None
    try:
        return ListPrice(
            catalogue=source(),
            input_per_mtok=_base(listed.input_mtok),
            output_per_mtok=_base(listed.output_mtok),
            cached_input_per_mtok=None if listed.cache_read_mtok is None else _base(listed.cache_read_mtok),
            cache_write_per_mtok=None if listed.cache_write_mtok is None else _base(listed.cache_write_mtok),
        )
    except ValidationError:  # no amount that the file could hold
        return None


def _prices(found: ModelInfo, at: datetime) -> Iterator[ModelPrice]:
    """The prices that hold on that date, at whatever hour."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint  # noqa: PLC0415 - as above

    if isinstance(found.prices, ModelPrice):
        return iter((found.prices,))
    holding: list[ModelPrice] = [found.prices[0].prices] if found.prices else [ModelPrice()]
    for each in found.prices:
        if isinstance(each.constraint, TimeOfDateConstraint):
            holding.append(each.prices)
        elif each.constraint is None or each.constraint.active(at):
            holding = [each.prices]
    return iter(holding)


def _base(price: Any) -> Decimal:
    """Dollars for a million tokens: a ``Decimal`` or the first of ``TieredPrices``, up to the next billionth."""
    amount = getattr(price, "base", price)
    return Decimal(0) if amount is None else Decimal(amount).quantize(_BILLIONTH, ROUND_CEILING)
