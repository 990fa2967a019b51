"""Measure how long short commands take: `--help`, `show` of one patient, and the build of a small release.

    python benchmarks/start.py RELEASE [--against COMMAND] [--runs 15] [--builds 5] [--work DIR]

COMMAND is the `ehrtraj` of another checkout, such as ../other/.venv/bin/ehrtraj. Its runs alternate with ours, so that
other work on the machine affects both. The figures are medians: wall time, and CPU time of all processes. The last
column is our time relative to the other's. The patient shown has the median number of events.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import ehrtraj

Seconds = tuple[float, float]
"""Wall time and CPU time."""


def _timed(command: Sequence[str]) -> Seconds:
    begun, before = time.perf_counter(), _cpu_of_children()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun, _cpu_of_children() - before


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _build(command: Sequence[str], release: Path, output: Path) -> Seconds:
    seconds = _timed([*command, "build", str(release), "--output", str(output), "--trajectory-version", "v1"])
    shutil.rmtree(output)
    return seconds


def show(name: str, runs: Sequence[Sequence[Seconds]]) -> None:
    """Print the medians of all commands, ours last."""
    for which, kind in enumerate(("wall", "CPU")):
        medians = [median(seconds[which] for seconds in of_command) for of_command in runs]
        ratio = f"{medians[-1] / medians[0]:>8.2f}" if len(medians) > 1 else ""
        print(f"{name:<8} {kind:<5}" + "".join(f"{value:>9.3f} s" for value in medians) + ratio, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("--against", help="command of another checkout")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--builds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="folder for the datasets; the system's temporary folder by default")
    arguments = parser.parse_args()
    commands = [[sys.executable, "-m", "ehrtraj"]]
    if arguments.against:
        commands.insert(0, [arguments.against])
    with tempfile.TemporaryDirectory(prefix="ehrtraj-benchmark-", dir=arguments.work) as folder:
        work = Path(folder)
        dataset = ehrtraj.build(arguments.release, work / "shown", "v1").path
        subjects = ehrtraj.open(dataset).subjects.sort("n_events")["subject_id"]
        patient = str(subjects[len(subjects) // 2])
        print(f"{'':<14}" + "".join(f"{name:>11}" for name in ("other", "ours")[-len(commands) :]))
        for name, words in (("--help", ["--help"]), ("show", ["show", str(dataset), patient])):
            rounds = [[_timed([*command, *words]) for command in commands] for _ in range(arguments.runs)]
            show(name, list(zip(*rounds, strict=True)))
        rounds = [
            [_build(command, arguments.release, work / "built") for command in commands]
            for _ in range(arguments.builds)
        ]
        show("build", list(zip(*rounds, strict=True)))


if __name__ == "__main__":
    main()
