"""Output of `ehrtraj rules`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import shorten

import polars as pl

from ehrtraj.cli.show.screen import line, note_rest, out
from ehrtraj.cli.show.table import Column, Table, name_column, number_column, prose_column
from ehrtraj.rules.applied import meaning_of
from ehrtraj.rules.listing import RuleTable

_LONGEST_TEXT = 100


def show_tables(tables: Iterable[RuleTable]) -> None:
    """Print the rule tables, with the number of rules and the purpose of each."""
    shown = Table(name_column("table"), number_column("rules"), prose_column("purpose"))
    for table in tables:
        shown.add(table.name, f"{len(table.lines):,}", table.about)
    out().print(shown)


def show_rules(tables: Sequence[RuleTable], limit: int) -> None:
    """Print rules by table, with their references: at most `limit` of each table."""
    screen = out()
    for table in tables:
        screen.print(line((table.name, "bold"), f": {table.about}"))
        for rule in table.lines[:limit]:
            columns = ", ".join(f"{name} {value}" for name, value in rule.items() if value and name != "source")
            screen.print(f"  {columns}")
            screen.print(line((f"      source: {rule['source']}", "dim")))
    rest = sum(max(len(table.lines) - limit, 0) for table in tables)
    note_rest(rest, "rules", max(len(table.lines) for table in tables))


def show_applied(rows: pl.DataFrame, limit: int) -> None:
    """Print the events that each rule changed or flagged, by table and item.

    Args:
        rows: rows of rules_applied.parquet, grouped by rule, within a rule by descending number of events.
        limit: maximum number of items to print for each rule.
    """
    screen, hidden, longest = out(), 0, 0
    for (name,), of_rule in rows.group_by("rule", maintain_order=True):
        screen.print(line((str(name), "bold"), f": {of_rule['events'].sum():,} events. {meaning_of(str(name))}"))
        screen.print(_applied_table(of_rule, limit))
        if of_rule.height > limit:
            rest, items = of_rule["events"][limit:].sum(), of_rule.height - limit
            screen.print(f"  and {rest:,} events of {items:,} more {'item' if items == 1 else 'items'}", style="dim")
            hidden, longest = hidden + items, max(longest, of_rule.height)
        screen.print()
    note_rest(hidden, "items", longest)


def _applied_table(rows: pl.DataFrame, limit: int) -> Table:
    table = Table(Column(right=True), Column(hangs=True), Column(folds=True, least=36))
    for row in rows.head(limit).iter_rows(named=True):
        units = " -> ".join(dict.fromkeys(str(row[name]) for name in ("raw_unit", "unit") if row[name]))
        what = ": ".join(filter(None, (row["source_table"], row["description"])))
        table.add(f"  {row['events']:,}", row["code"], "  ".join(filter(None, (what, units, _example(row)))))
    return table


def _example(row: dict[str, object]) -> str:
    """Return the value of one event before and after, if the rule changed it, or its value."""
    number, full_text = row["example_numeric_value"], row["example_text_value"]
    # A note can be long: show only its beginning.
    text = None if full_text is None else shorten(str(full_text), _LONGEST_TEXT, placeholder=" ...")
    after = text if text is not None and number is None else "null" if number is None else f"{number:g}"
    if row["example_raw_value"] is not None:
        return f"such as {row['example_raw_value']} -> {after}"
    return "" if after == "null" else f"such as {after}"
