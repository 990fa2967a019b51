"""Output of `ehrtraj build --show-config`."""

from __future__ import annotations

from collections.abc import Iterable

from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.table import Table, name_column, prose_column


def show_settings(rows: Iterable[tuple[str, str, str]]) -> None:
    """Print settings: name, value and origin of each."""
    table = Table(name_column("setting"), prose_column("value"), prose_column("from"))
    for row in rows:
        table.add(*row)
    out().print(table)
