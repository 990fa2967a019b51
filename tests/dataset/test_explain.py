"""`ehrtraj explain`: each event is shown with its source row and the rules that set its flags."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.dataset.explain import explain, release_of, source_file
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.synth.run import synth


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("explained") / "release", patients=40, defects=0.05, max_cpus=1).path


@pytest.fixture(scope="module")
def dataset(release: Path) -> Path:
    return ehrtraj.build(release, release.parent, "v1", max_cpus=1).path


def busiest(dataset: Path) -> int:
    """Return the patient with the most events."""
    return int(ehrtraj.open(dataset).subjects.sort("n_events")["subject_id"][-1])


def test_every_kind_of_flag_is_explained_by_one_source_row(dataset: Path) -> None:
    opened = ehrtraj.open(dataset)
    found = explain(opened, busiest(dataset), limit=200)
    assert len(found) > 30
    flags = opened.flags
    for one in found:
        assert {mark.flag for mark in one.marks} == {name for name, bit in flags.items() if one.event["flags"] & bit}
        assert all(mark.meaning and mark.source for mark in one.marks)
    one_row = [one for one in found if len(one.rows) == 1]
    assert len(one_row) > 0.8 * len(found)


def test_the_source_row_belongs_to_the_event(dataset: Path) -> None:
    opened = ehrtraj.open(dataset)
    labs = explain(opened, busiest(dataset), code="LAB//*", limit=300)
    assert len(labs) == 300
    for one in labs:
        (row,) = one.rows
        assert int(row["labevent_id"]) == one.event["source_key"]
        assert row["itemid"] == one.event["code"].split("//")[1]


def test_the_rules_are_those_that_set_the_flags(dataset: Path) -> None:
    opened = ehrtraj.open(dataset)
    fahrenheit = pl.scan_parquet(dataset / "data/**/*.parquet").filter(code="CHART//223761").collect()
    subject = int(fahrenheit["subject_id"][0])
    one = next(
        one
        for one in explain(opened, subject, code="CHART//223761", limit=1000)
        if "unit_converted" in {mark.flag for mark in one.marks}
    )
    (conversion,) = next(table.lines for table in one.rules if table.name == "conversions")
    assert (conversion["from_unit"], conversion["to_unit"]) == ("[degF]", "Cel")
    assert "limits" not in {table.name for table in one.rules}
    assert one.rows[0]["valueuom"] == one.event["raw_unit"]


def test_events_of_a_minute_or_a_day_are_explained(dataset: Path) -> None:
    opened = ehrtraj.open(dataset)
    subject = busiest(dataset)
    event = opened[subject].codes("LAB//*").events.row(0, named=True)
    minute = explain(opened, subject, time=event["time"], limit=60)
    assert {one.event["time"].replace(second=0) for one in minute} == {event["time"].replace(second=0)}
    day = explain(opened, subject, time=datetime(*event["time"].timetuple()[:3]), limit=60)
    assert len(day) >= len(minute) > 0
    assert {one.event["time"].date() for one in day} == {event["time"].date()}


def test_an_event_or_patient_that_does_not_exist_is_an_error(dataset: Path) -> None:
    opened = ehrtraj.open(dataset)
    others = sorted(set(opened.codes["code"]) - set(opened[busiest(dataset)].events["code"]))
    with pytest.raises(DatasetError, match="no such event"):
        explain(opened, busiest(dataset), code=others[0])
    with pytest.raises(SettingsError, match=r"no code in .* matches 'LAB//1'"):
        explain(opened, busiest(dataset), code="LAB//1")
    with pytest.raises(DatasetError):
        explain(opened, 1)


def test_an_explanation_is_shown_on_the_command_line(dataset: Path) -> None:
    shown = CliRunner().invoke(app, ["explain", str(dataset), str(busiest(dataset)), "--limit", "5"])
    assert shown.exit_code == 0, shown.output
    for part in ("source row:", "subject_id", "source:"):
        assert part in shown.stdout


def test_a_release_with_a_relative_path_is_found_from_another_folder(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    for folder, given in ((release.parent, release.name), (release, "."), (release / "hosp", "..")):
        monkeypatch.chdir(folder)
        built = ehrtraj.build(given, tmp_path, f"v{len(opened)}", max_cpus=1, tables="labevents", report=False)
        opened.append(ehrtraj.open(built.path))
    monkeypatch.chdir(tmp_path)
    assert [release_of(dataset) for dataset in opened] == [release.resolve()] * 3
    assert source_file(opened[0], "hosp/labevents") == release.resolve() / "hosp" / "labevents.csv.gz"
    first, *others = (digests(dataset.path) for dataset in opened)
    assert others == [first, first]


def test_a_module_of_another_folder_is_found(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MIMIC-IV-ED is a download of its own."""
    shutil.copytree(release, tmp_path / "release")
    (tmp_path / "release" / "ed").rename(tmp_path / "ed")
    monkeypatch.chdir(tmp_path)
    built = ehrtraj.build("release", "out", "v1", max_cpus=1, ed="ed", tables="edstays,labevents", report=False)
    ds = ehrtraj.open(built.path.resolve())
    monkeypatch.chdir("/")
    assert source_file(ds, "ed/edstays") == (tmp_path / "ed" / "edstays.csv.gz").resolve()
    arrival = ds.scan().filter(pl.col("code").str.starts_with("ED_ARRIVAL")).collect()[0]
    (found,) = explain(ds, arrival["subject_id"][0], code=arrival["code"][0], time=arrival["time"][0], limit=1)
    assert [row["subject_id"] for row in found.rows] == [str(arrival["subject_id"][0])]
    # A named release comes first: it may have the module too.
    assert source_file(ds, "ed/edstays", release) == release / "ed" / "edstays.csv.gz"
    assert source_file(ds, "ed/edstays", tmp_path / "nowhere") == (tmp_path / "ed" / "edstays.csv.gz").resolve()


def digests(dataset: Path) -> dict[str, object]:
    """Return the files of a dataset with their hashes, except the file that contains its name."""
    contents: dict[str, object] = json.loads((dataset / "manifest.json").read_text())["contents"]
    return {name: file for name, file in contents.items() if name != "metadata/dataset.json"}


def test_a_release_that_was_moved_can_be_named(dataset: Path, release: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(release, moved)
    arguments = ["explain", str(dataset), str(busiest(dataset)), "--code", "LAB//*", "--limit", "1", "--release"]
    assert "source row:" in CliRunner().invoke(app, [*arguments, str(moved)]).stdout
    nowhere = CliRunner().invoke(app, [*arguments, str(tmp_path / "nowhere")])
    assert nowhere.exit_code == 0
    assert "give its folder with --release" in nowhere.stdout
