"""Features of stays: statistics of values in a window of each stay, or in the cells of a grid over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from ehrtraj.arguments import Texts, listed, shown
from ehrtraj.cohorts.measures import Measure, Measures
from ehrtraj.cohorts.nearest import did_you_mean
from ehrtraj.cohorts.patients import Patients
from ehrtraj.cohorts.values import Clock, read_values
from ehrtraj.cohorts.windows import duration_of, time_of
from ehrtraj.errors import SettingsError

Fill = Literal["forward"]
KEYS = ("subject_id", "hadm_id", "stay_id")
HOURS = "hours"
_MAX_ROWS = 50_000_000
_MICROSECONDS_PER_HOUR = 3_600_000_000

_IN_ORDER = pl.col("value").sort_by("start", "place")
_PLAIN: dict[str, pl.Expr] = {
    "min": pl.col("value").min(),
    "max": pl.col("value").max(),
    "mean": pl.col("value").mean(),
    "median": pl.col("value").median(),
    "std": pl.col("value").std(),
    "sum": pl.col("value").sum(),
    "first": _IN_ORDER.first(),
    "last": _IN_ORDER.last(),
    "count": pl.len().cast(pl.Float64),
}
# Values that hold for a period count for as long as they hold; periods without a length count equally.
_WEIGHTED_MEAN = (
    pl.when(pl.col("weight").sum() > 0)
    .then((pl.col("value") * pl.col("weight")).sum() / pl.col("weight").sum())
    .otherwise(pl.col("value").mean())
)
STATS = tuple(_PLAIN)
_OF_PERIODS = ("min", "max", "mean", "first", "last", "count")


@dataclass(frozen=True)
class FeatureRequest:
    """Which features to compute.

    Attributes:
        measures: what they are computed of.
        stats: statistics, by name.
        clock: `available` or `time`.
        length: length of a cell of the grid in microseconds; None for one row per stay.
        fill: `forward` to carry the last value forward in the grid.
    """

    measures: tuple[Measure, ...]
    stats: tuple[str, ...]
    clock: Clock
    length: int | None
    fill: Fill | None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, by measure."""
        return [f"{measure.name}_{stat}" for measure in self.measures for stat in self.stats]

    @property
    def carried(self) -> list[str]:
        """Names of the columns that can be carried forward: neither counts nor rates, which end when they end."""
        names = [measure.name for measure in self.measures if not measure.is_rate]
        return [f"{name}_{stat}" for name in names for stat in self.stats if stat != "count"]


def compute_features(
    patients: Patients,
    frame: pl.DataFrame,
    window: Sequence[str],
    of: Texts,
    stats: Texts,
    clock: Clock,
    freq: str | None,
    fill: Fill | None,
    *,
    keys: bool,
) -> pl.DataFrame:
    """Compute features of stays, one data file at a time; see `Cohort.features`."""
    request = _request(patients, of, stats, clock, freq, fill)
    windows = _windows(frame, window, request.length)
    located = windows.join(patients.subjects.select("subject_id", "split", "shard"), on="subject_id", how="left")
    by_file = located.partition_by("split", "shard", as_dict=True)
    parts = [_empty(request)]
    for file in patients.files:
        if (stays := by_file.get((file.split, file.shard))) is not None:
            values = read_values(patients.layout, file, stays["subject_id"].unique(), request.measures)
            parts.append(_of_stays(values, stays, request))
    found = pl.concat(parts).sort("row", "cell")
    index = [name for name in KEYS if keys and name in frame.columns]
    columns = [pl.col(request.columns)]
    if request.length is not None:
        since = pl.col("since") + pl.col("cell") * request.length
        columns.insert(0, since.truediv(_MICROSECONDS_PER_HOUR).alias(HOURS))
    features = found.select(columns)
    if not index:
        return features
    # Columns are put side by side, because a join would copy all features.
    return pl.concat([frame.select(index)[found["row"]], features], how="horizontal")


def _request(
    patients: Patients,
    of: Texts,
    stats: Texts,
    clock: Clock,
    freq: str | None,
    fill: Fill | None,
) -> FeatureRequest:
    if clock not in ("available", "time"):
        raise SettingsError(f"clock is '{clock}', but must be 'available' or 'time'")
    if fill not in (None, "forward") or (fill and freq is None):
        raise SettingsError("fill must be 'forward', and needs a freq such as '1h'" if freq is None else
                            f"fill is '{fill}', but must be 'forward' or None")  # fmt: skip
    names = _distinct("of", of)
    known = Measures(patients.layout)
    measures = tuple(known.find(name) for name in names)
    wanted = _distinct("stats", stats)
    for stat in wanted:
        if stat not in STATS:
            raise SettingsError(
                f"there is no statistic '{stat}': use one of {', '.join(STATS)}{did_you_mean(stat, STATS)}"
            )
        if stat not in _OF_PERIODS and (rate := next((one.name for one in measures if one.is_rate), None)):
            raise SettingsError(
                f"'{stat}' of {rate} is not defined: the statistics of rates are {', '.join(_OF_PERIODS)}"
            )
    return FeatureRequest(measures, wanted, clock, None if freq is None else duration_of(freq), fill)


def _distinct(argument: str, given: Texts) -> tuple[str, ...]:
    names = tuple(listed(argument, given))
    if not names:
        raise SettingsError(f"{argument} is empty: name at least one")
    if twice := [name for name in names if names.count(name) > 1]:
        raise SettingsError(f"{argument} contains '{twice[0]}' twice")
    return names


def _windows(frame: pl.DataFrame, window: Sequence[str], length: int | None) -> pl.DataFrame:
    """Return start and end of the window of each row, and the number of its cells.

    Args:
        frame: the stays.
        window: start and end, as in `Cohort.features`.
        length: length of a cell in microseconds; None for one cell.

    Returns:
        Frame with `row`, `subject_id`, `start`, `end` (microseconds), `since` (from the stay's start to that of the
        window, in microseconds) and `cells`. In a grid, a stay without a window has no cells.
    """
    if isinstance(window, str) or not isinstance(window, Sequence) or len(window) != 2:
        raise SettingsError(f"window is {shown(window)}: write its start and its end, such as ('start', '24h')")
    times = [
        time_of(bound, frame).dt.epoch("us").alias(side) for bound, side in zip(window, ("from", "to"), strict=True)
    ]
    rows = frame.select("subject_id", *times, origin=time_of("start", frame).dt.epoch("us")).with_row_index("row")
    open_ = pl.col("to") >= pl.col("from")
    cells = pl.lit(1) if length is None else -((pl.col("from") - pl.col("to")) // length)
    found = rows.select(
        "row", "subject_id", since=pl.col("from") - pl.col("origin"), start="from", end="to",
        cells=pl.when(open_).then(cells).otherwise(0 if length else 1).cast(pl.Int64),
    )  # fmt: skip
    if (total := found["cells"].sum()) > _MAX_ROWS:
        raise SettingsError(f"the grid has {total:,} rows: choose a longer freq, or fewer stays")
    return found


def _empty(request: FeatureRequest) -> pl.DataFrame:
    schema = {"row": pl.UInt32, "cell": pl.Int64, "since": pl.Int64}
    return pl.DataFrame(schema={**schema, **dict.fromkeys(request.columns, pl.Float64)})


def _of_stays(values: pl.DataFrame, stays: pl.DataFrame, request: FeatureRequest) -> pl.DataFrame:
    """Compute the features of stays from the values of their patients."""
    some = stays.filter(pl.col("cells") > 0)
    cells = some.select("row", "since", cell=pl.int_ranges(0, "cells", dtype=pl.Int64)).explode("cell")
    placed = _placed(values, stays, request)
    per_measure = placed.group_by("row", "cell", "measure").agg(_stat(stat).alias(stat) for stat in request.stats)
    for number, measure in enumerate(request.measures):
        of_measure = per_measure.filter(measure=number).select(
            "row", "cell", *(pl.col(stat).alias(f"{measure.name}_{stat}") for stat in request.stats)
        )
        cells = cells.join(of_measure, on=["row", "cell"], how="left", maintain_order="left")
    if request.fill:
        cells = cells.with_columns(pl.col(request.carried).forward_fill().over("row"))
    counts = [f"{measure.name}_count" for measure in request.measures if "count" in request.stats]
    return cells.select(_empty(request).columns).with_columns(pl.col(counts).fill_null(0.0))


def _stat(name: str) -> pl.Expr:
    return _WEIGHTED_MEAN if name == "mean" else _PLAIN[name]


def _placed(values: pl.DataFrame, stays: pl.DataFrame, request: FeatureRequest) -> pl.DataFrame:
    """Return the values that belong to each cell, with the time for which each holds in it (`weight`).

    A value belongs to the cell in which it was measured (clock `time`) or became known (`available`). A period belongs
    to all cells in which it runs. With the clock `available`, a cell shows what is known at its end: a period begins
    when its start is known, and runs on until its end is known.
    """
    size = pl.col("closes") - pl.col("opens") + 1 if request.length is None else pl.lit(request.length)
    window = (
        stays.filter(pl.col("end") >= pl.col("start"))
        .select("row", "subject_id", "cells", opens="start", closes="end")
        .with_columns(size=size)
    )
    known, end_known = ("known", "end_known") if request.clock == "available" else ("start", "end")
    is_period = pl.col("is_period")
    # The end of a period does not belong to it, unless it has no length.
    last = pl.when(is_period).then(pl.max_horizontal(pl.col("end") - 1, "start")).otherwise(known)
    begin = pl.when(is_period).then(pl.max_horizontal("start", known)).otherwise(known)
    pairs = values.with_columns(begin=begin, last=last, end_known=pl.col(end_known)).join(
        window, on="subject_id", how="inner", maintain_order="left"
    )
    is_over = (pl.col("end_known") <= pl.col("closes")).fill_null(value=False)
    return _in_cells(pairs.filter(pl.col("begin") <= pl.col("closes")).with_columns(is_over=is_over))


def _cell(time: str) -> pl.Expr:
    """Return the cell that contains a time before the end of the window, negative before its start."""
    # The last cell includes its end.
    return ((pl.col(time) - pl.col("opens")) // pl.col("size")).clip(upper_bound=pl.col("cells") - 1)


def _in_cells(pairs: pl.DataFrame) -> pl.DataFrame:
    first, end_cell = _cell("begin"), _cell("end_known")
    until = pl.when("is_over").then(pl.max_horizontal(_cell("last"), end_cell - 1)).otherwise(pl.col("cells") - 1)
    spread = pairs.with_columns(
        first=pl.when("is_period").then(first.clip(lower_bound=0)).otherwise(first),
        until=pl.when("is_period").then(until).otherwise(first),
        end_cell=end_cell,
    ).filter(pl.col("first") >= 0, pl.col("first") <= pl.col("until"))
    spread = spread.with_columns(cell=pl.int_ranges("first", pl.col("until") + 1, dtype=pl.Int64)).explode("cell")
    opens = pl.col("opens") + pl.col("cell") * pl.col("size")
    closes = pl.min_horizontal(opens + pl.col("size"), "closes")
    end = pl.when(pl.col("is_over") & (pl.col("end_cell") <= pl.col("cell"))).then("end").otherwise(closes)
    held = pl.min_horizontal(end, closes) - pl.max_horizontal("start", opens)
    weight = pl.when("is_period").then(held.clip(lower_bound=0)).otherwise(0)
    return spread.select("row", "cell", "measure", "value", "start", "place", weight=weight)
