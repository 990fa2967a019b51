"""`ehrtraj concepts --events`: a dataset with concepts as events is a dataset like any other."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.concepts.index import read_index
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.engines.local import LocalEngine
from ehrtraj.enrich import merge
from ehrtraj.enrich.run import add_concepts
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.exports import formats
from ehrtraj.format import event_file
from ehrtraj.format.tallies import NUMBERS, TIMES
from ehrtraj.format.workspace import DATASET
from ehrtraj.labels import label
from ehrtraj.labels.ready import task_text
from ehrtraj.reports.run import build_report
from ehrtraj.runtime.limits import DEFAULT_MEMORY
from ehrtraj.storage.local import LocalStorage

NAMES = ["vitalsign", "weight_durations", "icustay_detail", "chemistry"]


@pytest.fixture
def dataset(several_shards_built: Path, tmp_path: Path) -> Path:
    """A dataset of several shards that a test may change."""
    return shutil.copytree(several_shards_built, tmp_path / "v1")


@pytest.fixture
def enriched(dataset: Path, tmp_path: Path) -> Path:
    ds = ehrtraj.open(dataset)
    assert len(ds.files) > 2
    return add_concepts(ds.layout, tmp_path / "with" / "concepts", NAMES, max_cpus=1).path


def content(root: Path) -> dict[str, bytes]:
    """Return the files of a dataset except those with the time of their creation."""
    files = {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    return {name: data for name, data in files.items() if name not in ("manifest.json", "metadata/dataset.json")}


def test_every_check_passes(enriched: Path) -> None:
    report = ehrtraj.check(enriched, max_cpus=1)
    assert not report.broken, report.broken
    assert not report.findings.skipped


def test_the_events_are_those_of_the_dataset_and_of_the_concepts(dataset: Path, enriched: Path) -> None:
    ds, new = ehrtraj.open(dataset), ehrtraj.open(enriched)
    is_concept = pl.col("code").str.starts_with("CONCEPT//")
    assert new.scan().filter(~is_concept).collect().equals(ds.scan().collect())
    added = new.scan().filter(is_concept).collect()
    expected = ds.scan(concepts=NAMES).filter(is_concept).collect()
    order = ["subject_id", "time", "code", "source_key"]
    assert added.sort(order).equals(expected.sort(order)) and added.height > 0
    t = new[added["subject_id"][0]]
    assert (
        t.codes("CONCEPT//vitalsign//*").events.height
        == added.filter(pl.col("code").str.starts_with("CONCEPT//vitalsign//"), subject_id=t.subject_id).height
    )


def test_the_events_of_a_row_share_its_number(dataset: Path, enriched: Path) -> None:
    rows = ehrtraj.open(dataset).concept("weight_durations").collect()
    added = ehrtraj.open(enriched).scan().filter(source_table="concepts/weight_durations").collect()
    wide = added.pivot("code", index=["subject_id", "source_key"], values="time").sort("subject_id", "source_key")
    assert wide["CONCEPT//weight_durations//weight"].to_list() == rows["start"].to_list()
    assert wide["CONCEPT//weight_durations//END"].to_list() == rows["end"].to_list()


def test_codes_ledger_and_manifest_describe_the_concepts(dataset: Path, enriched: Path) -> None:
    codes = pl.read_parquet(enriched / "metadata" / "codes.parquet")
    creatinine = codes.row(by_predicate=pl.col("code") == "CONCEPT//chemistry//creatinine", named=True)
    values = ehrtraj.open(dataset).concept("chemistry").select("subject_id", "creatinine").drop_nulls().collect()
    assert creatinine["n_events"] == values.height > 0
    assert creatinine["n_subjects"] == values["subject_id"].n_unique()
    assert (creatinine["unit"], creatinine["units"]) == ("mg/dL", ["mg/dL"])
    assert creatinine["description"] == "chemistry: Creatinine"
    ledger = pl.read_parquet(enriched / "ledger.parquet")
    stored = read_index(dataset, ConceptMode())
    read = ledger.filter(pl.col("table").str.starts_with("concepts/"), outcome="read")
    assert dict(read.select("table", "rows").rows()) == {f"concepts/{name}": stored[name].rows for name in NAMES}
    manifest = json.loads((enriched / "manifest.json").read_text())
    origin = manifest["concepts"]
    assert origin["fingerprint"]["dataset"] == hashlib.sha256((dataset / "manifest.json").read_bytes()).hexdigest()
    assert origin["fingerprint"]["concepts"] == {name: stored[name].digest for name in NAMES}
    assert manifest["trajectory_version"] == "concepts"


def test_the_tallies_count_the_concepts(dataset: Path, enriched: Path) -> None:
    for name, keys in ((NUMBERS, "code"), (TIMES, "event_type")):
        old, new = (pl.read_parquet(root / name) for root in (dataset, enriched))
        is_concept = pl.col(keys).str.starts_with("CONCEPT")
        assert new.filter(~is_concept).equals(old)
        added = ehrtraj.open(enriched).scan().filter(pl.col("code").str.starts_with("CONCEPT")).collect()
        if name == NUMBERS:
            assert new.filter(is_concept)["after"].sum() == added["numeric_value"].count() > 0
            assert new.filter(is_concept)["before"].equals(new.filter(is_concept)["after"].alias("before"))
        else:
            assert new.filter(is_concept)["events"].sum() == added.height > 0
            assert set(new["from_day"]) <= set(old["from_day"])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small row groups, and a few patients at a time."""
    monkeypatch.setattr(event_file, "ROW_GROUP", 40)
    monkeypatch.setattr(merge, "_CHUNK", 100)


@pytest.mark.usefixtures("small")
def test_row_groups_end_at_patients(release: Path, tmp_path: Path) -> None:
    ds = ehrtraj.open(ehrtraj.build(release, tmp_path, "v1", max_cpus=1).path)
    path = add_concepts(ds.layout, tmp_path / "v2", ["vitalsign"], max_cpus=1).path
    assert not ehrtraj.check(path, max_cpus=1).broken
    new = ehrtraj.open(path)
    several = 0
    for file in new.files:
        metadata = pq.read_metadata(file.path)
        ends = list(accumulate(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)))
        patients = new.patients_of(file)
        last = (patients["position"] + patients["n_events"]).to_list()
        assert set(ends) <= set(last)
        assert all(end - start >= 40 for start, end in zip([0, *ends], ends[:-1], strict=False))
        several += len(ends) > 2
    assert several


class _StoppedError(Exception):
    pass


class _Breaking(LocalEngine):
    """An engine that stops after one task."""

    def map(self, *given: Any, **named: Any) -> Iterator[Any]:
        yield next(iter(super().map(*given, **named)))
        raise _StoppedError


class _Twice(LocalEngine):
    """An engine that runs every task twice, and returns a late duplicate."""

    def map(self, work: Any, items: Iterable[Any], *given: Any, **named: Any) -> Iterator[Any]:
        listed = list(items)
        yield from super().map(work, [*listed, *listed], *given, **named)


def test_an_interrupted_run_shows_nothing_and_is_resumed(dataset: Path, enriched: Path, tmp_path: Path) -> None:
    layout, again = ehrtraj.open(dataset).layout, tmp_path / "again"
    with pytest.raises(_StoppedError):
        add_concepts(layout, again, NAMES, engine=_Breaking(1, DEFAULT_MEMORY))
    assert not again.exists()
    assert len(list((tmp_path / ".again.events" / "merged").rglob("*.json"))) == 1
    steps: list[tuple[int, int]] = []
    result = add_concepts(layout, again, NAMES, max_cpus=1, progress=lambda done, of: steps.append((done, of)))
    assert result.resumed and not result.already_there
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    assert content(again) == content(enriched)
    assert not (tmp_path / ".again.events").exists()


def test_files_are_synced_before_they_are_marked_as_finished(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    sync, write = LocalStorage.sync, LocalStorage.write

    def noted_sync(self: LocalStorage, name: str = "") -> None:
        calls.append(("sync", name))
        sync(self, name)

    def noted_write(self: LocalStorage, name: str, data: bytes) -> None:
        calls.append(("write", name))
        write(self, name, data)

    monkeypatch.setattr(LocalStorage, "sync", noted_sync)
    monkeypatch.setattr(LocalStorage, "write", noted_write)
    layout = ehrtraj.open(dataset).layout
    add_concepts(layout, tmp_path / "with" / "concepts", NAMES, max_cpus=1)
    for file in layout.files:
        name = f"{file.split}/{file.shard}.parquet"
        (marker,) = [at for at, (kind, written) in enumerate(calls) if written.endswith(f"/{name}.json")]
        assert calls.index(("sync", f"{DATASET}/data/{name}")) < marker


def test_a_task_may_run_twice(dataset: Path, enriched: Path, tmp_path: Path) -> None:
    add_concepts(ehrtraj.open(dataset).layout, tmp_path / "again", NAMES, engine=_Twice(1, DEFAULT_MEMORY))
    assert content(tmp_path / "again") == content(enriched)


def test_existing_folders_are_replaced_only_if_ehrtraj_made_them(dataset: Path, enriched: Path, tmp_path: Path) -> None:
    layout = ehrtraj.open(dataset).layout
    assert add_concepts(layout, enriched, NAMES).already_there
    with pytest.raises(OutputError, match=r"is not this dataset with these concepts"):
        add_concepts(layout, enriched, ["vitalsign"])
    assert add_concepts(layout, enriched, ["vitalsign"], overwrite=True, max_cpus=1).concepts.keys() == {"vitalsign"}
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"mine"):
            add_concepts(layout, thesis.parent, NAMES, overwrite=overwrite)
    assert thesis.read_text() == "years of work"
    for inside in (dataset, dataset / "data", dataset / "new"):
        with pytest.raises(OutputError):
            add_concepts(layout, inside, NAMES, overwrite=True)
    with pytest.raises(SettingsError, match="already includes concepts"):
        add_concepts(ehrtraj.open(enriched).layout, tmp_path / "twice", NAMES)
    with pytest.raises(SettingsError, match="includes its concepts as events"):
        ehrtraj.open(enriched).scan(concepts=["vitalsign"])
    with pytest.raises(SettingsError, match="did you mean vitalsign"):
        add_concepts(layout, tmp_path / "other", ["vitalsigns"])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("clock", ["event", "available"])
def test_the_command_adds_concepts_to_the_demo(demo: Path, demo_built: Path, tmp_path: Path, clock: str) -> None:
    """The clock of the dataset decides the order of its events."""
    built = demo_built
    if clock == "available":
        tables = "patients,admissions,icustays,chartevents"
        built = ehrtraj.build(demo, tmp_path, "late", max_cpus=2, clock=clock, tables=tables).path
    copy, new = shutil.copytree(built, tmp_path / "v1"), tmp_path / "v2"
    done = CliRunner().invoke(app, ["concepts", str(copy), "vitalsign", "--events", "--output", str(new)])
    assert done.exit_code == 0, done.output
    assert "vitalsign" in done.output
    assert not ehrtraj.check(new, max_cpus=2).broken
    events = ehrtraj.open(new).scan().filter(code="CONCEPT//vitalsign//heart_rate").collect()
    late = (events["time"] == events["available_time"]).all()
    assert events.height > 10_000 and late == (clock == "available")


def test_tasks_find_concepts_in_the_dataset(demo_built: Path, consumers: Path, tmp_path: Path) -> None:
    """ACES and `label` give the same labels as `label` without the events, which computes the concepts."""
    copy, new = shutil.copytree(demo_built, tmp_path / "v1"), tmp_path / "v2"
    add_concepts(ehrtraj.open(copy).layout, new, ["stay_moment", "kdigo_aki"], max_cpus=2)
    found = label(ehrtraj.open(new), "aki_48h")
    expected = label(ehrtraj.open(copy), "aki_48h")
    assert found.table.equals(expected.table) and found.stays.equals(expected.stays)
    (tmp_path / "aki_48h.yaml").write_text(task_text("aki_48h"))
    events = ehrtraj.open(new).scan().select("subject_id", "time", "code", "numeric_value").collect()
    events.write_parquet(tmp_path / "events.parquet")
    files = {"events": tmp_path / "events.parquet", "task": tmp_path / "aki_48h.yaml", "out": tmp_path / "labels"}
    script = Path(__file__).parents[1] / "dataset" / "consumers" / "aces_labels.py"
    line = json.dumps({key: str(path) for key, path in files.items()})
    subprocess.run([consumers / "python", script], input=line, text=True, check=True, capture_output=True)
    theirs = pl.read_parquet(tmp_path / "labels").drop_nulls().rows()
    assert sorted(theirs) == sorted(found.table.rows()) and len(theirs) > 100


def test_the_command_writes_a_report_as_a_build_does(dataset: Path, tmp_path: Path) -> None:
    new, report = tmp_path / "v2", tmp_path / "v2-report.html"

    def run(*options: str) -> Result:
        done = CliRunner().invoke(app, ["concepts", str(dataset), "chemistry", "--events", "-o", str(new), *options])
        assert done.exit_code == 0, done.output
        return done

    assert "report:" not in run("--no-report").output
    assert not report.exists()
    # The dataset is already there.
    assert f"report: {report}" in " ".join(run().output.split())
    assert report.read_bytes() == build_report(new)
    assert not (tmp_path / "v1-report.html").exists()
    report.write_text("mine")
    done = run("--overwrite")
    assert "is not a report of ehrtraj" in done.output and "report:" not in done.stdout
    assert report.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--events"], "belong together"),
        (["--output", "new"], "belong together"),
        (["--no-report"], "belongs to --events"),
        (["--events", "--output", "new", "--clock", "available"], "omit --clock"),
        (["--events", "--output", "new", "--as-mimic-code"], "omit --clock and --as-mimic-code"),
    ],
)
def test_contradicting_options_are_reported(built: Path, options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["concepts", str(built), *options])
    assert isinstance(done.exception, SettingsError)
    assert message in str(done.exception)


def in_export(output: Path) -> dict[Path, pl.DataFrame]:
    """Return the events of each file of an export."""
    return {output / path: ehrtraj.read_export(output / path) for path in pl.read_csv(output / "index.csv")["path"]}


@pytest.mark.parametrize("kind", formats.names())
def test_an_export_per_patient_includes_the_concepts_in_order(
    dataset: Path, enriched: Path, tmp_path: Path, kind: str
) -> None:
    new, is_concept = ehrtraj.open(enriched), pl.col("code").str.starts_with("CONCEPT//")
    result = ehrtraj.export(enriched, tmp_path / "new", format=kind, max_cpus=1)
    summary = json.loads((enriched / "manifest.json").read_text())["summary"]
    assert (result.patients, result.files, result.events) == (len(new), len(new), summary["events"])
    index = pl.read_csv(tmp_path / "new" / "index.csv")
    assert dict(index.select("subject_id", "events").rows()) == dict(
        new.subjects.select("subject_id", "n_events").rows()
    )
    files = in_export(tmp_path / "new")
    for events in files.values():
        assert events["time"].is_sorted()
        assert events.equals(new[events["subject_id"][0]].events)
    everything = pl.concat(files.values())
    codes = pl.read_parquet(enriched / "metadata" / "codes.parquet").filter(is_concept)
    exported = everything.filter(is_concept).group_by("code").len()
    assert dict(exported.rows()) == dict(codes.select("code", "n_events").rows()) != {}
    # Without the concepts, the export is that of the original dataset.
    ehrtraj.export(dataset, tmp_path / "old", format=kind, max_cpus=1)
    for path, events in in_export(tmp_path / "old").items():
        added = files[tmp_path / "new" / path.relative_to(tmp_path / "old")]
        assert added.filter(~is_concept).equals(events)


@pytest.mark.parametrize(("per", "column"), [("admission", "hadm_id"), ("icustay", "stay_id")])
def test_exports_per_stay_assign_concepts_by_their_column(
    enriched: Path, tmp_path: Path, per: Any, column: str
) -> None:
    """`vitalsign` has only a `stay_id`, so its events belong to ICU stays, and to no admission."""
    result = ehrtraj.export(enriched, tmp_path / "new", per=per, max_cpus=1)
    assert result.events == ehrtraj.open(enriched).subjects["n_events"].sum()
    found = set()
    for path, events in in_export(tmp_path / "new").items():
        key = None if path.stem == "outside" else int(path.stem.partition("-")[2])
        concepts = events.filter(pl.col("code").str.starts_with("CONCEPT//"))
        assert set(concepts[column].unique()) <= {key}
        found |= {(table, key is not None) for table in concepts["source_table"].unique()}
    has_hadm_id = {"icustay_detail": True, "chemistry": True, "vitalsign": False, "weight_durations": False}
    if per == "admission":
        assert {(f"concepts/{name}", inside) for name, inside in has_hadm_id.items()} <= found
        assert ("concepts/vitalsign", True) not in found
    else:
        assert {(f"concepts/{name}", True) for name in ("icustay_detail", "vitalsign", "weight_durations")} <= found
        assert ("concepts/vitalsign", False) not in found
