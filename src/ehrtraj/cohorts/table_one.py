"""Table one of a cohort: `pip install 'ehrtraj[cohorts]'`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from ehrtraj.errors import MissingExtraError

if TYPE_CHECKING:
    from tableone import TableOne

_NOT_CHARACTERISTICS = ("kind", "subject_id", "hadm_id", "stay_id", "seq", "split")


def table_one(
    frame: pl.DataFrame, columns: Sequence[str] | None, groupby: str | None, options: Mapping[str, Any]
) -> TableOne:
    """Return the table of baseline characteristics of stays; see `Cohort.table_one`.

    Raises:
        MissingExtraError: if `tableone` is not installed.
    """
    try:
        from tableone import TableOne
    except ModuleNotFoundError:
        raise MissingExtraError("table_one needs the package tableone: pip install 'ehrtraj[cohorts]'") from None
    chosen = list(columns) if columns is not None else [name for name in _characteristics(frame) if name != groupby]
    used = frame.select(*dict.fromkeys([*chosen, *([groupby] if groupby else [])]))
    # tableone sorts the values of a column as text.
    data = used.with_columns(
        pl.col(pl.Boolean).replace_strict({True: "yes", False: "no"}, return_dtype=pl.String)
    ).to_pandas()
    categorical = [name for name in chosen if not used.schema[name].is_numeric()]
    arguments = {"columns": chosen, "categorical": categorical, "groupby": groupby} | dict(options)
    return TableOne(data, **arguments)


def _characteristics(frame: pl.DataFrame) -> list[str]:
    return [
        name
        for name, kind in frame.schema.items()
        if name not in _NOT_CHARACTERISTICS and (kind.is_numeric() or kind in (pl.String, pl.Boolean, pl.Categorical))
    ]
