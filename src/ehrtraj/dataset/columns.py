"""Conditions over the columns of a frame, with errors that name what is wrong and suggest the nearest column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from ehrtraj.arguments import shown
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

_NAME = re.compile(r'"([^"]*)"')


def conditions_in(predicates: Iterable[object]) -> list[pl.Expr]:
    """Return the polars expressions among arguments, which are given one by one or in lists.

    Raises:
        SettingsError: if there is something else.
    """
    found: list[pl.Expr] = []
    for given in predicates:
        for one in given if isinstance(given, list | tuple) else [given]:
            if not isinstance(one, pl.Expr):
                raise SettingsError(
                    f'a condition is {shown(one)}: it must be a polars expression, such as pl.col("sex") == "F"'
                )
            found.append(one)
    return found


def all_true(rows: str, frame: pl.DataFrame, predicates: Iterable[object]) -> pl.Series:
    """Return for each row whether all predicates are true; null if it is unknown.

    Args:
        rows: what the frame contains, for messages: `patients`.
        frame: the rows.
        predicates: polars expressions over its columns, one by one or in lists.

    Raises:
        SettingsError: if a column does not exist, or an expression is not a condition that holds for some rows.
    """
    wanted = conditions_in(predicates)
    with _column_errors(rows, frame.columns):
        for predicate in wanted:
            _check_boolean(rows, predicate, frame)
        found = frame.select(pl.all_horizontal(pl.lit(value=True), *wanted).alias("true"))["true"]
    if len(found) not in (1, frame.height):
        raise SettingsError(f"a condition on {rows} has {len(found):,} values for {frame.height:,} rows")
    # A condition without a column is a single value.
    return found.new_from_index(0, frame.height) if len(found) == 1 else found


def _check_boolean(rows: str, predicate: pl.Expr, frame: pl.DataFrame) -> None:
    for name, kind in frame.lazy().select(predicate).collect_schema().items():
        if kind not in (pl.Boolean, pl.Null):
            raise SettingsError(
                f"a condition on {rows} must be true or false, but '{name}' is {kind}: compare it with a value, such "
                f'as pl.col("{name}") == ...'
            )


def check_columns(rows: str, names: Iterable[str], known: Sequence[str]) -> None:
    """Check that columns exist.

    Args:
        rows: what has the columns, for messages: `stays`.
        names: names of columns.
        known: names of all columns.

    Raises:
        SettingsError: if one does not exist; the message suggests the nearest.
    """
    for name in names:
        if name not in known:
            raise _unknown_column(rows, name, known)


def _unknown_column(rows: str, name: str, known: Sequence[str]) -> SettingsError:
    return SettingsError(f"{rows} have no column '{name}'{did_you_mean(name, known)}: use one of {', '.join(known)}")


@contextmanager
def _column_errors(rows: str, columns: Sequence[str]) -> Iterator[None]:
    """Raise a SettingsError for an expression that cannot be evaluated, such as one with an unknown column."""
    try:
        yield
    except pl.exceptions.ColumnNotFoundError as error:
        reason = str(error).splitlines()[0]
        found = _NAME.search(reason)
        name = found[1] if found else reason
        raise _unknown_column(rows, name, columns) from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"polars cannot evaluate a condition on {rows}: {reason}") from None
