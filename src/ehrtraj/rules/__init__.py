"""Rule tables: clinical knowledge as CSV, every line with its source."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ehrtraj.errors import RecipeError


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
    if extra is not None and (own := extra / f"{name}.csv").is_file():
        added = _own_lines(own, list(lines[0]))
        lines = added + lines if own_first else lines + added
    return lines


def _own_lines(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """The lines of a user's rule table, which must have the columns of ours."""
    with path.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        if list(reader.fieldnames or []) != columns:
            raise RecipeError(f"{path}: its first line must be {','.join(columns)}")
        lines = list(reader)
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise RecipeError(f"{path}, line {number}: it must have {len(columns)} fields")
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
    for line in lines:
        if not line["rank"].isdigit():
            raise RecipeError(f"domains.csv: the rank of {line['domain']} is '{line['rank']}', which is no number")
    by_name = {r["domain"]: Domain(r["domain"], int(r["rank"]), r["meaning"]) for r in lines}
    return dict(sorted(by_name.items(), key=lambda pair: pair[1].rank))


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
        for own in sorted(extra.glob("*.csv")):
            total.update(own.name.encode() + b"\0" + own.read_bytes() + b"\0")
    for file in sorted(files("ehrtraj.rules").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".csv"):
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
