"""Labels: predefined and custom tasks give the same labels as ACES, and errors in task files name the line."""

from __future__ import annotations

import json
import random
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import meds
import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import SettingsError
from ehrtraj.labels import TaskError, concept_values, label, ready_tasks, run
from ehrtraj.labels.concepts import computable
from ehrtraj.labels.parse import parse_task
from ehrtraj.labels.predicates import Predicates
from ehrtraj.labels.ready import find_task, task_text
from ehrtraj.labels.task import CodePredicate
from ehrtraj.labels.windows import Axis, evaluate_task
from ehrtraj.runtime import limits
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

HERE = Path(__file__).parent
HOUR = timedelta(hours=1)
Rows = list[tuple[int, datetime, bool]]


def aces(python: Path, work: list[dict[str, str]]) -> list[Rows]:
    """Return the labels of ACES, without rows that have no time, whose windows have a boundary that does not occur."""
    lines = "".join(json.dumps(one) + "\n" for one in work)
    script = HERE.parent / "dataset" / "consumers" / "aces_labels.py"
    done = subprocess.run([python, script], input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [sorted(pl.read_parquet(one["out"]).drop_nulls().rows()) for one in work]


# Predefined tasks ----------------------------------------------------------------------------------------------------


def test_aces_gives_the_same_labels_for_every_predefined_task(
    demo_built: Path, consumers: Path, tmp_path: Path
) -> None:
    dataset = ehrtraj.open(demo_built)
    added = concept_values(dataset, CONCEPT_CODES).select("subject_id", "time", "code", "numeric_value")
    events = dataset.scan().select("subject_id", "time", "code", "numeric_value").collect()
    pl.concat([events, added]).sort("subject_id", "time", nulls_last=False).write_parquet(tmp_path / "events.parquet")
    work = []
    for name in ready_tasks():
        (tmp_path / f"{name}.yaml").write_text(task_text(name))
        files = {"events": tmp_path / "events.parquet", "task": tmp_path / f"{name}.yaml", "out": tmp_path / name}
        work.append({key: str(path) for key, path in files.items()})
    for name, expected in zip(ready_tasks(), aces(consumers / "python", work), strict=True):
        found = label(dataset, name)
        assert sorted(found.table.rows()) == expected, name
        assert {positive for _, _, positive in expected} == {True, False}, f"{name} needs both labels"
        assert (found.unseen, found.early) == ((), 0), name


def test_every_predefined_task_has_a_description_and_a_reference() -> None:
    assert len(ready_tasks()) == 8
    for name, task in ready_tasks().items():
        assert task.description.endswith("."), name
        assert any(mark in task_text(name) for mark in ("doi:", "CMS", ":1-138", "JAMA", "npj")), name


CONCEPT_CODES = sorted(
    {
        code
        for task in ready_tasks().values()
        for predicate in task.predicates.values()
        if isinstance(predicate, CodePredicate)
        for code in predicate.codes
        if code.startswith("CONCEPT//")
    }
)


def test_predefined_tasks_name_values_of_concepts(built: Path) -> None:
    concepts = computable(ehrtraj.open(built))
    assert concepts is not None
    assert len(CONCEPT_CODES) > 10
    assert set(CONCEPT_CODES) <= set(concepts.codes())


def test_a_task_can_name_any_concept(demo_built: Path) -> None:
    """The labels are those of a dataset that includes the concept as events."""
    dataset = ehrtraj.open(demo_built)
    text = GOOD.replace("{ code: MEDS_DEATH }", "{ code: CONCEPT//vitalsign//heart_rate, value_min: 130 }")
    task = parse_task(Path("mine.yaml"), text)
    found = label(dataset, task)
    assert found.unseen == ()
    assert set(found.table["boolean_value"]) == {True, False}
    rates = concept_values(dataset, ["CONCEPT//vitalsign//heart_rate"])
    assert rates.height > 10_000 and set(rates["code"]) == {"CONCEPT//vitalsign//heart_rate"}


# The task language ---------------------------------------------------------------------------------------------------

PREDICATES = """
predicates:
  a: { code: A }
  b: { code: { regex: "^B" }, value_min: 2, value_min_inclusive: True }
  c: { code: { any: [C, D] }, value_max: 3 }
  a_or_c: { expr: "or(a, c)" }
  both: { expr: "and(a_or_c, b)" }
"""
NAMES = ("a", "b", "c", "a_or_c", "both", "_ANY_EVENT")


def random_task(draw: random.Random) -> str:
    """Return a task with random windows."""
    lines, sides = [], ["trigger"]
    for at in range(draw.randint(2, 4)):
        name, outside = f"w{at}", draw.choice(sides)
        offset = draw.choice(
            ["", f" + {draw.randint(1, 9)}h", f" - {draw.randint(1, 9)}h", f" -> {draw.choice(NAMES[:5])}"]
        )
        later = draw.choice([f"start + {draw.randint(1, 30)}h", f"start -> {draw.choice(NAMES)}", "null"])
        before = draw.choice([f"end - {draw.randint(1, 30)}h", f"end <- {draw.choice(NAMES)}", "null"])
        # For a window that is computed backwards by a duration, ACES returns its end as its start: no index_timestamp
        # is drawn there.
        forwards = at == 1 or draw.random() < 0.6
        start, end = (outside + offset, later) if forwards else (before, outside + offset)
        lines += [
            f"  {name}:",
            f"    start: {start}",
            f"    end: {end}",
            f"    start_inclusive: {draw.random() < 0.5}",
            f"    end_inclusive: {draw.random() < 0.5}",
        ]
        if draw.random() < 0.5:
            bounds = draw.choice(["(1, None)", "(None, 2)", "(0, 3)", "(2, None)"])
            lines += ["    has:", f"      {draw.choice(NAMES)}: {bounds}"]
        if at == 0:
            lines += ["    label: " + draw.choice(NAMES[:5])]
        if at == 1:
            lines += ["    index_timestamp: " + draw.choice(["start", "end"])]
        sides += [f"{name}.start", f"{name}.end"]
    return PREDICATES + f"trigger: {draw.choice(NAMES[:4])}\nwindows:\n" + "\n".join(lines) + "\n"


def random_events(draw: random.Random) -> pl.DataFrame:
    rows = [
        (
            subject,
            datetime(2150, 1, 1) + draw.randint(0, 60) * HOUR,
            draw.choice(["A", "B1", "B2", "C", "D", "E"]),
            float(draw.randint(0, 5)),
        )
        for subject in range(1, 13)
        for _ in range(draw.randint(1, 25))
    ]
    schema = {"subject_id": pl.Int64, "time": pl.Datetime("us"), "code": pl.String, "numeric_value": pl.Float32}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("subject_id", "time")


def our_labels(text: str, events: pl.DataFrame) -> Rows:
    predicates = Predicates(parse_task(Path("random.yaml"), text), events["code"].unique())
    counts = predicates.count(events)
    bounds = counts.group_by("subject_id").agg(first=pl.col("time").min(), last=pl.col("time").max()).sort("subject_id")
    predictions = evaluate_task(predicates.task, Axis(counts, bounds))
    times = pl.Series(predictions.prediction_times).cast(pl.Datetime("us"))
    is_positive = (predictions.counts > 0).tolist()
    return sorted(zip(predictions.subject_ids.tolist(), times.to_list(), is_positive, strict=True))


def test_random_tasks_give_the_same_labels_as_aces(consumers: Path, tmp_path: Path) -> None:
    draw = random.Random(6)
    work, ours = [], []
    while len(work) < 60:
        text, events = random_task(draw), random_events(draw)
        try:
            ours.append(our_labels(text, events))
        except TaskError:
            continue  # some random windows end before they start
        folder = tmp_path / str(len(work))
        folder.mkdir()
        (folder / "task.yaml").write_text(text)
        events.write_parquet(folder / "events.parquet")
        work.append(
            {
                name: str(folder / f"{file}")
                for name, file in (("events", "events.parquet"), ("task", "task.yaml"), ("out", "labels.parquet"))
            }
        )
    for one, found, expected in zip(work, ours, aces(consumers / "python", work), strict=True):
        assert found == expected, Path(one["task"]).read_text()
    assert sum(map(len, ours)) > 300


# Invalid task files --------------------------------------------------------------------------------------------------

GOOD = """description: A test.
predicates:
  admission: { code: { regex: "^ADMISSION//" } }
  death: { code: MEDS_DEATH }
trigger: admission
windows:
  input:
    start: trigger
    end: start + 24h
    start_inclusive: True
    end_inclusive: True
    index_timestamp: end
  target:
    start: input.end
    end: start + 30 days
    start_inclusive: False
    end_inclusive: True
    label: death
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("trigger: admission", "trigger: arrival", 5, "it must be one of the predicates admission, death"),
        ("  death: { code: MEDS_DEATH }", "  death: { kode: MEDS_DEATH }", 4, "no key 'kode'"),
        ("  death: { code: MEDS_DEATH }", "  death: { code: MEDS_DEATH", 5, "invalid YAML"),
        ("  death: { code: MEDS_DEATH }", "  death: { expr: not(admission) }", 4, "expr must be"),
        ("  death: { code: MEDS_DEATH }", "  death: { code: X, static: True }", 4, "static is not supported"),
        (
            "  death: { code: MEDS_DEATH }",
            "  death: { expr: 'or(admission, death)' }",
            4,
            "predicate death refers to itself",
        ),
        ("    end: start + 24h", "    end: start + 24 moons", 9, "'24 moons' is not a valid duration"),
        ("    end: start + 24h", "    end: start - 24h", 9, "end before it starts"),
        ("    end: start + 24h", "    end: start -> birth", 9, "no predicate birth"),
        ("    end: start + 24h", "    end: trigger + 24h", 7, "exactly one of start and end"),
        ("    start: input.end", "    start: output.end", 13, "no window output"),
        ("    start: input.end", "    start: target.end", 13, "refers to itself"),
        ("    label: death", "    has:\n      death: (3, 1)\n    label: death", 19, "(3, 1) is not a valid range"),
        ("    label: death", "    label: dead", 18, "no predicate dead"),
        ("    label: death\n", "", 7, "exactly one window must have label"),
        ("    start_inclusive: False", "    start_inclusive: 5", 16, "True or False"),
        ("    label: death", "    label: death\n    label: death", 19, "the key 'label' occurs twice"),
    ],
)
def test_the_error_of_an_invalid_task_file_names_the_line(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(TaskError) as raised:
        parse_task(Path("mine.yaml"), GOOD.replace(old, new))
    assert f"mine.yaml, line {line}: " in str(raised.value)
    assert message in str(raised.value)


def test_unknown_concepts_and_invalid_expressions_are_reported(built: Path) -> None:
    dataset = ehrtraj.open(built)
    for code, message in (
        ("CONCEPT//none//x", "no value of a concept has the code CONCEPT//none//x"),
        ("CONCEPT//vitalsign//heart_rat", "did you mean CONCEPT//vitalsign//heart_rate"),
        ("{ regex: '(' }", "not a valid regular expression"),
    ):
        task = parse_task(Path("mine.yaml"), GOOD.replace("MEDS_DEATH", code))
        with pytest.raises(TaskError, match=message):
            label(dataset, task)
    task = parse_task(Path("mine.yaml"), GOOD.replace("MEDS_DEATH", "MEDS_DEATH, other_cols: { colour: red }"))
    with pytest.raises(TaskError, match="colour"):
        label(dataset, task)


def test_durations_are_parsed_as_in_aces() -> None:
    for duration, hours in (
        ("1d 12h", 36),
        ("2 weeks", 336),
        ("90 min", 1.5),
        ("0.5 days", 12),
        ("1 hour 30 minutes", 1.5),
    ):
        task = parse_task(Path("mine.yaml"), GOOD.replace("24h", duration))
        assert task.index_window.end.offset == hours * 3_600_000_000


# Command line and files ----------------------------------------------------------------------------------------------


def test_the_label_file_conforms_to_meds_and_is_private(built: Path, tmp_path: Path) -> None:
    task, out = tmp_path / "mine.yaml", tmp_path / "labels" / "mine.parquet"
    task.write_text(GOOD)
    done = CliRunner().invoke(app, ["label", str(built), str(task), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "A test." in done.output
    table = pq.read_table(out)
    meds.LabelSchema.validate(table)
    admissions = (
        ehrtraj.open(built)
        .sql("SELECT count(DISTINCT (subject_id, time)) FROM events WHERE code LIKE 'ADMISSION//%'")
        .item()
    )
    assert table.num_rows == admissions > 5
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, out.parent)] == [0o600, 0o700]
    again = CliRunner().invoke(app, ["label", str(built), str(task), "-o", str(out)])
    assert (again.exit_code, str(again.exception)) == (
        1,
        f"{out} already exists: choose another --output, or pass --overwrite",
    )
    assert again.exception.exit_code == 4
    assert CliRunner().invoke(app, ["label", str(built), str(task), "-o", str(out), "--overwrite"]).exit_code == 0


def test_only_selected_patients_are_labelled(built: Path) -> None:
    dataset = ehrtraj.open(built)
    task = parse_task(Path("mine.yaml"), GOOD)
    some = dataset.sample(3)
    expected = label(dataset, task).table.filter(pl.col("subject_id").is_in(list(some)))
    assert label(some, task).table.equals(expected)
    assert expected.height > 0


@pytest.mark.parametrize("task", ["readmission_30d", "in_hospital_mortality"])
def test_the_number_of_processes_changes_no_label(
    several_shards_built: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    dataset = ehrtraj.open(several_shards_built)
    expected = label(dataset, task, max_cpus=1)
    processes, progress = [], []

    def counted(work: Callable[..., Any], tasks: Any, workers: int, report: Any) -> Iterator[tuple[Any, Any]]:
        processes.append(workers)
        # In the opposite order of the files, whichever process ends first.
        yield from sorted(stream_tasks(work, tasks, workers, report), key=lambda result: -result[0])

    monkeypatch.setattr(limits, "usable_cpus", lambda: 2)
    monkeypatch.setattr(run, "stream_tasks", counted)
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    monkeypatch.setattr(run, "_BATCH_EVENTS", 1)
    found = label(dataset, task, progress=lambda done, of: progress.append((done, of)))
    assert processes == [2]
    events = dataset.subjects["n_events"].sum()
    assert progress == sorted(progress)
    assert (progress[0], progress[-1]) == ((0, events), (events, events))
    # A file is also reported while it is worked on.
    assert len(progress) > 1 + len(dataset.files)
    assert len({done for done, _ in progress}) > 1 + len(dataset.files)
    assert found.table.equals(expected.table)
    assert found.table.height > 0
    assert found.splits.equals(expected.splits)
    assert found.early == expected.early


def test_labels_carry_the_admission_and_the_stay_of_the_trigger(built: Path, handmade: Any, tmp_path: Path) -> None:
    dataset = ehrtraj.open(built)
    for task in ("icu_mortality", "in_hospital_mortality_first_icu"):
        found = label(dataset, task).with_stays.select("subject_id", "hadm_id", "stay_id")
        assert found.rows() == [
            (handmade.SEPSIS, handmade.SEPSIS_HADM, handmade.SEPSIS_STAY),
            (handmade.DIED, handmade.DIED_HADM, handmade.DIED_STAY),
        ], task
    admissions = label(dataset, "in_hospital_mortality").with_stays
    starts = dataset.stays("admission").select("hadm_id", "start", "subject_id")
    joined = admissions.join(starts, on=["subject_id", "hadm_id"])
    assert joined.height == admissions.height > 5
    assert (joined["prediction_time"] - joined["start"]).unique().to_list() == [24 * HOUR]
    assert admissions["stay_id"].null_count() == admissions.height


def test_triggers_that_disagree_on_the_stay_have_none(built: Path, tmp_path: Path) -> None:
    """A combination has the stay that its events agree on."""
    either = GOOD.replace("trigger: admission", "trigger: either").replace(
        "predicates:\n",
        'predicates:\n  ward: {code: {regex: "^(TRANSFER|WARD)"}}\n  either: {expr: "or(admission, ward)"}\n',
    )
    dataset = ehrtraj.open(built)
    found = label(dataset, parse_task(Path("mine.yaml"), either)).with_stays
    plain = label(dataset, parse_task(Path("mine.yaml"), GOOD)).with_stays
    assert found.height > plain.height
    assert plain["hadm_id"].null_count() == 0
    code = pl.col("code").str.contains("^(ADMISSION|TRANSFER|WARD)")
    events = dataset.scan().filter(code).group_by("subject_id", "time").agg(pl.col("hadm_id").drop_nulls().unique())
    expected = {(who, time): ids[0] if len(ids) == 1 else None for who, time, ids in events.collect().rows()}
    starts = found.with_columns(time=pl.col("prediction_time") - pl.duration(hours=24))
    rows = starts.select("subject_id", "time", "hadm_id").rows()
    assert {(who, time): hadm for who, time, hadm in rows} == {
        key: expected[key] for key in ((w, t) for w, t, _ in rows)
    }


def test_a_file_of_labels_has_stays_on_request(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels.parquet"
    done = CliRunner().invoke(app, ["label", str(built), "icu_mortality", "-o", str(out), "--with-stays"])
    assert done.exit_code == 0, done.output
    written = pl.read_parquet(out)
    meds.LabelSchema.validate(written.drop("hadm_id", "stay_id").to_arrow())
    expected = label(ehrtraj.open(built), "icu_mortality").with_stays
    assert written.select(expected.columns).equals(expected)
    assert CliRunner().invoke(app, ["label", str(built), "icu_mortality", "-o", str(out), "--overwrite"]).exit_code == 0
    meds.LabelSchema.validate(pq.read_table(out))


def test_more_cpus_than_available_are_noted(built: Path) -> None:
    labels = label(ehrtraj.open(built), parse_task(Path("mine.yaml"), GOOD), max_cpus=100_000)
    assert "--max-cpus is 100,000" in labels.notes[0]
    with pytest.raises(SettingsError, match="must be 1 or more"):
        label(ehrtraj.open(built), parse_task(Path("mine.yaml"), GOOD), max_cpus=0)


def test_labels_that_leak_and_codes_that_do_not_exist_are_reported(built: Path, tmp_path: Path) -> None:
    task = tmp_path / "mine.yaml"
    task.write_text(GOOD.replace("input.end", "trigger").replace("MEDS_DEATH", "MEDS_DEAD"))
    done = CliRunner().invoke(app, ["label", str(built), str(task), "-o", str(tmp_path / "labels.parquet")])
    assert re.search(r"the label window of \d+ labels begins before prediction_time", done.output)
    assert "predicate 'death' matches no code in this dataset" in done.output
    assert "all labels are false" in done.output


def test_tasks_are_listed_and_printed() -> None:
    listed = CliRunner().invoke(app, ["tasks"])
    assert all(name in listed.output for name in ready_tasks())
    assert CliRunner().invoke(app, ["tasks", "aki_48h"]).output == task_text("aki_48h")
    assert "Predefined tasks: aki_48h" in str(CliRunner().invoke(app, ["label", "nowhere", "aki"]).exception)
    with pytest.raises(TaskError, match="cannot be read: No such file"):
        find_task("mine.yaml")
