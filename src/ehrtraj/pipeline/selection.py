"""Which tables and which patients a build is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ehrtraj import recipes
from ehrtraj.config import Settings
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.pipeline.events import Int64s, to_int64
from ehrtraj.pipeline.parse import read_table
from ehrtraj.pipeline.shards import Plan, draw, plan_shards
from ehrtraj.release.detect import Release, TableFile, read_subject_file
from ehrtraj.release.schema import tables

PATIENTS, ADMISSIONS, ICUSTAYS = "hosp/patients", "hosp/admissions", "icu/icustays"


@dataclass(frozen=True)
class Selection:
    """The tables of a build, by full name.

    Attributes:
        wanted: become events.
        staged: are read: those wanted, those that their recipes join, and the dictionaries.
        dictionaries: describe codes.
        notes: what the user should know.
    """

    wanted: tuple[str, ...]
    staged: tuple[str, ...]
    dictionaries: tuple[str, ...]
    notes: tuple[str, ...]


def _full_names(given: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    found = []
    for name in given:
        matches = [k for k in known if name in (k, k.rpartition("/")[2])]
        if not matches:
            raise SettingsError(f"--tables: there is no table '{name}'; there are: {', '.join(known)}")
        found += matches
    return found


def choose_tables(release: Release, settings: Settings) -> Selection:
    """Decide which tables are read and which become events.

    Raises:
        SettingsError: if a table is asked for that does not exist.
        ReleaseError: if one is asked for that the release lacks, or nothing is left.
    """
    with_recipe = recipes.recipes(release.source)
    known = tables(release.source)
    there = [n for n in known if n in release.files]
    notes = []
    if settings.tables:
        asked = _full_names(settings.tables, with_recipe)
        if lacking := [n for n in asked if n not in there]:
            raise ReleaseError(f"the release in {release.root} has no {', '.join(lacking)}")
        wanted = [n for n in there if n in asked]
    else:
        wanted = [n for n in there if n in with_recipe]
        if release.missing:
            notes.append(f"not there, left out: {', '.join(release.missing)}")
    if not wanted:
        raise ReleaseError(f"the release in {release.root} has no table that holds events")
    if settings.icu_only and ICUSTAYS not in there:
        raise ReleaseError("--icu-only needs icu/icustays, which is not there")
    helpers = " ".join(recipes.helper(h, release.source) for h in ("encounters", "subjects"))
    joined = {t.name for t in known.values() if t.name in helpers}
    for name in wanted:
        joined |= with_recipe[name].mentions(t.name for t in known.values())
    dictionaries = [n for n in there if known[n].kind == "dictionary"]
    read = {*wanted, *(n for n in there if known[n].name in joined), *dictionaries}
    return Selection(tuple(wanted), tuple(n for n in there if n in read), tuple(dictionaries), tuple(notes))


def _read_columns(file: TableFile | None, *columns: str) -> list[Int64s]:
    """Integer columns of a whole table, rows that cannot be read left out; empty where the table is not there."""
    if file is None:
        return [np.empty(0, np.int64) for _ in columns]
    parts = [parsed.rows.select(list(columns)) for parsed in read_table(file)]
    rows = pa.concat_tables([file.table.schema.empty_table().select(list(columns)), *parts])
    return [to_int64(rows[c]) for c in columns]


def plan_build(release: Release, settings: Settings) -> Plan:
    """Choose the patients and cut them into shards.

    Raises:
        ReleaseError: if the file of subjects cannot be read.
        SettingsError: if no patient is left.
    """
    (patients,) = _read_columns(release.files.get(PATIENTS), "subject_id")
    (admissions,) = _read_columns(release.files.get(ADMISSIONS), "subject_id")
    (stays,) = _read_columns(release.files.get(ICUSTAYS), "subject_id")
    everyone = np.unique(np.concatenate([patients, admissions, stays]))
    selected: Int64s | None = None
    if settings.icu_only:
        selected = np.unique(stays)
    if settings.subjects is not None:
        base = everyone if selected is None else selected
        if settings.subjects.isdigit():
            selected = draw(base, int(settings.subjects), settings.seed)
        else:
            path = Path(settings.subjects).expanduser()
            if not path.is_file():
                raise SettingsError(f"--subjects is '{settings.subjects}', neither a number nor a file that is there")
            asked = np.unique(np.array(read_subject_file(path), np.int64))
            selected = asked if selected is None else np.intersect1d(asked, selected)
            if len(everyone) and not np.isin(asked, everyone).any():
                raise ReleaseError(f"none of the {len(asked):,} subject_ids in {path} is in this release")
    if selected is not None and not len(selected):
        raise SettingsError("no patient is left: --subjects and --icu-only have none in common")
    return plan_shards(patients, admissions, stays, selected)
