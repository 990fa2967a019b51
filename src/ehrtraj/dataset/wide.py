"""Numbers of a trajectory as a regular table: one row per time span, one column per code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal

import polars as pl

from ehrtraj.dataset.patterns import is_exact, matches
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

Clock = Literal["time", "available_time"]

_MAX_ROWS = 10_000_000
_DEFAULT = "mean"

_AGGREGATES: dict[str, pl.Expr] = {
    "mean": pl.col("value").mean(),
    "median": pl.col("value").median(),
    "min": pl.col("value").min(),
    "max": pl.col("value").max(),
    "sum": pl.col("value").sum(),
    "first": pl.col("value").first(),
    "last": pl.col("value").last(),
    "count": pl.len().cast(pl.Float64),
}


def to_wide(
    events: pl.DataFrame,
    freq: str,
    patterns: Sequence[str],
    aggregate: str | Mapping[str, str],
    clock: Clock,
) -> pl.DataFrame:
    """Aggregate the numbers of one patient on a regular grid; see `Trajectory.to_wide`.

    Raises:
        SettingsError: if an aggregation, a frequency or a clock is invalid, or the grid would be too long.
    """
    how = {"*": aggregate} if isinstance(aggregate, str) else {**aggregate}
    _check(how.values(), clock, freq)
    used = events.filter(pl.col(clock).is_not_null(), matches(patterns)).sort(clock, maintain_order=True)
    used = used.select(
        "code",
        pl.col(clock).dt.truncate(freq).alias("time"),
        # By way of the text: 1.1 stays 1.1 in 64 bits, and is not 1.10000002384.
        value=pl.col("numeric_value").cast(pl.String).cast(pl.Float64),
        how=_chosen(how),
    ).filter(pl.col("value").is_not_null() | (pl.col("how") == "count"))
    exact = [p for p in patterns if is_exact(p)]
    columns = list(dict.fromkeys([*exact, *used["code"].unique().sort()]))
    cells = [
        used.filter(how=name).group_by("time", "code", maintain_order=True).agg(value=_AGGREGATES[name])
        for name in dict.fromkeys([*how.values(), _DEFAULT])
    ]
    cells.append(used.select("time", "code", "value").clear())
    wide = pl.concat(cells).pivot("code", on_columns=columns, index="time", values="value")
    return _grid(used["time"], freq).join(wide, on="time", how="left", maintain_order="left")


def _check(names: Iterable[str], clock: str, freq: str) -> None:
    for name in names:
        if name not in _AGGREGATES:
            raise SettingsError(
                f"there is no aggregation '{name}'{did_you_mean(name, _AGGREGATES)}: use one of "
                f"{', '.join(_AGGREGATES)}"
            )
    if clock not in ("time", "available_time"):
        raise SettingsError(f"clock is '{clock}', but must be 'time' or 'available_time'")
    some_day = datetime(2000, 1, 1)
    try:
        moved = pl.select(pl.lit(some_day).dt.offset_by(freq)).item()
    except pl.exceptions.PolarsError:
        moved = None
    if moved is None or moved <= some_day:
        raise SettingsError(f"freq is '{freq}', but must be a duration such as 1h, 30m, 12h or 1d")


def _chosen(how: Mapping[str, str]) -> pl.Expr:
    """Return the aggregation of each code: that of the first matching pattern, or the default."""
    chosen = pl.lit(_DEFAULT)
    for pattern, name in reversed(list(how.items())):
        chosen = pl.when(matches([pattern])).then(pl.lit(name)).otherwise(chosen)
    return chosen


def _grid(times: pl.Series, freq: str) -> pl.DataFrame:
    if times.is_empty():
        return pl.DataFrame({"time": times})
    first, last = pl.col("time").min(), pl.col("time").max()
    frame = times.to_frame()
    rows = int(frame.select((last - first) / (first.dt.offset_by(freq) - first)).item()) + 1
    if rows > _MAX_ROWS:
        raise SettingsError(
            f"freq {freq} gives {rows:,} rows: choose a longer duration, or cut the trajectory with `between` first"
        )
    return frame.select(time=pl.datetime_range(first, last, freq, time_unit="us"))
