"""`ehrtraj rules`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.app import app
from ehrtraj.errors import SettingsError
from ehrtraj.rules.listing import about_item, all_tables, as_markdown

rules_app = typer.Typer(
    name="rules", help="See the rules by which numbers, units and codes are cleaned.", no_args_is_help=True
)
app.add_typer(rules_app)

_RULES_OPTION = typer.Option("--rules", help="Folder with own rule tables.")


@rules_app.command("list")
def rules_list(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """List the rule tables, with what each is for and how many lines it has."""
    tables = all_tables(rules)
    width = max(len(table.name) for table in tables)
    for table in tables:
        sys.stdout.write(f"{table.name:<{width}}  {len(table.lines):>5,}  {table.about}\n")


@rules_app.command("explain")
def rules_explain(
    item: Annotated[str, typer.Argument(help="An item (50912), a code (LAB//50912), a flag, a unit or a word.")],
    rules: Annotated[Path | None, _RULES_OPTION] = None,
) -> None:
    """Show every rule that speaks of an item, with its source.

    Examples: ehrtraj rules explain 50912; ehrtraj rules explain CHART//223762; ehrtraj rules explain unit_converted
    """
    found = about_item(item, rules)
    if not found:
        raise SettingsError(f"no rule speaks of {item}: `ehrtraj rules list` shows the tables there are")
    for table in found:
        sys.stdout.write(f"{table.name}: {table.about}\n")
        for line in table.lines:
            said = ", ".join(f"{name} {value}" for name, value in line.items() if value and name != "source")
            sys.stdout.write(f"  {said}\n      source: {line['source']}\n")


@rules_app.command("docs")
def rules_docs(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """Print the page that documents every rule (docs/rules.md), made from the files."""
    sys.stdout.write(as_markdown(rules))
