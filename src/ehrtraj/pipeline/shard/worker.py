"""One shard, from its staged tables to its files: what a worker does, and all that an engine needs to call."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from ehrtraj.format.arrays import NULL, masked, to_int64
from ehrtraj.format.splits import SPLITS
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.shard.applied import all_applied, count_applied
from ehrtraj.pipeline.shard.assemble import Part, assemble
from ehrtraj.pipeline.shard.convert import Codes
from ehrtraj.pipeline.shard.dictionaries import read_dictionaries
from ehrtraj.pipeline.shard.encounters import Owners
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.extract import Extractor, TableCount
from ehrtraj.pipeline.shard.notes import NoteWriter
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.pipeline.shard.task import OWNERS, ShardJob, ShardResult, ShardTask
from ehrtraj.pipeline.shard.write import ShardWriter
from ehrtraj.pipeline.stage.staged import read_staged
from ehrtraj.pipeline.workspace import WorkPaths
from ehrtraj.release.schema import Table, tables
from ehrtraj.rules import event_types


@cache
def _as_json(texts: tuple[str, ...]) -> str:
    """A list as JSON: thousands of codes share a few lists of units."""
    return json.dumps(texts)


class ShardWorker:
    """Builds shards, one after another, with one DuckDB session."""

    def __init__(self, job: ShardJob) -> None:
        self._job = job
        known = tables(job.source, job.recipes)
        self._tables: dict[str, Table] = {n: t for n, t in known.items() if t.kind == "patient"}
        self._standardiser = Standardiser(job.rules) if job.standardise else None
        self._extractor = Extractor(
            job.source,
            self._tables,
            job.wanted,
            job.memory,
            WorkPaths(job.root).spill,
            standardiser=self._standardiser,
            dictionaries=read_dictionaries(job.dictionaries, job.source, job.recipes, keys_only=True),
            extra=job.recipes,
        )
        self._event_types = event_types(job.recipes)
        self._owners = {name: self._owners_of(name, tables) for name, tables in OWNERS.items()}
        self._buffer = EventBuffer()

    def close(self) -> None:
        """End the DuckDB session."""
        self._extractor.close()

    def _owners_of(self, name: str, tables: Sequence[str]) -> Owners:
        """Whose each admission or stay is, of all shards."""
        files = {table: self._job.of_all[table] for table in tables if table in self._job.of_all}
        parts = [pa.table({name: pa.array([], pa.int64()), "subject_id": pa.array([], pa.int64())})]
        parts += [read_staged(found, self._tables[t].schema, [name, "subject_id"]) for t, found in files.items()]
        rows = pa.concat_tables(parts)
        return Owners.of(to_int64(rows[name]), to_int64(rows["subject_id"]))

    def build(self, task: ShardTask) -> ShardResult:
        """Build one shard, in a folder of this attempt alone. Nothing that exists is changed or removed.

        Args:
            task: the shard and its inputs.

        Returns:
            What was written, for the driver to commit.

        Raises:
            EhrtrajError: if an input is missing, or a recipe breaks its contract.
            OSError: if a file cannot be written.
        """
        job, shard, rows = self._job, task.shard, task.rows
        space = WorkPaths(job.root / "attempts" / f"{shard:05d}-{os.getpid()}-{secrets.token_hex(4)}")
        rejects = {
            n: RejectWriter(space.reject_piece(n, f"shard-{shard:05d}"), self._tables[n].schema) for n in job.wanted
        }
        writer = ShardWriter(space.dataset / "data", shard, job.wanted, job.clock)
        notes = NoteWriter(space.dataset / "notes", shard, job.seed) if job.notes == "separate" else None
        totals: dict[str, TableCount] = {}
        codes: Counter[tuple[str, str]] = Counter()
        patients: Counter[tuple[str, str]] = Counter()
        units: dict[str, set[str]] = {}
        descriptions: dict[str, str] = {}
        parents: dict[str, set[str]] = {}
        subjects, applied = [], []
        try:
            for low, high in self._parts(task):
                spelled = Codes(event_types=self._event_types)
                self._buffer.clear(min(rows, job.part_rows) * 6 // 5)
                counts, about = self._extractor.run(
                    self._reader(task, low, high), rejects, self._buffer, spelled, notes
                )
                if notes is not None:
                    notes.flush()
                # What the tables took goes back to the system before the events are put in order.
                pa.default_memory_pool().release_unused()
                part = assemble(
                    self._buffer.events(),
                    spelled,
                    self._owners,
                    about,
                    patients_known="hosp/patients" in job.staged,
                    standardiser=self._standardiser,
                    clock=job.clock,
                    seed=job.seed,
                )
                for name, count in counts.items():
                    total = totals.setdefault(name, TableCount())
                    total.rows += count.rows
                    total.rejected += count.rejected
                    total.events += count.events
                descriptions |= spelled.descriptions
                for code, above in spelled.parents.items():
                    parents.setdefault(code, set()).update(above)
                if part is not None:
                    self._count_codes(part, codes, patients, units)
                    applied.append(count_applied(part, job.wanted))
                    subjects.append(self._subjects(part, about["subjects"], writer.write(part), shard))
            files = writer.close()
            if notes is not None:
                notes.close()
        except BaseException:
            writer.abandon()
            if notes is not None:
                notes.close()
            raise
        finally:
            for reject in rejects.values():
                reject.close()
        folder = space.shard_marker(shard).parent
        self._leave_tables(folder, shard, subjects, codes, patients, units, descriptions, parents)
        self._leave(folder, shard, "applied", all_applied(applied))
        left = [space.dataset / "data" / name for name in files]
        left += [] if notes is None else notes.paths()
        left += sorted(folder.iterdir())
        left += [p for n in job.wanted if (p := space.reject_piece(n, f"shard-{shard:05d}")).is_file()]
        account = {
            "shard": shard,
            "files": {str(p.relative_to(space.root)): p.stat().st_size for p in left},
            "tables": {
                n: {"rows": c.rows, "rejected": dict(c.rejected), "events": c.events} for n, c in totals.items()
            },
        }
        return ShardResult(space.root, account)

    def _parts(self, task: ShardTask) -> list[tuple[int | None, int | None]]:
        """First and last subject_id of each part of a shard; a shard of usual size is one part."""
        if task.rows <= self._job.part_rows:
            return [(None, None)]
        subject = [
            to_int64(read_staged(files, self._tables[n].schema, ["subject_id"])[0]) for n, files in task.inputs.items()
        ]
        ids, each = np.unique(np.concatenate(subject), return_counts=True)
        part = np.cumsum(each) // self._job.part_rows
        return [(int(ids[part == n][0]), int(ids[part == n][-1])) for n in np.unique(part)]

    def _reader(self, task: ShardTask, low: int | None, high: int | None) -> Callable[[str], pa.Table]:
        """Reads the rows of one part of a shard."""

        def read(name: str) -> pa.Table:
            rows = read_staged(task.inputs.get(name, ()), self._tables[name].schema)
            if low is None:
                return rows
            subject = rows["subject_id"]
            return rows.filter(pc.and_(pc.greater_equal(subject, low), pc.less_equal(subject, high)))

        return read

    def _count_codes(
        self,
        part: Part,
        codes: Counter[tuple[str, str]],
        patients: Counter[tuple[str, str]],
        units: dict[str, set[str]],
    ) -> None:
        # A code may come from several tables: it counts for the one whose name is first.
        tables = np.array(self._job.wanted)
        by_name = np.argsort(tables)
        rank = np.argsort(by_name)
        pair = part.events.code.astype(np.int64) * len(tables) + rank[part.events.table]
        seen = np.bincount(pair, minlength=len(part.codes) * len(tables)).reshape(-1, len(tables)) > 0
        first = by_name[seen.argmax(axis=1)]
        counts = np.bincount(part.events.code, minlength=len(part.codes))
        for code, table, count, people in zip(
            part.codes, tables[first].tolist(), counts.tolist(), part.code_patients.tolist(), strict=True
        ):
            codes[code, table] += count
            patients[code, table] += people
        unit = part.events.texts["unit"]
        pairs = np.zeros((len(part.codes), len(unit.values) + 1), np.bool_)
        pairs[part.events.code, unit.positions] = True
        values = unit.values.to_pylist()
        for code, position in zip(*(a.tolist() for a in np.nonzero(pairs[:, :-1])), strict=True):
            units.setdefault(part.codes[code], set()).add(values[position])

    def _subjects(self, part: Part, about: pa.Table, positions: Any, shard: int) -> pa.Table:  # noqa: ANN401  # an int64 array
        time = part.events.time[part.order]
        last = time[part.starts[1:] - 1]
        # Static facts come first: the first time is that of the first event behind them.
        after = np.add.reduceat(time == NULL, part.starts[:-1]) + part.starts[:-1]
        first = time[np.minimum(after, part.starts[1:] - 1)]
        table = pa.table(
            {
                "subject_id": pa.array(part.subjects),
                "split": pa.array(np.array(SPLITS)[part.splits]),
                "shard": pa.array([f"{shard:05d}"] * len(part.subjects)),
                "position": pa.array(positions, pa.int64()),
                "n_events": pa.array(np.diff(part.starts), pa.int64()),
                "first_time": masked(first, pa.timestamp("us")),
                "last_time": masked(last, pa.timestamp("us")),
            }
        )
        about = about.group_by("subject_id").aggregate([(c, "min") for c in about.column_names if c != "subject_id"])
        about = about.rename_columns([c.removesuffix("_min") for c in about.column_names])
        return table.join(about, "subject_id", join_type="left outer").sort_by("subject_id")

    def _leave_tables(
        self,
        folder: Path,
        shard: int,
        subjects: list[pa.Table],
        codes: Counter[tuple[str, str]],
        patients: Counter[tuple[str, str]],
        units: dict[str, set[str]],
        descriptions: dict[str, str],
        parents: dict[str, set[str]],
    ) -> None:
        """Leave what the publishing step puts together from all shards."""
        folder.mkdir(parents=True, exist_ok=True)
        keys = sorted(codes)
        content = pa.table(
            {
                "code": pa.array([k[0] for k in keys], pa.string()),
                "source_table": pa.array([k[1] for k in keys], pa.string()),
                "n_events": pa.array([codes[k] for k in keys], pa.int64()),
                "n_subjects": pa.array([patients[k] for k in keys], pa.int64()),
                "units": pa.array([_as_json(tuple(sorted(units.get(k[0], ())))) for k in keys], pa.string()),
                "described": pa.array([descriptions.get(k[0]) for k in keys], pa.string()),
                "parents": pa.array([_as_json(tuple(sorted(parents.get(k[0], ())))) for k in keys], pa.string()),
            }
        )
        self._leave(folder, shard, "codes", content)
        if subjects:
            self._leave(folder, shard, "subjects", pa.concat_tables(subjects))

    def _leave(self, folder: Path, shard: int, kind: str, rows: pa.Table) -> None:
        path = folder / f"{shard:05d}.{kind}.arrow"
        feather.write_feather(rows, str(path), compression="lz4")
