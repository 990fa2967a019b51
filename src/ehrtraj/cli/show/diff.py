"""Output of `ehrtraj diff`."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ehrtraj import rules
from ehrtraj.cli.show.screen import Screen, out, result
from ehrtraj.cli.show.table import Table, name_column, number_column, prose_column
from ehrtraj.diffs.events import EventsDiff, Example
from ehrtraj.diffs.run import DiffReport
from ehrtraj.readable import duration

_SHOWN = 10
_LONGEST = 80


def show_diff(report: DiffReport) -> None:
    """Print the differences between two datasets to stdout."""
    screen = out()
    screen.print(f"A: {report.a}")
    screen.print(f"B: {report.b}")
    for name, (a, b) in report.settings.items():
        screen.print(f"built with a different {name}: {a[:40]} in A, {b[:40]} in B", style="dim")
    for dataset, columns in (("A", report.columns_a), ("B", report.columns_b)):
        if columns:
            screen.print(f"columns only in {dataset}: {', '.join(columns)}")
    _show_patients(report, screen)
    _show_codes(report.codes, screen)
    _show_events(report.events, screen)
    verdict = "the same" if report.same else "different"
    work = f"compared {report.events.compared:,} events of both datasets in {duration(report.seconds)}"
    screen.print()
    result((verdict, "bold"), f": {work}")


def _show_patients(report: DiffReport, screen: Screen) -> None:
    for words, patients in (
        ("only in A", report.patients_a),
        ("only in B", report.patients_b),
        ("in different splits", report.moved),
    ):
        if patients:
            screen.print(f"patients {words}: {len(patients):,} ({_first(patients)})")


def _first(values: Sequence[object]) -> str:
    more = ", ..." if len(values) > _SHOWN else ""
    return ", ".join(str(v) for v in values[:_SHOWN]) + more


def _show_codes(codes: pl.DataFrame, screen: Screen) -> None:
    only_a = codes.filter(pl.col("n_events_b").is_null())
    only_b = codes.filter(pl.col("n_events_a").is_null())
    both = codes.filter(pl.col("n_events_a").is_not_null() & pl.col("n_events_b").is_not_null())
    counts_differ = both.filter(pl.col("n_events_a") != pl.col("n_events_b"))
    descriptions_differ = codes["described_otherwise"].sum()
    if not codes.height:
        return
    screen.print()
    screen.print(
        f"codes: {only_a.height:,} only in A, {only_b.height:,} only in B, {counts_differ.height:,} with different "
        f"numbers of events, {descriptions_differ:,} with different descriptions"
    )
    changed = codes.filter(pl.col("n_events_a").ne_missing(pl.col("n_events_b")))
    if not changed.height:
        return
    difference = (pl.col("n_events_a").fill_null(0) - pl.col("n_events_b").fill_null(0)).abs()
    table = Table(name_column("code"), number_column("events in A"), number_column("in B"))
    for code, a, b in changed.sort(-difference, "code").head(_SHOWN).select(codes.columns[:3]).iter_rows():
        table.add(code, *("-" if n is None else f"{n:,}" for n in (a, b)))
    screen.print(table)


def _show_events(events: EventsDiff, screen: Screen) -> None:
    if events.reordered:
        screen.print()
        screen.print(f"patients with the same events in a different order: {events.reordered:,}")
    if not events.patients:
        return
    patients = "one patient" if events.patients == 1 else f"{events.patients:,} patients"
    screen.print()
    screen.print(f"events of {patients} differ:")
    table = Table(
        name_column("table"),
        *map(number_column, ("only in A", "only in B", "changed")),
        prose_column("changed columns"),
    )
    for source in sorted({*events.only_a, *events.only_b, *events.changed}):
        columns = [f"{column} {count:,}" for (of, column), count in events.columns.items() if of == source]
        counts = (events.only_a[source], events.only_b[source], events.changed[source])
        table.add(source, *(f"{n:,}" for n in counts), ", ".join(columns))
    screen.print(table)
    screen.print()
    screen.print("the first differences:")
    for example in events.examples:
        screen.print(f"  {_describe(example)}")


def _describe(example: Example) -> str:
    event = example.event
    key = "" if event.get("source_key") is None else f" {event['source_key']}"
    place = f"patient {event['subject_id']}, {event['source_table']}{key}, {event['time'] or 'static'}, {event['code']}"
    if example.what != "changed":
        return f"{place}: only in {example.what[-1].upper()}"
    columns = (f"{c} {_value(c, a)} in A, {_value(c, b)} in B" for c, (a, b) in example.columns.items())
    return f"{place}: {', '.join(columns)}"


def _value(column: str, value: object) -> str:
    """Format a value for the screen: numbers with the precision of 32-bit floats, flags by name."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.7g}"
    if column == "flags" and isinstance(value, int):
        return "+".join(name for name, bit in rules.flags().items() if value & bit) or "none"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
