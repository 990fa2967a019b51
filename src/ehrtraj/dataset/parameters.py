"""Bind numbers to SQL queries as 32-bit floats, the type of `numeric_value`.

DuckDB compares a FLOAT with a DOUBLE as DOUBLE: 1.1 in a column of FLOAT is 1.10000002, so that `numeric_value <= ?`
with the Python number 1.1 would silently miss each 1.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import polars as pl

_LARGEST = float(np.finfo(np.float32).max)
# Larger integers are not exact as 32-bit floats. They are rather identifiers than measured values.
_LARGEST_INTEGER = 2**24


def bind_parameters(parameters: Sequence[Any] | dict[str, Any] | None) -> list[Any] | dict[str, Any] | None:
    """Return parameters for DuckDB, with floats as FLOAT, also within lists, arrays and mappings.

    Integers above 2**24 and numbers beyond the range of a 32-bit float are bound as DOUBLE.
    """
    if parameters is None:
        return None
    if isinstance(parameters, dict):
        return {name: _bound(value) for name, value in parameters.items()}
    return [_bound(value) for value in parameters]


def _bound(value: Any) -> Any:  # noqa: ANN401  # any parameter
    if isinstance(value, float | np.floating):
        number = float(value)
        return duckdb.FloatValue(number) if _fits(number) else number
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return _bound(value.tolist())
    if isinstance(value, pl.Series):
        return _bound(value.to_list())
    if isinstance(value, list | tuple):
        return [_bound(part) for part in value]
    if isinstance(value, dict):
        return {name: _bound(part) for name, part in value.items()}
    return value


def _fits(number: float) -> bool:
    if not math.isfinite(number):
        return True
    return abs(number) <= (_LARGEST_INTEGER if number.is_integer() else _LARGEST)
