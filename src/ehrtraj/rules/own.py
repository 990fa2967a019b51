"""A user's own rule tables, checked before a build uses them: a mistake is told with its file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.errors import RecipeError

# What the code itself depends on: not for users to add to.
_FIXED = ("about", "flags", "domains", "planned_domains", "intervals")


def _a_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _a_pattern(text: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), text)
    except pa.ArrowInvalid:
        return False
    return True


_DOMAINS = ("domain", "of_domain", "domains")
_NUMBERS = ("low", "high", "suspicious_low", "suspicious_high", "factor", "offset", "value", "tolerance")
_CHECKS: dict[str, tuple[Callable[[str], bool], str]] = {
    **dict.fromkeys(_NUMBERS, (_a_number, "a number")),
    "weight": (lambda text: text in ("1", "-1"), "1 (times the weight) or -1 (by it)"),
    **dict.fromkeys(("pattern", "unless"), (_a_pattern, "a regular expression (RE2)")),
    "flag": (lambda text: text in rules.flags(), "a flag of rules/flags.csv"),
    "form": (lambda text: text in ("number", "bound", "range", "result"), "number, bound, range or result"),
    "kind": (lambda text: text in ("status", "caveat"), "status or caveat"),
    "no_result": (lambda text: text in ("yes", "no"), "yes or no"),
}
"""What the cells of a column must be, where they are not empty."""


def check_own_rules(folder: Path, recipes: Path | None = None) -> None:
    """Check a folder of own rule tables.

    Args:
        folder: with the tables.
        recipes: folder with own recipes, which may have domains of their own.

    Raises:
        RecipeError: if a file is no rule table, or a line of it cannot be used.
    """
    known = [line["table"] for line in rules.read_rules("about") if line["table"] not in _FIXED]
    for path in sorted(folder.glob("*.csv")):
        if path.stem not in known:
            raise RecipeError(f"{path} is no rule table that can be added to. There are: {', '.join(sorted(known))}")
        shipped = len(rules.read_rules(path.stem))
        for number, line in enumerate(rules.read_rules(path.stem, folder)[shipped:], start=2):
            _check_line(path, number, line, {"*", *rules.domains(recipes)})


def _check_line(path: Path, number: int, line: dict[str, str], domains: set[str]) -> None:
    for column in _DOMAINS:
        if unknown := [name for name in line.get(column, "").split() if name not in domains]:
            raise RecipeError(f"{path}, line {number}: {column} is '{unknown[0]}', and must be a domain of domains.csv")
    for column, text in line.items():
        if text and column in _CHECKS and not _CHECKS[column][0](text):
            raise RecipeError(f"{path}, line {number}: {column} is '{text}', and must be {_CHECKS[column][1]}")
    low, high = line.get("low", ""), line.get("high", "")
    if low and high and float(low) > float(high):
        raise RecipeError(f"{path}, line {number}: low is {low}, above high, which is {high}")
    if "factor" in line and not (line["factor"] and line["offset"]):
        raise RecipeError(f"{path}, line {number}: factor and offset are needed (1 and 0 change nothing)")
