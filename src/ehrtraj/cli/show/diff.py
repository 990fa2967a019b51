"""What a comparison shows on the screen."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from rich.table import Table

from ehrtraj import rules
from ehrtraj.cli.show.readable import duration
from ehrtraj.cli.show.screen import Screen, line, out
from ehrtraj.diffs.events import EventsDiff, Example
from ehrtraj.diffs.run import DiffReport

_SHOWN = 10
_LONGEST = 80


def show_diff(report: DiffReport) -> None:
    """Print what differs between two datasets to stdout."""
    screen = out(soft_wrap=True)
    screen.print(f"A: {report.a}")
    screen.print(f"B: {report.b}")
    for name, (a, b) in report.settings.items():
        screen.print(f"built with another {name}: {a[:40]} in A, {b[:40]} in B", style="dim")
    for words, columns in (("A", report.columns_a), ("B", report.columns_b)):
        if columns:
            screen.print(f"columns that {words} alone has: {', '.join(columns)}")
    _show_patients(report, screen)
    _show_codes(report.codes, screen)
    _show_events(report.events, screen)
    verdict = "the same" if report.same else "different"
    took = f"{report.events.compared:,} events of both compared in {duration(report.seconds)}"
    screen.print()
    screen.print(line((verdict, "bold"), f": {took}"))


def _show_patients(report: DiffReport, screen: Screen) -> None:
    for words, patients in (
        ("that A alone has", report.patients_a),
        ("that B alone has", report.patients_b),
        ("in another split", report.moved),
    ):
        if patients:
            screen.print(f"patients {words}: {len(patients):,} ({_first(patients)})")


def _first(values: Sequence[object]) -> str:
    more = ", ..." if len(values) > _SHOWN else ""
    return ", ".join(str(v) for v in values[:_SHOWN]) + more


def _show_codes(codes: pl.DataFrame, screen: Screen) -> None:
    lone_a = codes.filter(pl.col("n_events_b").is_null())
    lone_b = codes.filter(pl.col("n_events_a").is_null())
    both = codes.filter(pl.col("n_events_a").is_not_null() & pl.col("n_events_b").is_not_null())
    counted = both.filter(pl.col("n_events_a") != pl.col("n_events_b"))
    described = codes["described_otherwise"].sum()
    if not codes.height:
        return
    screen.print()
    screen.print(
        f"codes: {lone_a.height:,} in A alone, {lone_b.height:,} in B alone, {counted.height:,} with another number "
        f"of events, {described:,} described otherwise"
    )
    changed = codes.filter(pl.col("n_events_a").ne_missing(pl.col("n_events_b")))
    if not changed.height:
        return
    difference = (pl.col("n_events_a").fill_null(0) - pl.col("n_events_b").fill_null(0)).abs()
    table = Table("code", box=None, pad_edge=False, header_style="bold")
    for name in ("events in A", "in B"):
        table.add_column(name, justify="right")
    for code, a, b in changed.sort(-difference, "code").head(_SHOWN).select(codes.columns[:3]).iter_rows():
        table.add_row(code, *("-" if n is None else f"{n:,}" for n in (a, b)))
    screen.print(table)


def _show_events(events: EventsDiff, screen: Screen) -> None:
    if events.reordered:
        screen.print()
        screen.print(f"patients with the same events in another order: {events.reordered:,}")
    if not events.patients:
        return
    whose = "one patient" if events.patients == 1 else f"{events.patients:,} patients"
    screen.print()
    screen.print(f"events of {whose} differ:")
    table = Table("table", box=None, pad_edge=False, header_style="bold")
    for name in ("in A alone", "in B alone", "changed"):
        table.add_column(name, justify="right")
    table.add_column("columns that changed")
    for name in sorted({*events.only_a, *events.only_b, *events.changed}):
        columns = [f"{column} {count:,}" for (of, column), count in events.columns.items() if of == name]
        counts = (events.only_a[name], events.only_b[name], events.changed[name])
        table.add_row(name, *(f"{n:,}" for n in counts), ", ".join(columns))
    screen.print(table)
    screen.print()
    screen.print("first of them:")
    for example in events.examples:
        screen.print(f"  {_sentence(example)}")


def _sentence(example: Example) -> str:
    event = example.event
    key = "" if event.get("source_key") is None else f" {event['source_key']}"
    place = f"patient {event['subject_id']}, {event['source_table']}{key}, {event['time'] or 'always'}, {event['code']}"
    if example.what != "changed":
        return f"{place}: in {example.what[-1].upper()} alone"
    columns = (f"{c} {_value(c, a)} in A, {_value(c, b)} in B" for c, (a, b) in example.columns.items())
    return f"{place}: {', '.join(columns)}"


def _value(column: str, value: object) -> str:
    """A value for a reader: numbers in the digits that 32 bits have, flags by their names."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.7g}"
    if column == "flags" and isinstance(value, int):
        return "+".join(name for name, bit in rules.flags().items() if value & bit) or "none"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
