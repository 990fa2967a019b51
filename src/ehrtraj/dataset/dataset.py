"""Using a dataset: patients by ID, in order, sampled or filtered; all events as one lazy frame; SQL."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ehrtraj.arguments import Texts, check_argument, checked, listed, shown
from ehrtraj.dataset.columns import all_true, check_columns
from ehrtraj.dataset.layout import DataFile, DatasetLayout, find_layout
from ehrtraj.dataset.patterns import matches
from ehrtraj.dataset.reading import CHUNK_EVENTS, Chunk, chunk_events, chunks, event_columns, read_chunk, read_events
from ehrtraj.dataset.trajectory import ConceptClock, Trajectory
from ehrtraj.errors import SettingsError, UnknownSubjectError
from ehrtraj.format.splits import SPLITS, sample_subjects
from ehrtraj.runtime.limits import usable_cpus
from ehrtraj.suggestions import did_you_mean

if TYPE_CHECKING:
    from ehrtraj.cohorts.cohort import Cohort

_LARGEST = (1 << 63) - 1
# IPython filters them itself, on each press of the key: 20,000 take 0.1 s, and all of MIMIC-IV 3 s. More patients are
# represented by some, over the complete range.
_MOST_COMPLETIONS = 20_000


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset: `ehrtraj.open("trajectories/v1")`. Only its small tables are read.

    Args:
        path: folder of the dataset.

    Raises:
        DatasetError: if it is not a dataset, has a newer format, or is incomplete.
    """
    check_argument("path", path, str | Path)
    layout = find_layout(path)
    return Dataset(layout, layout.subjects)


class Dataset:
    """A complete dataset, or some of its patients: `sample` and `filter` return another Dataset over the same files.

    Only the list of patients is kept in memory; events are read when they are needed.

    Attributes:
        layout: files of the dataset.
        subjects: a row for each patient, by subject_id: `split`, `shard` and `position` (location of the events),
            `n_events`, `first_time`, `last_time`, `sex`, `birth_year`, `age_top_coded`, `death_time`,
            `followup_end`.
    """

    def __init__(self, layout: DatasetLayout, subjects: pl.DataFrame) -> None:
        """Create a dataset with some patients; `ehrtraj.open` creates one with all.

        Args:
            layout: files of the dataset.
            subjects: rows of its subjects.parquet, sorted by subject_id.
        """
        self.layout = layout
        self.subjects = subjects
        self._ids = subjects["subject_id"]

    @property
    def path(self) -> Path:
        """Folder of the dataset."""
        return self.layout.root

    @property
    def codes(self) -> pl.DataFrame:
        """A row for each code: `code`, `description`, `parent_codes`, `unit`, `units`, `event_type`, `n_events`, ..."""
        return self.layout.codes

    @property
    def flags(self) -> dict[str, int]:
        """Bit of each flag in the column `flags`, a power of two."""
        return self.layout.flags

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Data files that contain these patients, by split (train first) and shard."""
        if self._is_complete():
            return self.layout.files
        used = set(self.subjects.select("split", "shard").unique().rows())
        return tuple(file for file in self.layout.files if (file.split, file.shard) in used)

    @checked
    def patients_of(self, file: DataFile) -> pl.DataFrame:
        """Return the rows of `subjects` whose events are in a file, in file order."""
        return self.subjects.filter(split=file.split, shard=file.shard).sort("position")

    def patients_by_file(self) -> Iterator[tuple[DataFile, pl.DataFrame]]:
        """Yield each of `files` with its rows of `subjects`, in file order.

        For all files, this is faster than `patients_of`, which searches all patients for each file.
        """
        groups = self.subjects.sort("position").partition_by("split", "shard", as_dict=True)
        for file in self.files:
            yield file, groups[file.split, file.shard]

    def _is_complete(self) -> bool:
        return self.subjects.height == self.layout.subjects.height

    def __len__(self) -> int:
        return self.subjects.height

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids.to_list())

    def __contains__(self, subject_id: object) -> bool:
        return self._row(subject_id) is not None

    def __repr__(self) -> str:
        events = int(self.subjects["n_events"].sum())
        return f"Dataset({str(self.path)!r}, {len(self):,} patients, {events:,} events)"

    def _repr_html_(self) -> str:
        from ehrtraj.dataset.cards import dataset_card

        return dataset_card(self.layout, self.subjects).html()

    def _ipython_key_completions_(self) -> list[int]:
        """Return subject_ids for `ds[<TAB>`; IPython shows those that begin with what was typed."""
        return self._ids.gather_every(-(-len(self) // _MOST_COMPLETIONS) or 1).to_list()

    def _row(self, subject_id: object) -> int | None:
        if not isinstance(subject_id, Integral) or abs(int(subject_id)) > _LARGEST:
            return None
        # numpy would be as fast, but takes 0.1 s to import.
        at = bisect_left(self._ids, int(subject_id))
        return at if at < len(self._ids) and self._ids[at] == subject_id else None

    def __getitem__(self, subject_id: int) -> Trajectory:
        """Return the trajectory of one patient.

        Raises:
            UnknownSubjectError: if the patient is not in the dataset or not selected. It is also a KeyError.
            DatasetError: if the file cannot be read.
        """
        at = self._row(subject_id)
        if at is None:
            raise self._unknown(subject_id)
        subject = self.subjects.row(at, named=True)
        file = DataFile(subject["split"], subject["shard"], self.layout.data_path(subject["split"], subject["shard"]))
        events = read_events(file, subject["position"], subject["n_events"])
        return Trajectory(subject, events, self.layout)

    def _unknown(self, subject_id: object) -> UnknownSubjectError:
        if not self._is_complete() and subject_id in Dataset(self.layout, self.layout.subjects):
            return UnknownSubjectError(
                f"patient {subject_id} is in {self.path}, but not among the {len(self):,} selected patients"
            )
        between = f", from {self._ids[0]} to {self._ids[-1]}" if len(self) else ""
        is_number = isinstance(subject_id, Integral)
        given = subject_id if is_number else f"{shown(subject_id)} (a subject_id is an integer)"
        return UnknownSubjectError(f"{self.path} has no patient {given}: it contains {len(self):,} patients{between}")

    @checked
    def trajectories(self, split: str | None = None, *, workers: int = 1) -> Iterator[Trajectory]:
        """Iterate over all trajectories, in the order of the files.

        Each worker keeps a few hundred thousand events in memory at a time, whatever the size of the dataset.

        Args:
            split: only patients of `train`, `tuning` or `held_out`.
            workers: number of threads that read ahead, at most one per CPU core. The order does not change.

        Raises:
            SettingsError: if the split does not exist, or `workers` is less than 1.
            DatasetError: if a file cannot be read.
        """
        chosen = self if split is None else self.filter(split=split)
        read = chosen._read_in_order(None, workers)
        rows = (row for _, patients in chosen.patients_by_file() for row in patients.iter_rows(named=True))
        return (Trajectory(row, events, self.layout) for row, (_, events) in zip(rows, read, strict=True))

    @checked
    def frames(
        self, columns: Texts | None = None, split: str | None = None, *, workers: int = 1
    ) -> Iterator[tuple[int, pl.DataFrame]]:
        """Iterate over subject_id and events of all patients, in the order of the files, with some columns only.

        With few columns, this is up to five times as fast as `trajectories`, with the same memory.

        Args:
            columns: name or names of columns of the events; all by default.
            split: as in `trajectories`.
            workers: as in `trajectories`.

        Raises:
            SettingsError: if a column or the split does not exist, no column is named, or `workers` is less than 1.
            DatasetError: if a file cannot be read.
        """
        chosen = self if split is None else self.filter(split=split)
        return chosen._read_in_order(None if columns is None else self._known_columns(columns), workers)

    def _known_columns(self, columns: Texts) -> list[str]:
        names, known = list(dict.fromkeys(listed("columns", columns))), event_columns(self.layout.files[0])
        if not names:
            raise SettingsError(f"columns is empty: use at least one of {', '.join(known)}")
        check_columns("events", names, known)
        return names

    def _read_in_order(self, columns: Sequence[str] | None, workers: int) -> Iterator[tuple[int, pl.DataFrame]]:
        if workers < 1:
            raise SettingsError(f"workers is {workers}: it must be at least 1")
        size = CHUNK_EVENTS if columns is None else chunk_events(columns)
        work = (chunk for file, patients in self.patients_by_file() for chunk in chunks(file, patients, size))
        return (patient for chunk in _ahead(work, columns, min(workers, usable_cpus())) for patient in chunk)

    @checked
    def concept(self, name: str, *, clock: ConceptClock = "event", as_mimic_code: bool = False) -> pl.LazyFrame:
        """Return all rows of a concept that `ehrtraj concepts` stored in the dataset: `ds.concept("sofa")`.

        Args:
            name: name of the concept.
            clock: `event` or `available`, the clock that it was computed with.
            as_mimic_code: return the concept as computed with `--as-mimic-code`.

        Raises:
            SettingsError: if it is not stored; the message names the command that computes it.
        """
        from ehrtraj.concepts.session import ConceptMode
        from ehrtraj.dataset import concepts

        mode = ConceptMode(clock, as_mimic_code)
        stored = concepts.find_stored(self.layout, name, mode)
        rows = concepts.scan_concept(self.layout, stored, mode)
        if self._is_complete():
            return rows
        if "subject_id" not in rows.collect_schema():
            raise SettingsError(f"mimic-code's {name} has no subject_id: select rows by stay_id instead")
        return rows.filter(pl.col("subject_id").is_in(self._ids.implode()))

    @property
    def concepts(self) -> pl.DataFrame:
        """A row for each concept that `ehrtraj concepts` stored: `concept`, `group`, `rows`, `description`."""
        from ehrtraj.dataset.concepts import list_stored

        return list_stored(self.layout)

    @checked
    def scan(self, *, concepts: Texts = ()) -> pl.LazyFrame:
        """Return all events as a polars LazyFrame, which reads only the columns and row groups that a query needs.

        Args:
            concepts: name or names of stored concepts whose values are included as events, in order of time.

        Raises:
            SettingsError: if a concept is not stored.
        """
        if names := listed("concepts", concepts):
            return self._scan_with_concepts(names)
        events = pl.scan_parquet([file.path for file in self.layout.files], glob=False)
        if self._is_complete():
            return events
        # Without patients, one file gives the columns.
        files = self.files or self.layout.files[:1]
        events = pl.scan_parquet([file.path for file in files], glob=False)
        return events.filter(pl.col("subject_id").is_in(self.subjects["subject_id"].implode()))

    def _scan_with_concepts(self, names: Sequence[str]) -> pl.LazyFrame:
        from ehrtraj.concepts.session import ConceptMode
        from ehrtraj.dataset.concepts import events_with_concepts

        events = pl.concat(events_with_concepts(self.layout, self.files, names, ConceptMode()))
        return events if self._is_complete() else events.filter(pl.col("subject_id").is_in(self._ids.implode()))

    @checked
    def sql(self, query: str, parameters: Sequence[Any] | dict[str, Any] | None = None) -> pl.DataFrame:
        """Run one SELECT in DuckDB's SQL over the tables `events`, `codes` and `subjects`, and over standard views.

        The standard views of MIMIC-IV are `patients`, `stays`, `labs`, `vitals`, `inputs`, `outputs`, `drugs_given`,
        `orders`, `procedures`, `cultures`, `diagnoses` and `notes`. Each stored concept is a table of its name. A query
        can read only these tables and views, and cannot change anything.

        `numeric_value` is a 32-bit float. `decimal_value(numeric_value)` is the same number as a DECIMAL, as the source
        wrote it, for exact arithmetic. It is null if it has more than 26 digits before the point.

        Args:
            query: a query such as `SELECT code, count(*) FROM events GROUP BY code`.
            parameters: values for `?`, `$1` or `$name` in the query. Floats, also in lists and arrays, are bound as
                FLOAT, so that 1.1 equals a `numeric_value` of 1.1.

        Raises:
            SettingsError: if the query is not a single SELECT, or DuckDB rejects it.
            DatasetError: if a data file cannot be read.
        """
        from ehrtraj.concepts.views import standard_views
        from ehrtraj.dataset.concepts import stored_files
        from ehrtraj.dataset.query import run_sql

        tables = {"codes": self.codes, "subjects": self.subjects}
        paths = [file.path for file in self.layout.files]
        concepts = stored_files(self.layout)
        views = standard_views(self.layout.manifest, self.flags, self.layout.clock)
        return run_sql(query, paths, tables, parameters, chosen=not self._is_complete(), views=views, concepts=concepts)

    @checked
    def stays(self, kind: str) -> pl.DataFrame:
        """Return the stays of all these patients, a row for each, by patient and start.

        Args:
            kind: `icu`, `admission` or `ed`.

        Returns:
            Frame with `kind`, `subject_id`, `hadm_id`, `stay_id`, `start`, `end`, `available_time` and
            `end_available_time` (when start and end were known), `age` (in years, at the start), `age_top_coded`,
            `sex`, `seq` (1 for the patient's first stay of this kind), the type or unit at start and end
            (`first_careunit`, `last_careunit`; `admission_type`, `discharge_location`; `arrival_transport`,
            `disposition`), `los` (days), `died` (before the end of this stay), and of the admission `hospital_start`,
            `hospital_end`, `hospital_los`, `hospital_died`; `split`. An end before its start is null.

        Raises:
            SettingsError: if there are no stays of this kind.
            DatasetError: if a data file cannot be read.
        """
        from ehrtraj.cohorts.stays import read_stays

        return read_stays(self, kind)

    def cohort(self, stays: Any) -> Cohort:  # noqa: ANN401  # pandas is not a dependency
        """Begin a cohort: `ds.cohort("icu").include("adults", pl.col("age") >= 18).first("subject_id")`.

        Args:
            stays: `icu`, `admission` or `ed` for all stays of these patients, or a frame of stays that you filtered:
                a polars DataFrame or LazyFrame, or a pandas DataFrame, with the column `subject_id`.

        Raises:
            SettingsError: if there are no stays of this kind, or the frame has other patients.
            DatasetError: if a data file cannot be read.
        """
        from ehrtraj.cohorts.cohort import make_cohort

        return make_cohort(self, stays)

    @checked
    def sample(self, n: int, seed: int = 0) -> Dataset:
        """Sample `n` patients (or all, if there are fewer). A larger sample with the same seed contains a smaller one.

        Raises:
            SettingsError: if `n` is negative.
        """
        if n < 0:
            raise SettingsError(f"cannot sample {n} patients: the number must be 0 or more")
        sampled = sample_subjects(self._ids.to_numpy(), n, seed)
        return Dataset(self.layout, self.subjects.filter(pl.col("subject_id").is_in(sampled)))

    @checked
    def filter(
        self, *predicates: pl.Expr | Sequence[pl.Expr], split: str | None = None, having: Texts | None = None
    ) -> Dataset:
        """Select patients.

        Args:
            predicates: polars expressions over the columns of `subjects`, such as `pl.col("sex") == "F"`.
            split: only patients of this split.
            having: only patients with an event whose code matches a pattern or any of several (`DIAGNOSIS//*//A41*`).

        Raises:
            SettingsError: if the split or a column does not exist, a predicate is not true or false, or a pattern
                matches no code of the dataset.
        """
        subjects = self.subjects
        if split is not None:
            if split not in SPLITS:
                raise SettingsError(
                    f"there is no split '{split}'{did_you_mean(split, SPLITS)}: use one of {', '.join(SPLITS)}"
                )
            subjects = subjects.filter(split=split)
        if predicates:
            subjects = subjects.filter(all_true("patients", subjects, predicates))
        chosen = Dataset(self.layout, subjects)
        if having is None:
            return chosen
        patterns = listed("having", having)
        self.layout.known_codes.check(patterns)
        found = chosen.scan().filter(matches(patterns)).select("subject_id").unique().collect()
        return Dataset(self.layout, subjects.join(found, on="subject_id", how="semi", maintain_order="left"))


def _ahead(
    work: Iterator[Chunk], columns: Sequence[str] | None, workers: int
) -> Iterator[Iterator[tuple[int, pl.DataFrame]]]:
    """Read chunks in order, one ahead per worker."""
    if workers == 1:
        yield from (read_chunk(chunk, columns) for chunk in work)
        return

    def read_completely(chunk: Chunk) -> list[tuple[int, pl.DataFrame]]:
        return list(read_chunk(chunk, columns))

    with ThreadPoolExecutor(workers) as pool:
        reading: deque[Future[Any]] = deque(pool.submit(read_completely, chunk) for chunk in islice(work, workers))
        while reading:
            done = reading.popleft().result()
            reading.extend(pool.submit(read_completely, chunk) for chunk in islice(work, 1))
            yield iter(done)
