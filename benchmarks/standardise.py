"""What cleaning costs: the same build with the rules and without, in turn, in one run.

    python benchmarks/standardise.py RELEASE [--runs 3] [--max-cpus 2] [--work DIR]

Prints wall and processor seconds of each build and, of the medians, the share that cleaning takes of the whole.
Processor seconds are steadier than wall seconds on a machine that others use. Only real sizes mean anything: at least
some million rows.
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
    """Wall and processor seconds of one build, in a process of its own."""
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
    parser.add_argument("--work", type=Path, help="folder for the datasets, removed again; a temporary one by default")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _OPTIONS}
    for _ in range(given.runs):
        for name, option in _OPTIONS.items():
            with tempfile.TemporaryDirectory(dir=given.work) as output:
                found[name].append(_seconds(given.release, Path(output), option, given.max_cpus))
            wall, processor = found[name][-1]
            print(f"{name}: {wall:.1f} s, processors {processor:.1f} s", flush=True)
    for number, what in enumerate(("wall", "processor")):
        on, off = (statistics.median(run[number] for run in found[name]) for name in _OPTIONS)
        print(f"cleaning takes {(on - off) / on:.1%} of {what} time (medians {on:.1f} s and {off:.1f} s)")


if __name__ == "__main__":
    main()
