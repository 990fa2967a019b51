"""The tasks of MEDS-DEV run through ACES with our predicates, and give the same labels here.

The tasks are restated here by their definition (github.com/Medical-Event-Data-Standard/MEDS-DEV, commit 365b0b9).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import SettingsError
from ehrtraj.labels import label
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.ready import meds_dev_predicates
from ehrtraj.sources.source import packaged

HERE = Path(__file__).parent
MISSING = "???"
ABNORMAL = {
    "elevated_creatinine": ("creatinine", "abnormally_high_creatinine"),
    "hyponatremia": ("sodium", "abnormally_low_sodium"),
    "metabolic_acidosis": ("bicarbonate", "abnormally_low_bicarbonate"),
    "anemia": ("hemoglobin", "abnormally_low_hemoglobin"),
    "leukocytosis": ("wbc", "abnormally_high_wbc"),
    "thrombocytopenia": ("platelets", "abnormally_low_platelets"),
    "hypotension": ("map", "abnormally_low_map"),
}
DEATH = {"code": {"regex": "MEDS_DEATH.*"}}


def window(start: str | None, end: str | None, *, first: bool = True, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": end, "start_inclusive": first, "end_inclusive": True, **more}


def abnormal(measured: str, outside: str) -> dict[str, Any]:
    """Return the task of an abnormal value on the second day of an adult's admission, if there was none before."""
    return {
        "predicates": {
            "hospital_admission": MISSING,
            "hospital_discharge": MISSING,
            "birth": {"code": {"regex": "MEDS_BIRTH.*"}},
            "death": DEATH,
            "discharge_or_death": {"expr": "or(death, hospital_discharge)"},
            measured: MISSING,
            outside: MISSING,
        },
        "trigger": "hospital_admission",
        "windows": {
            "input": window(None, "trigger + 24h", has={outside: "(None, 0)"}, index_timestamp="end"),
            "no_discharge": window(
                "trigger",
                "start + 48h",
                first=False,
                has={"hospital_admission": "(None, 0)", "discharge_or_death": "(None, 0)"},
            ),
            "no_children": window("end - 6570d", "trigger", has={"birth": "(None, 0)"}),
            "target": window("input.end", "start + 24h", first=False, has={measured: "(1, None)"}, label=outside),
        },
    }


def icu_mortality() -> dict[str, Any]:
    return {
        "predicates": {
            "icu_admission": MISSING,
            "icu_discharge": MISSING,
            "death": DEATH,
            "discharge_or_death": {"expr": "or(icu_discharge, death)"},
        },
        "trigger": "icu_admission",
        "windows": {
            "input": window(None, "trigger + 24h", index_timestamp="end"),
            "gap": window(
                "trigger",
                "start + 48h",
                first=False,
                has={"icu_admission": "(None, 0)", "discharge_or_death": "(None, 0)"},
            ),
            "target": window("gap.end", "start -> discharge_or_death", first=False, label="death"),
        },
    }


TASKS = {name: abnormal(*predicates) for name, predicates in ABNORMAL.items()} | {"icu_mortality": icu_mortality()}


def completed(task: dict[str, Any]) -> str:
    """Return a task with our predicates in place of the missing ones."""
    ours = yaml.safe_load(meds_dev_predicates())["predicates"]
    predicates = {name: ours[name] if one == MISSING else one for name, one in task["predicates"].items()}
    return yaml.safe_dump(task | {"predicates": predicates}, sort_keys=False)


def test_aces_runs_the_tasks_of_meds_dev_on_the_demo(demo_built: Path, consumers: Path, tmp_path: Path) -> None:
    dataset = ehrtraj.open(demo_built)
    events = dataset.scan().select("subject_id", "time", "code", "numeric_value").collect()
    events.sort("subject_id", "time", nulls_last=False, maintain_order=True).write_parquet(tmp_path / "events.parquet")
    (tmp_path / "predicates.yaml").write_text(meds_dev_predicates())
    work = []
    for name, task in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
        files = {"events": "events.parquet", "predicates": "predicates.yaml", "task": f"{name}.yaml", "out": name}
        work.append({key: str(tmp_path / file) for key, file in files.items()})
    script = HERE.parent / "dataset" / "consumers" / "aces_labels.py"
    lines = "".join(json.dumps(one) + "\n" for one in work)
    done = subprocess.run([consumers / "python", script], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, task in TASKS.items():
        theirs = sorted(pl.read_parquet(tmp_path / name).drop_nulls().rows())
        ours = label(dataset, parse_task(Path(f"{name}.yaml"), completed(task)))
        assert sorted(ours.table.rows()) == theirs, name
        assert {positive for _, _, positive in theirs} == {True, False}, f"{name} needs both labels"


def test_every_death_of_first_icu_stays_is_before_or_at_the_discharge(demo_built: Path) -> None:
    """The study of docs/guides/labels.md: adults, first ICU stay, more than 24 hours to the end of the admission."""
    events = ehrtraj.open(demo_built).sql("""
        WITH icu AS (
          SELECT subject_id, arg_min(hadm_id, time) AS hadm_id, min(time) AS start_time
          FROM events WHERE code LIKE 'ICU\\_START//%' ESCAPE '\\' GROUP BY subject_id
        ), admissions AS (
          SELECT
            hadm_id,
            max(time) FILTER (code LIKE 'DISCHARGE//%') AS discharged,
            max(time) FILTER (code = 'MEDS_DEATH')      AS died,
            count_if(code = 'HOSPITAL_DEATH')           AS deaths
          FROM events WHERE hadm_id IS NOT NULL GROUP BY hadm_id
        )
        SELECT deaths, died <= discharged AS died_inside
        FROM icu JOIN admissions USING (hadm_id)
        WHERE discharged > start_time + INTERVAL 24 HOURS
    """)
    assert (events.height, events["deaths"].sum(), events["died_inside"].sum()) == (98, 10, 10)


def test_the_command_prints_the_predicates() -> None:
    printed = CliRunner().invoke(app, ["tasks", "--meds-dev"])
    assert (printed.exit_code, printed.output) == (0, meds_dev_predicates())
    names = set(yaml.safe_load(printed.output)["predicates"])
    assert names >= {name for task in TASKS.values() for name, one in task["predicates"].items() if one == MISSING}
    both = CliRunner().invoke(app, ["tasks", "aki_48h", "--meds-dev"])
    assert "either the name of a task or --meds-dev" in str(both.exception)


def test_a_source_without_predicates_for_meds_dev_is_reported() -> None:
    elsewhere = replace(packaged("mimiciv"), folder=HERE)
    with pytest.raises(SettingsError, match=r"has no predicates for MEDS-DEV: add .*predicates\.yaml"):
        meds_dev_predicates(elsewhere)
