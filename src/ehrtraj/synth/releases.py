"""Older releases: patients are drawn as in 3.1, then everything the release lacks is removed.

The same patients in two releases therefore differ only by what the older release lacks. These differences are data in
`catalog/`: `release_tables.csv` (missing tables), `release_columns.csv` (columns in their order, and the folder of each
file) and `release_values.csv` (values that are written differently).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ehrtraj.sources.source import packaged
from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import NONE
from ehrtraj.synth.life import RECENT_PLACES

RELEASES = ("1.0", "2.2", "3.0", "3.1")
# 3.0 added the patients first seen in 2020 to 2022 (MIMIC-IV documentation).
_WITH_RECENT = ("3.0", "3.1")
# Before 2.0 only patients who died in hospital had a date of death (mimic-code issue 1199).
_DEATH_IN_HOSPITAL_ONLY = ("1.0",)


@dataclass(frozen=True)
class ReleaseDifferences:
    """How a release differs from 3.1.

    Attributes:
        release: version of the release.
        absent: tables of 3.1 that the release lacks.
        columns: for tables whose columns differ, the name of each column and of its source column in 3.1, if any.
        files: tables that are in another folder than in 3.1, such as `core/patients`.
        values: by table and column, how each value is written; `*` stands for all unlisted values.
    """

    release: str
    absent: frozenset[str] = frozenset()
    columns: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def file(self, table: str) -> str:
        """Return the path of the file for a table of 3.1, without the extension."""
        return self.files.get(table, table)

    def conform(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table of 3.1 in the form of this release."""
        for column, translations in self.values.get(table, {}).items():
            frame = frame.with_columns(_translate(column, translations))
        if table not in self.columns:
            return frame
        return frame.select(
            pl.col(source).alias(name) if source else pl.lit(None, dtype=pl.String).alias(name)
            for name, source in self.columns[table]
        )


def _translate(column: str, translations: dict[str, str]) -> pl.Expr:
    unlisted = pl.lit(translations["*"]) if "*" in translations else pl.col(column)
    listed = {value: becomes for value, becomes in translations.items() if value != "*"}
    is_listed = pl.col(column).is_in(list(listed))
    translated = pl.col(column).replace_strict(listed, default=None, return_dtype=pl.String)
    is_null = pl.col(column).is_null()
    return pl.when(is_null).then(None).when(is_listed).then(translated).otherwise(unlisted).alias(column)


def read_differences(release: str) -> ReleaseDifferences:
    """Return how a release differs from 3.1, from the catalog."""
    tables = _read_for("release_tables.csv", release)
    absent = frozenset(tables.filter(pl.col("present") == 0)["table"])
    columns: dict[str, list[tuple[str, str | None]]] = {}
    files: dict[str, str] = {}
    column_rows = _read_for("release_columns.csv", release).select("table", "file", "column", "drawn_from")
    for table, file, name, source in column_rows.iter_rows():
        columns.setdefault(table, []).append((name, source))
        files[table] = file
    values: dict[str, dict[str, dict[str, str]]] = {}
    value_rows = _read_for("release_values.csv", release).select("table", "column", "value", "becomes")
    for table, column, value, becomes in value_rows.iter_rows():
        values.setdefault(table, {}).setdefault(column, {})[value] = becomes
    return ReleaseDifferences(release, absent, columns, files, values)


def _read_for(name: str, release: str) -> pl.DataFrame:
    """Return the lines of a catalog file that belong to a release."""
    return catalog.read(name).cast({"release": pl.String}).filter(pl.col("release") == release)


def tables_not_drawn(release: str, drawn: Collection[str]) -> dict[str, list[str]]:
    """Return the tables of a release that are never drawn, with their columns.

    The source may define a table before this package draws it. An empty file keeps the release complete.

    Args:
        release: version of the release.
        drawn: full names of all tables that are drawn for some release.

    Returns:
        Column names by table, such as `hosp/omr`.
    """
    source = packaged("mimiciv")
    columns_by_table = {}
    for project, shapes in source.history.shapes.items():
        matching = [s for s in shapes if release in source.partners.get((project, s.release), {s.release})]
        for table in sorted(set(matching[-1].columns) - set(drawn)) if matching else ():
            definition = source.history.tables[table]
            names = [*(name for column in definition.columns for name in definition.names[column]), *definition.dropped]
            columns = [name for name in names if name in matching[-1].columns[table]]
            columns_by_table[f"{matching[-1].modules[table]}/{definition.name}"] = columns
    return columns_by_table


def patients_per_block(release: str) -> int:
    """Return how many patients of each block a release includes."""
    return BLOCK_PATIENTS if release in _WITH_RECENT else BLOCK_PATIENTS - int(RECENT_PLACES.sum())


def included_subjects(block: PatientBlock, release: str, limit: int) -> pl.Series | None:
    """Return the subject_ids of the first `limit` patients of a block that a release includes; None for all."""
    if release in _WITH_RECENT and limit >= BLOCK_PATIENTS:
        return None
    places = np.arange(BLOCK_PATIENTS) if release in _WITH_RECENT else np.flatnonzero(~RECENT_PLACES)
    return pl.Series(block.people.subject_id[places[:limit]])


def with_released_deaths(patients: pl.DataFrame, block: PatientBlock, release: str) -> pl.DataFrame:
    """Return hosp/patients with only the dates of death that a release contains."""
    if release not in _DEATH_IN_HOSPITAL_ONLY:
        return patients
    died = block.admissions.person[block.admissions.death != NONE]
    in_hospital = pl.Series(block.people.subject_id[died])
    died_in_hospital = pl.col("subject_id").is_in(in_hospital.implode())
    return patients.with_columns(pl.when(died_in_hospital).then(pl.col("dod")).alias("dod"))
