"""Microbiology beside the admission."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

STAY = {"subject_id": 5, "hadm_id": 51}


def test_a_specimen_of_the_last_day_is_at_the_discharge_and_its_result_is_known_at_the_end_of_the_day(
    build_rows: Callable[..., Any],
) -> None:
    """Both have a date only: the laboratory may have stored the result after the patient had left."""
    culture = {"microevent_id": 1, "micro_specimen_id": 7, "spec_itemid": 70012, "test_itemid": 90221}
    dates = {"chartdate": "2150-03-06", "storedate": "2150-03-06"}
    rows = {
        "hosp/patients": [{"subject_id": 5, "gender": "F"}],
        "hosp/admissions": [STAY | {"admittime": "2150-03-01 10:00", "dischtime": "2150-03-06 12:00"}],
        "hosp/microbiologyevents": [STAY | culture | dates | {"comments": "NEGATIVE."}],
    }
    event = build_rows(rows).one(5, "MICRO//TEST//90221")
    assert (event["time"], event["time_precision"]) == (datetime(2150, 3, 6, 12), "day")
    assert event["available_time"] == datetime(2150, 3, 6, 23, 59, 59)
    assert (event["text_value"], event["flags"]) == ("NEGATIVE.", {"time_at_discharge"})
