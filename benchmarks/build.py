"""Time a build against a floor, reading the same files once with DuckDB, in turn, in one run.

    python benchmarks/build.py RELEASE [RELEASE ...] [--runs 3] [--max-cpus 2] [--work DIR]

For each release it prints rows, seconds, rows per second, peak memory of all processes, and the ratio to the floor:
DuckDB reads every column of every table with its type and discards the result. For several releases of the same kind
but different size it also prints how seconds per row and memory grow from the first. Absolute times are valid for one
machine at one time. Quote the ratios. Only realistic sizes are meaningful: at least some million rows.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import duckdb
import pyarrow as pa

import ehrtraj
from ehrtraj.release.detect import detect
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.memory import PeakMemory

_SQL_TYPES = {
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.timestamp("us"): "TIMESTAMP",
}


def _read_all(file: TableFile, connection: duckdb.DuckDBPyConnection) -> None:
    types = {written: _SQL_TYPES[file.table.columns[name]] for name, written in file.present.items()}
    columns = {name: types.get(name, "VARCHAR") for name in file.header}
    column_list = ", ".join(f"""'{name.replace("'", "''")}': '{kind}'""" for name, kind in columns.items())
    counts = ", ".join(f'count("{name}")' for name in file.header)
    source = f"""read_csv('{file.path}', header=true, delim=',', quote='"', escape='"', columns={{{column_list}}})"""
    connection.execute(f"SELECT {counts} FROM {source}").fetchall()


def floor(release: Path, cpus: int) -> None:
    """Read every patient table of a release once with DuckDB."""
    with duckdb.connect(config={"threads": cpus}) as connection:
        connection.execute("SET enable_progress_bar = false")
        for file in detect(release).files.values():
            if file.table.kind == "patient":
                _read_all(file, connection)


def _build(release: Path, output: Path, cpus: int) -> None:
    ehrtraj.build(release, output, "benchmark", max_cpus=cpus)


def _timed(target: object, *args: object) -> tuple[float, int]:
    """Run a function in a separate process; return its seconds and peak memory."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=args)  # type: ignore[arg-type]
    with PeakMemory() as memory:
        base_memory = memory.peak
        begun = time.monotonic()
        process.start()
        process.join()
        seconds = time.monotonic() - begun
    if process.exitcode:
        raise SystemExit(f"{target} failed")
    return seconds, memory.peak - base_memory


def measure(release: Path, work: Path, runs: int, cpus: int) -> dict[str, float]:
    """Return medians over several runs of build and floor in turn."""
    builds, floors = [], []
    for run in range(runs):
        output = work / f"run{run}"
        builds.append(_timed(_build, release, output, cpus))
        manifest = json.loads((output / "benchmark" / "manifest.json").read_text())
        shutil.rmtree(output)
        floors.append(_timed(floor, release, cpus)[0])
    rows = sum(f["rows"] for f in manifest["files"].values())
    seconds = statistics.median(s for s, _ in builds)
    return {
        "rows": rows,
        "seconds": seconds,
        "memory": statistics.median(m for _, m in builds),
        "floor": statistics.median(floors),
        "events": manifest["summary"]["events"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", type=Path, nargs="+", metavar="RELEASE")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-cpus", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for temporary results; a temporary one by default")
    arguments = parser.parse_args()
    first: dict[str, float] = {}
    for release in arguments.releases:
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            result = measure(release, Path(work), arguments.runs, arguments.max_cpus)
        line = (
            f"{release}: {result['rows']:,.0f} rows, {result['events']:,.0f} events, {result['seconds']:.1f} s, "
            f"{result['rows'] / result['seconds']:,.0f} rows/s, {result['memory'] / 1e6:,.0f} MB, "
            f"floor {result['floor']:.1f} s, {result['seconds'] / result['floor']:.2f} times the floor"
        )
        if first:
            slower = result["seconds"] / result["rows"] / (first["seconds"] / first["rows"]) - 1
            line += (
                f"; against the first: {slower:+.0%} time per row, {result['memory'] / first['memory'] - 1:+.0%} memory"
            )
        print(line, flush=True)
        first = first or result


if __name__ == "__main__":
    main()
