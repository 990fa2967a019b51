"""Rule tables: clinical knowledge as CSV, every line with its source."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


def read_rules(name: str) -> list[dict[str, str]]:
    """The lines of one rule table, `name` without its ending."""
    with (files("ehrtraj.rules") / f"{name}.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


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
def domains() -> dict[str, Domain]:
    """All domains by name, in the order of their rank."""
    rows = sorted(read_rules("domains"), key=lambda r: int(r["rank"]))
    return {r["domain"]: Domain(r["domain"], int(r["rank"]), r["meaning"]) for r in rows}


@cache
def flags() -> dict[str, int]:
    """Value (a power of two) of each flag."""
    return {r["flag"]: 1 << int(r["bit"]) for r in read_rules("flags")}


def digest() -> str:
    """SHA-256 over all rule tables."""
    total = hashlib.sha256()
    for file in sorted(files("ehrtraj.rules").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".csv"):
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
