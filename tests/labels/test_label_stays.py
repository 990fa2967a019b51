"""Predefined tasks tie each window to its own stay and stop at the death (mimic-code#1194, #1406, #1691, #1726)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.events import codes_of, concept_events
from ehrtraj.concepts.library import concept_library
from ehrtraj.concepts.session import ConceptMode, open_concept_session
from ehrtraj.labels.predicates import Predicates
from ehrtraj.labels.ready import ready_tasks, task_text
from ehrtraj.labels.windows import Axis, evaluate_task
from ehrtraj.rules import flags
from ehrtraj.sources.source import packaged

LIBRARY = concept_library(packaged("mimiciv"))
USED = ("stay_moment", "first_icu_stay", "icu_stay_over", "kdigo_aki", "antibiotic_dose", "sepsis_antibiotic")
HERE = Path(__file__).parent
BEGIN = datetime(2150, 1, 1, 12)
DAYS = 24.0
SCHEMA = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "unit": pl.String,
    "hadm_id": pl.Int64,
    "stay_id": pl.Int64,
    "text_value": pl.String,
    "available_time": pl.Datetime("us"),
    "time_precision": pl.String,
    "raw_value": pl.String,
    "flags": pl.Int64,
    "source_table": pl.String,
    "source_key": pl.Int64,
    "link_id": pl.Int64,
    "attributes": pl.String,
}
Event = tuple[float, str, int | None, int | None, float | None]


def admission(hadm: int, start: float, end: float | None, to: str = "HOME") -> list[Event]:
    """Return the events of an admission, with times in hours."""
    events: list[Event] = [(start, "ADMISSION//URGENT", hadm, None, None)]
    return events if end is None else [*events, (end, f"DISCHARGE//{to}", hadm, None, None)]


def icu(stay: int, start: float, end: float | None, hadm: int = 1) -> list[Event]:
    events: list[Event] = [(start, "ICU_START//MICU", hadm, stay, None)]
    return events if end is None else [*events, (end, "ICU_END//MICU", hadm, stay, None)]


def birth(years: int) -> list[Event]:
    """Return a birth on the first day of a year."""
    born = datetime(BEGIN.year - years, 1, 1)
    return [((born - BEGIN) / timedelta(hours=1), "MEDS_BIRTH", None, None, None)]


def death(hour: float, hadm: int | None = None) -> list[Event]:
    """Return a death, in the hospital if an admission is given."""
    events: list[Event] = [(hour, "MEDS_DEATH", hadm, None, None)]
    return events if hadm is None else [*events, *death_in_hospital(hour, hadm)]


def death_in_hospital(hour: float, hadm: int = 1) -> list[Event]:
    return [(hour, "HOSPITAL_DEATH", hadm, None, None)]


def creatinine(*values: tuple[float, float]) -> list[Event]:
    return [(hour, "LAB//50912", None, None, value) for hour, value in values]


def frame(events: Iterable[Event], subject: int = 1) -> pl.DataFrame:
    """Return events of one patient. Each is known when it happens."""
    rows = []
    for hour, code, hadm, stay, value in events:
        time, key = BEGIN + timedelta(hours=hour), hadm if stay is None else stay
        row = {"subject_id": subject, "time": time, "code": code, "numeric_value": value, "hadm_id": hadm}
        row |= {"unit": "mg/dL" if value else None, "stay_id": stay, "available_time": time, "flags": 0}
        rows.append(row | {"time_precision": "second", "source_table": "table", "source_key": key})
    return pl.DataFrame(rows, schema=SCHEMA)


def with_concepts(events: pl.DataFrame) -> pl.DataFrame:
    """Return events with those of the concepts that the predefined tasks name."""
    births = pl.col("time").filter(pl.col("code") == "MEDS_BIRTH").min().dt.year()
    subjects = events.group_by("subject_id").agg(birth_year=births, age_top_coded=pl.lit(value=False))
    parts = [events.lazy()]
    with open_concept_session(LIBRARY, flags(), ConceptMode(), threads=1) as session:
        session.load(events, subjects, "event")
        for concept, rows in session.compute(USED):
            found: Any = pl.from_arrow(rows)
            parts += concept_events(concept, found.lazy(), events.schema, "event")
    return pl.concat(parts).sort("subject_id", "time").collect()


KNOWN = [code for name in USED for code in codes_of(LIBRARY.concepts[name])]


def labels_of(task: str, events: pl.DataFrame) -> list[tuple[int, float, bool]]:
    """Return the patient, the hour of prediction and the label of each prediction."""
    predicates = Predicates(ready_tasks()[task], events["code"].unique(), KNOWN)
    counts = predicates.count(events)
    bounds = counts.group_by("subject_id").agg(first=pl.col("time").min(), last=pl.col("time").max()).sort("subject_id")
    found = evaluate_task(predicates.task, Axis(counts, bounds))
    times = pl.Series(found.prediction_times).cast(pl.Datetime("us")).to_list()
    hours = [(time - BEGIN) / timedelta(hours=1) for time in times]
    return list(zip(found.subject_ids.tolist(), hours, (found.counts > 0).tolist(), strict=True))


SECOND = 1 / 3600
MINUTE = 1 / 60
# Name: task, events, and the expected labels (hour of prediction, label).
CASES: dict[str, tuple[str, list[Event], list[tuple[float, bool]]]] = {
    "death in the hospital": (
        "in_hospital_mortality",
        [*admission(1, 0, 100, "DIED"), *death(100, 1)],
        [(24, True)],
    ),
    "death at home after the discharge": ("in_hospital_mortality", [*admission(1, 0, 100), *death(108)], [(24, False)]),
    "admission of an organ donor a minute after the death": (
        "in_hospital_mortality",
        [*admission(1, 0, 100, "DIED"), *death(100, 1), *admission(2, 100 + MINUTE, 148)],
        [(24, True)],
    ),
    "short admission within the one in which the patient dies": (
        "in_hospital_mortality",
        [*admission(1, 0, 240, "DIED"), *death(240, 1), *admission(2, 48, 50)],
        [(24, True)],
    ),
    "admission of days within the one in which the patient dies": (
        "in_hospital_mortality",
        [*admission(1, 0, 240, "DIED"), *death(240, 1), *admission(2, 48, 144)],
        [(24, True)],
    ),
    "two admissions that overlap partially": (
        "in_hospital_mortality",
        [*admission(1, 0, 120), *admission(2, 96, 240, "DIED"), *death(240, 2)],
        [],
    ),
    "the same admission twice": (
        "in_hospital_mortality",
        [*admission(1, 0, 120), *admission(2, 0, 120)],
        [(24, False)],
    ),
    "discharge before the admission": (
        "in_hospital_mortality",
        [*admission(1, 0, -12, "DIED"), *admission(2, 60, 120)],
        [(84, False)],
    ),
    "admission without a discharge before one in which the patient dies": (
        "in_hospital_mortality",
        [*admission(1, 0, None), *admission(2, 240, 300, "DIED"), *death(300, 2)],
        [(264, True)],
    ),
    "death that no date confirms": (
        "in_hospital_mortality",
        [*admission(1, 0, 100, "DIED"), *death_in_hospital(100)],
        [(24, True)],
    ),
    "death with a later date": (
        "in_hospital_mortality",
        [*admission(1, 0, 100, "DIED"), *death_in_hospital(100), *death(600)],
        [(24, True)],
    ),
    "death on the ward after intensive care": (
        "icu_mortality",
        [*admission(1, 0, 200, "DIED"), *icu(7, 2, 100), *death(200, 1)],
        [(26, False)],
    ),
    "death in the minute in which the stay in intensive care ends": (
        "icu_mortality",
        [*admission(1, 0, 100, "DIED"), *icu(7, 2, 100 - SECOND), *icu(8, 101, 110), *death(100 - MINUTE, 1)],
        [(26, True)],
    ),
    "short ICU stay within the one in which the patient dies": (
        "icu_mortality",
        [*icu(7, 0, 240), *icu(8, 48, 49), *death(239, 1)],
        [(24, True)],
    ),
    "ICU stay without an end and a death at home": (
        "icu_mortality",
        [*admission(1, 0, 100), *icu(7, 0, None), *death(240 * DAYS)],
        [],
    ),
    "end of the ICU stay after the death": (
        "icu_mortality",
        [*icu(7, 0, 80), *death(50, 1)],
        [(24, True)],
    ),
    "ICU stay before a death at an uncertain time": (
        "icu_mortality",
        [*admission(1, 0, 200, "DIED"), *icu(7, 2, 100), *death_in_hospital(200)],
        [],
    ),
    "death in the hospital after the first stay in intensive care": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, 200, "DIED"), *icu(7, 2, 100), *death(200, 1)],
        [(26, True)],
    ),
    "death in the second admission with intensive care": (
        "in_hospital_mortality_first_icu",
        [
            *birth(40),
            *admission(1, 0, 90),
            *icu(7, 2, 60),
            *admission(2, 300, 400, "DIED"),
            *icu(8, 301, 400),
            *death(400, 2),
        ],
        [(26, False)],
    ),
    "first ICU stay that ends within a day in a longer admission": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, 90), *icu(7, 2, 10), *icu(8, 50, 80)],
        [(26, False)],
    ),
    "first ICU stay of an admission that ends within a day": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, 20), *icu(7, 2, 10), *admission(2, 300, 400), *icu(8, 301, 390)],
        [],
    ),
    "first ICU stay in an admission that overlaps another one": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, 120), *icu(7, 2, 100), *admission(2, 96, 240, "DIED"), *death(240, 2)],
        [(26, False)],
    ),
    "first ICU stay at 18": (
        "in_hospital_mortality_first_icu",
        [*birth(18), *admission(1, 0, 90), *icu(7, 2, 60)],
        [(26, False)],
    ),
    "first ICU stay at 17": (
        "in_hospital_mortality_first_icu",
        [*birth(17), *admission(1, 0, 90), *icu(7, 2, 60)],
        [],
    ),
    "first ICU stay after the death": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *death(1), *admission(1, 0, 90), *icu(7, 2, 60)],
        [],
    ),
    "first ICU stay with a death that no date confirms": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, 90, "DIED"), *icu(7, 2, 60), *death_in_hospital(90)],
        [(26, True)],
    ),
    "first ICU stay of an admission without an end": (
        "in_hospital_mortality_first_icu",
        [*birth(40), *admission(1, 0, None), *icu(7, 2, 60)],
        [],
    ),
    "dead after 50 hours in a stay of 80": ("icu_stay_over_3d", [*icu(7, 0, 80), *death(50, 1)], [(24, False)]),
    "alive after 3 days": ("icu_stay_over_3d", [*icu(7, 0, 80)], [(24, True)]),
    "stay within a longer one": ("icu_stay_over_3d", [*icu(7, 0, 80), *icu(8, 20, 60)], [(24, True)]),
    "no end of the stay": ("icu_stay_over_3d", [*icu(7, 0, None)], []),
    "eight days": (
        "icu_stay_over_7d",
        [*icu(7, 0, 8 * DAYS), *icu(8, 9 * DAYS, 12 * DAYS)],
        [(24, True), (240, False)],
    ),
    "readmission after 5 days": (
        "readmission_30d",
        [*admission(1, 0, 100), *admission(2, 220, 240)],
        [(100, True), (240, False)],
    ),
    "admission in the minute of the discharge": (
        "readmission_30d",
        [*admission(1, 0, 100, "REHAB"), *admission(2, 100, 240)],
        [(240, False)],
    ),
    "admission a minute before the discharge": (
        "readmission_30d",
        [*admission(1, 0, 100), *admission(2, 100 - MINUTE, 240)],
        [(240, False)],
    ),
    "discharge during another admission": (
        "readmission_30d",
        [*admission(1, 0, 100), *admission(2, 20, 30)],
        [(100, False)],
    ),
    "the admission after its own discharge": ("readmission_30d", [*admission(1, 0, -12)], []),
    "admission after the death": (
        "readmission_30d",
        [*admission(1, 0, 100), *death(200), *admission(2, 200 + MINUTE, 220)],
        [(100, False)],
    ),
    "sent home, but recorded as dead": ("readmission_30d", [*admission(1, 0, 100), *death_in_hospital(100)], []),
    "kidney injury": (
        "aki_48h",
        [*admission(1, 0, 100), *creatinine((2, 1.0), (40, 2.0))],
        [(24, True)],
    ),
    "kidney injury of the next admission": (
        "aki_48h",
        [*admission(1, 0, 30), *admission(2, 50, 60), *creatinine((2, 1.0), (26, 1.0), (52, 2.0))],
        [],
    ),
    "creatinine of a donor": (
        "aki_48h",
        [*admission(1, 0, 40, "DIED"), *death(40, 1), *creatinine((2, 1.0), (30, 1.0), (44, 3.0))],
        [(24, False)],
    ),
    "kidney injury before a short admission ends": (
        "aki_48h",
        [*admission(1, 0, 100), *admission(2, 4, 6), *creatinine((2, 1.0), (40, 2.0))],
        [(24, True)],
    ),
    "antibiotic of a donor": (
        "first_sepsis_antibiotic_48h",
        [
            *admission(1, 0, 40, "DIED"),
            *death(40, 1),
            (1, "EMAR//Administered//Senna", 1, None, None),
            (39, "MICRO_SPECIMEN//70012", 1, None, None),
            (41, "EMAR//Administered//Vancomycin", 1, None, None),
        ],
        [(24, False)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_windows_belong_to_their_own_stay(name: str) -> None:
    task, events, expected = CASES[name]
    found = labels_of(task, with_concepts(frame(events)))
    assert [(pytest.approx(hour), positive) for _, hour, positive in found] == expected


def test_aces_gives_the_same_labels_for_contradictory_stays(consumers: Path, tmp_path: Path) -> None:
    """Every patient with every task: ACES evaluates the same events of concepts."""
    patients = pl.concat([frame(events, subject) for subject, (_, events, _) in enumerate(CASES.values(), start=1)])
    events = with_concepts(patients)
    everything = tmp_path / "all.parquet"
    events.select("subject_id", "time", "code", "numeric_value").write_parquet(everything)
    work = []
    for name in ready_tasks():
        (tmp_path / f"{name}.yaml").write_text(task_text(name))
        files = {"events": everything, "task": tmp_path / f"{name}.yaml", "out": tmp_path / f"{name}.parquet"}
        work.append({key: str(path) for key, path in files.items()})
    script = HERE.parent / "dataset" / "consumers" / "aces_labels.py"
    lines = "".join(json.dumps(one) + "\n" for one in work)
    done = subprocess.run([consumers / "python", script], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, one in zip(ready_tasks(), work, strict=True):
        theirs = sorted(pl.read_parquet(one["out"]).drop_nulls().rows())
        ours = [(patient, hour, positive) for patient, hour, positive in labels_of(name, events)]
        assert len(ours) == len(theirs), name
        for (patient, hour, positive), (subject, time, label) in zip(sorted(ours), theirs, strict=True):
            assert (patient, positive) == (subject, label), name
            assert (time - BEGIN) / timedelta(hours=1) == pytest.approx(hour), name
