"""Synthetic releases: complete, consistent, repeatable, and with answers that agree with the ledger of the build."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.sources.source import packaged
from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS
from ehrtraj.synth.draw import NONE
from ehrtraj.synth.life import draw_block
from ehrtraj.synth.releases import tables_not_drawn
from ehrtraj.synth.run import synth

MIMIC = packaged("mimiciv")
PATIENTS = 2 * BLOCK_PATIENTS
ED = ("edstays", "triage", "vitalsign", "diagnosis", "medrecon", "pyxis")
# Tables that must have rows: those with a published row count, and three without.
COUNTED = {name for project in MIMIC.projects for rows in MIMIC.published_row_counts(project).values() for name in rows}
DRAWN = {name for name, table in MIMIC.tables.items() if table.name in COUNTED}
DRAWN |= {"hosp/provider", "icu/caregiver", "icu/ingredientevents"}


def read(release: Path, table: str) -> pl.DataFrame:
    """Read a table as text, as it is written."""
    return pl.read_csv(release / f"{table}.csv.gz", infer_schema=False)


def read_all(release: Path) -> dict[str, pl.DataFrame]:
    return {
        f"{path.parent.name}/{path.name.removesuffix('.csv.gz')}": pl.read_csv(path, infer_schema=False)
        for path in sorted(release.rglob("*.csv.gz"))
    }


def contents(release: Path) -> dict[str, str]:
    return {
        str(path.relative_to(release)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(release.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a release of 256 patients without defects. Tests must not change it."""
    return synth(tmp_path_factory.mktemp("synth") / "clean", patients=PATIENTS, max_cpus=2).path


@pytest.fixture(scope="session")
def tables(clean: Path) -> dict[str, pl.DataFrame]:
    return read_all(clean)


@pytest.fixture(scope="session")
def defective(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same patients with defects. Tests must not change them."""
    return synth(tmp_path_factory.mktemp("synth") / "defective", patients=PATIENTS, defects=0.02, max_cpus=2).path


@pytest.fixture(scope="session")
def clean_built(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ehrtraj.build(clean, tmp_path_factory.mktemp("synth_built"), "clean", max_cpus=2).path


@pytest.fixture(scope="session")
def defective_built(defective: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ehrtraj.build(defective, tmp_path_factory.mktemp("synth_built"), "defective", max_cpus=2).path


# ---- complete -------------------------------------------------------------------------------------------------------
def test_every_table_of_every_module_exists(tables: dict[str, pl.DataFrame]) -> None:
    assert set(tables) == set(MIMIC.tables)
    assert {name for name, frame in tables.items() if frame.height} >= DRAWN
    assert len(DRAWN) > 40


def test_a_table_that_is_never_drawn_is_an_empty_file() -> None:
    """A new table of the source does not require a change in synth: the release stays complete."""
    omr = list(MIMIC.tables["hosp/omr"].columns)
    assert tables_not_drawn("3.1", MIMIC.tables) == {}
    assert tables_not_drawn("3.1", set(MIMIC.tables) - {"hosp/omr"}) == {"hosp/omr": omr}
    assert tables_not_drawn("1.0", set(MIMIC.tables) - {"hosp/omr"}) == {}, "2.0 was the first release with it"
    old = tables_not_drawn("1.0", set(MIMIC.tables) - {"hosp/admissions"})
    assert "ethnicity" in old["core/admissions"]
    assert "race" not in old["core/admissions"]
    assert "admit_provider_id" not in old["core/admissions"]


@pytest.mark.parametrize("table", sorted(MIMIC.tables))
def test_headers_contain_all_columns_that_the_build_reads(tables: dict[str, pl.DataFrame], table: str) -> None:
    known = {name.lower() for name in MIMIC.tables[table].columns}
    assert {name.lower() for name in tables[table].columns} >= known


def test_checksums_are_those_of_the_files(clean: Path) -> None:
    listed = dict(reversed(line.split(" ", 1)) for line in (clean / "SHA256SUMS.txt").read_text().splitlines())
    files = {str(path.relative_to(clean)): path for path in clean.rglob("*.csv.gz")}
    assert set(listed) == set(files)
    for name, path in files.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[name]


def test_files_are_one_gzip_stream(clean: Path) -> None:
    path = clean / "hosp" / "labevents.csv.gz"
    data = path.read_bytes()
    assert data.startswith(b"\x1f\x8b")
    text = gzip.decompress(data)
    size = int.from_bytes(data[-4:], "little")
    assert size == len(text) % 2**32, "the length at the end is that of the complete file, so there is one member"


def test_dictionaries_have_enough_entries(tables: dict[str, pl.DataFrame]) -> None:
    items = tables["icu/d_items"].group_by("linksto").len()
    count = dict(items.iter_rows())
    assert tables["hosp/d_labitems"].height >= 150
    assert count["chartevents"] >= 250
    assert count["inputevents"] >= 60
    assert count["outputevents"] >= 30
    diagnoses = dict(tables["hosp/d_icd_diagnoses"].group_by("icd_version").len().iter_rows())
    assert diagnoses["9"] >= 150
    assert diagnoses["10"] >= 300
    assert tables["hosp/d_icd_procedures"].height >= 60
    drugs = tables["hosp/prescriptions"].filter(pl.col("ndc").str.contains(r"^\d{11}$"))
    assert catalog.read("drugs.csv").height >= 120
    assert drugs["drug"].n_unique() >= 60


# ---- consistent -----------------------------------------------------------------------------------------------------
KEYS = [
    ("hosp/admissions", ["subject_id"], "hosp/patients"),
    ("hosp/transfers", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/services", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/diagnoses_icd", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/diagnoses_icd", ["icd_code", "icd_version"], "hosp/d_icd_diagnoses"),
    ("hosp/procedures_icd", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/procedures_icd", ["icd_code", "icd_version"], "hosp/d_icd_procedures"),
    ("hosp/drgcodes", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/hcpcsevents", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/labevents", ["subject_id"], "hosp/patients"),
    ("hosp/labevents", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/labevents", ["itemid"], "hosp/d_labitems"),
    ("hosp/microbiologyevents", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/omr", ["subject_id"], "hosp/patients"),
    ("hosp/poe", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("hosp/poe_detail", ["poe_id", "subject_id"], "hosp/poe"),
    ("hosp/pharmacy", ["poe_id", "subject_id"], "hosp/poe"),
    ("hosp/prescriptions", ["pharmacy_id", "subject_id"], "hosp/pharmacy"),
    ("hosp/prescriptions", ["poe_id", "hadm_id"], "hosp/poe"),
    ("hosp/emar", ["poe_id", "subject_id"], "hosp/poe"),
    ("hosp/emar", ["pharmacy_id", "subject_id"], "hosp/pharmacy"),
    ("hosp/emar_detail", ["emar_id", "subject_id"], "hosp/emar"),
    ("icu/icustays", ["hadm_id", "subject_id"], "hosp/admissions"),
    *(
        (f"icu/{name}", ["stay_id", "hadm_id", "subject_id"], "icu/icustays")
        for name in (
            "chartevents", "datetimeevents", "inputevents", "ingredientevents", "outputevents", "procedureevents",
        )
    ),
    ("ed/edstays", ["hadm_id", "subject_id"], "hosp/admissions"),
    *((f"ed/{name}", ["stay_id", "subject_id"], "ed/edstays") for name in ED if name != "edstays"),
    ("note/discharge", ["hadm_id", "subject_id"], "hosp/admissions"),
    ("note/radiology", ["subject_id"], "hosp/patients"),
    ("note/discharge_detail", ["note_id", "subject_id"], "note/discharge"),
    ("note/radiology_detail", ["note_id", "subject_id"], "note/radiology"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "key", "other"), KEYS)
def test_foreign_keys_match_a_row(tables: dict[str, pl.DataFrame], table: str, key: list[str], other: str) -> None:
    rows = tables[table].drop_nulls(key)
    assert rows.height
    assert rows.join(tables[other].select(key), on=key, how="anti").is_empty()


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("hosp/patients", ["subject_id"]),
        ("hosp/admissions", ["hadm_id"]),
        ("hosp/transfers", ["transfer_id"]),
        ("icu/icustays", ["stay_id"]),
        ("ed/edstays", ["stay_id"]),
        ("hosp/labevents", ["labevent_id"]),
        ("hosp/microbiologyevents", ["microevent_id"]),
        ("hosp/poe", ["poe_id"]),
        ("hosp/pharmacy", ["pharmacy_id"]),
        ("hosp/emar", ["emar_id"]),
        ("hosp/emar_detail", ["emar_id", "parent_field_ordinal"]),
        ("hosp/diagnoses_icd", ["hadm_id", "seq_num"]),
        ("hosp/d_labitems", ["itemid"]),
        ("icu/d_items", ["itemid"]),
        ("hosp/d_icd_diagnoses", ["icd_code", "icd_version"]),
        ("note/discharge", ["note_id"]),
        ("note/radiology", ["note_id"]),
    ],
)
def test_keys_are_unique(tables: dict[str, pl.DataFrame], table: str, key: list[str]) -> None:
    assert tables[table].select(key).is_duplicated().sum() == 0


@pytest.mark.parametrize("table", ["chartevents", "datetimeevents", "inputevents", "outputevents", "procedureevents"])
def test_items_belong_to_their_table(tables: dict[str, pl.DataFrame], table: str) -> None:
    items = tables["icu/d_items"].filter(pl.col("linksto") == table)
    rows = tables[f"icu/{table}"]
    assert rows.join(items, on="itemid", how="anti").is_empty()


@pytest.mark.parametrize(
    ("table", "earlier", "later"),
    [
        ("hosp/admissions", "admittime", "dischtime"),
        ("hosp/admissions", "edregtime", "edouttime"),
        ("hosp/transfers", "intime", "outtime"),
        ("icu/icustays", "intime", "outtime"),
        ("ed/edstays", "intime", "outtime"),
        ("hosp/labevents", "charttime", "storetime"),
        ("hosp/microbiologyevents", "charttime", "storetime"),
        ("hosp/prescriptions", "starttime", "stoptime"),
        ("hosp/pharmacy", "starttime", "stoptime"),
        ("icu/chartevents", "charttime", "storetime"),
        ("icu/datetimeevents", "value", "charttime"),
        ("icu/inputevents", "starttime", "endtime"),
        ("icu/procedureevents", "starttime", "endtime"),
        ("note/radiology", "charttime", "storetime"),
    ],
)
def test_nothing_ends_before_it_begins(tables: dict[str, pl.DataFrame], table: str, earlier: str, later: str) -> None:
    rows = tables[table].drop_nulls([earlier, later])
    assert rows.height
    assert rows.filter(pl.col(later) < pl.col(earlier)).is_empty()


def test_times_are_between_2100_and_2200(tables: dict[str, pl.DataFrame]) -> None:
    for table, frame in tables.items():
        for column in frame.columns:
            if column.endswith(("time", "date")) or column == "dod":
                years = frame[column].drop_nulls().str.slice(0, 4).cast(pl.Int64)
                assert years.is_between(2100, 2200).all(), (table, column)


def test_charting_is_within_its_stay(tables: dict[str, pl.DataFrame]) -> None:
    stays = tables["icu/icustays"].select("stay_id", "intime", "outtime")
    rows = tables["icu/chartevents"].join(stays, on="stay_id")
    inside = rows.filter(pl.col("charttime").is_between(pl.col("intime").str.slice(0, 16), pl.col("outtime")))
    assert inside.height == rows.height


def test_rows_are_sorted_by_patient(tables: dict[str, pl.DataFrame]) -> None:
    for table, frame in tables.items():
        if "subject_id" in frame.columns:
            assert frame["subject_id"].cast(pl.Int64).is_sorted(), table


def test_nobody_is_treated_after_death(tables: dict[str, pl.DataFrame]) -> None:
    died = tables["hosp/patients"].drop_nulls("dod").select("subject_id", "dod")
    for table, column in (("hosp/labevents", "charttime"), ("hosp/admissions", "admittime"), ("ed/edstays", "intime")):
        late = tables[table].join(died, on="subject_id").filter(pl.col(column).str.slice(0, 10) > pl.col("dod"))
        assert late.is_empty(), table


def test_values_and_numbers_agree(tables: dict[str, pl.DataFrame]) -> None:
    for table in ("hosp/labevents", "icu/chartevents"):
        rows = (
            tables[table]
            .drop_nulls(["value", "valuenum"])
            .with_columns(pl.col("value").cast(pl.Float64, strict=False).alias("parsed"))
        )
        both = rows.drop_nulls("parsed")
        assert both.height > rows.height / 3
        assert (both["parsed"] - both["valuenum"].cast(pl.Float64)).abs().max() < 1e-6


def test_shares_of_patients_match_the_real_release() -> None:
    blocks = [draw_block(3, number) for number in range(30)]
    people = len(blocks) * BLOCK_PATIENTS
    admitted = sum(len(np.unique(block.admissions.person)) for block in blocks) / people
    critical = sum(len(np.unique(block.icu.person)) for block in blocks) / people
    admissions = sum(len(block.admissions.person) for block in blocks)
    stays = sum(len(block.icu.person) for block in blocks)
    assert admitted == pytest.approx(223_452 / 364_627, abs=0.03)
    assert critical == pytest.approx(65_366 / 364_627, abs=0.02)
    assert admissions / (admitted * people) == pytest.approx(546_028 / 223_452, rel=0.1)
    assert stays / (critical * people) == pytest.approx(94_458 / 65_366, rel=0.1)
    died = sum(int((block.admissions.death != NONE).sum()) for block in blocks) / admissions
    assert 0.01 < died < 0.04


# ---- the catalog ----------------------------------------------------------------------------------------------------
CATALOG = sorted(
    entry.name for entry in (resources.files("ehrtraj.synth") / "catalog").iterdir() if entry.name.endswith(".csv")
)


@pytest.mark.parametrize("name", CATALOG)
def test_every_line_of_the_catalog_names_its_source(name: str) -> None:
    frame = catalog.read(name)
    assert frame.columns[-1] == "source"
    assert frame["source"].null_count() == 0
    assert (frame["source"].str.strip_chars().str.len_chars() > 0).all()


def test_effects_have_known_causes_and_signals() -> None:
    assert catalog.effects().any(axis=1).sum() > 20
    signals = catalog.signals()
    assert signals["signal"].is_duplicated().sum() == 0
    assert (signals["low"] < signals["high"]).all()
    assert signals["scale"].is_in(["linear", "log"]).all()


# ---- repeatable -----------------------------------------------------------------------------------------------------
def test_same_settings_give_the_same_bytes_for_any_number_of_cores(clean: Path, tmp_path: Path) -> None:
    again = synth(tmp_path / "again", patients=PATIENTS, max_cpus=1).path
    assert contents(again) == contents(clean)


def test_another_seed_gives_different_patients(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    other = synth(tmp_path / "other", patients=BLOCK_PATIENTS, seed=8, max_cpus=1).path
    assert not read(other, "hosp/patients").equals(tables["hosp/patients"].head(BLOCK_PATIENTS))


def test_fewer_patients_are_the_first_ones_of_a_larger_release(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    few = read_all(synth(tmp_path / "few", patients=20, max_cpus=1).path)
    subjects = few["hosp/patients"]["subject_id"]
    assert subjects.len() == 20
    for table, frame in tables.items():
        if "subject_id" in frame.columns:
            assert frame.filter(pl.col("subject_id").is_in(subjects.implode())).equals(few[table]), table


# ---- releases -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, pl.DataFrame]]:
    folder = tmp_path_factory.mktemp("older")
    return {
        release: read_all(synth(folder / release, patients=100, release=release, max_cpus=1).path)
        for release in ("1.0", "2.2", "3.0")
    }


def test_release_1_0_has_core_and_ethnicity(older: dict[str, dict[str, pl.DataFrame]]) -> None:
    first = older["1.0"]
    assert {"core/admissions", "core/patients", "core/transfers"} <= set(first)
    assert not {"hosp/admissions", "hosp/omr", "icu/ingredientevents", "hosp/provider"} & set(first)
    assert "ethnicity" in first["core/admissions"].columns
    assert first["core/admissions"]["ethnicity"].n_unique() <= 8
    assert not [name for frame in first.values() for name in frame.columns if name.endswith("provider_id")]
    assert "caregiver_id" not in first["icu/chartevents"].columns


def test_releases_before_3_0_have_no_patients_first_seen_in_2020(older: dict[str, dict[str, pl.DataFrame]]) -> None:
    assert "2020 - 2022" not in set(older["2.2"]["hosp/patients"]["anchor_year_group"])
    assert "2020 - 2022" in set(older["3.0"]["hosp/patients"]["anchor_year_group"])
    assert older["2.2"]["hosp/patients"].height == 100
    assert set(older["2.2"]["hosp/admissions"]["language"]) == {"ENGLISH", "?"}
    assert "Private" not in set(older["2.2"]["hosp/admissions"]["insurance"])


@pytest.mark.parametrize("release", ["2.2", "3.0"])
def test_the_same_patients_have_the_same_rows_in_every_release(
    tables: dict[str, pl.DataFrame], older: dict[str, dict[str, pl.DataFrame]], release: str
) -> None:
    common = older[release]["hosp/patients"]["subject_id"].implode()
    for table in ("hosp/labevents", "icu/chartevents", "hosp/emar", "note/discharge", "ed/triage"):
        older_rows = older[release][table]
        rows = tables[table].filter(pl.col("subject_id").is_in(common))
        assert older_rows.filter(pl.col("subject_id").is_in(rows["subject_id"].unique().implode())).equals(rows)


# ---- built ----------------------------------------------------------------------------------------------------------
def test_a_clean_release_builds_without_rejected_rows(clean: Path, clean_built: Path) -> None:
    ledger = pl.read_parquet(clean_built / "ledger.parquet")
    assert ledger.filter(outcome="read")["rows"].sum() > 0
    assert ledger.filter(outcome="rejected").is_empty()
    manifest = json.loads((clean_built / "manifest.json").read_text())
    assert manifest["release"]["version"] == "synthetic 3.1"


def test_every_planted_row_is_accounted_for(defective: Path, defective_built: Path) -> None:
    """The ledger counts all rows of the files, and planted rows are among the rejected rows or the events."""
    answers = pl.read_parquet(defective / "answers.parquet")
    ledger = pl.read_parquet(defective_built / "ledger.parquet")
    read_rows = dict(ledger.filter(pl.col("outcome") == "read").select("table", "rows").iter_rows())
    built = [name for name in MIMIC.tables if MIMIC.tables[name].kind == "patient"]
    for table in built:
        assert read_rows.get(table, 0) == read(defective, table).height, table
    events = pl.scan_parquet(defective_built / "data" / "**" / "*.parquet")
    checked = 0
    for (table,), planted in answers.filter(pl.col("table").is_in(built)).group_by(["table"], maintain_order=True):
        keys = _source_keys(planted)
        if not keys:
            continue
        event_keys = set(
            events.filter(pl.col("source_table") == table, pl.col("source_key").is_in(keys))
            .select("source_key").unique().collect()["source_key"]
        )  # fmt: skip
        rejects = defective_built / "rejected" / f"{Path(table).name}.parquet"
        rejected_keys = _rejected_keys(rejects, table) if rejects.exists() else set()
        assert set(keys) <= event_keys | rejected_keys, table
        checked += len(keys)
    assert checked > 100


KEY_COLUMNS = {
    "hosp/labevents": "labevent_id",
    "hosp/microbiologyevents": "microevent_id",
    "hosp/pharmacy": "pharmacy_id",
}


def _source_keys(planted: pl.DataFrame) -> list[int]:
    column = KEY_COLUMNS.get(planted["table"][0])
    keys = [json.loads(key).get(column) for key in planted["key"]] if column else []
    return [int(key) for key in keys if key is not None]


def _rejected_keys(path: Path, table: str) -> set[int]:
    """Return the keys of rejected rows, from their columns, or from their text if they could not be parsed."""
    rejects = pl.read_parquet(path)
    place = list(MIMIC.tables[table].columns).index(KEY_COLUMNS[table])
    in_text = rejects["text"].drop_nulls().str.split(",").list.get(place)
    keys = pl.concat([rejects[KEY_COLUMNS[table]].cast(pl.String), in_text])
    return {int(key) for key in keys.drop_nulls()}


def test_planted_duplicates_are_rejected(defective: Path, defective_built: Path) -> None:
    answers = pl.read_parquet(defective / "answers.parquet")
    planted = answers.filter(
        pl.col("right").str.contains("exact_duplicate"), pl.col("table").str.contains("^(hosp|icu)/")
    )
    ledger = pl.read_parquet(defective_built / "ledger.parquet").filter(pl.col("reason") == "exact_duplicate")
    rejected_rows = dict(ledger.group_by("table").agg(pl.col("rows").sum()).iter_rows())
    assert planted.height
    for (table,), rows in planted.group_by(["table"]):
        assert rejected_rows[table] == rows.height, table


# ---- the command line -----------------------------------------------------------------------------------------------
def test_demo_draws_a_release_builds_it_and_shows_a_patient(tmp_path: Path) -> None:
    arguments = ["demo", str(tmp_path / "demo"), "--patients", "60", "--max-cpus", "1"]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 0, first.output
    assert "60 patients" in first.output
    assert "MEDS_BIRTH" in first.output
    assert "ehrtraj build" in first.output
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 0
    assert "already there" in again.output


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"patients": 0}, "--patients"),
        ({"patients": 400_000}, "--patients"),
        ({"release": "2.7"}, "--release"),
        ({"defects": 1.5}, "--defects"),
        ({"seed": -1}, "--seed"),
        ({"max_cpus": 0}, "--max-cpus"),
    ],
)
def test_errors_name_the_setting_that_is_out_of_range(tmp_path: Path, settings: dict[str, object], word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        synth(tmp_path / "out", **settings)
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("do not lose me")
    with pytest.raises(OutputError, match="already exists"):
        synth(tmp_path / "out", patients=10)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_are_private(clean: Path) -> None:
    assert not [path for path in (clean, *clean.rglob("*")) if path.stat().st_mode & 0o077]


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_no_folder_with_the_final_name(tmp_path: Path, kind: signal.Signals) -> None:
    command = [
        sys.executable,
        "-m",
        "ehrtraj",
        "synth",
        str(tmp_path / "out"),
        "--patients",
        "20000",
        "--max-cpus",
        "2",
    ]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE)
    while not list(tmp_path.glob(".out.*.unfinished/icu/chartevents.csv.gz")):
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, kind)
    process.communicate(timeout=30)
    assert process.returncode == (130 if kind == signal.SIGINT else -signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    if kind == signal.SIGINT:
        assert not list(tmp_path.iterdir())
    synth(tmp_path / "out", patients=5, max_cpus=1)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
