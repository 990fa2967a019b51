"""What the rules did to a dataset, on the screen."""

from __future__ import annotations

from textwrap import shorten

import polars as pl
from rich.table import Table

from ehrtraj.cli.show.screen import line, out
from ehrtraj.rules.applied import meaning_of

_WIDTHS = (9, 58, 34, 34)
_LONGEST_TEXT = 100


def show_applied(rows: pl.DataFrame, limit: int) -> None:
    """Print the events that each rule marked, by table and item.

    Args:
        rows: of rules_applied.parquet, those of a rule together, those with most events first.
        limit: items to print of each rule.
    """
    console = out(width=sum(_WIDTHS) + 8)
    for (name,), of_rule in rows.group_by("rule", maintain_order=True):
        console.print(line((str(name), "bold"), f": {of_rule['events'].sum():,} events. {meaning_of(str(name))}"))
        console.print(_applied_table(of_rule, limit))
        if of_rule.height > limit:
            rest = of_rule["events"][limit:].sum()
            console.print(
                f"  and {rest:,} events of {of_rule.height - limit:,} more (--rule {name} --limit N)", style="dim"
            )
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
    """Before and after of one event, where the rule changed its value."""
    number, whole = row["example_numeric_value"], row["example_text_value"]
    # Of a note, only how it begins.
    text = None if whole is None else shorten(str(whole), _LONGEST_TEXT, placeholder=" ...")
    after = text if text is not None and number is None else "null" if number is None else f"{number:g}"
    if row["example_raw_value"] is not None:
        return f"such as {row['example_raw_value']} -> {after}"
    return "" if after == "null" else f"such as {after}"
