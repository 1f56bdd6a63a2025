"""Samples as plain text: numbers with their spread, aligned in columns, 80 to 130 characters wide."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from bench.machine import Machine
from bench.rounds import Sample, Samples, Spread, added, spread

Figure = Callable[[Sample], float]
Column = tuple[str, Callable[[str], Figure | None]]
"""A heading, and for a side's name the figure in that column, ``None`` where the side has no such part."""


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def show(found: Spread) -> str:
    """Median, least and greatest."""
    return f"{number(found.median)} ({number(found.least)} to {number(found.greatest)})"


def load_rows(
    label: str, samples: Samples, columns: Sequence[Column], extra: Sequence[str]
) -> list[list[str]]:
    """A row for each side, and one for what the second has more than the first, in the columns ``extra``."""
    rows: list[list[str]] = []
    for name, found in samples.items():
        figures = [figure_of(name) for _, figure_of in columns]
        rows.append(
            [label if not rows else "", name, *(show(spread(found, f)) if f else "-" for f in figures)]
        )
    if extra:
        (first, base), (second, side) = samples.items()
        row = ["", "added"]
        for heading, figure_of in columns:
            figure, known = figure_of(second), figure_of(first) is not None
            row.append(show(added(base, side, figure)) if figure and known and heading in extra else "")
        rows.append(row)
    return rows


def render(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, the first as heading; columns as wide as they need be."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows
    ]
    return [line.rstrip() for line in lines]


def header(title: str, machine: Machine, notes: Iterable[str]) -> list[str]:
    """What every table begins with."""
    versions = ", ".join(f"{name} {text}" for name, text in machine.versions.items())
    lines = [
        f"{title}, {machine.date}",
        f"  machine   {machine.cpu}, {machine.cores} cores, {machine.memory_gb} GB, {machine.system}",
        f"  versions  {versions}",
        f"  log on    {machine.filesystem}"
        + ("" if machine.is_durable else ": fsync costs NOTHING there, so these figures flatter"),
    ]
    return [*lines, *(f"  {note}" for note in notes)]


def others(samples: Iterable[Samples], machine: Machine) -> str:
    """How much of the machine was taken by what is not measured: the noise to expect."""
    shares = [sample.others for each in samples for found in each.values() for sample in found]
    found = Spread.of([100 * share for share in shares])
    return (
        f"noise     load {machine.load} before the start; other processes took {found.median:.0f} % of the CPUs "
        f"(up to {found.greatest:.0f} % in a round)"
    )
