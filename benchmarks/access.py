"""Time the way to one patient, and to all of them, against polars and meds_reader on the same data, in one run.

    python benchmarks/access.py DATASET [--patients 1000] [--runs 3] [--meds-reader .envs/consumers/bin] [--work DIR]

One patient, by number, with the system's cache warm (each file has been read before):
- fetch: all events of the patient, all columns, as what the library gives (a polars frame; meds_reader: objects whose
  columns are read when they are asked for)
- walk: the same, then time, code and number of every event as Python objects
- polars without an index: the rows of the patient filtered from the patient's own file, and from all files

All patients: trajectories one after another with one worker and with two, against polars reading the same files whole,
and against meds_reader walking. Each contender runs in a process of its own, in turn; medians of several runs.

With `--meds-reader`, the dataset is first converted by meds_reader_convert, into `--work`, where that is not there yet:
the five columns of MEDS alone, which takes minutes as it is. ehrtraj reads all columns there are.

Absolute times hold for one machine at one time; the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

import ehrtraj

HERE = Path(__file__).parent
_WARM_UP = 20
_FILTERED = 40
_MEDS_COLUMNS = ["subject_id", "time", "code", "numeric_value", "text_value"]

Found = dict[str, Any]


def _timed(work: Callable[[int], object], subjects: Sequence[int]) -> list[float]:
    for subject_id in subjects[:_WARM_UP]:
        work(subject_id)
    seconds = []
    for subject_id in subjects:
        begun = time.perf_counter()
        work(subject_id)
        seconds.append(time.perf_counter() - begun)
    return seconds


def by_ehrtraj(dataset: Path, subjects: Sequence[int]) -> Found:
    ds = ehrtraj.open(dataset)

    def walk(subject_id: int) -> None:
        for _ in ds[subject_id].events.select("time", "code", "numeric_value").iter_rows():
            pass

    return {"fetch": _timed(ds.__getitem__, subjects), "walk": _timed(walk, subjects)}


def by_polars(dataset: Path, subjects: Sequence[int]) -> Found:
    """Only some patients, since all files are read for each."""
    ds = ehrtraj.open(dataset)
    paths = {(file.split, file.shard): file.path for file in ds.files}
    place = {row[0]: paths[row[1], row[2]] for row in ds.subjects.select("subject_id", "split", "shard").rows()}

    def own_file(subject_id: int) -> pl.DataFrame:
        return pl.scan_parquet(place[subject_id]).filter(pl.col("subject_id") == subject_id).collect()

    def all_files(subject_id: int) -> pl.DataFrame:
        return ds.scan().filter(pl.col("subject_id") == subject_id).collect()

    some = subjects[:_FILTERED]
    return {"own file": _timed(own_file, some), "all files": _timed(all_files, some)}


def in_order(dataset: Path, workers: int) -> Found:
    ds = ehrtraj.open(dataset)
    begun = time.perf_counter()
    events = sum(len(trajectory) for trajectory in ds.trajectories(workers=workers))
    return {"seconds": time.perf_counter() - begun, "events": events}


def in_order_by_polars(dataset: Path) -> Found:
    files = [file.path for file in ehrtraj.open(dataset).files]
    begun = time.perf_counter()
    events = sum(pl.read_parquet(file).height for file in files)
    return {"seconds": time.perf_counter() - begun, "events": events}


def _child(connection: Connection, work: Callable[..., Found], arguments: tuple[object, ...]) -> None:
    found = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    connection.send(found | {"peak": peak})


def apart(work: Callable[..., Found], *arguments: object) -> Found:
    """Run a contender in a process of its own, and note its peak memory."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(theirs, work, arguments))
    process.start()
    theirs.close()
    found: Found = ours.recv()
    process.join()
    return found


def by_meds_reader(tools: Path, database: Path, subjects: Sequence[int]) -> Found:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as listed:
        listed.write(json.dumps(list(subjects)))
        listed.flush()
        command = [str(part) for part in (tools / "python", HERE / "access_meds_reader.py", database, listed.name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Found = json.loads(done.stdout)
    return found


def convert(tools: Path, dataset: Path, database: Path) -> None:
    if database.exists():
        return
    narrow = database.with_name("narrow")
    shutil.copytree(dataset / "metadata", narrow / "metadata", dirs_exist_ok=True)
    for path in (dataset / "data").rglob("*.parquet"):
        copy = narrow / path.relative_to(dataset)
        copy.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(path, columns=_MEDS_COLUMNS), copy)
    begun = time.monotonic()
    unfinished = database.with_name("unfinished")
    command = [str(tools / "meds_reader_convert"), str(narrow), str(unfinished), "--num_threads", "2"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    unfinished.replace(database)
    shutil.rmtree(narrow)
    size = sum(path.stat().st_size for path in database.rglob("*") if path.is_file())
    say(f"meds_reader_convert: {time.monotonic() - begun:.0f} s, {size / 1e6:,.0f} MB")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(name: str, runs: Sequence[Found], key: str) -> float:
    every: list[float] = [second for run in runs for second in run[key]]
    median, slow = statistics.median(every), statistics.quantiles(every, n=20)[-1]
    peak = max(run["peak"] for run in runs)
    say(f"{name:<34} median {median * 1e3:8.2f} ms, 95 % within {slow * 1e3:8.2f} ms, peak {peak / 1e6:,.0f} MB")
    return median


def one_patient(dataset: Path, subjects: Sequence[int], runs: int, tools: Path | None, database: Path) -> None:
    found: dict[str, list[Found]] = {"ehrtraj": [], "polars": [], "meds_reader": []}
    for _ in range(runs):
        found["ehrtraj"].append(apart(by_ehrtraj, dataset, subjects))
        found["polars"].append(apart(by_polars, dataset, subjects))
        if tools is not None:
            found["meds_reader"].append(by_meds_reader(tools, database, subjects))
    say(f"\none patient, {len(subjects):,} at random, {runs} runs")
    ours = _line("ehrtraj, fetch", found["ehrtraj"], "fetch")
    walk = _line("ehrtraj, walk", found["ehrtraj"], "walk")
    for where in ("own file", "all files"):
        theirs = _line(f"polars, filter of {where}", found["polars"], where)
        say(f"{'':<34} {theirs / ours:.1f} times ehrtraj's fetch")
    if tools is not None:
        theirs = _line("meds_reader, fetch", found["meds_reader"], "fetch")
        say(f"{'':<34} {theirs / ours:.2f} times ehrtraj's fetch (its columns are not read yet)")
        theirs = _line("meds_reader, walk", found["meds_reader"], "walk")
        say(f"{'':<34} {theirs / walk:.2f} times ehrtraj's walk")


def all_patients(dataset: Path, runs: int) -> None:
    found: dict[str, list[Found]] = {}
    for _ in range(runs):
        found.setdefault("polars, files read whole", []).append(apart(in_order_by_polars, dataset))
        for workers in (1, 2):
            name = f"ehrtraj, {workers} worker{'s' if workers > 1 else ''}"
            found.setdefault(name, []).append(apart(in_order, dataset, workers))
    say(f"\nall patients in order, {runs} runs")
    first = 0.0
    for name, each in found.items():
        seconds = statistics.median(run["seconds"] for run in each)
        speed = each[0]["events"] / seconds
        first = first or speed
        peak = max(run["peak"] for run in each)
        say(f"{name:<34} {speed / 1e6:6.2f} M events/s, {speed / first:.2f} of polars, peak {peak / 1e6:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--meds-reader", type=Path, help="folder with python and meds_reader_convert (make consumers)")
    parser.add_argument("--work", type=Path, default=Path("access-work"), help="keeps meds_reader's database")
    given = parser.parse_args()
    ds = ehrtraj.open(given.dataset)
    events = int(ds.subjects["n_events"].sum())
    say(f"{given.dataset}: {len(ds):,} patients, {events:,} events, {len(ds.files)} files")
    # In the order of a draw, not of the files.
    subjects = ds.subjects["subject_id"].sample(min(given.patients, len(ds)), seed=1, shuffle=True).to_list()
    database = given.work / "meds_reader"
    if given.meds_reader is not None:
        given.work.mkdir(parents=True, exist_ok=True)
        convert(given.meds_reader, given.dataset, database)
    all_patients(given.dataset, given.runs)
    one_patient(given.dataset, subjects, given.runs, given.meds_reader, database)


if __name__ == "__main__":
    main()
