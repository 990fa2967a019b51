"""Times relative to a stay: `start`, `24h` (after the start), `end-12h`, or any column of times."""

from __future__ import annotations

import re

import polars as pl

from ehrtraj.cohorts.nearest import did_you_mean
from ehrtraj.errors import SettingsError

_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?\s*(?:s|min|m|h|d|w)\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_TIME = re.compile(rf"(?P<column>[A-Za-z_]\w*)?\s*(?P<sign>[+-])?\s*(?P<offset>{_DURATION.pattern})?")


def duration_of(text: str) -> int:
    """Return the microseconds of a duration such as `24h`, `30m` or `1d12h`.

    Raises:
        SettingsError: if the text is not a duration longer than 0.
    """
    length = _microseconds(text) if isinstance(text, str) and _DURATION.fullmatch(text.strip()) else 0
    if length <= 0:
        raise SettingsError(f"'{text}' is not a valid duration: write it as 24h, 30m, 1d or 1d12h")
    return length


def _microseconds(text: str) -> int:
    return sum(round(float(number) * _SECONDS[unit] * 1_000_000) for number, unit in _PART.findall(text))


def time_of(text: str, frame: pl.DataFrame) -> pl.Expr:
    """Return the expression of a time relative to each stay.

    Args:
        text: a column (`start`), a duration after the start (`24h`, `-6h`), or both (`end-12h`).
        frame: frame of stays.

    Raises:
        SettingsError: if the text is not such a time, or the column does not exist or has no times.
    """
    match = _TIME.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None or not _is_complete(match):
        raise _invalid(text, frame)
    column = match["column"] or "start"
    if column not in frame.columns:
        raise _invalid(text, frame)
    if not isinstance(frame.schema[column], pl.Datetime):
        raise SettingsError(f"the column {column} contains {frame.schema[column]}, not times")
    offset = _microseconds(match["offset"] or "")
    return pl.col(column) + pl.duration(microseconds=-offset if match["sign"] == "-" else offset)


def _is_complete(match: re.Match[str]) -> bool:
    """Return whether a time has a column or an offset, and a sign between them if it has both."""
    column, sign, offset = match["column"], match["sign"], match["offset"]
    return bool(offset and (sign or not column)) or bool(column and not sign and not offset)


def _invalid(text: object, frame: pl.DataFrame) -> SettingsError:
    columns = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    return SettingsError(
        f"'{text}' is not a time of a stay: write a column ({', '.join(columns)}), a duration after the start (24h, "
        f"-6h), or both (end-12h){did_you_mean(str(text), columns)}"
    )
