"""What an export says at its end."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from ehrtraj.dataset.export.run import ExportResult
from ehrtraj.dataset.export.space import INDEX
from ehrtraj.show import duration, size


def show_export(result: ExportResult) -> None:
    """Print the summary of an export to stdout."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for note in result.notes:
        console.print(Text.assemble(("note: ", "yellow"), note), soft_wrap=True)
    counts = f"{result.files:,} files, {result.patients:,} patients, {result.events:,} events"
    if result.already_there:
        console.print(
            f"{escape(str(result.path))} is already there, from the same dataset and settings ({counts}): nothing was "
            "changed",
            soft_wrap=True,
        )
        return
    again = ", going on where an earlier run was cut short" if result.resumed else ""
    console.print(
        f"[bold]{counts}[/bold] in {duration(result.seconds)}{again}, at most {size(result.peak_memory)} of memory, "
        f"{size(result.bytes)}"
    )
    console.print(f"files: {escape(str(result.path))}", soft_wrap=True)
    console.print(f"index: {escape(str(result.path / INDEX))}", soft_wrap=True)
