"""Compare ehrtraj with MIMIC_IV_MEDS and meds_etl on copies of the MIMIC-IV demo, in turn, in one run.

    python benchmarks/peers.py [--demo DIR] [--concept-maps DIR] [--copies 40] [--runs 3] [--against COMMAND]

It starts from nothing: it downloads the demo and the concept maps that MIMIC_IV_MEDS needs (unless you give their
folders), multiplies the demo, and installs each other tool in an environment of its own in `.envs/peers/`. The data
stays in --cache for the next time. Each round runs every tool once, and the table has the medians. All tools may use
all CPU cores of this process; `taskset -c 0,1` limits them. Quote the ratios: seconds are valid for one machine at one
time. benchmarks/README.md explains the figures, and lists what each tool leaves out.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from copies import multiply
from measured import Usage, median, run
from peer_tools import EHRTRAJ, ENVIRONMENTS, MIMIC_IV_MEDS, PEERS, ROOT, Job, Tool, ehrtraj

_DEMO = "physionet.org/files/mimic-iv-demo/2.2"
_MAPS = "concept_maps"
OTHER = "other ehrtraj"
"""Name of the tool that --against gives."""


@dataclass(frozen=True)
class Result:
    """What a tool used, and what it wrote.

    Attributes:
        usage: medians of all runs.
        events: rows of the dataset.
    """

    usage: Usage
    events: int


def _download(folder: Path, *options: str) -> None:
    command = [sys.executable, "-m", "ehrtraj", "download", *options, "--to", str(folder)]
    if subprocess.run(command, check=False).returncode:
        raise SystemExit("the download failed: give the folders that you have with --demo and --concept-maps")


def find_release(given: Path | None, cache: Path, copies: int) -> Path:
    """Return the multiplied demo. Download the demo if it is not given, and multiply it if that was not done before."""
    release = cache / f"demo-x{copies}"
    if release.is_dir():
        return release
    demo = given or cache / _DEMO
    if given is None:
        _download(cache, "mimic-iv-demo")
    print(f"multiplying {demo} by {copies}", flush=True)
    cache.mkdir(parents=True, exist_ok=True)
    return multiply(demo, release, copies)


def find_concept_maps(given: Path | None, cache: Path) -> Path:
    """Return the folder of the concept maps. Download them if they are not given."""
    if given is None:
        _download(cache, "--concept-maps")
    return given or cache / _MAPS


def count_events(data: Path) -> int:
    """Return the number of rows in the files of a dataset."""
    return sum(pq.read_metadata(path).num_rows for path in data.rglob("*.parquet"))


def _convert(tool: Tool, job: Job, log: Path) -> Result:
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    usage = run(tool.command(job), job.folder, log, tool.variables())
    result = Result(usage, count_events(job.output / tool.data))
    shutil.rmtree(job.folder)
    return result


def compare(tools: Sequence[Tool], release: Path, concept_maps: Path, work: Path, runs: int) -> dict[str, Result]:
    """Run each tool several times, in turn. Return medians by name of the tool."""
    results: dict[str, list[Result]] = {tool.name: [] for tool in tools}
    for number in range(runs):
        for tool in tools:
            job = Job(release, concept_maps, work / tool.folder_name)
            result = _convert(tool, job, work / f"{tool.folder_name}.log")
            print(f"run {number + 1} of {runs}, {tool.name}: {' '.join(_cells(result))}", flush=True)
            results[tool.name].append(result)
    return {name: Result(median([r.usage for r in each]), each[0].events) for name, each in results.items()}


def _cells(result: Result) -> list[str]:
    usage = result.usage
    seconds = [f"{usage.wall:.1f} s", f"{usage.cpu:.1f} s"]
    return [*seconds, f"{usage.memory / 1e9:.2f} GB", f"{usage.disk / 1e9:.2f} GB", f"{result.events / 1e6:.1f} M"]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ratios(result: Result, base: Result) -> list[str]:
    usage = [getattr(result.usage, field.name) / getattr(base.usage, field.name) for field in fields(Usage)]
    return [f"{ratio:.2f}" for ratio in [*usage, result.events / base.events]]


def table(results: dict[str, Result]) -> str:
    """Return the table of medians, and of their ratios to ehrtraj, in Markdown."""
    base = results[EHRTRAJ.name]
    columns = ["wall", "CPU", "memory", "disk", "events"]
    lines = [_line(["tool", *columns]), _line(["---"] * 6)]
    lines += [_line([name, *_cells(result)]) for name, result in results.items()]
    others = {name: result for name, result in results.items() if result is not base}
    lines += ["", _line(["divided by ehrtraj", *columns]), _line(["---"] * 6)]
    lines += [_line([name, *_ratios(result, base)]) for name, result in others.items()]
    return "\n".join(lines)


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    cores, memory = len(os.sched_getaffinity(0)), psutil.virtual_memory().total
    return f"{cores} cores of {model}, {memory / 1e9:.0f} GB"


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def readme_row(results: dict[str, Result], data: str) -> str:
    """Return the line for the table in benchmarks/README.md."""
    base = results[EHRTRAJ.name]
    tools = [", ".join(_cells(results[name])) if name in results else "" for name in (EHRTRAJ.name, *PEERS)]
    ratios = [_ratios(results[name], base) for name in PEERS if name in results]
    wall, cpu = (", ".join(ratio[figure] for ratio in ratios) for figure in (0, 1))
    return _line([_commit(), _machine(), data, *tools, f"wall {wall}; CPU {cpu}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, help="folder of the MIMIC-IV demo; downloaded by default")
    parser.add_argument("--concept-maps", type=Path, help="folder of mimic-code's concept maps; downloaded by default")
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--release", type=Path, help="release to convert as it is, in place of copies of the demo")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), help="other tools to compare")
    parser.add_argument("--against", metavar="COMMAND", help="another ehrtraj, such as ../before/.venv/bin/ehrtraj")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=ENVIRONMENTS / "data", help="folder for data, logs and output")
    arguments = parser.parse_args()
    cache = arguments.cache.absolute()
    release = arguments.release or find_release(arguments.demo, cache, arguments.copies)
    needs_maps = MIMIC_IV_MEDS.name in arguments.peers
    maps = find_concept_maps(arguments.concept_maps, cache) if needs_maps else cache
    tools = [EHRTRAJ, *(PEERS[name] for name in arguments.peers)]
    if arguments.against:
        tools.insert(1, ehrtraj(OTHER, shlex.split(arguments.against)))
    for tool in tools:
        tool.install()
    results = compare(tools, release.resolve(), maps.resolve(), cache / "work", arguments.runs)
    print(f"\n{table(results)}\n\n{readme_row(results, release.name)}")


if __name__ == "__main__":
    main()
