"""`ehrtraj rules`."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ehrtraj.cli.application import app
from ehrtraj.cli.show.screen import line, out, write_exact, write_lines
from ehrtraj.errors import SettingsError
from ehrtraj.rules.listing import about_item, all_tables, as_markdown

if TYPE_CHECKING:
    import polars as pl

rules_app = typer.Typer(
    name="rules", help="See the rules by which numbers, units and codes are cleaned.", no_args_is_help=True
)
app.add_typer(rules_app)

_RULES_OPTION = typer.Option("--rules", help="Folder with own rule tables.")


@rules_app.command("list")
def rules_list(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """List the rule tables, with what each is for and how many lines it has."""
    tables = all_tables(_existing(rules))
    width = max(len(table.name) for table in tables)
    write_lines(f"{table.name:<{width}}  {len(table.lines):>5,}  {table.about}" for table in tables)


@rules_app.command("explain")
def rules_explain(
    item: Annotated[str, typer.Argument(help="An item (50912), a code (LAB//50912), a flag, a unit or a word.")],
    rules: Annotated[Path | None, _RULES_OPTION] = None,
) -> None:
    """Show every rule that speaks of an item, with its source.

    Examples: ehrtraj rules explain 50912; ehrtraj rules explain CHART//223762; ehrtraj rules explain unit_converted
    """
    found = about_item(item, _existing(rules))
    if not found:
        raise SettingsError(f"no rule speaks of {item}: `ehrtraj rules list` shows the tables there are")
    for table in found:
        write_lines([f"{table.name}: {table.about}"])
        for rule in table.lines:
            said = ", ".join(f"{name} {value}" for name, value in rule.items() if value and name != "source")
            write_lines([f"  {said}", f"      source: {rule['source']}"])


@rules_app.command("docs")
def rules_docs(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """Print the page that documents every rule (docs/rules.md), made from the files."""
    write_exact(as_markdown(_existing(rules)))


def _existing(rules: Path | None) -> Path | None:
    if rules is not None and not rules.is_dir():
        raise SettingsError(f"rules is {rules}: there is no such folder")
    return rules


_APPLIED_HELP = """Show what the rules did to a dataset: events by rule, table and item, each with an example.

[bold]Examples[/bold]

  ehrtraj rules applied trajectories/v1

  ehrtraj rules applied trajectories/v1 --rule unit_converted --limit 100

  ehrtraj rules applied trajectories/v1 --item 223761

  ehrtraj rules applied trajectories/v1 --csv > applied.csv
"""


@rules_app.command("applied", help=_APPLIED_HELP)
def rules_applied(
    dataset: Annotated[Path, typer.Argument(help="Folder of a dataset.", show_default=False)],
    rule: Annotated[str | None, typer.Option(help="Only this one, such as unit_converted.")] = None,
    item: Annotated[str | None, typer.Option(help="Only this item (50912) or code (LAB//50912).")] = None,
    limit: Annotated[int, typer.Option(help="Items to show of each rule, those with most events first.")] = 5,
    csv: Annotated[bool, typer.Option("--csv", help="Print all of it as CSV.")] = False,
) -> None:
    """Show what the rules did to a dataset."""
    from ehrtraj.rules.applied import meaning_of, read_applied

    rows = read_applied(dataset, rule, item)
    if csv:
        write_exact(rows.write_csv())
        return
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


_WIDTHS = (9, 58, 34, 34)
_LONGEST_TEXT = 100


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
