"""All concepts, computed once for each mode on the demo."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.concepts.library import ConceptLibrary, concept_library
from ehrtraj.concepts.session import ConceptMode, open_concept_session
from ehrtraj.rules import flags as rule_flags
from ehrtraj.sources.source import packaged

Compute = Callable[..., pl.DataFrame]


@pytest.fixture(scope="session")
def library() -> ConceptLibrary:
    return concept_library(packaged("mimiciv"))


@pytest.fixture(scope="session")
def demo_concept(demo_built: Path, library: ConceptLibrary) -> Compute:
    """A function that returns a concept of all patients of the demo, by name and mode."""
    ds = ehrtraj.open(demo_built)

    @cache
    def computed(mode: ConceptMode) -> dict[str, pl.DataFrame]:
        parts: dict[str, list[pl.DataFrame]] = {}
        with open_concept_session(library, ds.flags, mode, files=[file.path for file in ds.files]) as session:
            for file in ds.files:
                session.load([file.path], ds.patients_of(file), ds.layout.clock, complete=True)
                for concept, rows in session.compute(list(library.concepts)):
                    frame: Any = pl.from_arrow(rows)
                    parts.setdefault(concept.name, []).append(frame)
        return {name: pl.concat(frames) for name, frames in parts.items()}

    def compute(name: str, mode: ConceptMode | None = None) -> pl.DataFrame:
        return computed(mode or ConceptMode())[name]

    return compute


_COLUMNS: dict[str, Any] = {
    "subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float32,
    "text_value": pl.String, "unit": pl.String, "available_time": pl.Datetime("us"), "time_precision": pl.String,
    "hadm_id": pl.Int64, "stay_id": pl.Int64, "raw_value": pl.String, "raw_unit": pl.String, "flags": pl.Int64,
    "source_table": pl.String, "source_key": pl.Int64, "link_id": pl.Int64, "attributes": pl.String,
}  # fmt: skip


def events_of(*events: dict[str, Any]) -> pl.DataFrame:
    """Return events written by hand: `{"code": ..., "time": "2150-01-01 10:00", "value": 1.5, ...}`.

    By default they are of patient 1 in admission 10 and ICU stay 100, without flags, and available when they happened.
    `attributes` is a dict.
    """
    rows = []
    for event in events:
        row = {"subject_id": 1, "hadm_id": 10, "stay_id": 100, "flags": 0, "time_precision": "second"} | event
        row["numeric_value"] = row.pop("value", None)
        row["available_time"] = row.get("available_time", row.get("time"))
        for name in ("time", "available_time"):
            row[name] = row.get(name) and datetime.fromisoformat(row[name])
        row["attributes"] = json.dumps(row["attributes"]) if "attributes" in row else None
        rows.append({name: row.get(name) for name in _COLUMNS})
    return pl.DataFrame(rows, schema=_COLUMNS)


def icu_stay(start: str = "2150-01-01 00:00", end: str = "2150-01-03 00:00", **also: Any) -> list[dict[str, Any]]:
    """Return the birth of a patient of 60 years, the admission and the ICU stay, as arguments of `events_of`."""
    year = int(start[:4]) - 60
    birth = {"anchor_age": 60, "anchor_year": year + 60}
    timeless = {"hadm_id": None, "stay_id": None} | also
    outside = {"stay_id": None, "source_key": 10, "source_table": "hosp/admissions"} | also
    inside = {"source_key": 100, "source_table": "icu/icustays"} | also
    return [
        {"code": "GENDER//F", **timeless},
        {"code": "MEDS_BIRTH", "time": f"{year}-01-01 00:00", "attributes": birth, **timeless},
        {"code": "ADMISSION//EW EMER.", "time": start, **outside},
        {"code": "DISCHARGE//HOME", "time": end, **outside},
        {"code": "ICU_START//Medical Intensive Care Unit (MICU)", "time": start, **inside},
        {"code": "ICU_END//Medical Intensive Care Unit (MICU)", "time": end, **inside},
    ]


def subjects_of(events: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of subjects.parquet that standard views read, for events written by hand."""
    birth = pl.col("time").filter(pl.col("code") == "MEDS_BIRTH").min()
    return events.group_by("subject_id").agg(
        sex=pl.lit("F"), birth_year=birth.dt.year(), age_top_coded=pl.lit(value=False), death_time=pl.lit(None)
    )


@pytest.fixture(scope="session")
def concept_of(library: ConceptLibrary) -> Compute:
    """A function that computes a concept of events written by hand: `concept_of("gcs", events_of(...))`."""
    flags = rule_flags()

    def compute(
        name: str, events: pl.DataFrame, mode: ConceptMode | None = None, known_until: datetime | None = None
    ) -> pl.DataFrame:
        with open_concept_session(library, flags, mode or ConceptMode(), threads=1) as session:
            session.load(events, subjects_of(events), "event")
            ((_, rows),) = session.compute([name], known_until)
            frame: Any = pl.from_arrow(rows)
            return frame

    return compute
