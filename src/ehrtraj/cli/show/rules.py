"""Output of `ehrtraj rules applied`."""

from __future__ import annotations

from textwrap import shorten

import polars as pl
from rich.table import Table

from ehrtraj.cli.show.screen import line, out
from ehrtraj.rules.applied import meaning_of

_WIDTHS = (9, 58, 34, 34)
_LONGEST_TEXT = 100


def show_applied(rows: pl.DataFrame, limit: int) -> None:
    """Print the events that each rule changed or flagged, by table and item.

    Args:
        rows: rows of rules_applied.parquet, grouped by rule, within a rule by descending number of events.
        limit: maximum number of items to print for each rule.
    """
    console = out(width=sum(_WIDTHS) + 8)
    for (name,), of_rule in rows.group_by("rule", maintain_order=True):
        console.print(line((str(name), "bold"), f": {of_rule['events'].sum():,} events. {meaning_of(str(name))}"))
        console.print(_applied_table(of_rule, limit))
        if of_rule.height > limit:
            rest, items = of_rule["events"][limit:].sum(), of_rule.height - limit
            more = f"{items:,} more {'item' if items == 1 else 'items'}"
            console.print(f"  and {rest:,} events of {more} (--rule {name} --limit N shows them)", style="dim")
        console.print()


def _applied_table(rows: pl.DataFrame, limit: int) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for number, width in enumerate(_WIDTHS):
        table.add_column(justify="left" if number else "right", no_wrap=True, max_width=width, overflow="ellipsis")
    for row in rows.head(limit).iter_rows(named=True):
        units = " -> ".join(dict.fromkeys(str(row[name]) for name in ("raw_unit", "unit") if row[name]))
        table.add_row(
            f"{row['events']:>{_WIDTHS[0]},}",
            f"{row['source_table']}  {row['code']}",
            row["description"] or "",
            "  ".join(filter(None, (units, _example(row)))),
        )
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
