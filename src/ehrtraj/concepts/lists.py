"""The lists that concepts read: items, drugs, limits and points, as CSV lines with a source each.

Most lists are tables in SQL: `items.csv` is `concept_items`. Limits and points are macros, which are faster than joins:
`plausible_vitalsign(concept, value)`, `sofa_liver_points(value)`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl
import polars.selectors as cs

from ehrtraj.errors import RecipeError
from ehrtraj.runtime.session import quoted

ConceptLists = Mapping[str, list[dict[str, str]]]
"""Lines of each list, by the name of its table in SQL (`concept_items`)."""
LIMITS, POINTS = "concept_limits", "concept_points"
_BOUNDS = {"above": ">", "at_least": ">=", "below": "<", "at_most": "<="}


def tables(lists: ConceptLists, names: Collection[str] | None = None) -> dict[str, pl.DataFrame]:
    """Return the lists that are tables in SQL. Empty cells are null.

    Args:
        lists: all lists.
        names: names of the tables to return; all by default.
    """
    return {
        name: pl.DataFrame(lines).with_columns(cs.string().replace("", None))
        for name, lines in lists.items()
        if lines and name not in (LIMITS, POINTS) and (names is None or name in names)
    }


def macros(lists: ConceptLists) -> Iterator[tuple[str, str]]:
    """Yield the name of each macro with the statement that creates it.

    Raises:
        RecipeError: if a bound or a number of points is not a number.
    """
    for name, lines in _grouped(lists.get(LIMITS, ()), "use").items():
        cases = (f"WHEN {quoted(line['concept'])} THEN {_condition(line)}" for line in lines)
        sql = f"CASE concept {' '.join(cases)} ELSE false END"
        yield f"plausible_{name}", f"CREATE MACRO plausible_{name}(concept, v) AS {sql}"
    for name, lines in _grouped(lists.get(POINTS, ()), "score", "component").items():
        cases = (f"WHEN {_condition(line)} THEN {_number(line, 'points')}" for line in lines)
        sql = f"CASE WHEN v IS NULL THEN NULL {' '.join(cases)} END"
        yield f"{name}_points", f"CREATE MACRO {name}_points(v) AS {sql}"


def _grouped(lines: Iterable[dict[str, str]], *keys: str) -> dict[str, list[dict[str, str]]]:
    groups: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        groups.setdefault("_".join(line[key] for key in keys), []).append(line)
    return groups


def _condition(line: Mapping[str, Any]) -> str:
    tests = [f"v {sign} {_number(line, bound)}" for bound, sign in _BOUNDS.items() if line[bound]]
    return " AND ".join(tests) or "true"


def _number(line: Mapping[str, Any], column: str) -> str:
    try:
        return format(Decimal(line[column]), "f")
    except InvalidOperation:
        raise RecipeError(f"the concept lists contain '{line[column]}' as {column}: it must be a number") from None
