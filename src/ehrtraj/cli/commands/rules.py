"""`ehrtraj rules`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import OVERLAY_HELP, SOURCE_HELP, Command
from ehrtraj.cli.help import Application
from ehrtraj.cli.show.screen import note_rest, write_exact
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

rules_app = Application(name="rules", help="Show the rules that clean numbers, units and codes.", no_args_is_help=True)

_OVERLAY = typer.Option("--overlay", help=OVERLAY_HELP)
_SOURCE = typer.Option("--source", help=SOURCE_HELP)


@rules_app.command("list")
def rules_list(overlay: Annotated[Path | None, _OVERLAY] = None, source: Annotated[str | None, _SOURCE] = None) -> None:
    """List the rule tables, with the purpose of each and its number of rules."""
    from ehrtraj.cli.show.rules import show_tables
    from ehrtraj.rules.listing import all_tables
    from ehrtraj.sources.source import find_source

    show_tables(all_tables(find_source(source, overlay).rules))


_EXPLAIN_HELP = """Show every rule for an item, with its reference.

[bold]Examples[/bold]

  ehrtraj rules explain 50912

  ehrtraj rules explain CHART//223762

  ehrtraj rules explain unit_converted
"""


@rules_app.command("explain", help=_EXPLAIN_HELP)
def rules_explain(
    item: Annotated[str, typer.Argument(help="An item (50912), a code (LAB//50912), a flag, a unit or a word.")],
    overlay: Annotated[Path | None, _OVERLAY] = None,
    source: Annotated[str | None, _SOURCE] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of rules to show of each table.")] = 20,
) -> None:
    """Show every rule for an item, with its reference."""
    from ehrtraj.cli.show.rules import show_rules
    from ehrtraj.rules.listing import about_item, words
    from ehrtraj.sources.source import find_source

    read = find_source(source, overlay).rules
    matches = about_item(item, read)
    if not matches:
        near = did_you_mean(item, words(read))
        raise SettingsError(f"no rule matches '{item}'{near}: `ehrtraj rules list` shows the rule tables")
    show_rules(matches, limit)


@rules_app.command("docs")
def rules_docs(overlay: Annotated[Path | None, _OVERLAY] = None, source: Annotated[str | None, _SOURCE] = None) -> None:
    """Print the page that documents every rule (docs/reference/rules.md), generated from the rule files."""
    from ehrtraj.rules.listing import as_markdown
    from ehrtraj.sources.source import find_source

    found = find_source(source, overlay)
    write_exact(as_markdown(found.rules, found.name))


_MOST_ITEMS = 5

_APPLIED_HELP = """Show which events of a dataset the rules changed or flagged: by rule, table and item, with examples.

[bold]Examples[/bold]

  ehrtraj rules applied trajectories/v1

  ehrtraj rules applied trajectories/v1 --rule unit_converted --limit 100

  ehrtraj rules applied trajectories/v1 --item 223761

  ehrtraj rules applied trajectories/v1 --csv > applied.csv
"""


@rules_app.command("applied", help=_APPLIED_HELP)
def rules_applied(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.", show_default=False)],
    rule: Annotated[str | None, typer.Option(help="Only this rule, such as unit_converted.")] = None,
    item: Annotated[str | None, typer.Option(help="Only this item (50912) or code (LAB//50912).")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of items to show per rule, those with most events first. (default 5, with --csv all)"
        ),
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the rows as CSV, with every column.")] = False,
) -> None:
    """Show which events of a dataset the rules changed or flagged."""
    from ehrtraj.cli.show.rules import show_applied
    from ehrtraj.rules.applied import read_applied

    rows = read_applied(dataset, rule, item)
    if csv:
        listed = rows if limit is None else rows.group_by("rule", maintain_order=True).head(limit)
        write_exact(listed.select(rows.columns).write_csv())
        note_rest(rows.height - listed.height, "rows", max(rows["rule"].value_counts()["count"]))
        return
    show_applied(rows, limit or _MOST_ITEMS)


COMMAND = Command(rules_app, place=160, writes=False)
