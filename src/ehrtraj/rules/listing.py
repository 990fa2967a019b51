"""What the rule tables say, for people: all of them, those of one item, or as a page of documentation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ehrtraj import rules


@dataclass(frozen=True)
class RuleTable:
    """One rule table.

    Attributes:
        name: without its ending.
        about: what it is for.
        lines: each line by column; the last column is the source.
    """

    name: str
    about: str
    lines: list[dict[str, str]]


def all_tables(extra: Path | None = None) -> list[RuleTable]:
    """Return every rule table, a user's own lines included."""
    return [
        RuleTable(entry["table"], entry["about"], rules.read_rules(entry["table"], extra))
        for entry in rules.read_rules("about")
    ]


def about_item(item: str, extra: Path | None = None) -> list[RuleTable]:
    """Return the lines that speak of an item (`50912`), a code (`LAB//50912`) or a word, whatever their table.

    Lines that hold for all items of a domain are among them where a code is asked for.
    """
    domain, _, bare = item.rpartition("//")
    found = []
    for table in all_tables(extra):
        lines = [line for line in table.lines if _speaks_of(line, domain, bare)]
        if lines:
            found.append(RuleTable(table.name, table.about, lines))
    return found


def _speaks_of(line: dict[str, str], domain: str, item: str) -> bool:
    if "item" in line:
        general = bool(domain) and line["item"] == "*" and line["domain"] in (domain, "*")
        return general or (line["item"] == item and line["domain"] in (domain, line["domain"] if not domain else "*"))
    cells = [value.lower() for name, value in line.items() if name != "source"]
    return not domain and item.lower() in cells


def as_markdown(extra: Path | None = None) -> str:
    """Return the page that documents every rule, made from the files."""
    parts = [
        "# Rules\n",
        "Made from `src/ehrtraj/rules/*.csv` by `ehrtraj rules docs`: change a rule there, not here.\n",
    ]
    for table in all_tables(extra):
        columns = list(table.lines[0])
        parts += [f"\n## {table.name}\n", f"{table.about}. {len(table.lines):,} lines.\n"]
        parts += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        parts += ["| " + " | ".join(_cell(line[name]) for name in columns) + " |" for line in table.lines]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
