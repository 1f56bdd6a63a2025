"""From numbers to Prometheus' text format 0.0.4, which every version of Prometheus and its relatives reads.

Names, escaping and the text are prometheus-client's, and so are the metrics called ``process_…``. Imported when
somebody asks for the first time: the library takes a tenth of a second of CPU, which a start need not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from sovereign_ext.telemetry.instruments import Instrument, Instruments, Spread, Tally


class Exposition:
    """Of what ``instruments`` has made. Any thread may ask for it."""

    def __init__(self, instruments: Instruments) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Ours(instruments))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All series as they are now."""
        return generate_latest(self._registry)


class _Ours(Collector):
    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def describe(self) -> Iterable[Metric]:
        """Nothing: names are unique already."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """One family for each metric."""
        return map(_family, self._instruments.made.values())


def _family(made: Instrument) -> Metric:
    if isinstance(made, Spread):
        return _histogram(made)
    what = made.described
    kind = CounterMetricFamily if isinstance(made, Tally) else GaugeMetricFamily
    family = kind(what.name, what.text, labels=what.labels)
    for labels, value in made.series():
        family.add_metric(labels, value)
    return family


def _histogram(made: Spread) -> Metric:
    """Prometheus wants in each bucket what is in those before, too."""
    what = made.described
    heads = [*(str(float(bound)) for bound in made.bounds), "+Inf"]
    family = HistogramMetricFamily(what.name, what.text, labels=what.labels)
    for labels, counts, total in made.series():
        family.add_metric(labels, list(zip(heads, accumulate(counts), strict=True)), total)
    return family
