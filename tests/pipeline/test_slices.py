"""Tables that are ordered by patient are cut into slices: the dataset is the same as when all tables are staged."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.api import build_with
from ehrtraj.config import resolve
from ehrtraj.engines.base import Need, Report, Work, ignore
from ehrtraj.engines.local import LocalEngine
from ehrtraj.errors import OutputError, ReleaseError
from ehrtraj.pipeline.shard.inputs import ShardInputs
from ehrtraj.pipeline.shard.task import ShardTask
from ehrtraj.pipeline.shard.worker import ShardWork
from ehrtraj.pipeline.slices.cut import cut, looks_ordered
from ehrtraj.pipeline.slices.slice import Block, CannotSliceError, Slice
from ehrtraj.pipeline.stage.parse import BlockParser
from ehrtraj.release.reader import Stamp
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged
from ehrtraj.storage.local import LocalStorage
from ehrtraj.synth.run import synth

SLICED = Sizes(shard_rows=3_500, span_rows=8_000, slice_block_bytes=1 << 16, sliced_bytes=0, large_rows=400)
STAGED = Sizes(shard_rows=3_500, span_rows=8_000, sliced_bytes=1 << 40, large_rows=400)
MEMORY = 4 * 10**9
BROKEN = ("hosp/labevents", "icu/chartevents", "hosp/emar")
LABS = packaged("mimiciv").tables["hosp/labevents"]
# Tables of every kind, for builds that need not read all of them: each table takes time in every shard.
FEW = "patients,admissions,transfers,icustays,labevents,chartevents,poe,emar"


class Recorded(Reporter):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


class Watching(LocalEngine):
    """An engine with one process that records which shards it builds, and with how many slices each.

    Attributes:
        slices: number of slices by shard.
        files: shard of each task, and the names of the slices in the working folder when it starts.
        stop_before: shard whose task raises an error instead.
    """

    def __init__(self, root: Path, stop_before: int | None = None) -> None:
        super().__init__(1, MEMORY)
        self.__dict__.update(slices={}, files=[], root=root, stop_before=stop_before)

    def map(self, work: Work[Any, Any], items: Iterable[Any], need: Need, report: Report = ignore) -> Iterator[Any]:
        """Run the tasks, and record those for shards."""
        yield from super().map(work, self._watched(items) if isinstance(work, ShardWork) else items, need, report)

    def _watched(self, items: Iterable[Any]) -> Iterator[Any]:
        for task in items:
            if task.shard == self.stop_before:
                raise OSError(28, "No space left on device")
            self.slices[task.shard] = len(task.slices)
            self.files.append((task.shard, {p.name for p in (self.root / "slices").rglob("*.csv")}))
            yield task


def build(release: Path, output: Path, sizes: Sizes, engine: Any = None, **given: Any) -> ehrtraj.BuildResult:
    fixed = {"data_dir": release, "output": output, "trajectory_version": "v1", "max_cpus": 1, "notes": "none"}
    settings, _ = resolve(fixed | given)
    return build_with(settings, Recorded(), engine=engine, sizes=sizes)


def hashes(dataset: Path) -> dict[str, str]:
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*.parquet"))
    }


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic release with damaged rows, whose tables are ordered by patient."""
    release = tmp_path_factory.mktemp("ordered") / "release"
    synth(release, patients=12, seed=5, defects=0.02, max_cpus=1)
    for table in BROKEN:
        path = release / f"{table}.csv.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        for number in range(399, len(lines), 400):
            lines[number] += b"no,row\n"
        path.write_bytes(gzip.compress(b"".join(lines)))
    return release


@pytest.fixture(scope="module")
def staged(ordered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the dataset that is built without slices."""
    return hashes(build(ordered, tmp_path_factory.mktemp("staged"), STAGED).path)


@pytest.fixture(scope="module")
def few_staged(ordered: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the dataset of a few tables that is built without slices."""
    return hashes(build(ordered, tmp_path_factory.mktemp("few_staged"), STAGED, tables=FEW).path)


def test_slices_change_no_byte(ordered: Path, staged: dict[str, str], tmp_path: Path) -> None:
    engine = Watching(tmp_path / ".v1.build")
    result = build(ordered, tmp_path, SLICED, engine)
    assert len(engine.slices) >= 5
    assert max(engine.slices.values()) >= 20
    assert hashes(result.path) == staged
    assert all(result.ledger[name].rejected["wrong_number_of_fields"] for name in BROKEN)
    assert ehrtraj.check(result.path).broken == []


@pytest.mark.parametrize("cpus", [2, 3])
def test_the_number_of_processes_changes_no_byte(
    ordered: Path, staged: dict[str, str], tmp_path: Path, cpus: int
) -> None:
    assert hashes(build(ordered, tmp_path, SLICED, max_cpus=cpus).path) == staged


def test_only_the_slices_of_the_next_shards_are_on_the_disk(ordered: Path, tmp_path: Path) -> None:
    engine = Watching(tmp_path / ".v1.build")
    build(ordered, tmp_path, SLICED, engine, tables=FEW)
    assert len(engine.files) >= 5
    for shard, files in engine.files:
        assert files == {f"{shard:05d}.csv"}


def test_an_interrupted_build_resumes_with_the_next_shard(
    ordered: Path, staged: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / ".v1.build"
    first = Watching(root, stop_before=3)
    with pytest.raises(OutputError, match="is full"):
        build(ordered, tmp_path, SLICED, first)
    second = Watching(root)
    result = build(ordered, tmp_path, SLICED, second)
    assert list(first.slices) == [0, 1, 2]
    assert min(second.slices) == 3
    assert hashes(result.path) == staged


BUILD = """
import sys
from pathlib import Path
from ehrtraj.cli import main
from ehrtraj.runtime.sizes import Sizes
main(Sizes(shard_rows=3_500, span_rows=8_000, slice_block_bytes=1 << 16, sliced_bytes=0, large_rows=400))
"""


@pytest.mark.parametrize("shards", [0, 1, 3])
def test_a_killed_build_resumes(ordered: Path, few_staged: dict[str, str], tmp_path: Path, shards: int) -> None:
    """The main process and its workers are killed when some shards are finished and others have slices."""
    command = [sys.executable, "-c", BUILD, "build", str(ordered), "--output", str(tmp_path)]
    options = ["--trajectory-version", "v1", "--tables", FEW, "--max-cpus", "2", "--no-notes"]
    work = tmp_path / ".v1.build"
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list((work / "shards").glob("*.json"))) < shards or not list((work / "slices").rglob("*.csv")):
        assert process.poll() is None, "the build ended before it was killed"
        time.sleep(0.005)
    process.kill()
    process.wait()
    finished = {path.name for path in (work / "shards").glob("*.json")}
    engine = Watching(work)
    result = build(ordered, tmp_path, SLICED, engine, max_cpus=2, tables=FEW)
    assert {f"{shard:05d}.json" for shard in engine.slices}.isdisjoint(finished)
    assert hashes(result.path) == few_staged


def test_work_that_is_lost_after_all_shards_leaves_no_rejected_rows_behind(
    ordered: Path, few_staged: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build starts over, and stages the tables whose slices the first run parsed."""

    def interrupted(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="is full"):
        patch.setattr("ehrtraj.pipeline.publish.run.publish", interrupted)
        build(ordered, tmp_path, SLICED, tables=FEW)
    (tmp_path / ".v1.build" / "stage" / "hosp.d_labitems.json").unlink()
    assert hashes(build(ordered, tmp_path, SLICED, tables=FEW).path) == few_staged


def with_change(release: Path, to: Path, table: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy a release, with a change in the bytes of a table."""
    for path in sorted(release.rglob("*.csv.gz")):
        target = to / path.relative_to(release)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    path = to / f"{table}.csv.gz"
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    return to


def with_rows_moved(release: Path, to: Path, table: str) -> Path:
    """Copy a release, with the first row of a table at its end."""

    def change(data: bytes) -> bytes:
        header, first, *rest = data.splitlines(keepends=True)
        return b"".join([header, *rest, first])

    return with_change(release, to, table, change)


def without_a_closing_quote(data: bytes) -> bytes:
    """Return a table of notes without the quote that ends one of its records."""
    at = data.index(b'"\n1', len(data) // 2)
    return data[:at] + data[at + 1 :]


def test_a_table_that_is_not_ordered_after_all_is_staged(ordered: Path, tmp_path: Path) -> None:
    """The last row belongs to the first shard, which was built long ago."""
    release = with_rows_moved(ordered, tmp_path / "release", "icu/chartevents")
    wanted = hashes(build(release, tmp_path / "staged", STAGED, tables=FEW).path)
    result = build(release, tmp_path / "sliced", SLICED, tables=FEW)
    assert any("icu/chartevents is not ordered by subject_id" in note for note in result.notes)
    assert hashes(result.path) == wanted


def test_a_table_with_a_quote_that_is_not_closed_is_staged(ordered: Path, tmp_path: Path) -> None:
    release = with_change(ordered, tmp_path / "release", "note/discharge", without_a_closing_quote)
    given = {"notes": "inline", "tables": f"{FEW},discharge"}
    wanted = hashes(build(release, tmp_path / "staged", STAGED, **given).path)
    result = build(release, tmp_path / "sliced", SLICED, **given)
    assert any("note/discharge is not ordered by subject_id, or has" in note for note in result.notes)
    assert result.ledger["note/discharge"].rejected["broken_quote"] == 1
    assert hashes(result.path) == wanted


def test_notes_are_cut_into_slices(ordered: Path, tmp_path: Path) -> None:
    result = build(ordered, tmp_path, SLICED, tables=f"{FEW},discharge,radiology", notes="inline")
    assert not any("not ordered" in note for note in result.notes)


def test_a_truncated_table_is_an_error_that_names_it(ordered: Path, tmp_path: Path) -> None:
    release = with_rows_moved(ordered, tmp_path / "release", "hosp/services")
    path = release / "icu" / "chartevents.csv.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReleaseError, match=r"chartevents\.csv\.gz is truncated"):
        build(release, tmp_path, SLICED, max_cpus=2, tables=FEW)
    assert not (tmp_path / "v1").exists()


def test_a_lost_slice_fails_the_shard(ordered: Path, tmp_path: Path) -> None:
    class Losing(Watching):
        def _watched(self, items: Iterable[Any]) -> Iterator[Any]:
            for task in items:
                (self.root / task.slices[0].name).unlink()
                yield task

    with pytest.raises(OutputError, match=r"slices.*00000\.csv is missing or incomplete"):
        build(ordered, tmp_path, SLICED, Losing(tmp_path / ".v1.build"), tables=FEW)
    assert not (tmp_path / "v1").exists()


CELLS = st.sampled_from(["", "x", '"a\nb,""c"', '"q"', "12"])
RECORDS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), CELLS), min_size=1, max_size=40)


def written(folder: Path, records: list[tuple[int, bool, str]]) -> tuple[TableFile, list[int]]:
    """Write a table, and return its file and the subject_id of each record."""
    subject, subjects, lines = 10, [], ["labevent_id,subject_id,comments"]
    for number, (step, with_subject, cell) in enumerate(records):
        subject += step
        subjects.append(subject if with_subject else 0)
        lines.append(f"{number},{subject if with_subject else ''},{cell}")
    path = folder / "labevents.csv"
    path.write_text("\n".join(lines) + "\n", newline="")
    return TableFile(LABS, path, ("labevent_id", "subject_id", "comments"), Stamp.of(path.stat())), subjects


@given(records=RECORDS, starts=st.lists(st.integers(9, 60), max_size=4, unique=True), size=st.integers(8, 200))
def test_the_cuts_are_at_the_bounds_of_the_shards(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[int, bool, str]], starts: list[int], size: int
) -> None:
    file, subjects = written(tmp_path_factory.mktemp("cut"), records)
    bounds = [0, *sorted(starts)]
    with file.open() as stream:
        pieces = [(shard, bytes(data)) for shard, data in cut(stream, file, bounds, size)]
    body = file.path.read_bytes().partition(b"\n")[2]
    assert b"".join(data for _, data in pieces) == body
    assert [shard for shard, _ in pieces] == sorted(shard for shard, _ in pieces)
    shard_of = [shard for shard, data in pieces for line in data.split(b"\n") if line[:1].isdigit() and b"," in line]
    for shard, subject in zip(shard_of, subjects, strict=True):
        if subject:
            assert bounds[shard] <= subject < ([*bounds, 10**9])[shard + 1]


@pytest.mark.parametrize("size", [8, 2_000, 10_000])
def test_notes_of_many_lines_are_cut_between_patients(tmp_path: Path, size: int) -> None:
    note = '"' + 'Seen for ""pain"", better.\n' * 150 + '"'
    file, _ = written(tmp_path, [(1, True, note)] * 9)
    with file.open() as stream:
        pieces = [(shard, bytes(data).count(b"Seen")) for shard, data in cut(stream, file, [0, 13, 17], size)]
    counted = {shard: sum(lines for number, lines in pieces if number == shard) for shard in range(3)}
    assert counted == {0: 2 * 150, 1: 4 * 150, 2: 3 * 150}


def test_a_file_whose_rows_are_not_ordered_does_not_look_ordered(tmp_path: Path) -> None:
    file, _ = written(tmp_path, [(1, True, "x")] * 5)
    assert looks_ordered(file)
    file.path.write_text("labevent_id,subject_id,comments\n1,12,\n2,11,\n", newline="")
    other = TableFile(LABS, file.path, file.header, Stamp.of(file.path.stat()))
    assert not looks_ordered(other)


def test_a_smaller_subject_id_at_the_start_of_a_block_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "labevents.csv"
    path.write_text("labevent_id,subject_id,comments\n1,20,\n2,21,\n3,11,\n4,12,\n", newline="")
    file = TableFile(LABS, path, ("labevent_id", "subject_id", "comments"), Stamp.of(path.stat()))
    with file.open() as stream, pytest.raises(CannotSliceError, match="hosp/labevents"):
        list(cut(stream, file, [0, 15], 12))


def test_the_order_of_the_shards_does_not_matter(ordered: Path, few_staged: dict[str, str], tmp_path: Path) -> None:
    """An engine may run a task twice, and return the second result after the slices are deleted."""

    class Twice(Watching):
        def map(self, work: Work[Any, Any], items: Iterable[Any], need: Need, report: Report = ignore) -> Iterator[Any]:
            if not isinstance(work, ShardWork):
                yield from LocalEngine.map(self, work, items, need, report)
                return
            late: list[Callable[[], Any]] = []
            with work.open(ignore) as run:
                for task in items:
                    first, second = run(task), run(task)
                    yield first
                    late.append(second)
                    with pytest.raises(OutputError, match="is missing"):
                        run(task)
            yield from late

    assert hashes(build(ordered, tmp_path, SLICED, Twice(tmp_path / ".v1.build"), tables=FEW).path) == few_staged


def rows_by_patient(folder: Path, subjects: Sequence[int]) -> Iterator[pa.Table]:
    """Return the rows of a slice with one block for each row."""
    header = tuple(LABS.columns)
    path = folder / "labevents.csv"
    path.write_text(",".join(header) + "\n")
    file = TableFile(LABS, path, header, Stamp.of(path.stat()))
    rows = ({"labevent_id": str(number), "subject_id": str(of)} for number, of in enumerate(subjects))
    lines = [(",".join(row.get(column, "") for column in header) + "\n").encode() for row in rows]
    (folder / "slice.csv").write_bytes(b"".join(lines))
    piece = Slice(LABS.full_name, "slice.csv", 2, tuple(Block(len(line), 1) for line in lines))
    task = ShardTask(0, len(lines), {}, slices=(piece,))
    schemas, parsers = {LABS.full_name: LABS.schema}, {LABS.full_name: BlockParser(file)}
    return ShardInputs(LocalStorage(folder), task, schemas, parsers, {}).by_patient(LABS.full_name)


def test_the_rows_of_a_slice_are_read_block_by_block(tmp_path: Path) -> None:
    tables = list(rows_by_patient(tmp_path, [1, 1, 2]))
    assert [table["subject_id"].to_pylist() for table in tables if len(table)] == [[1], [1], [2]]


@pytest.mark.parametrize("subjects", [[1, 2, 1], [2, 1, 1, 1], [1, 1, 2, 3, 2]])
def test_a_slice_that_is_not_ordered_is_noticed_when_it_is_read_by_patient(tmp_path: Path, subjects: list[int]) -> None:
    with pytest.raises(CannotSliceError, match="hosp/labevents"):
        list(rows_by_patient(tmp_path, subjects))
