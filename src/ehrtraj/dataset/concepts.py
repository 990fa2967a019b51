"""Using the concepts that `ehrtraj concepts` stored in a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.concepts.events import codes_of, concept_events, value_columns
from ehrtraj.concepts.header import AVAILABLE
from ehrtraj.concepts.index import ComputedConcept, folder_of, read_index
from ehrtraj.concepts.patients import compute_for_patients, library_of
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.dataset.layout import READ_ERRORS, DataFile, DatasetLayout, broken
from ehrtraj.dataset.reading import read_events
from ehrtraj.errors import SettingsError
from ehrtraj.format.event_types import CONCEPT
from ehrtraj.format.names import CONCEPT_INDEX
from ehrtraj.suggestions import did_you_mean

_TYPES: dict[str, Any] = {
    "BIGINT": pl.Int64, "INTEGER": pl.Int32, "DOUBLE": pl.Float64, "VARCHAR": pl.String, "BOOLEAN": pl.Boolean,
    "TIMESTAMP": pl.Datetime("us"), "DATE": pl.Date,
}  # fmt: skip
_OPTIONS = {"event": "", "available": " --clock available"}


def stored_concepts(layout: DatasetLayout, mode: ConceptMode) -> dict[str, ComputedConcept]:
    """Return the stored concepts of a dataset by name.

    Raises:
        DatasetError: if their index is damaged.
    """
    path = layout.root / folder_of(mode) / CONCEPT_INDEX
    try:
        stat = path.stat()
    except OSError:
        return {}
    return _read(layout.root, mode, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=16)
def _read(root: Path, mode: ConceptMode, _stamp: tuple[int, ...]) -> dict[str, ComputedConcept]:
    return read_index(root, mode)


def find_stored(layout: DatasetLayout, name: str, mode: ConceptMode) -> ComputedConcept:
    """Return a stored concept.

    Raises:
        SettingsError: if it is not stored, or does not exist.
    """
    found = stored_concepts(layout, mode)
    if name in found:
        return found[name]
    library_of(layout.manifest).find([name])
    option = " --as-mimic-code" if mode.as_mimic_code else _OPTIONS[mode.clock]
    raise SettingsError(
        f"{layout.root} has no computed concept '{name}': run `ehrtraj concepts {layout.root} {name}{option}`"
    )


def list_stored(layout: DatasetLayout) -> pl.DataFrame:
    """Return a row for each stored concept with the clock `event`: `concept`, `group`, `rows`, `description`."""
    found = stored_concepts(layout, ConceptMode()).values()
    lines = [(one.name, one.group, one.rows, one.description) for one in found]
    schema = {"concept": pl.String, "group": pl.String, "rows": pl.Int64, "description": pl.String}
    return pl.DataFrame(lines, schema=schema, orient="row")


def meanings_of_values(layout: DatasetLayout) -> dict[str, str]:
    """Return the meaning of each value of the stored concepts, by code."""
    found: dict[str, str] = {}
    for concept in stored_concepts(layout, ConceptMode()).values():
        meanings = {column.name: column.meaning for column in concept.columns}
        found |= {f"{CONCEPT}//{concept.name}//{name}": meanings[name] for name, _type, _unit in value_columns(concept)}
    return found


def stored_files(layout: DatasetLayout) -> dict[str, list[Path]]:
    """Return the files of each stored concept that has rows, by name."""
    folder = layout.root / folder_of(ConceptMode())
    stored = stored_concepts(layout, ConceptMode()).values()
    return {one.name: [folder / one.name / file for file in one.files] for one in stored if one.files}


def empty_frame(concept: ComputedConcept) -> pl.DataFrame:
    """Return a frame without rows and with the columns of a concept."""
    return pl.DataFrame(schema={column.name: _TYPES[column.type] for column in concept.columns})


def scan_concept(layout: DatasetLayout, concept: ComputedConcept, mode: ConceptMode) -> pl.LazyFrame:
    """Return all rows of a stored concept."""
    folder = layout.root / folder_of(mode) / concept.name
    paths = [folder / file for file in concept.files]
    return pl.scan_parquet(paths, glob=False) if paths else empty_frame(concept).lazy()


def scan_shard(layout: DatasetLayout, concept: ComputedConcept, mode: ConceptMode, file: DataFile) -> pl.LazyFrame:
    """Return the rows of a stored concept for the patients of one data file."""
    name = f"{file.split}/{file.shard}.parquet"
    if name not in concept.files:
        return empty_frame(concept).lazy()
    return pl.scan_parquet(layout.root / folder_of(mode) / concept.name / name, glob=False)


def events_with_concepts(
    layout: DatasetLayout, files: Sequence[DataFile], names: Sequence[str], mode: ConceptMode
) -> Iterator[pl.LazyFrame]:
    """Yield the events of each data file, merged with the events of concepts in order of patient and time.

    Events of a concept follow the other events of the same time.

    Raises:
        SettingsError: if a concept is not stored, or the dataset includes concepts as events.
    """
    if layout.includes_concepts:
        raise SettingsError(f"{layout.root} includes its concepts as events: omit concepts=")
    concepts = [find_stored(layout, name, mode) for name in names]
    for file in files:
        events = pl.scan_parquet(file.path, glob=False)
        schema = events.collect_schema()
        parts = [events]
        for concept in concepts:
            parts += concept_events(concept, scan_shard(layout, concept, mode, file), schema, layout.clock)
        yield pl.concat(parts).sort("subject_id", "time", maintain_order=True)


def matching_events(
    layout: DatasetLayout,
    patterns: Sequence[str],
    subject: Mapping[str, Any],
    schema: pl.Schema,
    known_until: datetime | None,
) -> pl.DataFrame:
    """Return the events of those stored concepts of one patient that patterns of codes name, in order of time.

    Args:
        layout: files of the dataset.
        patterns: patterns that begin with `CONCEPT//`.
        subject: the patient's row of subjects.parquet.
        schema: columns and types of events.
        known_until: leave out what was not known at this time.

    Raises:
        SettingsError: if a concept is not stored.
    """
    mode = ConceptMode()
    named = list(dict.fromkeys(pattern.split("//")[1] for pattern in patterns))
    stored = stored_concepts(layout, mode)
    if not stored:
        raise SettingsError(f"{layout.root} has no computed concepts: run `ehrtraj concepts {layout.root}`")
    concepts = [find_stored(layout, name, mode) for name in named if "*" not in name]
    wild = [name for name in named if "*" in name]
    concepts += [stored[name] for name in stored if name not in named and any(fnmatchcase(name, one) for one in wild)]
    codes = [code for concept in concepts for code in codes_of(concept)]
    for pattern in patterns:
        if not any(fnmatchcase(code, pattern) for code in codes):
            raise SettingsError(f"no value of a concept matches '{pattern}'{did_you_mean(pattern, codes)}")
    parts = [pl.DataFrame(schema=schema).lazy()]
    for concept in concepts:
        rows = _read_patient(layout, concept, mode, subject)
        parts += concept_events(concept, rows.lazy(), schema, layout.clock)
    return _known(pl.concat(parts).sort("time", maintain_order=True).collect(), known_until)


def concept_of_patient(
    layout: DatasetLayout, name: str, mode: ConceptMode, subject: Mapping[str, Any], known_until: datetime | None
) -> pl.DataFrame:
    """Return the rows of a concept for one patient; see `Trajectory.concept`.

    Raises:
        SettingsError: if there is no such concept, or rows of mimic-code, which have no available_time, must be cut.
    """
    if mode.as_mimic_code and known_until is not None:
        raise SettingsError("mimic-code does not know when a row was known: omit as_mimic_code=True after as_of")
    stored = stored_concepts(layout, mode)
    if name in stored:
        return _known(_read_patient(layout, stored[name], mode, subject), known_until)
    return _known(_compute(layout, name, mode, subject), known_until)


def _compute(layout: DatasetLayout, name: str, mode: ConceptMode, subject: Mapping[str, Any]) -> pl.DataFrame:
    # All events of the patient: a row that was known at a time does not change when more becomes known.
    events = read_events(_file_of(layout, subject), subject["position"], subject["n_events"])
    subjects = layout.subjects.filter(subject_id=subject["subject_id"])
    library = library_of(layout.manifest)
    found = compute_for_patients(library, [name], events, subjects, flags=layout.flags, clock=layout.clock, mode=mode)
    return found[name]


def _read_patient(
    layout: DatasetLayout, concept: ComputedConcept, mode: ConceptMode, subject: Mapping[str, Any]
) -> pl.DataFrame:
    file = _file_of(layout, subject)
    try:
        return scan_shard(layout, concept, mode, file).filter(subject_id=subject["subject_id"]).collect()
    except READ_ERRORS as error:
        path = layout.root / folder_of(mode) / concept.name / f"{file.split}/{file.shard}.parquet"
        raise broken(path, error) from None


def _file_of(layout: DatasetLayout, subject: Mapping[str, Any]) -> DataFile:
    split, shard = subject["split"], subject["shard"]
    return DataFile(split, shard, layout.data_path(split, shard))


def _known(rows: pl.DataFrame, until: datetime | None) -> pl.DataFrame:
    return rows if until is None else rows.filter(pl.col(AVAILABLE) <= until)
