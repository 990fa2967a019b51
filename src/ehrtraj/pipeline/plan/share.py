"""Estimate which share of the rows belongs to the patients that `--subjects` and `--icu-only` select."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.config import Settings
from ehrtraj.format.arrays import Int64s
from ehrtraj.pipeline.plan.patients import PatientEntries, find_entries, select_patients
from ehrtraj.pipeline.plan.shards import Entries
from ehrtraj.release.found import Release
from ehrtraj.release.schema import Table
from ehrtraj.release.subjects import SubjectsFound
from ehrtraj.sources.source import Source


@dataclass(frozen=True)
class PatientShare:
    """The selected patients, and their share of the rows of each module.

    Attributes:
        selected: number of selected patients.
        everyone: number of all patients of the release.
        requested: result of `--subjects`; None without it.
        of_modules: their share of the stays in each module that consists of stays, such as intensive care.
        of_others: their share of the encounters.
    """

    selected: int
    everyone: int
    requested: SubjectsFound | None
    of_modules: dict[str, float]
    of_others: float

    def of(self, table: Table) -> float:
        """Return the share of a table's rows that belongs to the selected patients; 1 for tables without patients."""
        return self.of_modules.get(table.module, self.of_others) if table.kind == "patient" else 1.0


def patient_share(release: Release, settings: Settings) -> PatientShare | None:
    """Return the share of the selected patients, from the tables of patients and stays.

    Stays are counted, not patients: on a synthetic release, the 19 % of the patients with an ICU stay have 73 % of
    the events.

    Returns:
        The share; None if all patients are selected, or no table lists the patients.

    Raises:
        ReleaseError: if the file of subjects cannot be read, or contains no patient of the release.
        SettingsError: if no patients are left.
    """
    if settings.subjects is None and not settings.icu_only:
        return None
    entries = find_entries(release)
    if not entries.are_complete:
        return None
    chosen, requested = select_patients(settings, release.source, entries)
    everyone = entries.everyone
    selected = everyone if chosen is None else chosen
    encounters = entries.encounters if len(entries.encounters.subject_ids) else entries.patients
    return PatientShare(
        len(selected),
        len(everyone),
        requested,
        {module: _share(stays, selected) for module, stays in _stays_of_modules(release.source, entries).items()},
        _share(encounters, selected),
    )


def _stays_of_modules(source: Source, entries: PatientEntries) -> dict[str, Entries]:
    """Return the stays of each module that has them, except of modules that also have other patients."""
    roles = source.roles
    of_all = {table.partition("/")[0] for table in roles.needed}
    stays = [(roles.icu_stays, entries.icu_stays), (roles.ed_stays, entries.ed_stays)]
    modules = {role.table.partition("/")[0]: listed for role, listed in stays if role is not None}
    return {module: listed for module, listed in modules.items() if module not in of_all and len(listed.subject_ids)}


def _share(entries: Entries, selected: Int64s) -> float:
    return float(np.isin(entries.subject_ids, selected).mean())
