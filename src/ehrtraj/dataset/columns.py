"""Turn polars' error for an unknown column into one that suggests the nearest column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

_NAME = re.compile(r'"([^"]*)"')


@contextmanager
def column_errors(rows: str, columns: Sequence[str]) -> Iterator[None]:
    """Raise a SettingsError if an expression refers to a column that does not exist.

    Args:
        rows: what the frame contains, for the message: `patients`.
        columns: columns of the frame.
    """
    try:
        yield
    except pl.exceptions.ColumnNotFoundError as error:
        reason = str(error).splitlines()[0]
        found = _NAME.search(reason)
        name = found[1] if found else reason
        raise SettingsError(
            f"{rows} have no column '{name}'{did_you_mean(name, columns)}: use one of {', '.join(columns)}"
        ) from None
