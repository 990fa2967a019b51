"""What the rule tables say, for people: all of them, those of one item, or as a page of documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from ehrtraj.rules import Read, columns_of, read_general


@dataclass(frozen=True)
class RuleTable:
    """One rule table.

    Attributes:
        name: without its ending.
        about: what it is for.
        flags: that its rules give to events.
        lines: each line by column; the last column is the source.
    """

    name: str
    about: str
    flags: tuple[str, ...]
    lines: list[dict[str, str]]


def all_tables(read: Read) -> list[RuleTable]:
    """Return every rule table of a source, a user's own lines included.

    Args:
        read: reads a rule table of the source.
    """
    return [
        RuleTable(entry["table"], entry["about"], tuple(entry["flags"].split()), read(entry["table"]))
        for entry in read_general("about")
    ]


def about_item(item: str, read: Read) -> list[RuleTable]:
    """Return the lines that speak of an item (`50912`), a code (`LAB//50912`) or a word, whatever their table.

    Lines that hold for all items of an event type are among them where a code is asked for and none names it, and
    general conversions where they lead to the item's own unit.
    """
    event_type, _, bare = item.partition("//") if "//" in item else ("", "", item)
    found: list[RuleTable] = []
    item_units: set[str] = set()
    for table in all_tables(read):
        lines = [line for line in table.lines if _speaks_of(line, event_type, bare)]
        if table.name == "conversions":
            lines = [line for line in lines if _leads_to(line, item_units)]
        elif specific := [line for line in lines if line.get("item") != "*"]:
            lines = specific
        item_units |= {line["unit"] for line in lines if table.name == "units"}
        if lines:
            found.append(replace(table, lines=lines))
    return found


def _leads_to(conversion: dict[str, str], units: set[str]) -> bool:
    """Whether a conversion is for the item, or leads to its unit; an item without one has those of its event type."""
    if conversion["item"] != "*":
        return True
    return conversion["to_unit"] in units if units else conversion["event_type"] != "*"


def _speaks_of(line: dict[str, str], event_type: str, item: str) -> bool:
    if "item" in line:
        return any(_is_of(line, prefix, event_type, item) for prefix in ("", "of_") if f"{prefix}item" in line)
    if event_type and line.get("begins"):
        return f"{event_type}//{item}".startswith(line["begins"] + "//")
    cells = [value.lower() for name, value in line.items() if name != "source"]
    return not event_type and item.lower() in cells


def _is_of(line: dict[str, str], prefix: str, event_type: str, item: str) -> bool:
    """Whether a line names an item, by itself, by its first part (`Not Given//*`) or as one of all (`*`)."""
    event_types, named = (line.get(f"{prefix}event_type") or line["event_types"]).split(), line[f"{prefix}item"]
    if not event_type:
        return named == item
    same = named in (item, "*") or (named.endswith("//*") and item.startswith(named[:-1]))
    return same and (event_type in event_types or (named == "*" and "*" in event_types))


def as_markdown(read: Read, source: str) -> str:
    """Return the page that documents every rule, made from the files."""
    parts = [
        "# Rules\n",
        "Made by `ehrtraj rules docs` from `src/ehrtraj/rules/*.csv`, which hold for every source, and\n"
        f"`src/ehrtraj/sources/{source}/rules/*.csv`: change a rule there, not here.\n",
    ]
    for table in all_tables(read):
        columns = columns_of(table.name)
        parts += [f"\n## {table.name}\n", f"{table.about}. {len(table.lines):,} lines.\n"]
        parts += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        parts += ["| " + " | ".join(_cell(line[name]) for name in columns) + " |" for line in table.lines]
    return "\n".join(parts) + "\n"


def _cell(text: str) -> str:
    """Text as a table shows it: what separates cells, or would make a link of brackets, is escaped."""
    text = text.replace("|", "\\|").replace("\n", " ")
    return re.sub(r"\](?=[\[(])", r"]\\", text)
