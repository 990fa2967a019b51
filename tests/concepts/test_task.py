"""Concepts that prediction tasks name: stays that do not overlap, kidney injury, antibiotics near a culture."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from .conftest import events_of, icu_stay

START = datetime(2150, 1, 1)
HOUR = timedelta(hours=1)
Compute = Callable[..., pl.DataFrame]
Event = dict[str, Any]


def at(hours: float, code: str, **also: Any) -> Event:
    """Return an event some hours after the start of 2150."""
    return {"code": code, "time": str(START + hours * HOUR)} | also


def hours_of(rows: pl.DataFrame, column: str = "time") -> list[float]:
    return [(time - START) / HOUR for time in rows[column]]


def creatinine(hours: float, value: float, **also: Any) -> Event:
    return at(hours, "LAB//50912", value=value, unit="mg/dL", **also)


@pytest.mark.parametrize(
    ("values", "injured"),
    [
        ({0: 1.0, 48: 1.3}, [48]),  # exactly 0.3 mg/dL within exactly 48 hours
        ({0: 1.0, 48: 1.29}, []),
        ({0: 1.0, 49: 1.3}, []),  # too late for 0.3, and not 1.5 times
        ({0: 0.5, 168: 0.75}, [168]),  # 1.5 times within 7 days
        ({0: 0.5, 169: 0.75}, []),
        ({0: 3.0, 10: 1.0, 20: 1.35, 30: 1.2}, [20]),  # compared with the lowest earlier value
        ({0: 5.0}, []),  # one value is not enough
    ],
)
def test_kidney_injury_by_creatinine(concept_of: Compute, values: dict[int, float], injured: list[int]) -> None:
    events = [creatinine(hours, value) for hours, value in values.items()]
    rows = concept_of("kdigo_aki", events_of(*events, creatinine(0, 0.1, subject_id=2)))
    assert hours_of(rows) == injured
    assert rows["creatinine"].to_list() == [pytest.approx(values[hours]) for hours in injured]


def test_kidney_injury_is_known_with_its_values(concept_of: Compute) -> None:
    late = str(START + 60 * HOUR)
    events = events_of(
        creatinine(0, 1.0, available_time=late), creatinine(24, 2.0), at(30, "MEDS_DEATH"), creatinine(31, 4.0)
    )
    rows = concept_of("kdigo_aki", events)
    assert (hours_of(rows), hours_of(rows, "available_time")) == ([24], [60])


@pytest.mark.parametrize(
    ("code", "culture", "given", "suspected"),
    [
        ("EMAR//Administered//Vancomycin", -72, True, True),  # the culture 72 hours before
        ("EMAR//Administered//Vancomycin", -73, True, False),
        ("EMAR//Started//CefTRIAXone", 24, True, True),
        ("INPUT_START//225798", 25, True, False),
        ("EMAR//Not Given//Vancomycin", 0, False, False),
        ("EMAR//Administered//Vancomycin Oral Liquid", 0, False, False),
        ("EMAR//Administered//Neomycin Sulfate", 0, False, False),
        ("EMAR//Administered//Ciprofloxacin 0.3% Ophth Soln", 0, False, False),
        ("EMAR//Administered//Fluconazole", 0, False, False),
        ("DRUG_ORDER_START//Vancomycin", 0, False, False),  # an order is not a dose given
    ],
)
def test_antibiotics_given_and_infection_suspected(
    concept_of: Compute, code: str, culture: int, given: bool, suspected: bool
) -> None:
    events = events_of(at(100, code, source_key=1), at(100 + culture, "MICRO_SPECIMEN//70012"))
    doses, near = concept_of("antibiotic_dose", events), concept_of("sepsis_antibiotic", events)
    assert (hours_of(doses), hours_of(near)) == ([100] if given else [], [100] if suspected else [])
    if suspected:
        assert hours_of(near, "available_time") == [max(100, 100 + culture)]


def test_antibiotics_of_one_time_are_one_row(concept_of: Compute) -> None:
    codes = ("EMAR//Administered//Vancomycin", "EMAR//Started//Vancomycin", "EMAR//Administered//Cefepime")
    events = [at(5, code, source_key=key) for key, code in enumerate(codes)]
    rows = concept_of("antibiotic_dose", events_of(*events, at(9, "MEDS_DEATH"), at(10, codes[0], source_key=9)))
    assert rows.select("products").rows() == [(2,)]


def test_icu_stays_longer_than_3_and_7_days(concept_of: Compute) -> None:
    events: list[Event] = []
    for stay, length in ((7, 72), (8, 73), (9, 24 * 7 + 1), (10, None)):
        begin, keys = stay * 100 * 24, {"stay_id": stay, "source_key": stay, "source_table": "icu/icustays"}
        events.append(at(begin, "ICU_START//A", **keys))
        if length is not None:
            events.append(at(begin + length, "ICU_END//B", **keys))
    rows = concept_of("icu_stay_over", events_of(*events))
    assert [(hours / 24, days) for hours, days in zip(hours_of(rows), rows["days"], strict=True)] == [
        (803, 3),
        (903, 3),
        (907, 7),
    ]
    assert hours_of(rows, "available_time") == [800 * 24 + 73, 900 * 24 + 169, 900 * 24 + 169]


def stay(key: int, start: float, end: float | None) -> list[Event]:
    """Return the events of an admission."""
    keys = {"hadm_id": key, "stay_id": None, "source_key": key, "source_table": "hosp/admissions"}
    events = [at(start, "ADMISSION//URGENT", **keys)]
    return events if end is None else [*events, at(end, "DISCHARGE//HOME", **keys)]


@pytest.mark.parametrize(
    ("stays", "separate", "known"),
    [
        ([(1, 0, 48), (2, 100, 148)], [1, 2], {1: 72, 2: 172}),
        ([(1, 0, 240), (2, 48, 96)], [1], {1: 264}),  # the longer one counts
        ([(1, 0, 120), (2, 96, 240)], [], {}),
        ([(1, 0, 48), (2, 0, 48)], [1], {1: 72}),  # the same stay twice
        ([(1, 0, None), (2, 240, 300)], [2], {2: 24_024}),  # the first one may still end: for 1,000 days
        ([(1, 0, -12)], [], {}),
    ],
)
def test_stays_that_overlap_are_left_out(
    concept_of: Compute, stays: list[tuple[int, float, float | None]], separate: list[int], known: dict[int, float]
) -> None:
    rows = concept_of("stay_moment", events_of(*(event for one in stays for event in stay(*one))))
    starts, ends = rows.filter("hospital_start"), rows.filter("hospital_end")
    assert sorted(starts["hadm_id"]) == sorted(ends["hadm_id"]) == separate
    assert dict(zip(starts["hadm_id"], hours_of(starts, "available_time"), strict=True)) == known
    alive = rows.filter("admission_alive")
    assert sorted(alive["hadm_id"]) == [key for key, _, _ in stays]
    assert alive["time"].equals(alive["available_time"])


def test_a_moment_is_one_column(demo_concept: Compute) -> None:
    rows = demo_concept("stay_moment")
    moments = [name for name in rows.columns if rows.schema[name] == pl.Boolean]
    assert rows.select(
        pl.sum_horizontal(pl.col(name).is_not_null() for name in moments)
    ).to_series().unique().to_list() == [1]
    counts = {name: rows[name].count() for name in moments}
    assert (counts["admission_alive"], counts["hospital_death"], counts["icu_start"]) == (275, 15, 140)


@pytest.mark.parametrize(
    ("birth", "changed", "moments"),
    [
        (60, {}, ["icu_start", "hospital_end"]),
        (17, {}, []),
        (60, {"HOSPITAL_DEATH": 20}, ["icu_start", "hospital_end", "hospital_death"]),
        (60, {"MEDS_DEATH": -1}, []),  # an organ donor
        (60, {"MEDS_DEATH": 600}, ["icu_start", "hospital_end"]),
    ],
)
def test_the_first_icu_stay_of_an_adult(
    concept_of: Compute, birth: int, changed: dict[str, float], moments: list[str]
) -> None:
    events = [event for event in icu_stay() if event["code"] != "MEDS_BIRTH"]
    events += [at(0, "MEDS_BIRTH", time=f"{2150 - birth}-01-01", hadm_id=None, stay_id=None)]
    events += [at(hours, code, stay_id=None) for code, hours in changed.items()]
    rows = concept_of("first_icu_stay", events_of(*events))
    found = [name for name in ("icu_start", "hospital_end", "hospital_death") if rows[name].any()]
    assert found == moments
    assert rows.height == len(moments)
    assert set(hours_of(rows, "available_time")) <= {72}


def test_tasks_of_the_demo_have_rows(demo_concept: Compute) -> None:
    counts = {"kdigo_aki": 478, "sepsis_antibiotic": 1995, "antibiotic_dose": 2542, "icu_stay_over": 75}
    counts["first_icu_stay"] = 211
    assert {name: demo_concept(name).height for name in counts} == counts
