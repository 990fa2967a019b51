"""Measure how time and memory of building notes grow with their number, with texts inline and in separate files.

    python benchmarks/notes.py [--admissions 10000 30000] [--max-cpus 2] [--work DIR]

Each admission has a discharge summary of about 10 kB and five reports of 1 kB, of random words. For each size it prints
bytes of text, seconds and peak memory of all processes, and how they grow from the first size.
"""

from __future__ import annotations

import argparse
import gzip
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ehrtraj import build

WORDS, SUMMARY, REPORT, REPORTS = 4000, 1000, 120, 5
NOTE = "note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text\n"


def write_release(folder: Path, admissions: int) -> int:
    """Write patients, admissions and notes; return the number of bytes of text."""
    random_words = random.Random(1)
    words = ["".join(random_words.choices("abcdefghijklmnop ,\n", k=9)) for _ in range(WORDS)]
    for module in ("hosp", "note"):
        (folder / module).mkdir(parents=True)
    patients, stays = ["subject_id,gender\n"], ["subject_id,hadm_id,admittime,dischtime,admission_type\n"]
    written = 0

    def text(count: int) -> str:
        return " ".join(random_words.choices(words, k=count))

    with (
        gzip.open(folder / "note" / "discharge.csv.gz", "wt", 1) as summaries,
        gzip.open(folder / "note" / "radiology.csv.gz", "wt", 1) as reports,
    ):
        summaries.write(NOTE)
        reports.write(NOTE)
        for i in range(admissions):
            subject, stay = 10_000_000 + i, 20_000_000 + i
            patients.append(f"{subject},F\n")
            stays.append(f"{subject},{stay},2150-01-01 10:00:00,2150-01-05 12:00:00,URGENT\n")
            line = f'{subject}-DS-1,{subject},{stay},DS,1,2150-01-05 00:00:00,2150-01-06 10:00:00,"{text(SUMMARY)}"\n'
            written += len(line)
            summaries.write(line)
            for n in range(REPORTS):
                times = f"2150-01-02 1{n}:00:00,2150-01-02 1{n}:30:00"
                line = f'{subject}-RR-{n},{subject},{stay},RR,{n},{times},"{text(REPORT)}"\n'
                written += len(line)
                reports.write(line)
    for name, lines in (("patients", patients), ("admissions", stays)):
        (folder / "hosp" / f"{name}.csv").write_text("".join(lines))
    return written


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--admissions", type=int, nargs="+", default=[10_000, 30_000])
    parser.add_argument("--max-cpus", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder for temporary releases; a temporary one by default")
    options = parser.parse_args(arguments)
    first: dict[str, tuple[float, int]] = {}
    for admissions in options.admissions:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            size = write_release(Path(folder) / "release", admissions)
            for notes in ("inline", "separate"):
                out = Path(folder) / "out"
                done = build(Path(folder) / "release", out, notes, max_cpus=options.max_cpus, notes=notes)
                line = f"{admissions:,} admissions, {size / 1e6:,.0f} MB of notes {notes}: {done.seconds:.1f} s, "
                line += f"{done.peak_memory / 1e6:,.0f} MB of memory, {done.bytes / 1e6:,.0f} MB on disk"
                if notes in first:
                    pace, room = first[notes]
                    line += f"; against the first: {done.seconds / size / pace - 1:+.0%} time per byte"
                    line += f", {done.peak_memory / room - 1:+.0%} memory"
                print(line, flush=True)
                first.setdefault(notes, (done.seconds / size, done.peak_memory))


if __name__ == "__main__":
    main()
