"""Identifiers of events survive pandas, which turns integer columns with nulls into float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ehrtraj.sources.source import packaged

IDS = ("hadm_id", "stay_id", "source_key", "link_id")
EXACT = 2**53


@pytest.mark.parametrize("dataset", ["built", "demo_built"])
def test_every_identifier_but_the_subject_is_exact_as_a_float(
    dataset: str, request: pytest.FixtureRequest, read_events: Callable[[Path], pa.Table]
) -> None:
    events = read_events(request.getfixturevalue(dataset))
    for name in IDS:
        largest = pc.max(pc.abs(events[name])).as_py()
        assert 0 < largest < EXACT, name


@pytest.mark.parametrize("subject", [10**10, 10**13, 2**62, -(10**13)])
def test_an_order_of_a_garbled_subject_has_no_number(subject: int) -> None:
    with duckdb.connect() as connection:
        connection.execute(packaged("mimiciv").helper("macros"))
        found = connection.execute("SELECT order_number(?, 7), order_number(10000032, 7)", [subject]).fetchone()
    assert found == (None, 10000032000007)
