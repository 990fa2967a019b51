"""`ehrtraj plan`: what a build would read and need, without reading complete files or writing anything."""

from __future__ import annotations

import csv
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehrtraj.api import plan_with
from ehrtraj.config import resolve
from ehrtraj.engines.base import Need
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.pipeline.plan import preview as module
from ehrtraj.pipeline.plan import rows
from ehrtraj.pipeline.plan.preview import BuildPreview
from ehrtraj.pipeline.plan.rows import TableRows, expected_rows
from ehrtraj.release.detect import detect
from ehrtraj.release.found import Release
from ehrtraj.release.versions import Version


def plan(release: Path, **given: Any) -> BuildPreview:
    settings, _ = resolve({"data_dir": release, "trajectory_version": "v1", **given})
    return plan_with(settings)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ehrtraj", "plan", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)


def unknown(release: Path, tmp_path: Path) -> Path:
    """Return a copy of the release in a folder whose name is no version, so that no row counts are published."""
    return Path(shutil.copytree(release, tmp_path / "mine"))


def test_the_rows_of_small_files_are_counted(release: Path, tmp_path: Path) -> None:
    found = plan(unknown(release, tmp_path), max_cpus=1)
    for table in found.tables:
        with gzip.open(found.data_dir / table.file, "rt", encoding="utf-8", newline="") as file:
            assert table.rows == sum(1 for _ in csv.reader(file)) - 1, table.table
        assert table.rows_known == "counted"
    assert found.rows == sum(table.rows for table in found.tables)


def test_the_rows_of_a_large_file_are_estimated(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unknown(release, tmp_path)
    path = folder / "hosp" / "labevents.csv.gz"
    head, first, *_ = gzip.decompress(path.read_bytes()).decode().splitlines()
    many = [f"{number * 7919 % 99_991}{first}" for number in range(90_000)]
    path.write_bytes(gzip.compress("\n".join([head, *many, ""]).encode()))
    monkeypatch.setattr(rows, "_COUNTED_BYTES", 1)
    (table,) = (one for one in plan(folder).tables if one.table == "hosp/labevents")
    assert (table.rows_known, table.bytes > rows._SAMPLE_BYTES) == ("estimated", True)
    assert 0.8 * 90_000 < table.rows < 1.2 * 90_000


def test_line_ends_in_quotes_are_no_rows(release: Path, tmp_path: Path) -> None:
    folder = unknown(release, tmp_path)
    path = folder / "hosp" / "services.csv.gz"
    head = gzip.decompress(path.read_bytes()).decode().splitlines()[0]
    path.write_bytes(gzip.compress((head + '\n1,2,"a\nb ""c""\n",d,e\n3,4,x,y,z\n').encode()))
    (table,) = (one for one in plan(folder).tables if one.table == "hosp/services")
    assert table.rows == 2


def test_published_counts_are_used_for_a_known_release(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = detect(release)
    known: Release = replace(found, versions={"mimiciv": Version("mimiciv", "3.1", ("3.1",), True)})
    synthetic = replace(found, versions={"mimiciv": Version("mimiciv", "synthetic 3.1", ("3.1",), True)})
    monkeypatch.setattr(rows, "_estimate", lambda _file: TableRows(120_000_000, "estimated"))
    assert expected_rows(known, "hosp/labevents") == TableRows(158_374_764, "published")
    assert expected_rows(synthetic, "hosp/labevents").known == "estimated"
    monkeypatch.setattr(rows, "_estimate", lambda _file: TableRows(12_000_000, "estimated"))
    assert expected_rows(known, "hosp/labevents") == TableRows(12_000_000, "estimated", 158_374_764)


def test_a_part_of_a_release_is_reported(release: Path) -> None:
    (text,) = (one for one in plan(release).warnings if "do not have as many rows" in one)
    assert "hosp/labevents (" in text
    assert "truncated" in text


def test_a_small_file_that_is_truncated_is_reported(release: Path, tmp_path: Path) -> None:
    folder = unknown(release, tmp_path)
    assert not [one for one in plan(folder).warnings if "files are truncated" in one]
    path = folder / "hosp" / "labevents.csv.gz"
    head, first, *_ = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines = [head, *(f"{number * 7919 % 99_991}{first}" for number in range(30_000)), ""]
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-1000])
    (text,) = (one for one in plan(folder).warnings if "files are truncated" in one)
    assert text == "these files are truncated: hosp/labevents. Download them again"


@pytest.mark.parametrize("damage", [b"", b"not gzip at all"])
def test_a_damaged_file_does_not_stop_the_plan(release: Path, damage: bytes) -> None:
    found = detect(release)
    file = found.files["hosp/services"]
    assert expected_rows(found, "hosp/services").rows > 0
    path = Path(shutil.copy(file.path, file.path.parent.parent.parent / "copy.csv.gz"))
    path.write_bytes(damage)
    stamp = replace(file.stamp, size=len(damage))
    damaged = replace(found, versions={}, files={"hosp/services": replace(file, path=path, stamp=stamp)})
    assert expected_rows(damaged, "hosp/services").rows == 0
    path.unlink()


def test_the_estimate_of_the_full_release_is_what_was_measured() -> None:
    found = module._estimate(881_000_000, 2, Need(800_000_000))
    assert found.seconds == pytest.approx(12 * 60 + 40, rel=0.05)
    assert found.memory_bytes == pytest.approx(1.67e9, rel=0.1)
    assert found.result_disk_bytes == pytest.approx(9.97e9, rel=0.01)
    assert found.build_disk_bytes == pytest.approx(11.2e9, rel=0.05)
    assert module._estimate(881_000_000, 8, Need(800_000_000)).seconds < found.seconds / 3.5


def test_a_small_release_uses_few_cores_and_little_memory() -> None:
    few, many = (module._estimate(1_000_000, workers, Need(800_000_000)) for workers in (1, 16))
    assert few.seconds == many.seconds
    assert few.memory_bytes == many.memory_bytes < 1.3e9


def test_limits_change_the_estimate(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ehrtraj.runtime.limits.usable_cpus", lambda: 8)
    assert plan(release, max_cpus=8).estimate.cpu_cores == 4, "more would exceed the default memory limit"
    assert plan(release, max_cpus=8, memory_limit="10GB").estimate.cpu_cores == 8
    assert plan(release, max_cpus=2).estimate.cpu_cores == 2


def rows_of(folder: Path, table: str) -> list[dict[str, str]]:
    with gzip.open(folder / f"{table}.csv.gz", "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_chosen_patients_are_counted(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CPU_SECONDS_A_ROW", 1.0)
    every = plan(release)
    assert every.patients is None
    stays = [row["subject_id"] for row in rows_of(release, "hosp/admissions")]
    ids = tmp_path / "ids.csv"
    ids.write_text(f"{stays[0]}\n")
    found = plan(release, subjects=ids)
    assert found.patients is not None
    assert (found.patients.selected, found.rows) == (1, every.rows)
    assert found.patients.everyone == len({row["subject_id"] for row in rows_of(release, "hosp/patients")})
    assert found.patients.rows < every.rows
    assert found.estimate.seconds < every.estimate.seconds
    assert found.estimate.seconds > module._READING * every.rows, "all rows are read"
    assert found.estimate.memory_bytes < every.estimate.memory_bytes
    assert found.estimate.build_disk_bytes < every.estimate.build_disk_bytes
    assert found.estimate.result_disk_bytes == pytest.approx(found.patients.rows * module._RESULT_BYTES_A_ROW, abs=1)


def test_the_rows_of_chosen_patients_follow_from_their_stays(release: Path, tmp_path: Path) -> None:
    in_icu = {row["subject_id"] for row in rows_of(release, "icu/icustays")}
    shares = {}
    for of_module in ("hosp/admissions", "icu/icustays", "ed/edstays"):
        patients = [row["subject_id"] for row in rows_of(release, of_module)]
        shares[of_module.partition("/")[0]] = sum(one in in_icu for one in patients) / len(patients)
    assert 0 < shares["hosp"] < shares["ed"] < shares["icu"] == 1
    found = plan(release, icu_only=True, tables="labevents,chartevents")
    assert found.patients is not None
    assert found.patients.selected == len(in_icu)
    names = {table.table: table.table.split("/") for table in found.tables}
    dictionaries = {name for name, (_, table) in names.items() if table.startswith("d_")}
    rows = {table.table: table.rows for table in found.tables}
    expected = (n * (1 if name in dictionaries else shares[names[name][0]]) for name, n in rows.items())
    assert found.patients.rows == round(sum(expected))


def test_patients_from_the_environment_are_counted(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRTRAJ_SUBJECTS", "2")
    ran = run(release)
    assert "patients: 2 of " in ran.stdout
    assert "Time, memory and disk are estimates for them" in ran.stdout
    monkeypatch.delenv("EHRTRAJ_SUBJECTS")
    assert "patients:" not in run(release).stdout


def test_patients_that_the_release_does_not_have_are_reported(release: Path, tmp_path: Path) -> None:
    ids = tmp_path / "ids.csv"
    ids.write_text(f"{rows_of(release, 'hosp/patients')[0]['subject_id']}\n1\n")
    assert any(
        "1 of 2 subject IDs are in this release; missing: 1" in text for text in plan(release, subjects=ids).warnings
    )
    assert any("but this release has only" in text for text in plan(release, subjects=10**6).warnings)
    ids.write_text("1\n")
    with pytest.raises(ReleaseError, match="none of them is in this release"):
        plan(release, subjects=ids)


def test_the_estimates_are_for_all_patients_if_no_table_lists_them(release: Path, tmp_path: Path) -> None:
    folder = unknown(release, tmp_path)
    for name in ("patients", "admissions"):
        (folder / "hosp" / f"{name}.csv.gz").unlink()
    every = plan(folder, allow_incomplete=True)
    found = plan(folder, allow_incomplete=True, subjects=1)
    assert (found.patients, found.estimate) == (None, every.estimate)
    assert any("the estimates are for all patients" in text for text in found.warnings)
    assert not any("the estimates are for all patients" in text for text in every.warnings)


def test_too_little_memory_or_disk_is_a_warning(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not [text for text in plan(release).warnings if "needs about" in text]
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**6}))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: type("Disk", (), {"free": 10}))
    memory, disk = (text for text in plan(release).warnings if "needs about" in text)
    assert "GB of memory" in memory and "--memory-limit" in memory
    assert "disk space" in disk and "--output" in disk


def test_missing_tables_and_modules_are_listed(release: Path, tmp_path: Path) -> None:
    folder = unknown(release, tmp_path)
    (folder / "hosp" / "d_labitems.csv.gz").unlink()
    (folder / "hosp" / "poe.csv.gz").unlink()
    shutil.rmtree(folder / "icu")
    found = plan(folder)
    assert {"hosp/poe", "hosp/d_labitems"} <= set(found.missing_tables)
    assert "icu" in found.missing_modules
    assert any("icu" in text for text in found.warnings)


def test_only_the_requested_tables_are_planned(release: Path) -> None:
    found = plan(release, tables="labevents")
    assert [one.table for one in found.tables if one.events] == ["hosp/labevents"]
    with pytest.raises(SettingsError, match="no table 'labevent'"):
        plan(release, tables="labevent")
    with pytest.raises(ReleaseError):
        plan(release / "nowhere")


def test_the_command_prints_a_plan_and_writes_nothing(release: Path, tmp_path: Path) -> None:
    before = sorted(release.rglob("*"))
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ran = run(release, "-o", tmp_path / "out", "--max-cpus", 1)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - started < 2
    assert ran.returncode == 0, ran.stderr
    for words in ("hosp/labevents", "time: about", "on 1 CPU core that", "memory: about", "disk during the build:"):
        assert words in ran.stdout
    assert f"ehrtraj verify {release}" in ran.stdout
    assert list(tmp_path.iterdir()) == []
    assert sorted(release.rglob("*")) == before
    content = json.loads(run(release, "--json").stdout)
    assert content["rows"] == sum(table["rows"] for table in content["tables"])
    assert set(content["estimate"]) == {
        "cpu_cores", "seconds", "memory_bytes", "build_disk_bytes", "result_disk_bytes",
    }  # fmt: skip
    assert run(tmp_path).returncode == 3
    assert run(release, "--memory-limit", "lots").returncode == 2
