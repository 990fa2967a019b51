"""Rule tables: clinical knowledge as CSV, every line with its source."""

from __future__ import annotations

import csv
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines, read_text_file

_DOMAIN = re.compile(r"[A-Z0-9_]+")
_RANK = re.compile(r"[0-9]{1,4}")


def read_rules(name: str, extra: Path | None = None, *, own_first: bool = False) -> list[dict[str, str]]:
    """The lines of one rule table, `name` without its ending.

    Args:
        name: of the table.
        extra: folder in which a file of the same name may have a user's own lines: they come last, so that they win
            where a later line replaces an earlier one.
        own_first: put them first instead: they win where the first line that fits counts.
    """
    with (files("ehrtraj.rules") / f"{name}.csv").open(encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    if extra is None:
        return lines
    added = [line for _, line in own_lines(name, extra, list(lines[0]))]
    return added + lines if own_first else lines + added


def own_lines(name: str, folder: Path, columns: list[str] | None = None) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a user's rule table, each with its number in the file; none where there is no such file.

    Args:
        name: of the table.
        folder: that may hold it.
        columns: of the table; those of ours where they are not given.

    Raises:
        RecipeError: if the file cannot be read, or a line is not one of such a table.
    """
    if f"{name}.csv" not in names_in(folder, RecipeError):
        return []
    path = folder / f"{name}.csv"
    lines = read_csv_lines(path, columns or list(read_rules(name)[0]), RecipeError)
    for number, line in lines:
        if not line["source"].strip():
            raise RecipeError(f"{path}, line {number}: no source. Say where the rule comes from")
    return lines


@dataclass(frozen=True)
class Domain:
    """A kind of event: the first part of its code.

    Attributes:
        name: as in the code.
        rank: its place among events of the same time.
        meaning: in plain words.
    """

    name: str
    rank: int
    meaning: str


@cache
def domains(extra: Path | None = None) -> dict[str, Domain]:
    """All domains by name, in the order of their rank.

    Args:
        extra: folder with a user's own `domains.csv`, whose lines come in the place of ours.

    Raises:
        RecipeError: if a user's line cannot be used.
    """
    lines = read_rules("domains", extra)
    if extra is not None:
        _check_domains(extra)
    by_name = {r["domain"]: Domain(r["domain"], int(r["rank"]), r["meaning"]) for r in lines}
    return dict(sorted(by_name.items(), key=lambda pair: pair[1].rank))


def _check_domains(extra: Path) -> None:
    for number, line in own_lines("domains", extra):
        where = f"{extra / 'domains.csv'}, line {number}"
        if not _DOMAIN.fullmatch(line["domain"]):
            raise RecipeError(f"{where}: '{line['domain']}' cannot be a domain: use A-Z, 0-9 and _")
        if not _RANK.fullmatch(line["rank"]):
            raise RecipeError(
                f"{where}: the rank of {line['domain']} is '{line['rank']}', which is no number from 0 to 9999"
            )


@cache
def planned_domains() -> frozenset[str]:
    """Domains whose times say what was planned, not what happened."""
    return frozenset(line["domain"] for line in read_rules("planned_domains"))


@cache
def flags() -> dict[str, int]:
    """Value (a power of two) of each flag."""
    return {r["flag"]: 1 << int(r["bit"]) for r in read_rules("flags")}


def digest(extra: Path | None = None) -> str:
    """SHA-256 over all rule tables, a user's own in the folder `extra` included."""
    total = hashlib.sha256()
    if extra is not None:
        for name in names_in(extra, RecipeError):
            if name.endswith(".csv"):
                text = read_text_file(extra / name, "the table", RecipeError)
                total.update(name.encode() + b"\0" + text.encode() + b"\0")
    for file in sorted(files("ehrtraj.rules").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".csv"):
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
