"""What notebooks show of a dataset and of a patient. Events of a dataset are not read: its small tables suffice."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import polars as pl

from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.format.patient import PatientWithStays
from ehrtraj.format.splits import SPLITS
from ehrtraj.notebook.card import Card, CardTable, first_rows
from ehrtraj.readable import release_name, sex_name

_CLOCKS = {"event": "event (time is when it happened)", "available": "available (time is when it became known)"}
# Kinds of stays in the rule table `intervals`, and what they are called.
_STAYS = {"admission": "admission", "icu_stay": "ICU stay", "ed_stay": "ED visit"}


def dataset_card(layout: DatasetLayout, subjects: pl.DataFrame) -> Card:
    """Return the card of a dataset.

    Args:
        layout: files of the dataset.
        subjects: rows of the chosen patients.
    """
    about, release = layout.about, layout.manifest["release"]
    complete = subjects.height == layout.subjects.height
    of_all = "" if complete else f" of {layout.subjects.height:,}"
    facts = (
        ("source", release_name(layout.source.title, release["version"])),
        ("patients", f"{subjects.height:,}{of_all}"),
        ("events", int(subjects["n_events"].sum())),
        ("codes", layout.codes.height),
        ("years", _years(subjects)),
        ("clock", _CLOCKS.get(layout.clock, layout.clock)),
        ("built", f"{str(about['created_at'])[:10]} by ehrtraj {about['etl_version']}"),
        ("folder", str(layout.root)),
    )
    title = f"Dataset {about['dataset_name']}"
    return Card(title, facts, (_splits(subjects), _event_types(layout, complete=complete)))


def _years(subjects: pl.DataFrame) -> str | None:
    years = subjects.select(pl.col("first_time").dt.year().min(), pl.col("last_time").dt.year().max()).row(0)
    return None if None in years else f"{years[0]} to {years[1]} (shifted, with births)"


def _splits(subjects: pl.DataFrame) -> CardTable:
    counts = subjects.group_by("split").agg(patients=pl.len(), events=pl.col("n_events").sum())
    rows = sorted(counts.rows(), key=lambda row: SPLITS.index(row[0]))
    return CardTable("patients by split", ("split", "patients", "events"), rows)


def _event_types(layout: DatasetLayout, *, complete: bool) -> CardTable:
    counts = layout.codes.group_by("event_type").agg(events=pl.col("n_events").sum(), codes=pl.len())
    counts = counts.sort("events", "event_type", descending=[True, False])
    meanings = layout.source.meanings
    rows = [(name, meanings.get(name, ""), events, codes) for name, events, codes in counts.rows()]
    title = "most frequent event types" if complete else "most frequent event types of the complete dataset"
    return first_rows(title, ("type", "meaning", "events", "codes"), rows)


class Patient(PatientWithStays, Protocol):
    """The part of `Trajectory` that a card needs."""

    split: str
    known: pl.DataFrame

    @property
    def birth_year(self) -> int | None:
        """Year of birth."""


def trajectory_card(patient: Patient, layout: DatasetLayout) -> Card:
    """Return the card of a patient. After `as_of`, it depends only on what was known.

    Args:
        patient: complete or cut.
        layout: files of the dataset.
    """
    events = patient.events
    times = events.filter(pl.col("time_precision") != "year")["time"]
    of_all = "" if events.height == patient.known.height else f" of {patient.known.height:,}"
    facts = (
        ("sex", None if patient.sex is None else sex_name(patient.sex)),
        ("born", None if patient.birth_year is None else str(patient.birth_year)),
        ("died", patient.death_time),
        ("split", patient.split),
        ("events", f"{events.height:,}{of_all}"),
        ("first", times.min()),
        ("last", times.max()),
        ("known until", patient.known_until),
    )
    return Card(f"Patient {patient.subject_id}", facts, (_stays(patient, layout), _events_by_type(events, layout)))


def _stays(patient: Patient, layout: DatasetLayout) -> CardTable:
    defined = set(layout.intervals["interval"])
    frames = {"admission": "admissions", "icu_stay": "icu_stays", "ed_stay": "ed_stays"}
    # What the start of a stay is about: the first line of a kind that names it.
    places = dict(
        layout.intervals.filter(pl.col("start_item") != "").group_by("interval").agg("start_item").iter_rows()
    )
    rows = []
    for kind, name in _STAYS.items():
        if kind in defined:
            stays: pl.DataFrame = getattr(patient, frames[kind])
            place = next((column for column in places.get(kind, ()) if column in stays.columns), None)
            columns = ["start", "end", *([place] if place else [])]
            rows += [(name, *one, *([] if place else [None])) for one in stays.select(columns).iter_rows()]
    rows.sort(key=lambda row: (row[1] is None, row[1] or datetime.max))
    return first_rows("stays", ("kind", "start", "end", "type or unit"), rows)


def _events_by_type(events: pl.DataFrame, layout: DatasetLayout) -> CardTable:
    name = pl.col("code").str.splitn("//", 2).struct.field("field_0").alias("type")
    counts = events.group_by(name).agg(events=pl.len(), first=pl.col("time").min(), last=pl.col("time").max())
    counts = counts.sort("events", "type", descending=[True, False])
    meanings = layout.source.meanings
    rows = [(kind, meanings.get(kind, ""), count, first, last) for kind, count, first, last in counts.rows()]
    return first_rows("most frequent event types", ("type", "meaning", "events", "first", "last"), rows)
