"""What a concept shows at a time was known at that time."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.session import ConceptMode, ConceptSession, open_concept_session
from ehrtraj.errors import SettingsError

PATIENTS = 8


def at_random(ds: ehrtraj.Dataset, seed: int) -> list[tuple[ehrtraj.Trajectory, datetime]]:
    """Return patients of ICU stays, each with a random time from before its stay to after it."""
    draw = random.Random(seed)
    stays = ds.sql("SELECT subject_id, start_time, end_time FROM stays WHERE kind = 'icu' ORDER BY ALL").rows()
    chosen = []
    for subject_id, start, end in draw.sample(stays, PATIENTS):
        at = start - timedelta(hours=6) + draw.random() * (end - start + timedelta(hours=30))
        chosen.append((ds[subject_id], at))
    return chosen


def compute(
    session: ConceptSession, patient: ehrtraj.Trajectory, ds: ehrtraj.Dataset, until: datetime | None
) -> dict[str, pl.DataFrame]:
    subject = ds.subjects.filter(subject_id=patient.subject_id).with_columns(death_time=pl.lit(None))
    session.load(patient.events, subject, ds.layout.clock)
    found: dict[str, pl.DataFrame] = {}
    for concept, rows in session.compute(list(session.library.concepts), until):
        frame: Any = pl.from_arrow(rows)
        found[concept.name] = frame
    return found


def lines(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows in an order of their own. Sums of floats can differ in the last digits."""
    rounded = frame.with_columns(pl.col(pl.Float64).round_sig_figs(9))
    return sorted(rounded.rows(), key=repr)


@pytest.mark.parametrize("seed", [1])
def test_a_concept_of_what_was_known_is_the_concept_cut_by_available_time(
    demo_built: Path, library: ConceptLibrary, seed: int
) -> None:
    """With the clock `available`, a row depends only on what was known at its available_time."""
    ds = ehrtraj.open(demo_built)
    with open_concept_session(library, ds.flags, ConceptMode("available"), threads=1) as session:
        for patient, at in at_random(ds, seed):
            complete = compute(session, patient, ds, None)
            for name, found in compute(session, patient.as_of(at), ds, at).items():
                cut = complete[name].filter(pl.col("available_time") <= at)
                assert lines(found) == lines(cut), (name, patient.subject_id, at)


@pytest.mark.parametrize("seed", [3])
def test_what_is_shown_as_known_was_known(demo_built: Path, library: ConceptLibrary, seed: int) -> None:
    """With the clock `event`, a row shown at a time can be computed at that time. Others may still change."""
    ds = ehrtraj.open(demo_built)
    with open_concept_session(library, ds.flags, ConceptMode(), threads=1) as session:
        for patient, at in at_random(ds, seed):
            complete = compute(session, patient, ds, None)
            for name, found in compute(session, patient.as_of(at), ds, at).items():
                cut = complete[name].filter(pl.col("available_time") <= at)
                assert set(lines(cut)) <= set(lines(found)), (name, patient.subject_id, at)


def test_no_row_is_available_before_it_happened(demo_built: Path, library: ConceptLibrary) -> None:
    ds = ehrtraj.open(demo_built)
    with open_concept_session(library, ds.flags, ConceptMode(), files=[file.path for file in ds.files]) as session:
        for file in ds.files:
            session.load([file.path], ds.patients_of(file), ds.layout.clock)
            for concept, rows in session.compute(list(library.concepts)):
                frame: Any = pl.from_arrow(rows)
                end = "time" if "time" in frame.columns else "end"
                assert frame["available_time"].null_count() == 0, concept.name
                early = frame.filter(pl.col("available_time") < pl.col(end))
                assert early.is_empty(), (concept.name, early.row(0))


def test_a_clock_must_exist_and_fit_the_mode() -> None:
    with pytest.raises(SettingsError, match="one of event, available"):
        ConceptMode("store")
    with pytest.raises(SettingsError, match="mimic-code knows only"):
        ConceptMode("available", as_mimic_code=True)


def test_the_columns_of_a_row_identify_it(demo_built: Path, library: ConceptLibrary) -> None:
    ds = ehrtraj.open(demo_built)
    with open_concept_session(library, ds.flags, ConceptMode(), files=[file.path for file in ds.files]) as session:
        session.load([file.path for file in ds.files], ds.subjects, ds.layout.clock)
        for concept, rows in session.compute(list(library.concepts)):
            frame: Any = pl.from_arrow(rows)
            twice = frame.filter(frame.select(concept.header.row).is_duplicated())
            assert twice.is_empty(), (concept.name, twice.select(concept.header.row).row(0))
