"""Generate the pages and tables of the documentation that follow from the code.

`make docs` writes them again after a change.
"""

from __future__ import annotations

import csv
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import typer

from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.cli import app
from ehrtraj.concepts.library import concept_library
from ehrtraj.config import SETTINGS
from ehrtraj.rules import listing
from ehrtraj.sources import coverage
from ehrtraj.sources.source import packaged

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
MIMIC = packaged("mimiciv")
LIBRARY = concept_library(MIMIC)
EXAMPLES = SimpleNamespace(
    **runpy.run_path(str(Path(__file__).with_name("sources") / "mimiciv" / "recipe_examples.py"), run_name="examples")
)
TABLES_WITH_EXAMPLES = EXAMPLES.tables_with_examples(MIMIC)


def rows_of(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).replace("|  |", "| |")


# Settings and checks -------------------------------------------------------------------------------------------------


def settings() -> str:
    """Return the table of settings."""
    rows = []
    for declared in SETTINGS:
        what = declared.declared
        options = declared.name.upper() if what.positional else what.switch or declared.option
        listed = [*options.split("/"), *filter(None, (what.short, what.shorthand and what.shorthand[0]))]
        default = declared.default_text and (what.default_text or f"`{declared.default_text}`")
        if not declared.required and isinstance(declared.default, bool):
            default = "yes" if declared.default else "no"
        rows.append(
            (
                f"`{declared.name}`",
                ", ".join(f"`{option}`" for option in listed),
                f"`{declared.variables[-1]}`",
                default,
                "yes" if what.changes_data else "no",
                f"{what.help} {what.details}".strip(),
            )
        )
    return rows_of(("setting", "command line", "environment", "default", "changes the data", "meaning"), rows)


def checks() -> str:
    """Return the table of the checks of `ehrtraj check`."""
    return rows_of(("check", "what must hold", "of"), [(f"`{p.name}`", p.words, p.scope) for p in INVARIANTS.values()])


# The command line ----------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name, in the order of --help."""
    waiting = [("ehrtraj", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop(0)
        if hasattr(command, "commands"):
            waiting = [(f"{name} {key}", value) for key, value in command.commands.items()] + waiting
        else:
            yield name, command


def cli() -> str:
    """Return the reference of all commands."""
    lines = [
        "# Commands\n",
        "All commands with their arguments and options. `make docs` generates this page from their `--help`.",
    ]
    for name, command in commands():
        lines += [f"\n## {name}\n", _help(command.help or "").rstrip(), "", _parameters(command).rstrip()]
    return "\n".join(lines).rstrip() + "\n"


def _help(text: str) -> str:
    """Return the help of a command, with its examples as a block and its headings in bold."""
    text = re.sub(r"(?m)^\[bold\]Examples\[/bold\]\n(?:\n| .*\n?)+", _as_block, text.strip())
    return re.sub(r"\[/?bold\]", "**", text)


def _as_block(examples: re.Match[str]) -> str:
    calls = re.findall(r"^ +(.+)$", examples[0], re.M)
    return "\n".join(["```sh", *calls, "```", "", ""])


def _parameters(command: Any) -> str:
    rows = []
    for parameter in command.params:
        is_argument = parameter.param_type_name == "argument"
        names = [parameter.metavar or parameter.name.upper()] if is_argument else parameter.opts
        rows.append((", ".join(f"`{name}`" for name in (*names, *parameter.secondary_opts)), _one_line(parameter.help)))
    return rows_of(("argument or option", "meaning"), rows) if rows else ""


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


# Examples of recipes -------------------------------------------------------------------------------------------------

_VALUES = ("numeric_value", "text_value", "unit")
_SHOWN_COLUMNS = {"time", "code", *_VALUES, "available_time"}


def examples(module: str) -> str:
    """Return the page of examples of a module: rows in, events out."""
    lines = [
        f"# Examples: {module}\n",
        f"The events that rows of `{module}` become. `make docs` generates this page from the",
        "[examples](recipes.md#examples) next to the recipes. All values are invented.",
    ]
    for table in TABLES_WITH_EXAMPLES:
        if table.startswith(f"{module}/"):
            lines += [f"\n## {table}\n", _sentence(MIMIC.recipes[table].about.partition(": ")[2])]
            for case in EXAMPLES.read_cases(MIMIC, table):
                lines += [f"\n### {case.shows.rstrip('.')}\n", _case(case).rstrip()]
    return "\n".join(lines) + "\n"


def _case(case: Any) -> str:
    parts = [f"In each row: {_pairs(case.each_row)}.\n"]
    for name, rows in case.given.items():
        columns = dict.fromkeys(column for row in rows for column in row)
        header = (f"`{name}`", *(f"row {number}" for number in range(1, len(rows) + 1)))
        parts.append(rows_of(header, [(f"`{c}`", *(_cell(row.get(c)) for row in rows)) for c in columns]))
    if events := case.expected["events"]:
        header = ("time", "code", "value", "available", "more")
        parts.append(rows_of(header, [_event(event) for event in events]))
    if rejected := case.expected.get("rejected"):
        header = ("rejected", "row")
        parts.append(rows_of(header, [(row["reason"], _pairs(row, {"reason"})) for row in rejected]))
    return "\n".join(parts)


def _event(event: Mapping[str, Any]) -> tuple[str, ...]:
    value = " ".join(_cell(event[name]) for name in _VALUES if name in event)
    more = _pairs(event, {*_SHOWN_COLUMNS, "attributes"})
    attributes = _pairs(event.get("attributes", {}))
    return (
        _cell(event.get("time")),
        f"`{event['code']}`".replace("|", "\\|"),
        value,
        _cell(event.get("available_time")),
        "<br>".join(filter(None, (more, attributes))),
    )


def _pairs(values: Mapping[str, Any], without: set[str] = frozenset()) -> str:
    return ", ".join(f"`{name}` {_cell(value)}" for name, value in values.items() if name not in without)


def _cell(value: Any) -> str:
    """Return a value as text for a table cell, with the special characters of Markdown and HTML escaped."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return re.sub(r"([\\`*_|<>#\[\]])", r"\\\1", " ".join(text.split()))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


# Concepts ------------------------------------------------------------------------------------------------------------

_DIFFERENCES = Path(__file__).with_name("concepts") / "differences"


def concepts(group: str) -> str:
    """Return the page of a group of concepts: definition, columns, sources, and differences from mimic-code."""
    lines = [
        f"# Concepts: {group}\n",
        f"Definition, columns and sources of the concepts in the group {group}. `ehrtraj concepts --explain NAME` also",
        "shows the SQL. `make docs` generates this page from the SQL files.",
    ]
    for concept in (one for one in LIBRARY.concepts.values() if one.group == group):
        lines += [f"\n## {concept.name}\n", *_concept(concept)]
    return "\n".join(lines) + "\n"


def _concept(concept: Any) -> Iterator[str]:
    header = concept.header
    yield _cell(header.description.partition("\n\n")[0])
    for paragraph in header.description.split("\n\n")[1:]:
        yield f"\n{_cell(paragraph)}"
    rows = [(f"`{c.name}`", c.type, f"`{c.unit}`" if c.unit else "", _cell(c.meaning)) for c in header.columns]
    yield f"\n{rows_of(('column', 'type', 'unit', 'content'), rows)}"
    reads = [*header.needs, *LIBRARY.views_of([concept])]
    yield f"Source: {'; '.join(map(_cell, header.sources))}.  "
    yield f"Reads: {', '.join(f'`{name}`' for name in reads)}."
    if header.differs:
        yield "\nDifferences from mimic-code, which `--as-mimic-code` undoes:\n"
        yield from (f"- {_cell(reason)}" for reason in header.differs)
    path = _DIFFERENCES / f"{concept.name}.csv"
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            counts = [f"`{line['column']}` {int(line['rows']):,}" for line in csv.DictReader(file)]
        yield f"\nRows of the MIMIC-IV demo that differ, by column: {', '.join(counts)}."


def concept_index() -> str:
    """Return the table of all concepts."""
    first = (one.header.description.partition(". ")[0].removesuffix(".") for one in LIBRARY.concepts.values())
    found = zip(LIBRARY.concepts.values(), first, strict=True)
    rows = [(f"[`{c.name}`](concepts-{c.group}.md#{c.name})", c.group, _cell(text)) for c, text in found]
    return rows_of(("concept", "group", "a row is"), sorted(rows, key=lambda row: (row[1], row[0])))


# Pages ---------------------------------------------------------------------------------------------------------------


def _put(table: str, text: str) -> str:
    """Return a page in which a table replaces the table with the same first column."""
    first = re.escape(table.partition("|")[2].partition("|")[0])
    text, found = re.subn(rf"^\|{first}\|.*\n(?:\|.*\n)*", lambda _: table, text, flags=re.M)
    assert found == 1, f"the page has {found} tables that begin with {first}"
    return text


PAGES: dict[str, Callable[[str], str]] = {
    "settings.md": lambda text: _put(settings(), text),
    "tables.md": lambda text: _put(coverage.as_markdown(MIMIC), text),
    "checks.md": lambda text: _put(checks(), text),
    "rules.md": lambda _: listing.as_markdown(MIMIC.rules, MIMIC.name),
    "cli.md": lambda _: cli(),
    "concepts.md": lambda text: _put(concept_index(), text),
    **{
        f"concepts-{group}.md": lambda _, group=group: concepts(group)
        for group in sorted({one.group for one in LIBRARY.concepts.values()})
    },
    **{
        f"examples-{module}.md": lambda _, module=module: examples(module)
        for module in dict.fromkeys(table.partition("/")[0] for table in TABLES_WITH_EXAMPLES)
    },
}
"""For each generated page, a function from its present text to the right text."""


def main() -> None:
    for name, make in PAGES.items():
        path = REFERENCE / name
        path.write_text(make(path.read_text(encoding="utf-8") if path.exists() else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
