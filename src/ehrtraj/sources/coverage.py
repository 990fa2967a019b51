"""Report what becomes of every table of every module, from the recipes and the data files of the releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ehrtraj.release.schema import Table
    from ehrtraj.sources.source import Source

_NOT_READ = "not read: it contains no patients"
_DESCRIBES = "describes codes, in metadata/codes.parquet"


@dataclass(frozen=True)
class Coverage:
    """One table and what becomes of it.

    Attributes:
        table: full name of the table.
        since: first release that contains it, such as `2.0` or `ED 1.0`; empty for a custom table.
        about: what a row is, from the recipe; empty if there is no recipe.
        becomes: event types of its events, or its other use.
        rejected: reasons for which its recipe rejects rows.
    """

    table: str
    since: str
    about: str
    becomes: str
    rejected: tuple[str, ...]


def coverage(source: Source) -> list[Coverage]:
    """Return the coverage of every table of a source, including custom tables, in the order of the data file.

    Args:
        source: source of the tables.
    """
    known = source.recipes
    found = []
    for name, table in source.tables.items():
        if name in known:
            recipe = known[name]
            event_types = dict.fromkeys(f"`{statement.event_type}`" for statement in recipe.statements)
            about = recipe.about.partition(": ")[2].partition(". ")[0].rstrip(".")
            reasons = tuple(dict.fromkeys(reason for reason, _ in recipe.rejected))
            found.append(Coverage(name, _since(table, source), about, ", ".join(event_types), reasons))
        else:
            becomes = _DESCRIBES if table.kind == "dictionary" else _NOT_READ
            found.append(Coverage(name, _since(table, source), "", becomes, ()))
    return found


def _since(table: Table, source: Source) -> str:
    """Return the first release that contains a table."""
    main = source.projects[source.main_project]
    for project, shapes in source.history.shapes.items():
        for shape in shapes:
            if table.full_name in shape.columns:
                title = source.projects[project].title.removeprefix(main.title).strip("-")
                return f"{title} {shape.release}".strip()
    return ""


def as_markdown(source: Source) -> str:
    """Return the coverage as a Markdown table."""
    lines = ["| table | since | a row is | becomes |", "|---|---|---|---|"]
    for entry in coverage(source):
        cells = (f"`{entry.table}`", entry.since, entry.about.replace("|", "\\|"), entry.becomes)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
