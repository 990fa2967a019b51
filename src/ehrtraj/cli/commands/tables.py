"""`ehrtraj tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import OVERLAY_HELP, SOURCE_HELP, Command
from ehrtraj.cli.show.screen import write_exact

_HELP = """List every table of every module, and the events that are made from it.

[bold]Examples[/bold]

  ehrtraj tables

  ehrtraj tables --overlay my-overlay

  ehrtraj tables --markdown
"""


def tables(
    overlay: Annotated[Path | None, typer.Option("--overlay", help=OVERLAY_HELP)] = None,
    source: Annotated[str | None, typer.Option("--source", help=SOURCE_HELP)] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """List every table, and the events that are made from it."""
    from ehrtraj.cli.show.tables import show_coverage
    from ehrtraj.sources.coverage import as_markdown, coverage
    from ehrtraj.sources.source import find_source

    found = find_source(source, overlay)
    if markdown:
        write_exact(as_markdown(found))
        return
    show_coverage(coverage(found))


COMMAND = Command(tables, place=150, writes=False, help=_HELP)
