"""Check the rule tables of a user's overlay before a build uses them. Errors name the file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in
from ehrtraj.rules.figures import problem_of_limits
from ehrtraj.rules.ucum import is_ucum
from ehrtraj.user_files import UserFile

# Tables that the code depends on: users cannot add to them.
_FIXED = ("about", "flags")
# Tables that only a source can have: an overlay declares event types together with its tables.
_OF_SOURCES = ("event_types", "planned_event_types", "intervals")
VOCABULARY_SETTINGS = ("gem", "concept_maps", "vocabulary")
"""Settings whose value is a folder of vocabularies."""
_NUMBER = re.compile(r"[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?")


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and len(text) < 50


def _is_pattern(text: str) -> bool:
    try:
        pc.match_substring_regex(pa.array([""]), f"(?i)(?:{text})")
    except pa.ArrowInvalid:
        return False
    return True


_Check = tuple[Callable[[str], bool], str]
_EVENT_TYPES = ("event_type", "of_event_type", "event_types")
_NUMBERS = (
    "low",
    "high",
    "suspicious_low",
    "suspicious_high",
    "sentinels_from",
    "factor",
    "offset",
    "value",
    "tolerance",
)
_UNITS = ("ucum", "unit", "from_unit", "to_unit")
_PATTERN: _Check = (_is_pattern, "a regular expression (RE2)")
_CHECKS: dict[str, _Check] = {
    **dict.fromkeys(_NUMBERS, (_is_number, "a number")),
    "least_confidence": (_is_number, "a number"),
    "weight": (lambda text: text in ("multiply", "divide"), "multiply or divide"),
    **dict.fromkeys(("pattern", "unless"), _PATTERN),
    "flag": (lambda text: text in rules.flags(), "a flag of rules/flags.csv"),
    "operator": (lambda text: text in ("<", "<=", ">", ">="), "<, <=, > or >="),
    "kind": (lambda text: text in ("status", "caveat"), "status or caveat"),
    "no_result": (lambda text: text in ("yes", "no", "empty"), "yes, no or empty"),
    "file": (lambda text: "/" not in text and "\\" not in text, "a file name without folders"),
}
"""What the non-empty cells of a column must be."""
_GROUPS: dict[str, tuple[str, ...]] = {
    "number": ("number",),
    "bound": ("bound",),
    "range": ("low", "high"),
    "result": (),
}
"""The named groups that the pattern of each form needs."""
_CHECKS_OF_TABLE: dict[tuple[str, str], _Check] = {
    ("text_forms", "form"): (lambda text: text in _GROUPS, "number, bound, range or result"),
    ("code_forms", "form"): _PATTERN,
    ("meant_units", "weight"): (lambda text: text == "unknown", "unknown"),
    ("vocabularies", "setting"): (
        lambda text: text in VOCABULARY_SETTINGS,
        f"one of {', '.join(VOCABULARY_SETTINGS)}",
    ),
}
_REQUIRED = {
    "spellings": ("written",),
    "units": ("event_type",),
    "conversions": ("event_type", "item", "from_unit", "to_unit"),
    "meant_units": ("event_type", "item", "low", "high"),
    "limits": ("event_type", "item"),
    "quantities": ("unit", "low"),
    "sentinels": ("value",),
    "concepts": ("event_type", "item", "concept"),
    "item_parents": ("event_type", "item", "parent"),
    "text_forms": ("event_types", "form", "pattern"),
    "text_results": ("event_types", "text"),
    "text_remarks": ("event_types", "kind", "name", "pattern", "no_result"),
    "item_flags": ("event_types", "item"),
    "copied_results": ("event_type", "item", "of_event_type", "of_item", "tolerance"),
    "code_forms": ("form", "parent"),
    "vocabularies": ("setting", "file"),
}
"""Columns that must not be empty."""


def check_overlay_rules(folder: UserFile, event_types: Collection[str], *, of_source: bool = False) -> None:
    """Check a folder of custom rule tables.

    Args:
        folder: folder with the tables.
        event_types: all event types, including custom ones.
        of_source: whether the tables belong to a source instead of an overlay.

    Raises:
        RecipeError: if a file is not a rule table, or one of its lines cannot be used.
    """
    fixed = _FIXED if of_source else (*_FIXED, *_OF_SOURCES)
    known = [line["table"] for line in rules.read_general("about") if line["table"] not in fixed]
    event_types = {"*", *event_types}
    for name in names_in(folder, RecipeError):
        path = folder / name
        if path.suffix.lower() != ".csv":
            continue
        if name.removesuffix(".csv") not in known:
            raise RecipeError(f"{path} is not a rule table that you can add to. Use one of {', '.join(sorted(known))}")
        for number, line in rules.overlay_lines(path.stem, folder):
            if problem := _problem(path.stem, line, event_types):
                raise RecipeError(f"{path}, line {number}: {problem}")


def _problem(table: str, line: dict[str, str], event_types: set[str]) -> str | None:
    """Return the problem with a line, or None."""
    for column in _EVENT_TYPES:
        if unknown := [name for name in line.get(column, "").split() if name not in event_types]:
            return f"{column} is '{unknown[0]}', but must be an event type of event_types.csv"
    for column in _REQUIRED.get(table, ()):
        if not line[column].strip():
            return f"{column} is empty"
    for column, text in line.items():
        check = _CHECKS_OF_TABLE.get((table, column)) or _CHECKS.get(column)
        if text and check is not None and not check[0](text):
            return f"{column} is '{text}', but must be {check[1]}"
    low, high = line.get("low", ""), line.get("high", "")
    if low and high and float(low) > float(high):
        return f"low is {low}, but must not be greater than high, which is {high}"
    if "factor" in line and not (line["factor"] and line["offset"] and float(line["factor"])):
        return "factor and offset are required (1 and 0 change nothing), and factor must not be 0"
    for column in _UNITS:
        if line.get(column) and not is_ucum(line[column]):
            return f"{column} is '{line[column]}', which is not a valid UCUM unit"
    if table == "limits":
        return problem_of_limits(line)
    return _problem_of_form(line) if table == "text_forms" else None


def _problem_of_form(line: dict[str, str]) -> str | None:
    """Return the problem with a form's operator or with the groups of its pattern, or None."""
    if (line["form"] == "bound") != bool(line["operator"]):
        return "operator is required for the form bound, and must be empty for all other forms"
    needed = _GROUPS[line["form"]]
    if not needed:
        return None
    try:
        found = pc.extract_regex(pa.array([""]), line["pattern"]).type
    except pa.ArrowInvalid as error:
        return f"pattern cannot be used: {error}"
    if missing := [name for name in needed if found.get_field_index(name) < 0]:
        return f"pattern has no group named {missing[0]}: write it as (?P<{missing[0]}>...)"
    return None
