"""Measure memory and time of `check` and `diff` on synthetic releases of growing size.

    python benchmarks/check.py [--patients 4000 16000 64000] [--memory-limit 4GB] [--max-cpus 2] [--work DIR] [--keep]

Each release is drawn with seed 1 and built; the dataset is checked, and compared with itself. Each command runs in a
separate process, whose memory includes its child processes. The last column is the memory per additional patient,
compared with the previous size. 64,000 patients take about 5 GB of disk and half an hour with two CPU cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path

import ehrtraj
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.synth.run import synth

Measured = tuple[float, int, int]
"""Seconds, peak memory of all processes in bytes, and number of events."""


def run(command: str, dataset: Path, cpus: int | None, memory: str, results: Queue[Measured]) -> None:
    """Run a command on a dataset, and measure it."""
    begun = time.monotonic()
    with PeakMemory() as used:
        if command == "check":
            report = ehrtraj.check(dataset, max_cpus=cpus, memory_limit=memory)
            if report.broken:
                raise SystemExit(f"{dataset} is broken: {', '.join(report.broken)}")
            events = report.events
        else:
            events = ehrtraj.diff(dataset, dataset, max_cpus=cpus, memory_limit=memory).events.compared
    results.put((time.monotonic() - begun, used.peak, events))


def measure(command: str, dataset: Path, cpus: int | None, memory: str) -> Measured:
    """Run a command in a separate process."""
    context = multiprocessing.get_context("spawn")
    results: Queue[Measured] = context.Queue()
    process = context.Process(target=run, args=(command, dataset, cpus, memory, results))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{command} failed")
    return results.get()


def build(patients: int, folder: Path, cpus: int | None) -> Path:
    """Build a dataset, unless it exists."""
    release = folder / f"release-{patients}"
    dataset = folder / f"n{patients}"
    if not dataset.is_dir():
        synth(release, patients=patients, seed=1, max_cpus=cpus)
        ehrtraj.build(release, folder, dataset.name, max_cpus=cpus)
        shutil.rmtree(release)
    return dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[4_000, 16_000, 64_000])
    parser.add_argument("--memory-limit", default="4GB")
    parser.add_argument("--max-cpus", type=int)
    parser.add_argument("--work", type=Path, help="folder for the datasets; a temporary one by default")
    parser.add_argument("--keep", action="store_true", help="keep the datasets for later runs")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ehrtraj-benchmark-", dir=arguments.work))
    if arguments.keep and arguments.work is not None:
        folder = arguments.work
    before: dict[str, tuple[int, int]] = {}
    try:
        for patients in sorted(arguments.patients):
            dataset = build(patients, folder, arguments.max_cpus)
            for command in ("check", "diff"):
                seconds, memory, events = measure(command, dataset, arguments.max_cpus, arguments.memory_limit)
                line = f"{command:<6} {patients:>9,} patients {events:>13,} events"
                line += f" {seconds:>7.1f} s {memory / 1e6:>7,.0f} MB"
                if command in before:
                    fewer, less = before[command]
                    line += f" {(memory - less) / (patients - fewer):>9,.0f} bytes per patient"
                print(line, flush=True)
                before[command] = patients, memory
    finally:
        if not arguments.keep:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
