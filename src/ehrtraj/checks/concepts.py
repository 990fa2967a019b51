"""Check the computed concepts of a dataset against their indexes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from ehrtraj.checks.findings import Findings
from ehrtraj.checks.scan import sha256_of
from ehrtraj.concepts.header import AVAILABLE
from ehrtraj.concepts.index import MODES, ComputedConcept, folder_of, read_index
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.errors import DatasetError
from ehrtraj.format.names import CONCEPT_INDEX, SUBJECTS
from ehrtraj.storage.files import read_json

_SUBJECT = "subject_id"


def check_concepts(root: Path, findings: Findings) -> None:
    """Check the concepts of all modes.

    Args:
        root: folder of the dataset.
        findings: receives the violations.
    """
    for mode in MODES:
        folder = folder_of(mode)
        if not (root / folder).is_dir():
            continue
        try:
            computed = read_index(root, mode)
        except DatasetError as error:
            findings.one("concepts", str(error).partition(": ")[0], f"{folder}/{CONCEPT_INDEX}")
            continue
        if not computed and (read_json(root / folder / CONCEPT_INDEX) or {}).get("concepts"):
            findings.one("concepts", "was computed from another build of the dataset", f"{folder}/{CONCEPT_INDEX}")
            continue
        _check_names(root, folder, computed, findings)
        for concept in computed.values():
            for file in concept.files:
                for words in _check_file(root, folder, concept, file, mode):
                    findings.one("concepts", words, f"{folder}/{concept.name}/{file}")


def _check_names(root: Path, folder: str, computed: dict[str, ComputedConcept], findings: Findings) -> None:
    listed = {f"{concept.name}/{file}" for concept in computed.values() for file in concept.files} | {CONCEPT_INDEX}
    for path in (root / folder).rglob("*"):
        name = path.relative_to(root / folder).as_posix()
        if path.is_file() and name not in listed and not name.startswith("."):
            findings.one("concepts", "is not in the index", f"{folder}/{name}")


def _check_file(root: Path, folder: str, concept: ComputedConcept, file: str, mode: ConceptMode) -> Iterator[str]:
    """Yield a sentence for each violation of one file."""
    path, recorded = root / folder / concept.name / file, concept.files[file]
    if not path.is_file():
        yield "is in the index, but does not exist"
        return
    if path.stat().st_size != recorded.bytes or sha256_of(path) != recorded.sha256:
        yield "has different content than the computed file"
        return
    rows = pl.read_parquet(path, glob=False)
    if rows.columns != [column.name for column in concept.columns]:
        yield "has other columns than the index"
    elif rows.height != recorded.rows:
        yield f"has {rows.height:,} rows, but {recorded.rows:,} in the index"
    elif not mode.as_mimic_code:
        yield from _check_rows(root, rows, file, "time" if concept.start == "time" else "end")


def _check_rows(root: Path, rows: pl.DataFrame, file: str, end: str) -> Iterator[str]:
    early = rows.filter((pl.col(AVAILABLE) < pl.col(end)).fill_null(value=True)).height
    if early:
        yield f"{early:,} rows are available before they happened, or lack one of the times"
    if not rows[_SUBJECT].is_sorted():
        yield "patients are not in ascending order"
    split, _, shard = file.removesuffix(".parquet").partition("/")
    subjects = pl.read_parquet(root / SUBJECTS, glob=False).filter(split=split, shard=shard)
    others = rows.filter(~pl.col(_SUBJECT).is_in(subjects[_SUBJECT].implode()))[_SUBJECT].n_unique()
    if others:
        yield f"{others:,} patients are not in the data file of the same name"
