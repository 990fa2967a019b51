"""What older releases look like: patients are drawn as in 3.1, and what a release lacks is taken away.

So the same patients, asked for in two releases, differ by what the older one lacks and by nothing else. The differences
are data: `release_tables.csv` (tables it lacks), `release_columns.csv` (columns, in their order, and the folder of the
file) and `release_values.csv` (values it writes otherwise) in `catalog/`.
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
# Before 2.0 the date of death was known for deaths in hospital only (mimic-code issue 1199).
_DEATH_IN_HOSPITAL_ONLY = ("1.0",)


@dataclass(frozen=True)
class Shape:
    """How a release differs from 3.1.

    Attributes:
        release: its number.
        absent: tables it lacks.
        columns: for tables whose columns differ, each column's name and the one of 3.1 it is drawn from, if any.
        files: tables that lie in another folder than in 3.1, as `core/patients`.
        values: by table and column, how values are written; `*` stands for all that are not named.
    """

    release: str
    absent: frozenset[str] = frozenset()
    columns: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def file(self, table: str) -> str:
        """Return the file that a table of 3.1 is written to, without its ending."""
        return self.files.get(table, table)

    def conform(self, table: str, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a table of 3.1 as this release writes them."""
        for column, spelled in self.values.get(table, {}).items():
            frame = frame.with_columns(_respelled(column, spelled))
        if table not in self.columns:
            return frame
        return frame.select(
            pl.col(source).alias(name) if source else pl.lit(None, dtype=pl.String).alias(name)
            for name, source in self.columns[table]
        )


def _respelled(column: str, spelled: dict[str, str]) -> pl.Expr:
    others = pl.lit(spelled["*"]) if "*" in spelled else pl.col(column)
    named = {value: becomes for value, becomes in spelled.items() if value != "*"}
    known = pl.col(column).is_in(list(named))
    renamed = pl.col(column).replace_strict(named, default=None, return_dtype=pl.String)
    return pl.when(pl.col(column).is_null()).then(None).when(known).then(renamed).otherwise(others).alias(column)


def shape(release: str) -> Shape:
    """Return how a release differs from 3.1, from the catalog."""
    lacking = catalog.read("release_tables.csv").cast({"release": pl.String})
    absent = frozenset(lacking.filter(pl.col("release") == release, pl.col("present") == 0)["table"])
    columns: dict[str, list[tuple[str, str | None]]] = {}
    files: dict[str, str] = {}
    written = catalog.read("release_columns.csv").cast({"release": pl.String}).filter(pl.col("release") == release)
    for table, file, name, source in written.select("table", "file", "column", "drawn_from").iter_rows():
        columns.setdefault(table, []).append((name, source))
        files[table] = file
    values: dict[str, dict[str, dict[str, str]]] = {}
    spelled = catalog.read("release_values.csv").cast({"release": pl.String}).filter(pl.col("release") == release)
    for table, column, value, becomes in spelled.select("table", "column", "value", "becomes").iter_rows():
        values.setdefault(table, {}).setdefault(column, {})[value] = becomes
    return Shape(release, absent, columns, files, values)


def tables_not_drawn(release: str, drawn: Collection[str]) -> dict[str, list[str]]:
    """Return the files of a release for which nothing is drawn, with their columns.

    A table may be in the source's data before it is drawn here. An empty file keeps the release complete.

    Args:
        release: its number.
        drawn: full names of all tables that some release has rows of.
    """
    source = packaged("mimiciv")
    found = {}
    for project, shapes in source.history.shapes.items():
        fitting = [s for s in shapes if release in source.partners.get((project, s.release), {s.release})]
        for table in sorted(set(fitting[-1].columns) - set(drawn)) if fitting else ():
            known = source.history.tables[table]
            names = [*(name for column in known.columns for name in known.names[column]), *known.dropped]
            columns = [name for name in names if name in fitting[-1].columns[table]]
            found[f"{fitting[-1].modules[table]}/{known.name}"] = columns
    return found


def patients_of_block(release: str) -> int:
    """Return how many patients of a block a release knows."""
    return BLOCK_PATIENTS if release in _WITH_RECENT else BLOCK_PATIENTS - int(RECENT_PLACES.sum())


def known_subjects(block: PatientBlock, release: str, most: int) -> pl.Series | None:
    """Return the subject_ids of the block's first `most` patients that a release knows; None where that is all."""
    if release in _WITH_RECENT and most >= BLOCK_PATIENTS:
        return None
    places = np.arange(BLOCK_PATIENTS) if release in _WITH_RECENT else np.flatnonzero(~RECENT_PLACES)
    return pl.Series(block.people.subject_id[places[:most]])


def without_later_deaths(patients: pl.DataFrame, block: PatientBlock, release: str) -> pl.DataFrame:
    """Return hosp/patients with the dates of death that a release knows."""
    if release not in _DEATH_IN_HOSPITAL_ONLY:
        return patients
    died = block.admissions.person[block.admissions.death != NONE]
    in_hospital = pl.Series(block.people.subject_id[died])
    known = pl.col("subject_id").is_in(in_hospital.implode())
    return patients.with_columns(pl.when(known).then(pl.col("dod")).alias("dod"))
