"""`ehrtraj flags`: flags are listed with their meaning, the rules that set them, and the number of events."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj import rules
from ehrtraj.cli import app
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.rules.flag_list import list_flags


def test_the_counts_are_those_of_the_events(built: Path) -> None:
    ds = ehrtraj.open(built)
    events = pl.concat([pl.read_parquet(path) for path in sorted((built / "data").rglob("*.parquet"))])
    found = list_flags(built)
    assert found.height == len(ds.flags)
    for flag, value, count in found.select("flag", "value", "events").iter_rows():
        assert value == ds.flags[flag]
        assert count == events.filter(pl.col("flags") & value != 0).height, flag
    assert (found["events"] > 0).sum() > 10


def test_every_flag_is_explained_without_a_dataset() -> None:
    found = list_flags()
    assert dict(found.select("flag", "value").iter_rows()) == rules.flags()
    assert found["bit"].to_list() == sorted(found["bit"])
    assert found["meaning"].str.len_chars().min() > 10
    assert found["events"].null_count() == found.height
    assert list_flags(flag="unit_converted")["rules"].to_list() == [["units", "conversions"]]


def test_a_dataset_without_records_has_no_counts(built: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    (copy / "rules_applied.parquet").unlink()
    result = CliRunner().invoke(app, ["flags", str(copy)])
    assert result.exit_code == 0
    assert "does not record" in result.stderr
    assert result.stdout.splitlines()[0].split() == ["flag", "bit", "meaning", "set", "by"]
    (copy / "metadata" / "flags.json").write_text('{"a": 1}')
    with pytest.raises(DatasetError, match="damaged"):
        list_flags(copy)
    (copy / "metadata" / "flags.json").unlink()
    with pytest.raises(DatasetError, match="not a dataset of ehrtraj"):
        list_flags(copy)


def test_csv_and_json_have_every_column(built: Path) -> None:
    csv = CliRunner().invoke(app, ["flags", str(built), "--csv"]).stdout
    content = json.loads(CliRunner().invoke(app, ["flags", str(built), "--json"]).stdout)
    assert content == list_flags(built).to_dicts()
    read = pl.read_csv(csv.encode())
    assert read.columns == list(content[0])
    assert read["events"].to_list() == [row["events"] for row in content]


def test_a_typo_is_an_error_that_suggests_a_flag() -> None:
    with pytest.raises(SettingsError, match=r"no flag 'unit_convertd' \(did you mean unit_converted\?\)"):
        list_flags(flag="unit_convertd")
