"""The metadata of a dataset with concepts: that of the original dataset, with what the concepts add."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.concepts.events import MEANING, table_of, value_columns
from ehrtraj.concepts.index import ComputedConcept
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.format import event_types, names
from ehrtraj.format.event_types import CONCEPT, EventType
from ehrtraj.format.ledger import TableLedger, to_table
from ehrtraj.format.source import SourceFacts
from ehrtraj.format.tallies import (
    NUMBERS,
    NUMBERS_SCHEMA,
    TIMES,
    TIMES_SCHEMA,
    all_numbers,
    all_times,
    number_bounds,
)
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import as_json
from ehrtraj.storage.parquet import write_parquet
from ehrtraj.version import __version__

_COPIED_BYTES = 1 << 22
_RANK_STEP = 10
_NO_VALUE = "no_value"
"""Reason in the ledger for rows without a value: they have no event."""

Records = Mapping[str, Mapping[str, Any]]
"""Counts of each data file by its name, as `MergeTally.record` returns them."""


class AddedMetadata:
    """Writes the metadata of the new dataset."""

    def __init__(
        self, layout: DatasetLayout, concepts: Sequence[ComputedConcept], files: Storage, records: Records
    ) -> None:
        """Prepare to write.

        Args:
            layout: files of the original dataset.
            concepts: the concepts that were added.
            files: storage of the new dataset, with its data files.
            records: counts of the data files.
        """
        self._layout = layout
        self._concepts = concepts
        self._files = files
        self._records = records
        self.tables = self._count_tables()

    def write(self, name: str) -> dict[str, int]:
        """Write all files except the manifest.

        Args:
            name: name of the dataset.

        Returns:
            Numbers of patients, events and codes.
        """
        codes, subjects = self._codes(), self._subjects()
        write_parquet(self._files, names.CODES, codes)
        write_parquet(self._files, names.SUBJECTS, subjects)
        write_parquet(self._files, names.LEDGER, self._ledger())
        write_parquet(self._files, NUMBERS, all_numbers([self._table(NUMBERS), self._numbers()]))
        write_parquet(self._files, TIMES, all_times([self._table(TIMES), self._times()]))
        source = self._layout.source
        known = source.event_types
        rank = max(one.rank for one in known.values()) + _RANK_STEP
        added = EventType(CONCEPT, rank, MEANING)
        self._write_json(names.EVENT_TYPES, event_types.to_json([*known.values(), added]))
        self._write_json(names.SOURCE, self._facts(source).to_json())
        self._write_json(names.DATASET_JSON, self._about(name))
        self._copy_others()
        events = sum(record["events"] for record in self._records.values())
        return {"patients": subjects.num_rows, "events": events, "codes": codes.num_rows}

    def _count_tables(self) -> dict[str, TableLedger]:
        ledger = {table_of(concept.name): TableLedger() for concept in self._concepts}
        for record in self._records.values():
            for table, (rows, used, events) in record["tables"].items():
                ledger[table].read += rows
                ledger[table].became_events += used
                ledger[table].events += events
                ledger[table].not_selected[_NO_VALUE] += rows - used
        return ledger

    def _ledger(self) -> pa.Table:
        return pa.concat_tables([self._table(names.LEDGER), to_table(self.tables)]).sort_by([("table", "ascending")])

    def _codes(self) -> pa.Table:
        """Return codes.parquet with the codes of the concepts."""
        events, patients = Counter[str](), Counter[str]()
        for record in self._records.values():
            for _, code, count, subjects in record["codes"]:
                events[code] += count
                patients[code] += subjects
        lines = [
            {
                "code": code,
                "description": description,
                "parent_codes": [],
                "unit": unit or None,
                "units": [unit] if unit else [],
                "event_type": CONCEPT,
                "source_table": table,
                "n_events": events[code],
                "n_subjects": patients[code],
            }
            for code, description, unit, table in self._described()
            if events[code]
        ]
        known = self._table(names.CODES)
        codes = pa.concat_tables([known, pa.Table.from_pylist(lines, schema=known.schema)]).sort_by("code")
        meds.CodeMetadataSchema.validate(codes)
        return codes

    def _described(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield each code of the concepts with its description, unit and table."""
        for concept in self._concepts:
            begin, table = f"{CONCEPT}//{concept.name}//", table_of(concept.name)
            meanings = {column.name: column.meaning for column in concept.columns}
            for name, _, unit in value_columns(concept):
                yield f"{begin}{name}", f"{concept.name}: {meanings[name].removesuffix('.')}", unit, table
            yield f"{begin}END", f"{concept.name}: End of the interval", "", table

    def _subjects(self) -> pa.Table:
        """Return subjects.parquet with the new positions and times."""
        known = self._table(names.SUBJECTS)
        changed = ("subject_id", "position", "n_events", "first_time", "last_time")
        lines = [line for record in self._records.values() for line in record["subjects"]]
        found = pa.table(
            [
                pa.array(column, pa.int64()).cast(known.schema.field(name).type)
                for name, column in zip(changed, zip(*lines, strict=True), strict=True)
            ],
            names=list(changed),
        ).sort_by("subject_id")
        subjects = known.sort_by("subject_id")
        for name in changed[1:]:
            subjects = subjects.set_column(subjects.schema.get_field_index(name), known.schema.field(name), found[name])
        return subjects

    def _numbers(self) -> pa.Table:
        counts = Counter[tuple[str, int]]()
        for record in self._records.values():
            counts.update({(code, number): count for code, number, count in record["numbers"]})
        keys = sorted(counts)
        low, high = number_bounds(np.array([number for _, number in keys], np.int64))
        total = [counts[key] for key in keys]
        columns = {"code": [code for code, _ in keys], "low": low, "high": high, "before": total, "after": total}
        return pa.table(columns, schema=NUMBERS_SCHEMA)

    def _times(self) -> pa.Table:
        counts = Counter[int]()
        for record in self._records.values():
            counts.update(dict(record["times"]))
        days = sorted(counts)
        columns = {
            "event_type": [CONCEPT] * len(days),
            "from_day": [1 << day - 1 if day else 0 for day in days],
            "to_day": [1 << day for day in days],
            "events": [counts[day] for day in days],
        }
        return pa.table(columns, schema=TIMES_SCHEMA)

    def _facts(self, source: SourceFacts) -> SourceFacts:
        return SourceFacts(
            source.name,
            source.title,
            source.patient_key,
            (*source.tables, *self.tables),
            source.event_types,
            source.intervals,
            source.icu_modules,
        )

    def _about(self, name: str) -> dict[str, Any]:
        about = {
            **self._layout.about,
            "dataset_version": f"{self._layout.manifest['release']['version']} / {name}",
            "etl_version": __version__,
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        }
        meds.DatasetMetadataSchema.validate(about)
        return about

    def _copy_others(self) -> None:
        """Copy the files that concepts do not change, such as the rejected rows and the texts of notes."""
        written = set(self._files.files())
        for name in sorted(set(self._layout.manifest["contents"]) - written):
            output = self._files.create(name)
            try:
                with (self._layout.root / name).open("rb") as source:
                    while block := source.read(_COPIED_BYTES):
                        output.sink.write(block)
                output.commit()
            finally:
                output.abandon()

    def _table(self, name: str) -> pa.Table:
        return pq.read_table(self._layout.root / name)

    def _write_json(self, name: str, content: object) -> None:
        self._files.write(name, as_json(content, indent=2))
