"""`ehrtraj tables`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.show.screen import write_exact, write_lines

_HELP = """Say what becomes of every table of every module.

[bold]Examples[/bold]

  ehrtraj tables

  ehrtraj tables --recipes my-recipes

  ehrtraj tables --markdown
"""


def tables(
    recipes: Annotated[Path | None, typer.Option("--recipes", help="Folder with own recipes and tables.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a table for a page: that of README.md.")] = False,
) -> None:
    """Say what becomes of every table."""
    from ehrtraj.errors import SettingsError
    from ehrtraj.recipes.coverage import as_markdown, coverage

    if recipes is not None and not recipes.is_dir():
        raise SettingsError(f"recipes is {recipes}: there is no such folder")
    if markdown:
        write_exact(as_markdown(extra=recipes))
        return
    entries = coverage(extra=recipes)
    width = max(len(entry.table) for entry in entries)
    write_lines(
        f"{entry.table:<{width}}  {entry.since or 'own':<8}  {entry.becomes.replace('`', '')}" for entry in entries
    )


COMMAND = Command(tables, place=150, writes=False, help=_HELP)
