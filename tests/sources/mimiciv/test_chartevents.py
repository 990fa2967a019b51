"""The chart of intensive care: rows that it contains several times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

STAY = {"subject_id": 5, "hadm_id": 51, "stay_id": 52}
ROW = STAY | {
    "caregiver_id": 90011,
    "charttime": "2150-03-01 12:00",
    "storetime": "2150-03-01 12:05",
    "itemid": 220045,
    "value": "109",
    "valuenum": 109,
    "valueuom": "bpm",
}


def test_exact_duplicates_are_rejected_with_all_columns_and_one_stays(build_rows: Callable[..., Any]) -> None:
    rows = [ROW, ROW, ROW, ROW | {"storetime": "2150-03-01 12:20"}]
    found = build_rows({"hosp/patients": [{"subject_id": 5, "gender": "F"}], "icu/chartevents": rows}, standardise=True)
    # A row that was stored at another time is another row.
    charted = found.of(5, "CHART//220045")
    assert [e["available_time"] for e in charted] == [datetime(2150, 3, 1, 12, 5), datetime(2150, 3, 1, 12, 20)]
    duplicate = ROW | {
        "reason": "exact_duplicate",
        "detail": None,
        "line": None,
        "text": None,
        "charttime": datetime(2150, 3, 1, 12),
        "storetime": datetime(2150, 3, 1, 12, 5),
        "warning": None,
    }
    assert pq.read_table(found.dataset / "rejected" / "chartevents.parquet").to_pylist() == [duplicate, duplicate]
