"""Which tables and which patients a build is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ehrtraj import recipes
from ehrtraj.config import Settings, number_or_file
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.pipeline.events import Int64s, to_int64
from ehrtraj.pipeline.parse import read_table
from ehrtraj.pipeline.shards import Plan, draw, plan_shards
from ehrtraj.recipes import Recipe
from ehrtraj.release.completeness import lacking
from ehrtraj.release.detect import Release, TableFile
from ehrtraj.release.schema import tables
from ehrtraj.release.subjects import SubjectsFound, find_subjects

PATIENTS, ADMISSIONS, ICUSTAYS, EDSTAYS = "hosp/patients", "hosp/admissions", "icu/icustays", "ed/edstays"
# gzip makes MIMIC's notes about this much smaller.
_GZIP_RATIO = 3.5


@dataclass(frozen=True)
class Selection:
    """The tables of a build, by full name.

    Attributes:
        wanted: become events.
        staged: are read: those wanted, those that their recipes join, and the dictionaries.
        dictionaries: describe codes.
        notes: what the user should know.
        warnings: what the user must know before using the result.
    """

    wanted: tuple[str, ...]
    staged: tuple[str, ...]
    dictionaries: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def _full_names(given: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    found = []
    for name in given:
        matches = [k for k in known if name in (k, k.rpartition("/")[2])]
        if not matches:
            raise SettingsError(f"--tables: there is no table '{name}'; there are: {', '.join(known)}")
        found += matches
    return found


@dataclass(frozen=True)
class Patients:
    """The patients of a build.

    Attributes:
        plan: their shards.
        requested: what became of those that `--subjects` asks for, if it does.
    """

    plan: Plan
    requested: SubjectsFound | None = None

    def to_json(self) -> dict[str, Any]:
        """As kept in the build's folder."""
        return {**self.plan.to_json(), "requested": self.requested and self.requested.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        requested = content["requested"]
        return cls(Plan.from_json(content), requested and SubjectsFound.from_json(requested))


def choose_tables(release: Release, settings: Settings) -> Selection:
    """Decide which tables are read and which become events.

    Raises:
        SettingsError: if a table is asked for that does not exist.
        ReleaseError: if one is asked for that the release lacks, or nothing is left.
    """
    _check_complete(release, settings)
    with_recipe = recipes.recipes(release.source, release.extra)
    known = tables(release.source, release.extra)
    there = [n for n in known if n in release.files]
    notes = []
    if settings.notes == "none" and (of_notes := _note_tables(there, with_recipe)):
        if contrary := [n for n in _full_names(settings.tables, with_recipe) if n in of_notes]:
            raise SettingsError(f"--tables asks for {', '.join(contrary)}, --no-notes leaves it out: give one of them")
        there = [n for n in there if n not in of_notes]
        if not settings.tables:
            notes.append(f"left out, as asked: {', '.join(of_notes)}")
    if settings.tables:
        asked = _full_names(settings.tables, with_recipe)
        if absent := [n for n in asked if n not in there]:
            raise ReleaseError(f"the release in {release.root} has no {', '.join(absent)}")
        wanted = [n for n in there if n in asked]
    else:
        wanted = [n for n in there if n in with_recipe]
    if not wanted:
        raise ReleaseError(f"the release in {release.root} has no table that holds events")
    if settings.icu_only and ICUSTAYS not in there:
        raise ReleaseError("--icu-only needs icu/icustays, which is not there")
    helpers = "\n".join(recipes.helper(h, release.source, release.extra) for h in recipes.HELPERS_OF_A_SHARD)
    sql = "\n".join([helpers, *(with_recipe[name].sql for name in wanted)])
    joined = recipes.tables_read(sql, (t.name for t in known.values()), release.source, release.extra)
    dictionaries = [n for n in there if known[n].kind == "dictionary"]
    read = {*wanted, *(n for n in there if known[n].name in joined), *dictionaries}
    needed = {n for n, table in known.items() if table.name in joined} if settings.tables else None
    more_notes, warnings = lacking(release, needed)
    staged = tuple(n for n in there if n in read)
    return Selection(tuple(wanted), staged, tuple(dictionaries), (*notes, *more_notes), tuple(warnings))


def _check_complete(release: Release, settings: Settings) -> None:
    """Refuse a release without the tables that every build needs."""
    if settings.allow_incomplete:
        return
    if absent := [name for name in (PATIENTS, ADMISSIONS) if name not in release.files]:
        raise ReleaseError(
            f"the release in {release.root} has no {' and no '.join(absent)}: births, deaths and the times of stays "
            "come from there. Download what is missing, give a folder above all modules, or build without it: "
            "--allow-incomplete"
        )


def _note_tables(there: Iterable[str], with_recipe: Mapping[str, Recipe]) -> list[str]:
    """Tables of the modules that hold notes: those in which a recipe says so."""
    modules = {name.partition("/")[0] for name in there if name in with_recipe and with_recipe[name].separate}
    return [name for name in there if name.partition("/")[0] in modules]


def _read_columns(file: TableFile | None, *columns: str) -> list[Int64s]:
    """Integer columns of a whole table, rows that cannot be read left out; empty where the table is not there."""
    if file is None:
        return [np.empty(0, np.int64) for _ in columns]
    parts = [parsed.rows for parsed in read_table(file, columns=columns)]
    rows = pa.concat_tables([file.table.schema.empty_table().select(list(columns)), *parts])
    return [to_int64(rows[c]) for c in columns]


def plan_build(release: Release, settings: Settings) -> Patients:
    """Choose the patients and cut them into shards.

    Raises:
        ReleaseError: if the file of subjects cannot be read.
        SettingsError: if no patient is left.
    """
    (patients,) = _read_columns(release.files.get(PATIENTS), "subject_id")
    (admissions,) = _read_columns(release.files.get(ADMISSIONS), "subject_id")
    (stays,) = _read_columns(release.files.get(ICUSTAYS), "subject_id")
    (visits,) = _read_columns(release.files.get(EDSTAYS), "subject_id")
    others = np.empty(0, np.int64)
    if not len(patients) and not len(admissions):
        # No table says who there is: every table of patients is asked, and a patient counts once for each row.
        others = np.concatenate([others, *(_read_columns(f, "subject_id")[0] for f in _large_tables(release))])
    everyone = np.unique(np.concatenate([patients, admissions, stays, visits, others]))
    selected, requested = _select(settings, everyone, stays)
    people = np.concatenate([patients, others])
    plan = plan_shards(people, admissions, stays, selected, visits=visits, note_bytes=_note_bytes(release, settings))
    return Patients(plan, requested)


def _select(settings: Settings, everyone: Int64s, stays: Int64s) -> tuple[Int64s | None, SubjectsFound | None]:
    """The chosen subject_ids, None for all, and what became of those that were asked for."""
    among = np.unique(stays) if settings.icu_only else everyone
    if settings.subjects is None:
        selected, requested = among if settings.icu_only else None, None
    elif isinstance(asked := number_or_file(settings.subjects), int):
        selected = draw(among, asked, settings.seed)
        requested = SubjectsFound("", asked, len(selected))
    else:
        there, requested = find_subjects(asked, everyone, "this release")
        selected = np.intersect1d(there, among)
        requested = replace(requested, left_out=len(there) - len(selected))
    if selected is not None and not len(selected):
        if requested is None or not requested.source:
            raise SettingsError("no patient is left: this release has no ICU stay that can be read")
        raise SettingsError("no patient is left: --subjects and --icu-only have none in common")
    return selected, requested


def _large_tables(release: Release) -> list[TableFile]:
    """Tables of patients that no stay of which the plan knows accounts for."""
    counted = (PATIENTS, ADMISSIONS, ICUSTAYS, EDSTAYS)
    stays = {name.partition("/")[0] for name in release.files if name in (ICUSTAYS, EDSTAYS)}
    return [
        file
        for name, file in release.files.items()
        if file.table.kind == "patient" and name not in counted and file.table.module not in stays
    ]


def _note_bytes(release: Release, settings: Settings) -> int:
    """About how many bytes of notes there are."""
    if settings.notes == "none":
        return 0
    recipe = recipes.recipes(release.source, release.extra)
    files = [file for name, file in release.files.items() if name in recipe and recipe[name].separate]
    return sum(round(f.size * (_GZIP_RATIO if f.path.suffix == ".gz" else 1)) for f in files)
