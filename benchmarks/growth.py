"""Measure how the cost of a build grows with the size of a release: CPU time per row, and memory.

    python benchmarks/growth.py RELEASE RELEASE ...                     # releases of the same kind, the smallest first
    python benchmarks/growth.py --demo DIR [--copies 10 40 80]          # copies of the MIMIC-IV demo
    python benchmarks/growth.py --patients 2000 32000                   # synthetic releases

You can give all three at once: each is compared in itself. Releases that are made stay in --cache for the next time.
Each round builds every release once. The table has medians, and ratios to the first release of the same kind. CPU time
varies less with the load of the machine than wall time does, so a single run is enough to see a growth of some percent.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from copies import multiply
from measured import Usage, median, run
from peer_tools import EHRTRAJ, ENVIRONMENTS, Job, Tool, ehrtraj


@dataclass(frozen=True)
class Growth:
    """What a build of one size costs.

    Attributes:
        rows: rows of the release.
        usage: medians of all runs.
    """

    rows: int
    usage: Usage

    @property
    def cpu_per_row(self) -> float:
        """Microseconds of CPU time per row."""
        return self.usage.cpu / self.rows * 1e6


def synthetic(patients: int, cache: Path) -> Path:
    """Return a synthetic release of some patients. Draw it if that was not done before."""
    release = cache / f"synthetic-{patients}"
    if not release.is_dir():
        unfinished = cache / f"{release.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        command = [sys.executable, "-m", "ehrtraj", "synth", str(unfinished), "--patients", str(patients)]
        subprocess.run(command, check=True)
        unfinished.rename(release)
    return release


def build_once(tool: Tool, release: Path, work: Path) -> Growth:
    """Build a release and measure it."""
    job = Job(release, work, work / "growth")
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    usage = run(tool.command(job), job.folder, work / "growth.log")
    manifest = json.loads((job.output / tool.data).with_name("manifest.json").read_text())
    shutil.rmtree(job.folder)
    return Growth(sum(file["rows"] for file in manifest["files"].values()), usage)


def measure(tool: Tool, releases: Sequence[Path], work: Path, runs: int) -> dict[Path, Growth]:
    """Build each release several times, in turn. Return medians."""
    seen: dict[Path, list[Growth]] = {release: [] for release in releases}
    for number in range(runs):
        for release in releases:
            growth = build_once(tool, release, work)
            print(f"run {number + 1} of {runs}, {release.name}: {growth.usage.cpu:.1f} s of CPU", flush=True)
            seen[release].append(growth)
    return {release: Growth(each[0].rows, median([g.usage for g in each])) for release, each in seen.items()}


def table(growths: dict[Path, Growth]) -> str:
    """Return the table of costs, and their ratios to the first release, in Markdown."""
    first = next(iter(growths.values()))
    lines = [
        "| release | rows | wall | CPU | CPU per row | memory | CPU per row: ratio | memory: ratio |",
        "|---" * 8 + "|",
    ]
    for release, growth in growths.items():
        usage = growth.usage
        cells = [release.name, f"{growth.rows:,}", f"{usage.wall:.1f} s", f"{usage.cpu:.1f} s"]
        cells += [f"{growth.cpu_per_row:.2f} us", f"{usage.memory / 1e9:.2f} GB"]
        cells += [f"{growth.cpu_per_row / first.cpu_per_row:.3f}", f"{usage.memory / first.usage.memory:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("releases", type=Path, nargs="*", metavar="RELEASE")
    parser.add_argument("--demo", type=Path, help="folder of the MIMIC-IV demo, to multiply")
    parser.add_argument("--copies", type=int, nargs="+", default=[10, 40, 80])
    parser.add_argument("--patients", type=int, nargs="+", default=[], help="sizes of synthetic releases")
    parser.add_argument("--ehrtraj", metavar="COMMAND", help="another ehrtraj, such as ../before/.venv/bin/ehrtraj")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=ENVIRONMENTS / "data", help="folder for data, logs and output")
    arguments = parser.parse_args()
    cache = arguments.cache.absolute()
    cache.mkdir(parents=True, exist_ok=True)
    tool = ehrtraj("other ehrtraj", shlex.split(arguments.ehrtraj)) if arguments.ehrtraj else EHRTRAJ
    kinds = [
        [release.resolve() for release in arguments.releases],
        [multiply(arguments.demo, cache / f"demo-x{n}", n) for n in arguments.copies] if arguments.demo else [],
        [synthetic(patients, cache) for patients in arguments.patients],
    ]
    if not any(kinds):
        parser.error("give releases, --demo or --patients")
    tables = [table(measure(tool, releases, cache / "work", arguments.runs)) for releases in kinds if releases]
    print("\n" + "\n\n".join(tables))


if __name__ == "__main__":
    main()
