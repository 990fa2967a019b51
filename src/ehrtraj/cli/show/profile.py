"""Output of `ehrtraj build --profile`."""

from __future__ import annotations

from collections.abc import Iterable

from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.table import Column, Table, name_column, number_column
from ehrtraj.runtime.profile import STEPS, Seconds

_MOST_TABLES = 12


def show_profile(cpu: Seconds) -> None:
    """Print the CPU seconds by step, and those of the tables that take the most, to stdout."""
    screen = out()
    screen.print()
    screen.print(_by_step(cpu))
    screen.print()
    screen.print(_by_table(cpu))


def _by_step(cpu: Seconds) -> Table:
    totals = _totals((step, seconds) for (step, _), seconds in cpu.items())
    all_seconds = sum(totals.values())
    table = _table("step")
    for step in STEPS:
        if step in totals:
            table.add(step, *_cells(totals[step], all_seconds))
    table.add("all measured steps", *_cells(all_seconds, all_seconds), style="bold")
    return table


def _by_table(cpu: Seconds) -> Table:
    totals = _totals((name, seconds) for (_, name), seconds in cpu.items())
    all_seconds = sum(totals.values())
    totals.pop("", None)
    table = _table("table", "most in")
    for source, seconds in sorted(totals.items(), key=lambda pair: -pair[1])[:_MOST_TABLES]:
        step = max((step for step, of in cpu if of == source), key=lambda step: cpu[step, source])
        table.add(source, *_cells(seconds, all_seconds), f"{step}, {cpu[step, source]:.1f}")
    return table


def _totals(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for name, seconds in pairs:
        totals[name] = totals.get(name, 0.0) + seconds
    return totals


def _table(first: str, *last: str) -> Table:
    return Table(name_column(first), number_column("CPU seconds"), number_column("share"), *map(Column, last))


def _cells(seconds: float, total: float) -> tuple[str, str]:
    return f"{seconds:,.1f}", f"{seconds / total:.0%}" if total else ""
