"""An unknown code, pattern, event type or column is an error that suggests what was meant, never an empty result."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.dataset.explain import explain
from ehrtraj.dataset.known_codes import KnownCodes
from ehrtraj.errors import SettingsError
from ehrtraj.labels.run import label

CREATININE = r"LAB//50912 \(Creatinine, Blood, Chemistry\)"


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


@pytest.fixture
def trajectory(ds: ehrtraj.Dataset, handmade: ModuleType) -> ehrtraj.Trajectory:
    return ds[handmade.SEPSIS]


# Every function that takes codes or patterns.
TAKE_CODES: dict[str, Callable[[ehrtraj.Dataset, ehrtraj.Trajectory, str], Any]] = {
    "codes": lambda ds, t, pattern: t.codes(pattern),
    "one of several codes": lambda ds, t, pattern: t.codes("LAB//*", pattern),
    "to_wide": lambda ds, t, pattern: t.to_wide("1h", pattern),
    "to_wide, one of several": lambda ds, t, pattern: t.to_wide("1h", ["LAB//*", pattern]),
    "aggregate": lambda ds, t, pattern: t.to_wide("1h", aggregate={pattern: "sum"}),
    "having": lambda ds, t, pattern: ds.filter(having=pattern),
    "having, one of several": lambda ds, t, pattern: ds.filter(having=["LAB//*", pattern]),
    "explain": lambda ds, t, pattern: explain(ds, t.subject_id, code=pattern),
}


@pytest.mark.parametrize("use", TAKE_CODES.values(), ids=TAKE_CODES)
@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("Creatinine", CREATININE),
        ("creatinin", CREATININE),
        ("LAB//Creatinine", CREATININE),
        ("lab//50912", CREATININE),
        ("LABS//50912", CREATININE),
        ("50912", CREATININE),
        ("LAB//5091?", CREATININE),
        ("LAB", r"LAB//\*"),
        ("LAB//", r"LAB//\*"),
        ("lab//*", r"LAB//\*"),
        ("ICU_STRAT//*", r"ICU_START//\*"),
        ("hospital_death", "HOSPITAL_DEATH"),
        ("DIAGNOSIS//I21*", r"DIAGNOSIS//ICD10CM//I21\.09"),
    ],
)
def test_a_pattern_that_matches_no_code_is_an_error_that_suggests_one(
    ds: ehrtraj.Dataset, trajectory: ehrtraj.Trajectory, use: Callable[..., Any], pattern: str, meant: str
) -> None:
    with pytest.raises(SettingsError, match=rf"matches '.*'\. Did you mean .*{meant}") as raised:
        use(ds, trajectory, pattern)
    assert f"'{pattern}'" in str(raised.value)


@pytest.mark.parametrize("pattern", ["unicorn", "unicorn//*", "", "//", "*//*//*//*//*//*//*"])
def test_without_a_similar_code_the_error_explains_how_to_find_one(
    trajectory: ehrtraj.Trajectory, pattern: str
) -> None:
    with pytest.raises(SettingsError, match=r"`ehrtraj codes .* WORD` finds codes") as raised:
        trajectory.codes(pattern)
    assert "Did you mean" not in str(raised.value)


def test_a_code_that_only_other_patients_have_is_valid(ds: ehrtraj.Dataset, trajectory: ehrtraj.Trajectory) -> None:
    assert "HOSPITAL_DEATH" not in trajectory.events["code"]
    assert len(trajectory.codes("HOSPITAL_DEATH")) == len(trajectory.codes("HOSPITAL_*")) == 0
    wide = trajectory.to_wide("1d", ["LAB//50912", "HOSPITAL_DEATH"], aggregate={"HOSPITAL_*": "count"})
    assert wide["HOSPITAL_DEATH"].null_count() == wide.height > 0
    one = ds.filter(pl.col("subject_id") == trajectory.subject_id)
    assert len(one.filter(having="HOSPITAL_DEATH")) == 0


def test_what_was_not_known_yet_is_not_unknown(trajectory: ehrtraj.Trajectory) -> None:
    """Whether a pattern is an error depends only on the dataset, so that an error reveals nothing about the patient."""
    first = trajectory.events["available_time"].drop_nulls().min()
    early = trajectory.as_of(first)
    assert len(trajectory.codes("DISCHARGE//*")) > len(early.codes("DISCHARGE//*")) == 0


def test_everything_matches_even_if_there_is_nothing(trajectory: ehrtraj.Trajectory) -> None:
    empty = KnownCodes(
        pl.DataFrame(
            schema={"code": pl.String, "description": pl.String, "event_type": pl.String, "n_events": pl.Int64}
        ),
        "empty",
    )
    empty.check(["*"])
    with pytest.raises(SettingsError, match="no code in empty matches 'LAB'"):
        empty.check(["LAB"])


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("HR", "CHART//1 (Heart Rate)"),
        ("hr", "CHART//1 (Heart Rate)"),
        ("CHART//HR", "CHART//1 (Heart Rate)"),
        ("NIBP", "CHART//3 (Non-invasive Blood Pressure, mean)"),
        ("heart rate", "CHART//1 (Heart Rate), CHART//2 (Heart Rate Alarm)"),
        ("rate heart", "CHART//1 (Heart Rate), CHART//2 (Heart Rate Alarm)"),
        ("heart raet", "CHART//1 (Heart Rate), CHART//2 (Heart Rate Alarm)"),
        ("chronic", "DIAGNOSIS//N18 (Chronic kidney disease)"),
        ("EMAR//Aspirin", "EMAR//Given//Aspirin"),
        ("EMAR//Given//Asprin", "EMAR//Given//Aspirin"),
    ],
)
def test_codes_are_suggested_by_words_initials_and_similarity(pattern: str, meant: str) -> None:
    rows = [
        ("CHART//2", "Heart Rate Alarm", 5),
        ("CHART//1", "Heart Rate", 9),
        ("CHART//3", "Non-invasive Blood Pressure, mean", 8),
        ("DIAGNOSIS//N18", "Chronic kidney disease", 99),
        ("EMAR//Given//Aspirin", "Entry: Given//Aspirin", 3),
        ("EMAR//Given//Senna", "Entry: Given//Senna", 7),
    ]
    codes = pl.DataFrame(rows, schema=["code", "description", "n_events"], orient="row")
    codes = codes.with_columns(event_type=pl.col("code").str.split("//").list.first())
    with pytest.raises(SettingsError) as raised:
        KnownCodes(codes, "v1").check([pattern])
    assert str(raised.value) == f"no code in v1 matches '{pattern}'. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (
            lambda ds, t: ds.filter(pl.col("Sex") == "F"),
            "patients have no column 'Sex' (did you mean sex?): use one of",
        ),
        (
            lambda ds, t: t.filter(pl.col("Code") == "x"),
            "events have no column 'Code' (did you mean code?): use one of",
        ),
        (lambda ds, t: t.filter(pl.col("value") > 1), "events have no column 'value'"),
        (lambda ds, t: ds.filter(split="training"), "there is no split 'training' (did you mean train?)"),
        (lambda ds, t: next(ds.trajectories("test")), "there is no split 'test': use one of train"),
        (lambda ds, t: t.intervals("inputs"), "there is no interval 'inputs' (did you mean input?)"),
        (lambda ds, t: t.to_wide(aggregate="average"), "there is no aggregation 'average': use one of mean"),
        (lambda ds, t: t.to_wide(aggregate="medain"), "there is no aggregation 'medain' (did you mean median?)"),
        (lambda ds, t: ds.sql("SELECT cod FROM events"), '"code"'),
        (lambda ds, t: label(ds, "icu_mortalty"), "(did you mean icu_mortality?)"),
    ],
)
def test_other_unknown_names_are_errors_that_suggest_one(
    ds: ehrtraj.Dataset, trajectory: ehrtraj.Trajectory, use: Callable[..., Any], words: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        use(ds, trajectory)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "{ds}", "{patient}", "--code", "LAB"], 2),
        (["explain", "{ds}", "{patient}", "--code", "LAB"], 2),
        (["codes", "{ds}", "LABS//*"], 7),
    ],
)
def test_commands_suggest_codes(ds: ehrtraj.Dataset, handmade: ModuleType, arguments: list[str], code: int) -> None:
    filled = [argument.format(ds=ds.path, patient=handmade.SEPSIS) for argument in arguments]
    result = CliRunner().invoke(app, filled)
    assert "Did you mean LAB//*?" in str(result.exception)
    assert result.exception.exit_code == code


TASK = """
predicates:
  creatinine: {{code: {code}}}
  discharge: {{code: {{regex: "^DISCHARGE//"}}}}
trigger: discharge
windows:
  input: {{start: null, end: trigger, start_inclusive: True, end_inclusive: True, index_timestamp: end}}
  target: {{start: input.end, end: start + 365d, start_inclusive: False, end_inclusive: True, label: creatinine}}
"""


def test_a_label_whose_predicate_matches_no_code_suggests_one(ds: ehrtraj.Dataset, tmp_path: Path) -> None:
    """It is no error: a task may name codes that some datasets do not have."""
    path = tmp_path / "task.yaml"
    path.write_text(TASK.format(code="LAB//Creatinine"))
    result = CliRunner().invoke(app, ["label", str(ds.path), str(path), "--output", str(tmp_path / "labels.parquet")])
    shown = " ".join(result.output.split())
    assert "predicate 'creatinine' matches no code in this dataset. Did you mean LAB//50912 (Creatinine" in shown
    path.write_text(TASK.format(code="LAB//50912"))
    assert label(ds, path).similar == {}


def test_checked_patterns_survive_pickling(ds: ehrtraj.Dataset, trajectory: ehrtraj.Trajectory) -> None:
    found = trajectory.codes("LAB//*")
    copy = pickle.loads(pickle.dumps(trajectory))
    assert copy.codes("LAB//*").events.equals(found.events)
    with pytest.raises(SettingsError, match=r"Did you mean LAB//\*"):
        copy.codes("LAB")
