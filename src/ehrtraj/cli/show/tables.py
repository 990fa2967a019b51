"""Output of `ehrtraj tables`."""

from __future__ import annotations

from collections.abc import Iterable

from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.table import Column, Table, name_column, prose_column
from ehrtraj.sources.coverage import Coverage


def show_coverage(entries: Iterable[Coverage]) -> None:
    """Print all tables of a source, the release in which each first appeared, and what its rows become."""
    table = Table(name_column("table"), Column("since"), prose_column("becomes"))
    for entry in entries:
        table.add(entry.table, entry.since or "custom", entry.becomes.replace("`", ""))
    out().print(table)
