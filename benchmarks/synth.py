"""Measure how drawing and building synthetic releases grows with their size.

    python benchmarks/synth.py [--patients 2000 8000 32000] [--max-cpus 2] [--work DIR] [--defects 0]

For each size it prints rows, rows per second and peak memory of all processes, for `synth` and for `build`, and how
time per row and memory grow from the first size. Each size runs once: rows per second vary with the load of the
machine, growth within a run varies less.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from ehrtraj import build
from ehrtraj.synth.run import synth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[2000, 8000, 32000])
    parser.add_argument("--max-cpus", type=int, default=2)
    parser.add_argument("--defects", type=float, default=0.0)
    parser.add_argument("--work", type=Path, help="folder for temporary releases; a temporary one by default")
    arguments = parser.parse_args()
    first: dict[str, tuple[float, int]] = {}
    for patients in arguments.patients:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            work = Path(folder)
            drawn = synth(work / "release", patients=patients, defects=arguments.defects, max_cpus=arguments.max_cpus)
            rows = sum(drawn.rows.values())
            built = build(work / "release", work / "out", "benchmark", max_cpus=arguments.max_cpus)
            read = sum(entry.read for entry in built.ledger.values())
            shutil.rmtree(work / "out")
        for what, count, seconds, memory in (
            ("synth", rows, drawn.seconds, drawn.peak_memory),
            ("build", read, built.seconds, built.peak_memory),
        ):
            line = f"{patients:,} patients, {what}: {count:,} rows, {seconds:.1f} s, {count / seconds:,.0f} rows/s, "
            line += f"{memory / 1e6:,.0f} MB"
            if what in first:
                pace, room = first[what]
                line += f"; against the first: {seconds / count / pace - 1:+.0%} time per row"
                line += f", {memory / room - 1:+.0%} memory"
            print(line, flush=True)
            first.setdefault(what, (seconds / count, memory))


if __name__ == "__main__":
    main()
