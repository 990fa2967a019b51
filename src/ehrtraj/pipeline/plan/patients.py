"""Which patients a build covers, and how they are divided into shards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ehrtraj import recipes
from ehrtraj.config import Settings
from ehrtraj.errors import SettingsError
from ehrtraj.format.arrays import Int64s, to_int64
from ehrtraj.format.splits import draw
from ehrtraj.pipeline.plan.shards import Plan, plan_shards
from ehrtraj.pipeline.plan.tables import ADMISSIONS, EDSTAYS, ICUSTAYS, PATIENTS
from ehrtraj.pipeline.stage.parse import read_table
from ehrtraj.release.asked import number_or_file
from ehrtraj.release.detect import Release, TableFile
from ehrtraj.release.subjects import SubjectsFound, find_subjects

# gzip makes MIMIC's notes about this much smaller.
_GZIP_RATIO = 3.5


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
