"""`rules_applied.parquet` agrees with the events, and is shown on the command line."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import SettingsError
from ehrtraj.pipeline.shard.applied import EXAMPLE_LENGTH, SPELLED
from ehrtraj.rules.applied import read_applied
from ehrtraj.synth.run import synth


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty synthetic patients with planted defects, standardised."""
    folder = tmp_path_factory.mktemp("applied")
    release = synth(folder / "release", patients=60, defects=0.05, max_cpus=1).path
    return ehrtraj.build(release, folder, "v1", max_cpus=1).path


def events_of(dataset: Path) -> pl.DataFrame:
    return pl.read_parquet(dataset / "data" / "**" / "*.parquet")


@pytest.fixture(params=["dataset", "demo_built"])
def any_dataset(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


def test_rules_applied_counts_the_flags_of_the_events(any_dataset: Path) -> None:
    events = events_of(any_dataset)
    flags = json.loads((any_dataset / "metadata" / "flags.json").read_text())
    counted: Counter[tuple[str, str, str]] = Counter()
    for name, flag in flags.items():
        with_flag = events.filter(pl.col("flags") & flag["value"] != 0)
        for table, code, number in with_flag.group_by("source_table", "code").len().iter_rows():
            counted[name, table, code] = number
    applied = pl.read_parquet(any_dataset / "rules_applied.parquet")
    summed = applied.group_by("rule", "source_table", "code").agg(pl.col("events").sum())
    got = {(rule, table, code): number for rule, table, code, number in summed.iter_rows() if rule != SPELLED}
    assert got == dict(counted)
    assert len({rule for rule, _, _ in got}) > 20


def test_units_with_only_a_different_spelling_are_counted(any_dataset: Path) -> None:
    flags = json.loads((any_dataset / "metadata" / "flags.json").read_text())
    converted = flags["unit_converted"]["value"]
    spelled = events_of(any_dataset).filter(
        pl.col("raw_unit").is_not_null(), pl.col("numeric_value").is_not_null(), pl.col("flags") & converted == 0
    )
    applied = pl.read_parquet(any_dataset / "rules_applied.parquet").filter(pl.col("rule") == SPELLED)
    assert applied["events"].sum() == spelled.height > 1000


def test_an_example_is_an_event_of_the_dataset(any_dataset: Path) -> None:
    applied = pl.read_parquet(any_dataset / "rules_applied.parquet").rename(lambda name: name.removeprefix("example_"))
    same = [name for name in applied.columns if name not in ("rule", "events")]
    events = events_of(any_dataset).with_columns(pl.col("text_value").str.slice(0, EXAMPLE_LENGTH))
    assert applied.join(events, on=same, how="anti", nulls_equal=True).is_empty()


def test_applied_rules_are_shown(dataset: Path) -> None:
    shown = CliRunner().invoke(app, ["rules", "applied", str(dataset)])
    assert shown.exit_code == 0, shown.output
    assert "unit_converted:" in shown.stdout
    one = CliRunner().invoke(app, ["rules", "applied", str(dataset), "--item", "223761", "--limit", "1"]).stdout
    assert "Temperature Fahrenheit" in one
    assert "->" in one
    table = CliRunner().invoke(app, ["rules", "applied", str(dataset), "--csv"]).stdout
    # An example may be a text with several lines.
    shown = list(csv.reader(io.StringIO(table, newline="")))
    assert len(shown) == pl.read_parquet(dataset / "rules_applied.parquet").height + 1


def test_rules_that_cannot_be_shown_give_a_message(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not a dataset"):
        read_applied(tmp_path)
    with pytest.raises(SettingsError, match="there is no rule 'weight_of_the_moon'"):
        read_applied(dataset, "weight_of_the_moon")
    with pytest.raises(SettingsError, match="affected no event in"):
        # Only a build with --notes separate sets it.
        read_applied(dataset, "text_separate")


def test_a_build_as_written_applies_no_value_rules(tmp_path: Path, release: Path) -> None:
    dataset = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, standardise=False).path
    rules = set(pl.read_parquet(dataset / "rules_applied.parquet")["rule"])
    assert not rules & {"unit_converted", "impossible_value", "copied_result", "outside_stay", SPELLED}
    assert "available_estimated" in rules


def test_the_documented_counts_of_the_demo_are_true(demo_built: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "rules-on-the-demo.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.count("|") == 5]
    documented = {(rule, table): int(events.replace(",", "")) for rule, table, events, _ in cells if "/" in table}
    applied = pl.read_parquet(demo_built / "rules_applied.parquet")
    counted = applied.group_by("rule", "source_table").agg(pl.col("events").sum())
    assert documented == {(rule, table): events for rule, table, events in counted.iter_rows()}
    judged = {rule for rule, _, _, words in cells if words and rule in set(applied["rule"])}
    assert judged == set(applied["rule"])
