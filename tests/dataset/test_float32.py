"""`numeric_value` is a 32-bit float, and 1.1 means 1.1 in SQL, in grids and in tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from ehrtraj.dataset.query import run_sql
from ehrtraj.dataset.wide import to_wide
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.predicates import Predicates

VALUES = [0.9, 1.1, 1.1, 1.3, 20_000_000.0, 1e30]
Query = Callable[..., pl.DataFrame]


@pytest.fixture
def query(tmp_path: Path) -> Query:
    numbers = pl.Series(VALUES, dtype=pl.Float32)
    subjects = [20_000_001] * len(VALUES)
    pl.DataFrame({"subject_id": subjects, "numeric_value": numbers}).write_parquet(tmp_path / "events.parquet")
    files = [tmp_path / "events.parquet"]

    def run(sql: str, parameters: Any = None) -> pl.DataFrame:  # any parameter
        return run_sql(sql, files, {"subjects": pl.DataFrame({"subject_id": [20_000_001]})}, parameters, chosen=False)

    return run


@pytest.mark.parametrize("value", [1.1, np.float64(1.1), np.float32(1.1), Decimal("1.1")])
def test_a_number_as_a_parameter_equals_the_value_that_it_shows(query: Query, value: object) -> None:
    assert query("SELECT count(*) FROM events WHERE numeric_value <= 1.1").item() == 3
    for sql, parameters in (
        ("SELECT count(*) FROM events WHERE numeric_value <= ?", [value]),
        ("SELECT count(*) FROM events WHERE numeric_value <= $1", (value,)),
        ("SELECT count(*) FROM events WHERE numeric_value <= $most", {"most": value}),
    ):
        assert query(sql, parameters).item() == 3, sql
    assert query("SELECT count(*) FROM events WHERE numeric_value = ?", [value]).item() == 2


@pytest.mark.parametrize(
    "values", [[1.1, 1.3], (1.1, 1.3), [1.1, None, 1.3], np.array([1.1, 1.3]), pl.Series([1.1, 1.3])], ids=repr
)
def test_a_list_or_array_as_a_parameter_equals_the_values_that_it_shows(query: Query, values: object) -> None:
    assert query("SELECT count(*) FROM events WHERE list_contains(?, numeric_value)", [values]).item() == 3
    assert query("SELECT count(*) FROM events WHERE numeric_value IN $some", {"some": values}).item() == 3


def test_numbers_that_are_no_32_bit_floats_stay_as_they_are(query: Query) -> None:
    assert query("SELECT count(*) FROM events WHERE subject_id = ?", [20_000_001.0]).item() == len(VALUES)
    assert query("SELECT count(*) FROM events WHERE subject_id IN ?", [np.array([20_000_001.0])]).item() == len(VALUES)
    assert query("SELECT count(*) FROM events WHERE numeric_value < ?", [1e300]).item() == len(VALUES)
    assert query("SELECT count(*) FROM events WHERE numeric_value < ?", [float("inf")]).item() == len(VALUES)
    assert query("SELECT ?", [2**60]).item() == 2**60


def test_decimal_value_is_the_number_that_the_source_wrote(query: Query) -> None:
    decimals = query("SELECT decimal_value(numeric_value) AS value FROM events ORDER BY numeric_value")["value"]
    assert decimals.to_list() == [*map(Decimal, ("0.9", "1.1", "1.1", "1.3", "20000000")), None]
    exact = "SELECT count(*) FROM events WHERE decimal_value(numeric_value) - 1.0 = 0.3"
    assert query(exact).item() == 1
    assert query("SELECT count(*) FROM events WHERE decimal_value(numeric_value) = ?", [1.1]).item() == 2


def test_a_grid_contains_the_numbers_that_events_show() -> None:
    time = [datetime(2150, 1, 1, hour) for hour in range(len(VALUES))]
    events = pl.DataFrame(
        {"time": time, "code": "LAB//1", "numeric_value": pl.Series(VALUES, dtype=pl.Float32), "unit": None}
    )
    grid = to_wide(events, "1h", "*", "mean", "time")["LAB//1"]
    assert grid.dtype == pl.Float64
    assert grid.to_list() == VALUES
    assert int((grid.to_numpy() <= 1.1).sum()) == 3


@pytest.mark.parametrize(
    ("bounds", "matching"),
    [
        ("value_min: 1.1, value_min_inclusive: True", 5),
        ("value_min: 1.1", 3),
        ("value_max: 1.1, value_max_inclusive: True", 3),
        ("value_max: 1.1", 1),
        ("value_min: 1.1, value_min_inclusive: True, value_max: 1.1, value_max_inclusive: True", 2),
    ],
)
def test_the_bounds_of_a_task_equal_the_values_that_they_show(bounds: str, matching: int) -> None:
    text = f"""
predicates:
  a: {{ code: A, {bounds} }}
trigger: a
windows:
  w: {{ start: trigger, end: start + 1h, start_inclusive: True, end_inclusive: True, label: a, index_timestamp: end }}
"""
    events = pl.DataFrame(
        {
            "subject_id": 1,
            "time": [datetime(2150, 1, 1, hour) for hour in range(len(VALUES))],
            "code": "A",
            "numeric_value": pl.Series(VALUES, dtype=pl.Float32),
        }
    )
    predicates = Predicates(parse_task(Path("mine.yaml"), text), pl.Series("code", ["A"]))
    assert predicates.count(events)["a"].sum() == matching
