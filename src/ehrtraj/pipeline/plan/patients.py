"""Determine the patients of a build and divide them into shards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.config import Settings
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.format.arrays import Int64s, to_int64
from ehrtraj.format.splits import Splits, sample_subjects, splits_from_json
from ehrtraj.pipeline.plan.columns import read_columns
from ehrtraj.pipeline.plan.shards import Entries, ShardPlan, plan_shards
from ehrtraj.pipeline.plan.splits import plan_splits
from ehrtraj.release.asked import number_or_file
from ehrtraj.release.found import Release
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.release.subjects import SubjectsFound, find_subjects
from ehrtraj.release.table_file import TableFile
from ehrtraj.sources.declaration import Role
from ehrtraj.sources.source import Source


@dataclass(frozen=True)
class Patients:
    """The patients of a build.

    Attributes:
        plan: their shards.
        splits: their splits.
        requested: the patients requested with `--subjects`, found and not found; None without `--subjects`.
    """

    plan: ShardPlan
    splits: Splits
    requested: SubjectsFound | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file in the working folder."""
        requested = self.requested and self.requested.to_json()
        return {**self.plan.to_json(), "splits": self.splits.to_json(), "requested": requested}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the patients in the content of the file. The inverse of `to_json`."""
        requested = content["requested"]
        splits = splits_from_json(content["splits"])
        return cls(ShardPlan.from_json(content), splits, requested and SubjectsFound.from_json(requested))


@dataclass(frozen=True)
class PatientEntries:
    """Entries of the tables that list the patients and their stays.

    Attributes:
        patients: entries of all patients.
        encounters: stays in a hospital.
        icu_stays: stays in intensive care.
        ed_stays: stays in an emergency department.
    """

    patients: Entries
    encounters: Entries
    icu_stays: Entries
    ed_stays: Entries

    @property
    def are_complete(self) -> bool:
        """Whether a table lists the patients, so that they need not be collected from all other tables."""
        return bool(len(self.patients.subject_ids) or len(self.encounters.subject_ids))

    @property
    def everyone(self) -> Int64s:
        """All subject_ids, sorted."""
        listed = (self.patients, self.encounters, self.icu_stays, self.ed_stays)
        return np.unique(np.concatenate([entries.subject_ids for entries in listed]))


def find_entries(release: Release) -> PatientEntries:
    """Read the tables that list the patients and their stays, which are small."""
    roles = release.source.roles
    return PatientEntries(
        _entries(release, roles.patients),
        _entries(release, roles.encounters),
        _entries(release, roles.icu_stays),
        _entries(release, roles.ed_stays),
    )


def _entries(release: Release, role: Role | None) -> Entries:
    """Return the patients of a table's entries; no entries if the release does not contain the table."""
    file = None if role is None else release.files.get(role.table)
    if role is None or file is None:
        return Entries(np.empty(0, np.int64), 0)
    return Entries(_subjects_of(file), role.rows)


def _subjects_of(file: TableFile) -> Int64s:
    return to_int64(read_columns(file, SUBJECT_ID)[SUBJECT_ID])


def _check_keys(release: Release) -> None:
    """Check that no two patients with text keys have the same number.

    Raises:
        ReleaseError: if two patients have the same number.
    """
    role = release.source.roles.patients
    file = release.files.get(role.table)
    if file is None or not _has_text_keys(release.source):
        return
    pairs = read_columns(file, role.key, SUBJECT_ID).group_by([role.key, SUBJECT_ID]).aggregate([])
    owners = pairs.group_by(SUBJECT_ID).aggregate([(role.key, "count"), (role.key, "min"), (role.key, "max")])
    shared = owners.filter(pc.greater(owners[f"{role.key}_count"], 1)).to_pylist()
    if shared:
        one, other, number = (shared[0][name] for name in (f"{role.key}_min", f"{role.key}_max", SUBJECT_ID))
        raise ReleaseError(
            f"{file.path}: the patients '{one}' and '{other}' have the same subject_id, {number}, which is "
            f"computed from {role.key}: their events could not be distinguished. Change one of the keys in all tables"
        )


def _has_text_keys(source: Source) -> bool:
    """Return whether a source identifies its patients by text."""
    role = source.roles.patients
    return bool(pa.types.is_string(source.tables[role.table].columns[role.key]))


def plan_build(release: Release, settings: Settings, shard_rows: int) -> Patients:
    """Select the patients and divide them into shards.

    Args:
        release: release that the build reads.
        settings: settings of the build.
        shard_rows: rows of work in a shard.

    Raises:
        ReleaseError: if the file of subjects cannot be read.
        SettingsError: if no patients are left, or not all of them have a split.
    """
    _check_keys(release)
    entries = find_entries(release)
    people = entries.patients
    if not entries.are_complete:
        # No table lists the patients: all tables with patients are read, and a patient counts once for each row.
        others = [_subjects_of(file) for file in _large_tables(release)]
        people = Entries(np.concatenate([people.subject_ids, *others]), release.source.roles.patients.rows)
    entries = replace(entries, patients=people)
    everyone, stays = entries.everyone, (entries.icu_stays, entries.ed_stays)
    selected, requested = select_patients(settings, release.source, entries)
    note_bytes = _note_bytes(release, settings)
    plan = plan_shards(people, entries.encounters, stays, selected, shard_rows, note_bytes=note_bytes)
    splits = plan_splits(release, settings, everyone if selected is None else selected)
    return Patients(plan, splits, requested)


def select_patients(
    settings: Settings, source: Source, entries: PatientEntries
) -> tuple[Int64s | None, SubjectsFound | None]:
    """Return the selected subject_ids, None for all, and the result of `--subjects`.

    Raises:
        ReleaseError: if the file of subjects cannot be read, or contains no patient of the release.
        SettingsError: if no patients are left.
    """
    everyone = entries.everyone
    eligible = np.unique(entries.icu_stays.subject_ids) if settings.icu_only else everyone
    if settings.subjects is None:
        selected, requested = eligible if settings.icu_only else None, None
    elif isinstance(number_or_path := number_or_file(settings.subjects), int):
        selected = sample_subjects(eligible, number_or_path, settings.seed)
        requested = SubjectsFound("", number_or_path, len(selected))
    else:
        key = source.roles.patients.key if _has_text_keys(source) else None
        found, requested = find_subjects(number_or_path, everyone, "this release", key=key)
        selected = np.intersect1d(found, eligible)
        requested = replace(requested, left_out=len(found) - len(selected))
    if selected is not None and not len(selected):
        if requested is None or not requested.source:
            raise SettingsError("no patients are left: this release has no readable ICU stay")
        raise SettingsError("no patients are left: --subjects and --icu-only have no patient in common")
    return selected, requested


def _large_tables(release: Release) -> list[TableFile]:
    """Return the tables with patients whose rows are not estimated from the stays that the plan counts."""
    roles = release.source.roles
    counted = {*roles.needed, *(role.table for role in roles.stays)}
    stays = {role.table.partition("/")[0] for role in roles.stays if role.table in release.files}
    return [
        file
        for name, file in release.files.items()
        if file.table.kind == "patient" and name not in counted and file.table.module not in stays
    ]


def _note_bytes(release: Release, settings: Settings) -> int:
    """Return the approximate size of all notes in bytes."""
    if settings.notes == "none":
        return 0
    recipe, ratio = release.source.recipes, release.source.declared.gzip_ratio_of_notes
    files = [file for name, file in release.files.items() if name in recipe and recipe[name].separate]
    return sum(round(f.size * (ratio if f.path.suffix == ".gz" else 1)) for f in files)
