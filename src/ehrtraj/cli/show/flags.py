"""Output of `ehrtraj flags`."""

from __future__ import annotations

import polars as pl

from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.table import Column, Table, name_column, number_column


def show_flags(flags: pl.DataFrame) -> None:
    """Print flags with their meanings and the rule tables that set them, and, if they were counted, their events."""
    counted = flags["events"].null_count() < flags.height
    events = [number_column("events")] if counted else []
    table = Table(
        name_column("flag"),
        number_column("bit"),
        *events,
        Column("meaning", folds=True, least=24),
        Column("set by", folds=True, least=12),
    )
    for row in flags.iter_rows(named=True):
        count = [f"{row['events']:,}"] if counted else []
        table.add(row["flag"], str(row["bit"]), *count, row["meaning"], ", ".join(row["rules"]) or "the build")
    out().print(table)
