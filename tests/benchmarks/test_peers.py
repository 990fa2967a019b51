"""The comparisons run from end to end on the hand-made release, without the other tools."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module `benchmarks/peers.py`. The folder is last in the path, because it has other common names."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARKS)])
    return importlib.import_module("peers")


def output(script: str, *options: object) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cells(text: str, name: str) -> list[list[str]]:
    """The cells of all lines of a table that begin with a name."""
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if f"| {name} |" in line]


def test_ehrtraj_is_compared_with_another_ehrtraj(release: Path, tmp_path: Path) -> None:
    other = f"'{sys.executable}' -m ehrtraj"
    options = ["--release", release, "--peers", "--against", other, "--runs", 1, "--cache", tmp_path]
    found = output("peers.py", *options)
    (own,) = cells(found, "ehrtraj")
    medians, ratios = cells(found, "other ehrtraj")
    assert [cell.split()[-1] for cell in own[1:]] == ["s", "s", "GB", "GB", "M"]
    assert float(own[1].split()[0]) > 0
    assert len(medians) == len(own)
    assert ratios[-1] == "1.00"
    assert list((tmp_path / "work").glob("*/")) == [], "the results are removed"


def test_growth_counts_the_rows_of_the_release(built: Path, release: Path, tmp_path: Path) -> None:
    (line,) = cells(output("growth.py", release, "--cache", tmp_path), release.name)
    files = json.loads((built / "manifest.json").read_text())["files"]
    assert line[1] == f"{sum(file['rows'] for file in files.values()):,}"
    assert line[-2:] == ["1.000", "1.000"]


def test_ratios_are_to_ehrtraj(peers: ModuleType) -> None:
    usage = peers.Usage(wall=10, cpu=20, memory=1e9, disk=4e9)
    slower = peers.Usage(wall=25, cpu=30, memory=2e9, disk=1e9)
    results = {"ehrtraj": peers.Result(usage, 2_000_000), "MIMIC_IV_MEDS": peers.Result(slower, 1_000_000)}
    table = peers.table(results)
    assert cells(table, "ehrtraj") == [["ehrtraj", "10.0 s", "20.0 s", "1.00 GB", "4.00 GB", "2.0 M"]]
    medians, ratios = cells(table, "MIMIC_IV_MEDS")
    assert medians[1:] == ["25.0 s", "30.0 s", "2.00 GB", "1.00 GB", "1.0 M"]
    assert ratios[1:] == ["2.50", "1.50", "2.00", "0.25", "0.50"]
    assert peers.readme_row(results, "demo-x40").split(" | ")[2:] == [
        "demo-x40",
        "10.0 s, 20.0 s, 1.00 GB, 4.00 GB, 2.0 M",
        "25.0 s, 30.0 s, 2.00 GB, 1.00 GB, 1.0 M",
        "",
        "wall 2.50; CPU 1.50 |",
    ]


def test_each_tool_finds_the_release_in_its_form(peers: ModuleType, release: Path, tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "lab_itemid_to_loinc.csv").touch()
    found = {}
    for name, tool in peers.PEERS.items():
        job = peers.Job(release, maps, tmp_path / name)
        job.folder.mkdir()
        command = tool.command(job)
        assert str(job.output) in " ".join(command)
        assert not job.output.exists()
        found[name] = sorted(str(path.relative_to(job.folder)) for path in job.folder.glob("*/*"))
    modules = ["ed", "hosp", "icu", "lab_itemid_to_loinc.csv", "note"]
    assert found == {"MIMIC_IV_MEDS": [f"input/{name}" for name in modules], "meds_etl": ["input/2.2"]}
    assert (tmp_path / "meds_etl" / "input" / "2.2" / "hosp" / "patients.csv.gz").is_file()
