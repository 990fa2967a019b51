"""Build one shard, from its staged tables to its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ehrtraj.engines.base import Report, ignore
from ehrtraj.format.arrays import Bools, Int64s, to_int64
from ehrtraj.format.keys import numbers_of
from ehrtraj.pipeline.shard.assemble import assemble
from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.dictionaries import read_dictionaries
from ehrtraj.pipeline.shard.encounters import Owners
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.extract import Extractor, TableCount
from ehrtraj.pipeline.shard.inputs import ShardInputs, TableReader
from ehrtraj.pipeline.shard.meter import ShardMeter
from ehrtraj.pipeline.shard.output import ShardOutput
from ehrtraj.pipeline.shard.parts import divide
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.pipeline.shard.tally import ShardTally
from ehrtraj.pipeline.shard.task import ShardJob, ShardResult, ShardTask
from ehrtraj.pipeline.stage.parse import BlockParser
from ehrtraj.pipeline.stage.staged import read_staged
from ehrtraj.release.schema import SUBJECT_ID, Table
from ehrtraj.runtime.profile import COUNT, PARQUET, SORT, measured, take
from ehrtraj.sources.declaration import Role

# Shards after which DuckDB forgets what it has freed, which is up to 0.6 MB per shard.
_SHARDS_TO_FORGET = 4


@dataclass(frozen=True)
class _Attempt:
    """One attempt at a shard.

    Attributes:
        task: the shard.
        output: receives the events.
        tally: receives their counts.
        meter: receives the progress.
    """

    task: ShardTask
    output: ShardOutput
    tally: ShardTally
    meter: ShardMeter


class ShardWorker:
    """Builds shards, one after another, with one DuckDB session."""

    def __init__(self, job: ShardJob, report: Report = ignore) -> None:
        self._job = job
        self._report = report
        self._tables: dict[str, Table] = job.source.tables_of("patient")
        self._standardiser = Standardiser(job.source) if job.standardise else None
        self._extractor = Extractor(
            job.source,
            self._tables,
            job.event_tables,
            job.memory,
            job.storage.scratch(),
            standardiser=self._standardiser,
            dictionaries=read_dictionaries(job.storage, job.dictionaries, job.source, keys_only=True),
        )
        self._parsers = {name: BlockParser(file) for name, file in job.sliced.items()}
        self._codes = Codes(job.source.event_types)
        self._owners = {name: self._owners_of(roles) for name, roles in job.source.roles.owners.items()}
        self._large = [name for name in job.large if name in self._extractor.separate_tables]
        # Events of the large tables and of one part, and events of the other tables and of all parts.
        self._buffer, self._common = EventBuffer(), EventBuffer()
        self._built = 0

    def close(self) -> None:
        """End the DuckDB session."""
        self._extractor.close()

    def _owners_of(self, roles: Sequence[Role]) -> Owners:
        """Return the patient of each encounter or stay, of all shards."""
        parts = [pa.table({"number": pa.array([], pa.int64()), SUBJECT_ID: pa.array([], pa.int64())})]
        for role in roles:
            if role.table in self._job.of_all:
                files, schema = self._job.of_all[role.table], self._tables[role.table].schema
                rows = read_staged(self._job.storage, files, schema, [role.key, SUBJECT_ID])
                parts.append(pa.table({"number": numbers_of(rows[role.key]), SUBJECT_ID: rows[SUBJECT_ID]}))
        owners = pa.concat_tables(parts)
        return Owners.of(to_int64(owners["number"]), to_int64(owners[SUBJECT_ID]))

    def build(self, task: ShardTask) -> ShardResult:
        """Build one shard in a new folder of this attempt. Existing files are not changed or removed.

        Args:
            task: the shard and its inputs.

        Returns:
            The files that were written, for the main process to commit.

        Raises:
            EhrtrajError: if an input is missing, or a recipe breaks its contract.
            CannotSliceError: if a table cannot be cut into slices.
            OSError: if a file cannot be written.
        """
        job, schemas = self._job, {name: table.schema for name, table in self._tables.items()}
        output = ShardOutput(job, task.shard, schemas)
        inputs = ShardInputs(job.storage, task, schemas, self._parsers, output.unparsed)
        tally = ShardTally(task.shard, job.event_tables)
        attempt = _Attempt(task, output, tally, ShardMeter(task.shard, task.rows, self._report))
        try:
            for span in inputs.spans(job.span_rows):
                self._build_span(attempt, inputs.reader(span))
            with measured(PARQUET):
                files = output.close(tally.pieces())
        except BaseException:
            output.abandon()
            raise
        self._built += 1
        if self._built % _SHARDS_TO_FORGET == 0:
            self._extractor.forget_freed_blocks()
        record = {"shard": task.shard, "files": files, "tables": tally.tables(), "unparsed": inputs.unparsed}
        return ShardResult(output.folder, record, take())

    def _build_span(self, attempt: _Attempt, reader: TableReader) -> None:
        """Convert the rows of some patients to events, sort them and write them, in parts if they are many."""
        codes, rejected, notes = self._codes.of_next_part(), attempt.output.rejected, attempt.output.notes
        common = self._common if self._large else self._buffer
        common.clear(min(attempt.task.rows, self._job.span_rows) * 6 // 5 // (2 if self._large else 1))
        counts, about = self._extractor.run(
            reader.all,
            rejected,
            common,
            codes,
            notes,
            attempt.meter.extract,
            without=self._large,
        )
        if notes is not None:
            notes.flush()
        rows = sum(count.rows for count in counts.values())
        if self._large:
            for name, count in self._build_parts(attempt, reader, rows, codes, about):
                counts.setdefault(name, TableCount()).add(count)
        else:
            self._finish_part(attempt, rows, codes, about)
        with measured(COUNT):
            attempt.tally.add_rows(counts, codes)

    def _build_parts(
        self, attempt: _Attempt, reader: TableReader, rows: int, codes: Codes, about: Mapping[str, pa.Table]
    ) -> Iterator[tuple[str, TableCount]]:
        """Convert the large tables, and finish their events together with those in `_common`, part by part.

        Args:
            attempt: the attempt at the shard.
            reader: reads the rows of the patients.
            rows: number of rows that became the events in `_common`.
            codes: codes of the events.
            about: facts about the patients.

        Yields:
            The name of each large table, and the counts of its rows in each part.
        """
        subjects, first = self._common.subjects(), None
        for part in divide(self._large, reader.by_patient, self._job.large_rows):
            chosen = np.flatnonzero(_between(subjects, first, part.last_subject))
            of_part = sum(len(of_table) for of_table in part.rows.values())
            self._buffer.clear((of_part + len(chosen)) * 21 // 20)
            for name, of_table in part.rows.items():
                yield name, self._extractor.run_table(name, of_table, attempt.output.rejected, self._buffer, codes)
            self._buffer.copy(self._common, chosen)
            self._finish_part(attempt, of_part + rows * len(chosen) // max(len(subjects), 1), codes, about)
            first = part.last_subject

    def _finish_part(self, attempt: _Attempt, rows: int, codes: Codes, about: Mapping[str, pa.Table]) -> None:
        """Sort and write the events in the buffer, which come from a number of rows."""
        output, tally, meter = attempt.output, attempt.tally, attempt.meter
        job = self._job
        meter.sort(rows)
        with measured(SORT):
            part = assemble(
                self._buffer.events(),
                codes,
                self._owners,
                about,
                patients_known=job.source.roles.patients.table in job.tables,
                standardiser=self._standardiser,
                clock=job.clock,
                splits=job.splits,
            )
        if part is not None:
            with measured(PARQUET):
                positions = output.events.write(part, meter.write)
            with measured(COUNT):
                tally.add_events(part, about["subjects"], positions)
        meter.end_part()


def _between(subjects: Int64s, after: int | None, last: int | None) -> Bools:
    """Return which subjects are after one and not after another; None for no bound."""
    chosen = np.ones(len(subjects), bool) if after is None else subjects > after
    return chosen if last is None else chosen & (subjects <= last)


@dataclass(frozen=True)
class ShardWork:
    """The kind of task that builds a shard, with one worker per process.

    Attributes:
        job: data that all shards share.
    """

    job: ShardJob

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[ShardTask], ShardResult]]:
        """Open a DuckDB session, and yield a function that builds a shard."""
        worker = ShardWorker(self.job, report)
        try:
            yield worker.build
        finally:
            worker.close()
