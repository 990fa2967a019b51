"""Time exports against polars writing the same events as JSON lines into one file, in turn, in one run.

    python benchmarks/export.py DATASET [--per patient] [--runs 3] [--max-cpus 2] [--work DIR]

For each format it prints files, events per second of wall time and of CPU time, peak memory of all processes, bytes per
event, and the ratio to the floor: polars reads the dataset and writes it with `write_ndjson`, one data file at a time,
with the same number of threads. The floor writes one file for each data file, an export one file for each unit. The
last line is the cost of the files alone: the same number of empty files in the same folders. Results are medians of
several runs, each in a separate process. Absolute times are valid for one machine at one time. Quote the ratios.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ehrtraj
from ehrtraj.exports import formats
from ehrtraj.format.names import UNITS
from ehrtraj.runtime.memory import PeakMemory

FLOOR, FILES = "polars write_ndjson", "empty files"
Timing = tuple[float, float, int]
"""Seconds of wall time, seconds of CPU time, bytes of memory."""


def floor(dataset: Path, output: Path, cpus: int) -> None:
    """Read each data file with polars and write it as JSON lines."""
    os.environ["POLARS_MAX_THREADS"] = str(cpus)
    import polars as pl

    output.mkdir()
    for number, file in enumerate(ehrtraj.open(dataset).files):
        pl.read_parquet(file.path).write_ndjson(output / f"{number}.jsonl")


def empty_files(index: Path, output: Path, _cpus: int) -> None:
    """Create the files of an export without content."""
    import polars as pl

    output.mkdir()
    for path in pl.read_csv(index, columns=["path"], infer_schema=False)["path"]:
        target = output / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def export(dataset: Path, output: Path, cpus: int, **options: Any) -> None:  # noqa: ANN401  # options of an export
    """Export the dataset."""
    ehrtraj.export(dataset, output, max_cpus=cpus, **options)


def timed(work: Any, source: Path, output: Path, cpus: int, options: dict[str, Any]) -> Timing:  # noqa: ANN401
    """Run a function in a separate process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = multiprocessing.get_context("spawn").Process(target=work, args=(source, output, cpus), kwargs=options)
    with PeakMemory() as memory:
        base_memory = memory.peak
        begun = time.monotonic()
        process.start()
        process.join()
        seconds = time.monotonic() - begun
    if process.exitcode:
        raise SystemExit(f"{work.__name__} failed")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, cpu, memory.peak - base_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--per", choices=UNITS, default="patient")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-cpus", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for temporary files; a temporary one by default")
    arguments = parser.parse_args()
    events = int(ehrtraj.open(arguments.dataset).subjects["n_events"].sum())
    contenders: dict[str, tuple[Any, dict[str, Any]]] = {FLOOR: (floor, {})}
    contenders |= {kind: (export, {"per": arguments.per, "format": kind}) for kind in formats.names()}
    contenders[FILES] = (empty_files, {})
    times: dict[str, list[Timing]] = {name: [] for name in contenders}
    sizes: dict[str, tuple[int, int]] = {}
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        index = Path(folder) / "index.csv"
        for _ in range(arguments.runs):
            for name, (work, options) in contenders.items():
                output = Path(folder) / "output"
                source = index if name == FILES else arguments.dataset
                times[name].append(timed(work, source, output, arguments.max_cpus, options))
                files = [p for p in output.rglob("*") if p.is_file()]
                sizes[name] = len(files), sum(p.stat().st_size for p in files)
                if (output / "index.csv").is_file():
                    shutil.copy(output / "index.csv", index)
                shutil.rmtree(output)
    base = statistics.median(seconds for seconds, _, _ in times[FLOOR])
    cores = f"{arguments.max_cpus} CPU cores"
    print(f"{events:,} events, files per {arguments.per}, {cores}, medians of {arguments.runs} runs")
    for name, runs in times.items():
        seconds, cpu, memory = (statistics.median(run[i] for run in runs) for i in range(3))
        count, size = sizes[name]
        print(
            f"{name:<20} {count:>8,} files {seconds:>7.2f} s {events / seconds:>10,.0f} events/s "
            f"{events / cpu:>10,.0f} per CPU second {memory / 1e6:>6,.0f} MB {size / events:>5.0f} bytes per event "
            f"{seconds / base:>5.2f} times the floor"
        )


if __name__ == "__main__":
    main()
