"""One shard, from its staged tables to its files: what a worker does, and all that an engine needs to call."""

from __future__ import annotations

import json
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.feather as feather

from ehrtraj.pipeline.applied import all_applied, count_applied
from ehrtraj.pipeline.assemble import Part, assemble
from ehrtraj.pipeline.convert import Codes
from ehrtraj.pipeline.encounters import Owners
from ehrtraj.pipeline.events import NULL, EventBuffer, masked, to_int64
from ehrtraj.pipeline.extract import Extractor, TableCount
from ehrtraj.pipeline.notes import NoteWriter
from ehrtraj.pipeline.rejects import RejectWriter
from ehrtraj.pipeline.shards import SPLITS
from ehrtraj.pipeline.stage import StagedFile, read_staged
from ehrtraj.pipeline.standardise import Standardiser
from ehrtraj.pipeline.workspace import WorkPaths
from ehrtraj.pipeline.write import ShardWriter
from ehrtraj.release.schema import Table, tables
from ehrtraj.rules import domains

# More rows than this at once would not fit beside each other's copies in a worker's memory: 2 million rows take about
# 0.7 GB. Patients are never divided.
PART_ROWS = 2_000_000

OWNERS = {"hadm_id": ("hosp/admissions",), "stay_id": ("icu/icustays", "ed/edstays")}
"""Tables that show whose each admission and stay is."""
TABLES_OF_ALL = frozenset(table for tables in OWNERS.values() for table in tables)
"""Every shard reads these of all shards, so their files stay when their own shard is done."""


@dataclass(frozen=True)
class ShardJob:
    """What every shard of a build has in common; sent to each worker once.

    Attributes:
        source: whose recipes.
        root: the working folder of the build.
        wanted: full names of the tables that become events.
        staged: full names of all staged patient tables.
        clock: `event` or `available`.
        seed: of the splits.
        memory: bytes for DuckDB.
        of_all: staged files of the tables in TABLES_OF_ALL that are there, of all shards, by full name.
        dictionaries: staged files of each dictionary, by full name.
        standardise: apply the rule tables of numbers.
        rules: folder with a user's own rules, if any.
        recipes: folder with a user's own recipes and tables, if any.
        notes: `separate` where the texts of notes lie beside the events.
        part_rows: most rows to work on at once.
    """

    source: str
    root: Path
    wanted: tuple[str, ...]
    staged: tuple[str, ...]
    clock: str
    seed: int
    memory: int
    of_all: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    dictionaries: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    standardise: bool = True
    rules: Path | None = None
    recipes: Path | None = None
    notes: str = "inline"
    part_rows: int = PART_ROWS


@dataclass(frozen=True)
class ShardTask:
    """One shard to build, with everything it reads. It may be built more than once, in several places at a time.

    Attributes:
        shard: its number.
        rows: how many are staged in it.
        inputs: its staged files, by the full name of their table.
    """

    shard: int
    rows: int
    inputs: Mapping[str, tuple[StagedFile, ...]]


@dataclass(frozen=True)
class ShardResult:
    """What one attempt at a shard wrote. It counts once the driver has committed it.

    Attributes:
        folder: of this attempt alone.
        account: rows and events by table, and the sizes of `files` relative to the folder; it becomes the marker.
    """

    folder: Path
    account: dict[str, Any]


def read_dictionaries(
    staged: Mapping[str, tuple[StagedFile, ...]], source: str, extra: Path | None = None, *, keys_only: bool = False
) -> dict[str, pa.Table]:
    """Read the staged dictionaries, by bare name; those that are not staged are empty.

    Args:
        staged: files of those that are staged, by full name.
        source: whose dictionaries.
        extra: folder with a user's own tables.
        keys_only: leave out the descriptions of codes, which are most of them.

    Raises:
        OutputError: if a file is missing.
    """
    known = {name: table for name, table in tables(source, extra).items() if table.kind == "dictionary"}
    return {
        t.name: read_staged(staged[name], t.schema, list(t.key_columns) if keys_only else None)
        if name in staged
        else t.schema.empty_table()
        for name, t in known.items()
    }


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
        self._domains = domains(job.recipes)
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
                spelled = Codes(domains=self._domains)
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
                    total.set_aside += count.set_aside
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
                n: {"rows": c.rows, "set_aside": dict(c.set_aside), "events": c.events} for n, c in totals.items()
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
                "event_count": pa.array(np.diff(part.starts), pa.int64()),
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
                "event_count": pa.array([codes[k] for k in keys], pa.int64()),
                "subject_count": pa.array([patients[k] for k in keys], pa.int64()),
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
