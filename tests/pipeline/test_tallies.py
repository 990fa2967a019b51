"""Histograms of numbers before and after cleaning, and events by time, agree with the events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehrtraj.format.tallies import NUMBER_BINS, NUMBERS, NUMBERS_SCHEMA, TIMES, TIMES_SCHEMA, number_bin, number_bounds


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_each_number_lies_in_its_bin(values: list[float]) -> None:
    numbers = np.array(values, np.float32)
    bins = number_bin(numbers)
    assert ((bins >= 0) & (bins < NUMBER_BINS)).all()
    low, high = number_bounds(bins)
    negative = bins >= NUMBER_BINS // 2
    assert (numbers[negative] < 0).all()
    assert ((numbers > low) & (numbers <= high))[negative].all()
    assert ((numbers >= low) & (numbers < high))[~negative].all()


@pytest.fixture(params=["built", "several_shards_built"])
def dataset(request: pytest.FixtureRequest) -> Path:
    """The dataset of the hand-made release, in one shard and in several."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


def query(dataset: Path, sql: str) -> list[Any]:
    """Return the rows of a query on the views `events`, `numbers` and `times`."""
    with duckdb.connect() as connection:
        for name, files in (("events", "data/*/*.parquet"), ("numbers", NUMBERS), ("times", TIMES)):
            connection.execute(f"CREATE VIEW {name} AS FROM '{dataset}/{files}'")
        return connection.execute(sql).fetchall()


def test_the_numbers_after_cleaning_are_those_of_the_events(dataset: Path) -> None:
    assert pq.read_schema(dataset / NUMBERS) == NUMBERS_SCHEMA
    counted = query(dataset, "SELECT code, sum(after) AS n FROM numbers GROUP BY ALL HAVING n > 0 ORDER BY ALL")
    events = query(dataset, "SELECT code, count(numeric_value) AS n FROM events GROUP BY ALL HAVING n > 0 ORDER BY ALL")
    assert counted == events


def test_the_numbers_before_cleaning_are_those_of_the_source(dataset: Path) -> None:
    """The source's number is in raw_value if cleaning changed it."""
    counted = query(dataset, "SELECT code, sum(before) AS n FROM numbers GROUP BY ALL HAVING n > 0 ORDER BY ALL")
    written = "if(raw_value IS NULL, numeric_value, TRY_CAST(raw_value AS FLOAT))"
    events = query(dataset, f"SELECT code, count({written}) AS n FROM events GROUP BY ALL HAVING n > 0 ORDER BY ALL")
    assert counted == events


def test_a_converted_number_moves_to_another_bin(dataset: Path) -> None:
    """A temperature in Fahrenheit is between 90 and 110 before, and between 30 and 45 after cleaning."""
    rows = query(dataset, "SELECT low, before, after FROM numbers WHERE code = 'CHART//223761'")
    assert sum(before for low, before, _ in rows if low >= 88) > 0
    assert sum(after for low, _, after in rows if low >= 88) == 0
    assert sum(after for low, _, after in rows if 30 <= low < 45) > 0


DAYS = """
WITH timed AS (
    SELECT split_part(code, '//', 1) AS event_type, epoch_us(time) AS moment,
        min(epoch_us(time)) OVER (PARTITION BY subject_id) AS beginning
    FROM events WHERE time IS NOT NULL
),
days AS (SELECT event_type, (moment - beginning) // 86400000000 AS day FROM timed)
SELECT event_type, if(day = 0, 0, least(2 ** floor(log2(day)), 32768))::BIGINT AS from_day, count(*)
FROM days GROUP BY ALL ORDER BY ALL
"""


def test_the_times_are_those_of_the_events(dataset: Path) -> None:
    assert pq.read_schema(dataset / TIMES) == TIMES_SCHEMA
    counted = query(dataset, "SELECT event_type, from_day, events FROM times ORDER BY ALL")
    assert counted == query(dataset, DAYS)
    assert query(dataset, "SELECT count(*) FROM times WHERE from_day >= to_day") == [(0,)]


def test_the_number_of_shards_does_not_matter(built: Path, several_shards_built: Path) -> None:
    for name in (NUMBERS, TIMES):
        assert pq.read_table(built / name).equals(pq.read_table(several_shards_built / name))
