"""The drugs that codes are about: their names as the source's rows write them, without case and blanks."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

DRUGS_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("drug", pa.string(), nullable=False),
        pa.field("ingredient", pa.string()),
    ]
)
"""Columns of what a shard knows of drugs: a row for each code, name and ingredient that occur together."""


class NamedDrug(NamedTuple):
    """A drug as a row of the source names it.

    Attributes:
        name: in lower case, with single blanks.
        ingredient: what the source's formulary calls its ingredient; None where the row does not show it.
    """

    name: str
    ingredient: str | None


def drugs_by_code(result: pa.Table, code: npt.NDArray[np.int32]) -> dict[int, set[NamedDrug]]:
    """Return the drugs that the rows name, by the position of their code.

    Args:
        result: of a statement, which may select `code_drug` and `code_ingredient`.
        code: position of each row's code.
    """
    found: dict[int, set[NamedDrug]] = {}
    if "code_drug" not in result.column_names:
        return found
    columns = [name for name in ("code_drug", "code_ingredient") if name in result.column_names]
    pairs = result.select(columns).append_column("code", pa.array(code)).group_by([*columns, "code"]).aggregate([])
    drugs = pairs["code_drug"].to_pylist()
    ingredients = pairs[columns[1]].to_pylist() if len(columns) == 2 else [None] * len(drugs)
    for at, drug, ingredient in zip(pairs["code"].to_pylist(), drugs, ingredients, strict=True):
        if name := " ".join((drug or "").split()).lower():
            found.setdefault(at, set()).add(NamedDrug(name, ingredient))
    return found


def drug_rows(drugs: Mapping[str, Set[NamedDrug]]) -> pa.Table:
    """Return the drugs of each code as a table of `DRUGS_SCHEMA`, in a fixed order."""
    rows = [(code, *drug) for code, named in drugs.items() for drug in named]
    rows.sort(key=lambda row: (row[0], row[1], row[2] or ""))
    columns = zip(*rows, strict=True) if rows else [()] * len(DRUGS_SCHEMA)
    return pa.table([list(column) for column in columns], schema=DRUGS_SCHEMA)
