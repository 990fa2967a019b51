"""How making and building synthetic releases grows with their size.

    python benchmarks/synth.py [--patients 2000 8000 32000] [--max-cpus 2] [--work DIR] [--defects 0]

For each size prints rows, rows a second and peak memory of all processes, of `synth` and of `build`, and how time a row
and memory grow from the first size. One run each: rows a second vary with what else the machine does, growth within
one run less so.
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
    parser.add_argument("--work", type=Path, help="folder for the releases, removed again; a temporary one by default")
    given = parser.parse_args()
    first: dict[str, tuple[float, int]] = {}
    for patients in given.patients:
        with tempfile.TemporaryDirectory(dir=given.work) as folder:
            work = Path(folder)
            made = synth(work / "release", patients=patients, defects=given.defects, max_cpus=given.max_cpus)
            rows = sum(made.rows.values())
            built = build(work / "release", work / "out", "benchmark", max_cpus=given.max_cpus)
            read = sum(entry.read for entry in built.ledger.values())
            shutil.rmtree(work / "out")
        for what, count, seconds, memory in (
            ("synth", rows, made.seconds, made.peak_memory),
            ("build", read, built.seconds, built.peak_memory),
        ):
            line = f"{patients:,} patients, {what}: {count:,} rows, {seconds:.1f} s, {count / seconds:,.0f} rows/s, "
            line += f"{memory / 1e6:,.0f} MB"
            if what in first:
                pace, room = first[what]
                line += f"; against the first: {seconds / count / pace - 1:+.0%} time a row"
                line += f", {memory / room - 1:+.0%} memory"
            print(line, flush=True)
            first.setdefault(what, (seconds / count, memory))


if __name__ == "__main__":
    main()
