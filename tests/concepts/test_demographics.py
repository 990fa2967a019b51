"""Ages, stays in intensive care and their hours."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
THEIR_WAY = ConceptMode(as_mimic_code=True)


def heart_rate(time: str, known: str | None = None) -> dict[str, Any]:
    return {"code": "CHART//220045", "time": time, "value": 80.0, "available_time": known or time}


def test_an_age_counts_years_of_the_shifted_calendar(concept_of: Compute) -> None:
    stays = [icu_stay(f"2150-{day} 10:00") for day in ("01-01", "12-31")]
    early, late = (concept_of("age", events_of(*stay)).row(0, named=True) for stay in stays)
    assert (early["age"], late["age"]) == (60, 60)
    assert (early["anchor_age"], early["anchor_year"]) == (60, 2150)
    next_year = {"code": "ADMISSION//EW EMER.", "time": "2151-01-01 00:00", "hadm_id": 11, "stay_id": None}
    assert concept_of("age", events_of(*stays[0], next_year))["age"].to_list() == [60, 61]


def test_a_stay_has_a_row_once_it_and_its_admission_have_ended(concept_of: Compute) -> None:
    """A death after the discharge is not in it: it was not known."""
    died = {"code": "MEDS_DEATH", "time": "2150-02-01 23:59:59", "hadm_id": None, "stay_id": None}
    events = events_of(*icu_stay(), died)
    row = concept_of("icustay_detail", events).row(0, named=True)
    assert (row["los_hospital"], row["los_icu"], row["hospital_expire_flag"]) == (2, 2.0, 0)
    assert (row["hospstay_seq"], row["first_hosp_stay"], row["icustay_seq"], row["first_icu_stay"]) == (
        1,
        True,
        1,
        True,
    )
    assert (row["dod"], row["available_time"]) == (None, datetime(2150, 1, 3))
    assert concept_of("icustay_detail", events, THEIR_WAY)["dod"].to_list() == [date(2150, 2, 1)]
    running = events.filter(~pl.col("code").str.starts_with("DISCHARGE"))
    assert concept_of("icustay_detail", running).is_empty()


def test_a_death_in_hospital_is_the_discharge(concept_of: Compute) -> None:
    at = "2150-01-03 00:00"
    deaths = [{"code": code, "time": at, "stay_id": None} for code in ("HOSPITAL_DEATH", "MEDS_DEATH")]
    row = concept_of("icustay_detail", events_of(*icu_stay(), *deaths)).row(0, named=True)
    assert (row["hospital_expire_flag"], row["dod"], row["dischtime"]) == (1, date(2150, 1, 3), datetime(2150, 1, 3))


def test_times_of_a_stay_are_those_of_its_heart_rates(concept_of: Compute, demo_concept: Compute) -> None:
    late = heart_rate("2150-01-03 01:00", known="2150-01-05 00:00")
    events = events_of(*icu_stay(), heart_rate("2150-01-01 00:20"), heart_rate("2150-01-02 10:05"), late)
    row = concept_of("icustay_times", events).row(0, named=True)
    assert (row["start"], row["end"]) == (datetime(2150, 1, 1, 0, 20), datetime(2150, 1, 2, 10, 5))
    assert row["available_time"] == datetime(2150, 1, 4)
    assert concept_of("icustay_times", events, THEIR_WAY)["outtime_hr"].to_list() == [datetime(2150, 1, 3, 1)]
    assert concept_of("icustay_times", events_of(*icu_stay())).is_empty()
    assert concept_of("icustay_times", events_of(*icu_stay()), THEIR_WAY)["intime_hr"].to_list() == [None]
    assert demo_concept("icustay_times").height == 140


@pytest.mark.parametrize(
    ("rates", "last", "first_end"),
    [
        ([("10:20", None)], 0, "11:00"),
        ([("10:00", None)], 0, "10:00"),
        ([("10:59", None), ("11:01", None)], 1, "11:00"),
        ([("10:59", None), ("13:01", "13:30")], 3, "11:00"),
    ],
)
def test_hours_begin_a_day_before_the_first_heart_rate(
    concept_of: Compute, rates: list[tuple[str, str | None]], last: int, first_end: str
) -> None:
    day = "2150-01-01"
    charted = [heart_rate(f"{day} {time}", known and f"{day} {known}") for time, known in rates]
    hours = concept_of("icustay_hourly", events_of(*icu_stay(), *charted))
    assert hours["hr"].to_list() == list(range(-24, last + 1))
    zero = datetime.fromisoformat(f"{day} {first_end}")
    assert hours["time"].to_list() == [zero + timedelta(hours=hr) for hr in hours["hr"]]
    assert hours["available_time"].min() == datetime.fromisoformat(charted[0]["available_time"])


def test_an_hour_is_known_once_a_heart_rate_shows_that_the_stay_lasts(concept_of: Compute) -> None:
    """A gap in the heart rates delays the hours in it. A late entry delays nothing if another one is earlier."""
    rates = [("10:30", "10:40"), ("12:10", "15:00"), ("13:10", "13:20")]
    events = events_of(*icu_stay(), *(heart_rate(f"2150-01-01 {t}", f"2150-01-01 {known}") for t, known in rates))
    hours = concept_of("icustay_hourly", events).filter(pl.col("hr") >= -1)
    known = [f"{time:%H:%M}" for time in hours["available_time"]]
    assert list(zip(hours["hr"], known, strict=True)) == [
        (-1, "10:40"), (0, "11:00"), (1, "13:20"), (2, "13:20"), (3, "14:00")
    ]  # fmt: skip


def test_each_stay_of_the_demo_has_its_hours(demo_concept: Compute) -> None:
    times = demo_concept("icustay_times", THEIR_WAY)
    hours = (pl.col("outtime_hr").dt.truncate("1h") - pl.col("intime_hr").dt.truncate("1h")).dt.total_hours() + 25
    assert demo_concept("icustay_hourly").height == times.select(hours.sum()).item() > 10_000
