"""Measure the cost of cleaning: the same build with the rules and without, in turn, in one run.

    python benchmarks/standardise.py RELEASE [--runs 3] [--max-cpus 2] [--work DIR]

Prints wall and CPU seconds of each build, and the share of cleaning in their medians. CPU seconds vary less than wall
seconds on a shared machine. Only realistic sizes are meaningful: at least some million rows.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_OPTIONS = {"with the rules": "--standardise", "as written": "--as-written"}


def _seconds(release: Path, output: Path, option: str, cpus: int) -> tuple[float, float]:
    """Run a build in a separate process; return its wall and CPU seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "ehrtraj", "build", str(release), "--output", str(output), option]
    subprocess.run([*command, "-t", "benchmark", "--max-cpus", str(cpus)], check=True, capture_output=True)
    wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--max-cpus", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for temporary datasets; a temporary one by default")
    arguments = parser.parse_args()
    timings: dict[str, list[tuple[float, float]]] = {name: [] for name in _OPTIONS}
    for _ in range(arguments.runs):
        for name, option in _OPTIONS.items():
            with tempfile.TemporaryDirectory(dir=arguments.work) as output:
                timings[name].append(_seconds(arguments.release, Path(output), option, arguments.max_cpus))
            wall, cpu = timings[name][-1]
            print(f"{name}: {wall:.1f} s, CPU {cpu:.1f} s", flush=True)
    for number, what in enumerate(("wall", "CPU")):
        on, off = (statistics.median(run[number] for run in timings[name]) for name in _OPTIONS)
        print(f"cleaning takes {(on - off) / on:.1%} of {what} time (medians {on:.1f} s and {off:.1f} s)")


if __name__ == "__main__":
    main()
