"""Concepts that are stored in a dataset: complete, resumable, checked, and read through the dataset."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.concepts.index import read_index
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.run import compute_concepts, make_groups
from ehrtraj.concepts.session import ConceptMode, open_concept_session
from ehrtraj.concepts.work import ShardItem
from ehrtraj.engines.local import LocalEngine
from ehrtraj.errors import DatasetError, OutputError, RecipeError, SettingsError
from ehrtraj.runtime.limits import DEFAULT_MEMORY

NAMES = ["chemistry", "vitalsign"]


@pytest.fixture
def dataset(several_shards_built: Path, tmp_path: Path) -> Path:
    """A dataset of several shards that a test may change."""
    return shutil.copytree(several_shards_built, tmp_path / "v1")


@pytest.fixture
def computed(dataset: Path) -> Path:
    ehrtraj.compute_concepts(dataset, NAMES, max_cpus=1)
    return dataset


def test_stored_rows_are_those_of_the_session(computed: Path, library: ConceptLibrary) -> None:
    ds = ehrtraj.open(computed)
    assert len(ds.files) > 2
    with open_concept_session(library, ds.flags, ConceptMode(), files=[file.path for file in ds.files]) as session:
        parts: dict[str, list[Any]] = {name: [] for name in NAMES}
        for file in ds.files:
            session.load([file.path], ds.patients_of(file), ds.layout.clock)
            for concept, rows in session.compute(NAMES):
                parts[concept.name].append(pl.from_arrow(rows))
    for name in NAMES:
        expected = pl.concat(parts[name])
        stored = ds.concept(name).collect()
        assert stored.equals(expected) and stored.height > 0, name
        one = ds[stored["subject_id"][0]]
        assert one.concept(name).equals(expected.filter(subject_id=one.subject_id))
    assert ds.concepts["rows"].to_list() == [pl.concat(parts[name]).height for name in NAMES]


def test_a_concept_that_is_not_stored_is_computed_for_one_patient(dataset: Path, computed: Path) -> None:
    stored = ehrtraj.open(computed).concept("vitalsign").collect()
    shutil.rmtree(computed / "concepts")
    ds = ehrtraj.open(dataset)
    subject_id = stored["subject_id"][0]
    assert ds[subject_id].concept("vitalsign").equals(stored.filter(subject_id=subject_id))
    with pytest.raises(SettingsError, match=r"run `ehrtraj concepts .* vitalsign`"):
        ds.concept("vitalsign")
    with pytest.raises(SettingsError, match="did you mean vitalsign"):
        ds[subject_id].concept("vitalsigns")


def test_as_of_hides_rows_of_concepts_that_were_not_known(computed: Path) -> None:
    rows = ehrtraj.open(computed).concept("chemistry").collect().sort("available_time")
    row = rows.row(0, named=True)
    t = ehrtraj.open(computed)[row["subject_id"]]
    at = row["available_time"]
    for cut in (t.as_of(at), ehrtraj.open(computed)[row["subject_id"]].as_of(at)):
        known = cut.concept("chemistry")
        assert 0 < known.height == known.filter(pl.col("available_time") <= at).height
        events = cut.codes("CONCEPT//chemistry//*").events
        assert events.height > 0 and events["available_time"].max() <= at
    with pytest.raises(SettingsError, match="mimic-code does not know"):
        t.as_of(at).concept("chemistry", as_mimic_code=True)


def test_concepts_are_events_in_order_of_time(computed: Path) -> None:
    ds = ehrtraj.open(computed)
    rows = ds.concept("chemistry").collect()
    values = [
        name for name in rows.columns if name not in ("subject_id", "hadm_id", "time", "available_time", "specimen_id")
    ]
    expected = sum(rows[name].count() for name in values)
    events = ds.scan(concepts=["chemistry"]).collect()
    derived = events.filter(pl.col("code").str.starts_with("CONCEPT//chemistry//"))
    assert derived.height == expected > 0
    assert events.height == ds.scan().collect().height + expected
    for _, patient in events.group_by("subject_id"):
        assert patient["time"].is_sorted()
    t = ds[rows["subject_id"][0]]
    creatinine = t.codes("CONCEPT//chemistry//creatinine").events
    own = rows.filter(subject_id=t.subject_id)["creatinine"].drop_nulls()
    assert creatinine["numeric_value"].to_list() == own.cast(pl.Float32).to_list()
    assert set(creatinine["unit"]) == {"mg/dL"}
    both = t.codes("CONCEPT//*", "LAB//*")
    assert both.events["time"].is_sorted()
    assert {"CONCEPT", "LAB"} == {code.split("//")[0] for code in both.events["code"]}
    some = ds.filter(pl.col("subject_id") == t.subject_id)
    assert set(some.scan(concepts=["chemistry"]).collect()["subject_id"]) == {t.subject_id}


def test_stored_concepts_are_tables_in_sql(computed: Path) -> None:
    ds = ehrtraj.open(computed)
    assert ds.sql("SELECT count(*) FROM chemistry").item() == ds.concept("chemistry").collect().height
    few = ds.sample(1)
    assert set(few.sql("SELECT DISTINCT subject_id FROM vitalsign")["subject_id"]) <= set(few)


def test_what_is_stored_is_not_computed_again(computed: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in computed.rglob("*")}
    again = ehrtraj.compute_concepts(computed, NAMES, max_cpus=1)
    assert (again.computed, sorted(again.existing)) == ((), NAMES)
    assert {path: path.stat().st_mtime_ns for path in computed.rglob("*")} == before
    anew = ehrtraj.compute_concepts(computed, ["vitalsign"], overwrite=True, max_cpus=1)
    assert [concept.name for concept in anew.computed] == ["vitalsign"]
    assert set(read_index(computed, ConceptMode())) == set(NAMES), "the other concept is kept"


def test_each_mode_has_a_folder(computed: Path) -> None:
    ehrtraj.compute_concepts(computed, ["chemistry"], clock="available", max_cpus=1)
    ehrtraj.compute_concepts(computed, ["chemistry"], as_mimic_code=True, max_cpus=1)
    ds = ehrtraj.open(computed)
    own, theirs = ds.concept("chemistry").collect(), ds.concept("chemistry", as_mimic_code=True).collect()
    late = ds.concept("chemistry", clock="available").collect()
    assert "charttime" in theirs.columns and "available_time" not in theirs.columns
    assert own["time"].to_list() == theirs["charttime"].to_list()
    assert late["time"].to_list() == late["available_time"].to_list()
    assert not ehrtraj.check(computed, max_cpus=1).broken


class _StoppedError(Exception):
    pass


class _Breaking(LocalEngine):
    """An engine that stops after one task."""

    def map(self, *given: Any, **named: Any) -> Iterator[Any]:
        results = super().map(*given, **named)
        yield next(iter(results))
        raise _StoppedError


class _Twice(LocalEngine):
    """An engine that runs every task twice, and returns a late duplicate."""

    def map(self, work: Any, items: Iterable[Any], *given: Any, **named: Any) -> Iterator[Any]:
        listed = list(items)
        yield from super().map(work, [*listed, *listed], *given, **named)


def test_an_interrupted_run_is_resumed(computed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shards that were computed alone have the same bytes as those that were computed together."""
    wanted = {p.relative_to(computed): p.read_bytes() for p in computed.rglob("*") if p.is_file()}
    shutil.rmtree(computed / "concepts")
    layout = ehrtraj.open(computed).layout
    monkeypatch.setattr("ehrtraj.concepts.run._GROUP_EVENTS", 1)
    with pytest.raises(_StoppedError):
        compute_concepts(layout, NAMES, engine=_Breaking(1, DEFAULT_MEMORY))
    assert len(list((computed / "concepts" / ".working" / "shards").rglob("*.json"))) == 1
    assert len({file.shard for file in layout.files}) > 2
    assert not ehrtraj.check(computed, max_cpus=1).broken
    steps: list[tuple[int, int]] = []
    result = compute_concepts(layout, NAMES, max_cpus=1, progress=lambda done, of: steps.append((done, of)))
    assert result.resumed
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    shards = len({file.shard for file in layout.files})
    assert len({done for done, _ in steps}) > 2 * shards, "a shard is reported while its concepts are computed"
    assert {p.relative_to(computed): p.read_bytes() for p in computed.rglob("*") if p.is_file()} == wanted


@pytest.mark.parametrize(("sizes", "workers"), [([9, 5, 3, 3, 2, 1], 2), ([4] * 7, 3), ([1], 4), ([], 2), ([50, 1], 1)])
def test_groups_contain_every_shard_once_and_keep_all_workers_busy(
    sizes: list[int], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehrtraj.concepts.run._GROUP_EVENTS", 10)
    items = [ShardItem(str(n), {}, pl.DataFrame({"n_events": [size]})) for n, size in enumerate(sizes)]
    groups = make_groups(items, workers)
    assert sorted(item.shard for group in groups for item in group) == sorted(str(n) for n in range(len(sizes)))
    assert all(groups)
    assert len(groups) % workers == 0 or len(groups) == len(sizes)
    for group in groups:
        events = sum(sizes[int(item.shard)] for item in group)
        assert events <= 10 + min(sizes) or len(group) == 1


def test_a_task_may_run_twice(computed: Path) -> None:
    wanted = {p.relative_to(computed): p.read_bytes() for p in computed.rglob("*") if p.is_file()}
    layout = ehrtraj.open(computed).layout
    compute_concepts(layout, NAMES, overwrite=True, engine=_Twice(1, DEFAULT_MEMORY))
    assert {p.relative_to(computed): p.read_bytes() for p in computed.rglob("*") if p.is_file()} == wanted


def test_foreign_files_are_never_removed(computed: Path) -> None:
    (computed / "concepts" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        ehrtraj.compute_concepts(computed, ["vitalsign"], overwrite=True, max_cpus=1)
    assert (computed / "concepts" / "thesis.txt").read_text() == "years of work"


def test_a_build_that_replaces_a_dataset_removes_its_concepts(release: Path, tmp_path: Path) -> None:
    built = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, concepts="vitalsign")
    assert built.concepts == {"vitalsign": ehrtraj.open(built.path).concept("vitalsign").collect().height}
    again = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, tables="patients,admissions", overwrite=True)
    assert not (again.path / "concepts").exists()
    shown = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("."))
    assert shown == ["v1", "v1-report.html"]
    with pytest.raises(SettingsError, match="did you mean vitalsign"):
        ehrtraj.build(release, tmp_path, "v2", max_cpus=1, concepts="vitalsing")
    assert not (tmp_path / "v2").exists()


def test_concepts_of_another_build_are_not_used(computed: Path) -> None:
    manifest = computed / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    assert ehrtraj.open(computed).concepts.is_empty()
    findings = ehrtraj.check(computed, max_cpus=1).findings
    assert [place.words for place in findings.places["concepts"]] == ["was computed from another build of the dataset"]
    ehrtraj.compute_concepts(computed, NAMES, max_cpus=1)
    assert sorted(ehrtraj.open(computed).concepts["concept"]) == NAMES


def _first(computed: Path) -> Path:
    return min((computed / "concepts" / "vitalsign").rglob("*.parquet"))


def _cut(computed: Path) -> None:
    path = _first(computed)
    path.write_bytes(path.read_bytes()[:-1])


def _remove(computed: Path) -> None:
    _first(computed).unlink()


def _add(computed: Path) -> None:
    shutil.copyfile(_first(computed), computed / "concepts" / "vitalsign" / "train" / "99999.parquet")


def _damage(computed: Path) -> None:
    (computed / "concepts" / "index.json").write_text("{")


@pytest.mark.parametrize(
    ("change", "words"),
    [(_cut, "different content"), (_remove, "does not exist"), (_add, "not in the index"), (_damage, "is damaged")],
)
def test_check_finds_damaged_concepts(computed: Path, change: Any, words: str) -> None:
    change(computed)
    report = ehrtraj.check(computed, max_cpus=1)
    assert any(words in place.words for place in report.findings.places["concepts"])


def test_a_damaged_index_is_an_error_that_names_the_way_out(computed: Path) -> None:
    _damage(computed)
    with pytest.raises(DatasetError, match="run `ehrtraj concepts` again"):
        ehrtraj.open(computed).concept("vitalsign")


OWN = """-- Potassium above 6.
-- source: a ward's protocol
-- row: subject_id, time
-- columns:
--   subject_id      BIGINT     -       Patient.
--   time            TIMESTAMP  -       When it was taken.
--   available_time  TIMESTAMP  -       When it was known.
--   potassium       DOUBLE     mmol/L  Potassium.
SELECT subject_id, time, available_time, value AS potassium FROM labs WHERE concept = 'potassium' AND value > 4
"""


def overlay(folder: Path, sql: str) -> Path:
    (folder / "concepts" / "mine").mkdir(parents=True)
    (folder / "concepts" / "mine" / "high_potassium.sql").write_text(sql)
    return folder


def test_users_add_their_own_concepts(demo_built: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(demo_built, tmp_path / "v1")
    mine = overlay(tmp_path / "mine", OWN)
    ehrtraj.compute_concepts(dataset, ["high_potassium"], overlay=mine, max_cpus=1)
    rows = ehrtraj.open(dataset).concept("high_potassium").collect()
    assert rows.height > 0 and rows["potassium"].min() > 4
    (mine / "concepts" / "items.csv").write_text(
        "event_type,item,concept,method,source\nLAB,50971,potassium,other,here\n"
    )
    ehrtraj.compute_concepts(dataset, ["high_potassium"], overlay=mine, max_cpus=1)
    fewer = ehrtraj.open(dataset).concept("high_potassium").collect()
    assert fewer.height == rows.height, "the method does not matter here"


def test_a_concept_that_has_no_rows_any_more_has_no_files(dataset: Path, tmp_path: Path) -> None:
    for number, limit in enumerate(("4", "1000")):
        mine = overlay(tmp_path / str(number), OWN.replace("value > 4", f"value > {limit}"))
        ehrtraj.compute_concepts(dataset, ["high_potassium"], overlay=mine, max_cpus=1)
        found = ehrtraj.open(dataset).concept("high_potassium").collect()
        assert found.is_empty() is (limit == "1000")
        assert not ehrtraj.check(dataset, max_cpus=1).broken


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("-- source: a ward's protocol\n", "", "cites no source"),
        ("-- row: subject_id, time\n", "-- row: subject_id, when\n", "names a column"),
        ("DOUBLE     mmol/L", "NUMBER     mmol/L", "line 8"),
        ("available_time  TIMESTAMP", "available_on  TIMESTAMP", "must have the columns"),
        ("FROM labs", "FROM sofas_", "rejected"),
        ("FROM labs", "FROM vitalsign", "add it to `-- needs:`"),
        ("SELECT", "DROP TABLE x; SELECT", "single SELECT"),
        ("-- row:", "-- needs: nothing_such\n-- row:", "does not exist"),
        ("value AS potassium", "'x' AS potassium", "failed"),
    ],
)
def test_errors_in_own_concepts_are_explained(dataset: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in OWN
    with pytest.raises(RecipeError, match=words):
        ehrtraj.compute_concepts(
            dataset, ["high_potassium"], overlay=overlay(tmp_path / "mine", OWN.replace(old, new)), max_cpus=1
        )
    assert not ehrtraj.check(dataset, max_cpus=1).broken


def test_concepts_that_need_each_other_are_an_error(library: ConceptLibrary) -> None:
    from ehrtraj.concepts.library import _in_order

    one, other = (library.concepts[name] for name in NAMES)
    one = replace(one, header=replace(one.header, needs=("vitalsign",)))
    other = replace(other, header=replace(other.header, needs=("chemistry",)))
    with pytest.raises(RecipeError, match="need each other: chemistry -> vitalsign -> chemistry"):
        _in_order({"chemistry": one, "vitalsign": other})


def _damage_page(computed: Path) -> None:
    """Overwrite the middle of the largest data file; its size stays the same."""
    path = max((computed / "data").rglob("*.parquet"), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[200 : len(content) // 2] = bytes(len(content) // 2 - 200)
    path.write_bytes(content)


def test_a_damaged_data_file_is_an_error_that_names_the_way_out(dataset: Path) -> None:
    _damage_page(dataset)
    with pytest.raises(DatasetError, match=r"damaged .*build it again"):
        ehrtraj.compute_concepts(dataset, NAMES, max_cpus=1)
    with pytest.raises(DatasetError, match=r"damaged .*build it again"):
        ehrtraj.open(dataset).sql("SELECT max(numeric_value), max(text_value), max(attributes) FROM events")
