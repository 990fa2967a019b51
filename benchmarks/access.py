"""Time access to patients and codes, and labels, against polars and meds_reader on the same data, in one run.

    python benchmarks/access.py DATASET [--patients 1000] [--runs 3] [--meds-reader .envs/consumers/bin] [--work DIR]

One patient, by ID, with a warm system cache (each file has been read before):
- fetch: all events of the patient with all columns, in the form that the library returns (a polars frame; meds_reader
  returns objects that read their columns on access)
- walk: the same, then time, code and number of every event as Python objects
- polars without an index: the rows of the patient filtered from the patient's file, and from all files

All patients: trajectories in order with one worker and with two, against polars reading the same files completely, and
against meds_reader walking. Each contender runs in a separate process, in turn; results are medians of several runs.

Some columns of all patients: `frames`, against polars reading the same columns of complete files.

One code: all of its events with `ds.sql` and `ds.scan`, for a code that does not occur, a rare, a medium and a common
code. CPU time; all files are in the system's cache.

Labels: `aki_48h` with one core and with two.

With `--meds-reader`, meds_reader_convert first converts the dataset into `--work`, unless that was done before. Only
the five columns of MEDS are converted, which already takes minutes. ehrtraj reads all columns.

Absolute times are valid for one machine at one time. Quote the ratios.
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
from ehrtraj.labels import label

HERE = Path(__file__).parent
_WARM_UP = 20
_FILTERED = 40
_MEDS_COLUMNS = ["subject_id", "time", "code", "numeric_value", "text_value"]
_COLUMN_SETS = {
    "subject_id": ["subject_id"],
    "time, code, number": ["time", "code", "numeric_value"],
    "five columns of MEDS": _MEDS_COLUMNS,
    "time, attributes": ["time", "attributes"],
    "all": None,
}

Measurements = dict[str, Any]


def _timed(work: Callable[[int], object], subjects: Sequence[int]) -> list[float]:
    for subject_id in subjects[:_WARM_UP]:
        work(subject_id)
    seconds = []
    for subject_id in subjects:
        begun = time.perf_counter()
        work(subject_id)
        seconds.append(time.perf_counter() - begun)
    return seconds


def by_ehrtraj(dataset: Path, subjects: Sequence[int]) -> Measurements:
    ds = ehrtraj.open(dataset)

    def walk(subject_id: int) -> None:
        for _ in ds[subject_id].events.select("time", "code", "numeric_value").iter_rows():
            pass

    return {"fetch": _timed(ds.__getitem__, subjects), "walk": _timed(walk, subjects)}


def by_polars(dataset: Path, subjects: Sequence[int]) -> Measurements:
    """Time polars for some of the patients, since it reads all files for each one."""
    ds = ehrtraj.open(dataset)
    paths = {(file.split, file.shard): file.path for file in ds.files}
    path_by_subject = {
        row[0]: paths[row[1], row[2]] for row in ds.subjects.select("subject_id", "split", "shard").rows()
    }

    def patient_file(subject_id: int) -> pl.DataFrame:
        return pl.scan_parquet(path_by_subject[subject_id]).filter(pl.col("subject_id") == subject_id).collect()

    def all_files(subject_id: int) -> pl.DataFrame:
        return ds.scan().filter(pl.col("subject_id") == subject_id).collect()

    subset = subjects[:_FILTERED]
    return {"patient file": _timed(patient_file, subset), "all files": _timed(all_files, subset)}


def in_order(dataset: Path, workers: int) -> Measurements:
    ds = ehrtraj.open(dataset)
    begun = time.perf_counter()
    events = sum(len(trajectory) for trajectory in ds.trajectories(workers=workers))
    return {"seconds": time.perf_counter() - begun, "events": events}


def in_order_by_polars(dataset: Path) -> Measurements:
    files = [file.path for file in ehrtraj.open(dataset).files]
    begun = time.perf_counter()
    events = sum(pl.read_parquet(file).height for file in files)
    return {"seconds": time.perf_counter() - begun, "events": events}


def columns_in_order(dataset: Path, columns: list[str] | None) -> Measurements:
    ds = ehrtraj.open(dataset)
    begun = time.process_time()
    events = sum(frame.height for _, frame in ds.frames(columns))
    return {"seconds": time.process_time() - begun, "events": events}


def columns_by_polars(dataset: Path, columns: list[str] | None) -> Measurements:
    files = [file.path for file in ehrtraj.open(dataset).files]
    begun = time.process_time()
    events = sum(pl.read_parquet(file, columns=columns).height for file in files)
    return {"seconds": time.process_time() - begun, "events": events}


def one_code(dataset: Path, code: str) -> Measurements:
    ds = ehrtraj.open(dataset)
    ways: dict[str, Callable[[], pl.DataFrame]] = {
        "sql, count": lambda: ds.sql("SELECT count(*) FROM events WHERE code = ?", [code]),
        "sql, all columns": lambda: ds.sql("SELECT * FROM events WHERE code = ?", [code]),
        "scan, all columns": lambda: ds.scan().filter(pl.col("code") == code).collect(),
    }
    if code in ds.codes["code"]:  # `filter` refuses a code that does not occur
        ways["filter, having"] = lambda: ds.filter(having=code).subjects
    seconds = {}
    for name, way in ways.items():
        way()
        begun = time.process_time()
        way()
        seconds[name] = time.process_time() - begun
    return seconds


def labels(dataset: Path, cpus: int) -> Measurements:
    begun, used = time.perf_counter(), sum(_cpu())
    table = label(ehrtraj.open(dataset), "aki_48h", max_cpus=cpus).table
    return {"seconds": time.perf_counter() - begun, "cpu": sum(_cpu()) - used, "labels": table.height}


def _cpu() -> list[float]:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return [usage.ru_utime + usage.ru_stime for usage in usages]


def _child(connection: Connection, work: Callable[..., Measurements], arguments: tuple[object, ...]) -> None:
    result = work(*arguments)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    connection.send(result | {"peak": peak})


def in_separate_process(work: Callable[..., Measurements], *arguments: object) -> Measurements:
    """Run a contender in a separate process, and record its peak memory."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(sender, work, arguments))
    process.start()
    sender.close()
    result: Measurements = receiver.recv()
    process.join()
    return result


def by_meds_reader(tools: Path, database: Path, subjects: Sequence[int]) -> Measurements:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as listed:
        listed.write(json.dumps(list(subjects)))
        listed.flush()
        command = [str(part) for part in (tools / "python", HERE / "access_meds_reader.py", database, listed.name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: Measurements = json.loads(done.stdout)
    return result


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
    show(f"meds_reader_convert: {time.monotonic() - begun:.0f} s, {size / 1e6:,.0f} MB")


def show(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(name: str, runs: Sequence[Measurements], key: str) -> float:
    times: list[float] = [second for run in runs for second in run[key]]
    median, slow = statistics.median(times), statistics.quantiles(times, n=20)[-1]
    peak = max(run["peak"] for run in runs)
    show(f"{name:<34} median {median * 1e3:8.2f} ms, 95% within {slow * 1e3:8.2f} ms, peak {peak / 1e6:,.0f} MB")
    return median


def one_patient(dataset: Path, subjects: Sequence[int], runs: int, tools: Path | None, database: Path) -> None:
    result: dict[str, list[Measurements]] = {"ehrtraj": [], "polars": [], "meds_reader": []}
    for _ in range(runs):
        result["ehrtraj"].append(in_separate_process(by_ehrtraj, dataset, subjects))
        result["polars"].append(in_separate_process(by_polars, dataset, subjects))
        if tools is not None:
            result["meds_reader"].append(by_meds_reader(tools, database, subjects))
    show(f"\none patient, {len(subjects):,} at random, {runs} runs")
    fetch = _line("ehrtraj, fetch", result["ehrtraj"], "fetch")
    walk = _line("ehrtraj, walk", result["ehrtraj"], "walk")
    for where in ("patient file", "all files"):
        other = _line(f"polars, filter of {where}", result["polars"], where)
        show(f"{'':<34} {other / fetch:.1f} times the fetch of ehrtraj")
    if tools is not None:
        other = _line("meds_reader, fetch", result["meds_reader"], "fetch")
        show(f"{'':<34} {other / fetch:.2f} times the fetch of ehrtraj (without reading columns)")
        other = _line("meds_reader, walk", result["meds_reader"], "walk")
        show(f"{'':<34} {other / walk:.2f} times the walk of ehrtraj")


def all_patients(dataset: Path, runs: int) -> None:
    result: dict[str, list[Measurements]] = {}
    for _ in range(runs):
        result.setdefault("polars, complete files", []).append(in_separate_process(in_order_by_polars, dataset))
        for workers in (1, 2):
            name = f"ehrtraj, {workers} worker{'s' if workers > 1 else ''}"
            result.setdefault(name, []).append(in_separate_process(in_order, dataset, workers))
    show(f"\nall patients in order, {runs} runs")
    first = 0.0
    for name, each in result.items():
        seconds = statistics.median(run["seconds"] for run in each)
        speed = each[0]["events"] / seconds
        first = first or speed
        peak = max(run["peak"] for run in each)
        show(f"{name:<34} {speed / 1e6:6.2f} M events/s, {speed / first:.2f} of polars, peak {peak / 1e6:,.0f} MB")


def columns_of_all(dataset: Path, runs: int) -> None:
    show(f"\ncolumns of all patients in order, CPU time, {runs} runs")
    for name, columns in _COLUMN_SETS.items():
        pairs = [
            [in_separate_process(way, dataset, columns) for way in (columns_by_polars, columns_in_order)]
            for _ in range(runs)
        ]
        theirs, ours = (statistics.median(run["seconds"] for run in side) for side in zip(*pairs, strict=True))
        each = ours / pairs[0][0]["events"] * 1e9
        show(f"{name:<34} {each:6.1f} ns per event, {theirs / ours:.2f} times as fast as polars")


def codes(dataset: Path, runs: int) -> None:
    show(f"\nall events of one code, CPU time, {runs} runs")
    ordered = ehrtraj.open(dataset).codes.sort("n_events", "code").select("code", "n_events").rows()
    chosen = [("LAB//0", 0), *(ordered[int(share * (len(ordered) - 1))] for share in (0.05, 0.9, 1))]
    for code, count in chosen:
        done = [in_separate_process(one_code, dataset, code) for _ in range(runs)]
        medians = {way: statistics.median(run[way] for run in done) for way in done[0] if way != "peak"}
        times = ", ".join(f"{way}: {seconds * 1e3:,.0f} ms" for way, seconds in medians.items())
        show(f"{f'{code} ({count:,})':<34} {times}")


def labelling(dataset: Path, runs: int) -> None:
    show(f"\naki_48h, {runs} runs")
    pairs = [[in_separate_process(labels, dataset, cpus) for cpus in (1, 2)] for _ in range(runs)]
    for name, side in zip(("one core", "two cores"), zip(*pairs, strict=True), strict=True):
        wall, cpu = (statistics.median(run[key] for run in side) for key in ("seconds", "cpu"))
        show(f"{name:<34} {wall:6.1f} s, {cpu:.1f} s of CPU, {side[0]['labels']:,} labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--meds-reader", type=Path, help="folder with python and meds_reader_convert (make consumers)")
    parser.add_argument("--work", type=Path, default=Path("access-work"), help="folder for the database of meds_reader")
    arguments = parser.parse_args()
    ds = ehrtraj.open(arguments.dataset)
    events = int(ds.subjects["n_events"].sum())
    size = sum(file.path.stat().st_size for file in ds.files)
    show(f"{arguments.dataset}: {len(ds):,} patients, {events:,} events, {len(ds.files)} files, {size:,} bytes")
    # In random order, not in the order of the files.
    subjects = ds.subjects["subject_id"].sample(min(arguments.patients, len(ds)), seed=1, shuffle=True).to_list()
    database = arguments.work / "meds_reader"
    if arguments.meds_reader is not None:
        arguments.work.mkdir(parents=True, exist_ok=True)
        convert(arguments.meds_reader, arguments.dataset, database)
    all_patients(arguments.dataset, arguments.runs)
    columns_of_all(arguments.dataset, arguments.runs)
    one_patient(arguments.dataset, subjects, arguments.runs, arguments.meds_reader, database)
    codes(arguments.dataset, arguments.runs)
    labelling(arguments.dataset, arguments.runs)


if __name__ == "__main__":
    main()
