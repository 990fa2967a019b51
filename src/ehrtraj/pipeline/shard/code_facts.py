"""What a shard knows about each code: the numbers of events and patients, and what its rows say about the code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import Int32s, Texts

COUNTS_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("source_table", pa.string(), nullable=False),
        pa.field("n_events", pa.int64(), nullable=False),
        pa.field("n_subjects", pa.int64(), nullable=False),
    ]
)
"""Columns of the counts of codes: a row for each code and table."""

UNIT, NUMBER_UNIT, DESCRIPTION, PARENT, DRUG = "unit", "number_unit", "description", "parent", "drug"
"""Kinds of facts: a unit of any row, a unit of a row with a number, a description, a parent, and a drug's name."""

FACTS_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("ingredient", pa.string()),
    ]
)
"""Columns of the facts about codes: a row for each code, kind and text. `ingredient` is a drug's ingredient in the
formulary of the source, null where the row does not show it."""


@dataclass(frozen=True)
class Facts:
    """Facts of one kind.

    Attributes:
        kind: kind of the facts.
        codes: position of each fact's code.
        texts: text of each fact.
        ingredients: ingredient of each drug; None for other kinds.
    """

    kind: str
    codes: pa.Array
    texts: pa.Array
    ingredients: pa.Array | None = None

    def to_table(self, names: pa.Array) -> pa.Table:
        """Return a table of `FACTS_SCHEMA`.

        Args:
            names: all codes.
        """
        count = len(self.codes)
        ingredients = pa.nulls(count, pa.string()) if self.ingredients is None else self.ingredients
        kind = pa.repeat(pa.scalar(self.kind, pa.string()), count)
        return pa.table([names.take(self.codes), kind, self.texts, ingredients], schema=FACTS_SCHEMA)


def facts_of(result: pa.Table, code: Int32s) -> Iterator[Facts]:
    """Yield the facts in the result of a statement.

    Args:
        result: of a statement, which may select `code_parent`, `code_description`, `code_drug` and `code_ingredient`.
        code: position of each row's code.
    """
    names = result.column_names
    if "code_parent" in names:
        yield _distinct(PARENT, code, Texts.encode(result["code_parent"]))
    if "code_description" in names:
        yield _distinct(DESCRIPTION, code, Texts.encode(result["code_description"]))
    if "code_drug" in names:
        ingredient = Texts.encode(result["code_ingredient"]) if "code_ingredient" in names else None
        yield _distinct(DRUG, code, _drug_names(Texts.encode(result["code_drug"])), ingredient)


def _distinct(kind: str, code: Int32s, text: Texts, ingredient: Texts | None = None) -> Facts:
    """Return each combination of a code and its texts once. Rows without a text are left out."""
    columns = [text] if ingredient is None else [text, ingredient]
    # A number for each combination: pyarrow groups numbers in a third of the time that it takes for texts.
    key = code.astype(np.int64)
    for column in columns:
        key = key * (len(column.values) + 1) + column.positions + 1
    key = pc.unique(pa.array(key[text.positions >= 0])).to_numpy()
    texts = []
    for column in reversed(columns):
        key, place = np.divmod(key, len(column.values) + 1)
        texts.append(column.values.take(pa.array(place - 1, mask=place == 0)).cast(pa.string()))
    return Facts(kind, pa.array(key), texts[-1], None if ingredient is None else texts[0])


def _drug_names(drugs: Texts) -> Texts:
    """Return names in lower case, with single blanks; null for blank names."""
    names = [" ".join((name or "").split()).lower() or None for name in drugs.values.to_pylist()]
    return drugs.replaced(pa.array(names, pa.string()))


def all_counts(pieces: Sequence[pa.Table]) -> pa.Table:
    """Add up the counts of codes, in a fixed order."""
    names = COUNTS_SCHEMA.names
    rows = pa.concat_tables([COUNTS_SCHEMA.empty_table(), *pieces])
    added = rows.group_by(names[:2], use_threads=False).aggregate([("n_events", "sum"), ("n_subjects", "sum")])
    return added.rename_columns(names).sort_by([(name, "ascending") for name in names[:2]]).cast(COUNTS_SCHEMA)


def all_facts(pieces: Sequence[pa.Table]) -> pa.Table:
    """Combine facts about codes, each once."""
    rows = pa.concat_tables([FACTS_SCHEMA.empty_table(), *pieces])
    return rows.group_by(FACTS_SCHEMA.names, use_threads=False).aggregate([]).cast(FACTS_SCHEMA)
