"""Other tools read a dataset without changes: MEDS' schemas, meds_reader, ACES, meds-torch-data and others.

All except the schemas are installed in a separate environment, made by `make consumers`, because they need polars < 2.
"""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import meds
import polars as pl
import pyarrow.parquet as pq

import ehrtraj
from ehrtraj.labels import label

HERE = Path(__file__).parent
TASK = HERE / "consumers" / "in_hospital_mortality.yaml"


def run(*command: object, **environment: str) -> str:
    environment = {"HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def validate(dataset: Path) -> int:
    events = 0
    for path in sorted((dataset / "data").rglob("*.parquet")):
        table = pq.read_table(path)
        meds.DataSchema.validate(table)
        events += table.num_rows
    meds.CodeMetadataSchema.validate(pq.read_table(dataset / meds.code_metadata_filepath))
    meds.SubjectSplitSchema.validate(pq.read_table(dataset / meds.subject_splits_filepath))
    meds.DatasetMetadataSchema.validate(json.loads((dataset / meds.dataset_metadata_filepath).read_text()))
    return events


def test_meds_validates_every_file(built: Path) -> None:
    assert validate(built) == json.loads((built / "manifest.json").read_text())["summary"]["events"]


def test_meds_validates_every_file_of_the_demo(demo_built: Path) -> None:
    assert validate(demo_built) > 1_000_000


def test_every_observed_code_is_described_once(built: Path) -> None:
    observed = pl.read_parquet(built / "data/**/*.parquet")["code"].unique()
    codes = pl.read_parquet(built / "metadata/codes.parquet")
    assert sorted(observed) == sorted(codes["code"])
    assert codes["description"].null_count() == 0


def test_the_code_modifiers_of_events_are_described(several_shards_built: Path) -> None:
    modifiers = json.loads((several_shards_built / meds.dataset_metadata_filepath).read_text())["code_modifier_columns"]
    observed = pl.read_parquet(several_shards_built / "data/**/*.parquet").select("code", *modifiers).unique()
    codes = pl.read_parquet(several_shards_built / meds.code_metadata_filepath).select("code", *modifiers)
    assert sorted(observed.rows()) == sorted(codes.rows())


def check_meds_reader(dataset: Path, consumers: Path, folder: Path) -> None:
    run(consumers / "meds_reader_convert", dataset, folder / "database", "--num_threads", 2)
    run(consumers / "meds_reader_verify", dataset, folder / "database")


def test_meds_reader_converts_and_verifies(built: Path, consumers: Path, tmp_path: Path) -> None:
    check_meds_reader(built, consumers, tmp_path)


def test_meds_reader_converts_and_verifies_the_demo(demo_built: Path, consumers: Path, tmp_path: Path) -> None:
    check_meds_reader(demo_built, consumers, tmp_path)


def check_sumeds(dataset: Path, consumers: Path, folder: Path) -> None:
    out = folder / "summary.parquet"
    run(consumers / "suMEDS", dataset, "--output", out, "--min-subjects", 1, "--partitions", 8)
    found, codes = pl.read_parquet(out), pl.read_parquet(dataset / "metadata/codes.parquet")
    assert found["code"].to_list() == sorted(codes["code"]), "each code occurs once"
    assert found["description"].null_count() == 0
    described = found.sort("code").drop("event_count", "subject_count", "is_masked")
    assert described.equals(codes.sort("code").select(described.columns))
    assert found["event_count"].equals(found["n_events"], null_equal=False)
    assert found["subject_count"].equals(found["n_subjects"], null_equal=False)


def test_sumeds_finds_each_code_and_its_description_once(
    several_shards_built: Path, consumers: Path, tmp_path: Path
) -> None:
    check_sumeds(several_shards_built, consumers, tmp_path)


def test_sumeds_finds_each_code_and_its_description_once_in_the_demo(
    demo_built: Path, consumers: Path, tmp_path: Path
) -> None:
    check_sumeds(demo_built, consumers, tmp_path)


def test_meds_evaluation_evaluates_predictions_for_labels(built: Path, consumers: Path, tmp_path: Path) -> None:
    labels = label(ehrtraj.open(built), "readmission_30d").table.drop_nulls("boolean_value")
    # Every other label is true, and the probability is right for all labels except the first.
    truth = pl.int_range(pl.len()) % 2 == 0
    right = pl.int_range(pl.len()) != 0
    predicted = labels.with_columns(boolean_value=truth).with_columns(
        predicted_boolean_value=truth == right,
        predicted_boolean_probability=pl.when(truth == right).then(0.9).otherwise(0.1).cast(pl.Float32),
    )
    predicted.write_parquet(tmp_path / "predicted.parquet")
    out = tmp_path / "evaluation.json"
    run(consumers / "meds-evaluation-cli", f"predictions_path={tmp_path / 'predicted.parquet'}", f"output_file={out}")
    found = json.loads(out.read_text())["samples_equally_weighted"]
    assert found["binary_accuracy"] == (predicted.height - 1) / predicted.height < 1


def aces_labels(dataset: Path, consumers: Path, folder: Path) -> pl.DataFrame:
    """Return the labels of the task over all files of the dataset."""
    frames = []
    for path in sorted((dataset / "data").rglob("*.parquet")):
        name = f"{path.parent.name}-{path.stem}"
        out = folder / f"{name}.parquet"
        run(
            consumers / "aces-cli",
            "data=single_file",
            "data.standard=meds",
            f"data.path={path}",
            "cohort_name=in_hospital_mortality",
            f"cohort_dir={folder}",
            f"config_path={TASK}",
            f"output_filepath={out}",
            f"hydra.run.dir={folder / 'hydra' / name}",
        )
        frames.append(pl.read_parquet(out))
    return pl.concat(frames, how="diagonal_relaxed")


def expected_labels(dataset: Path) -> set[tuple[int, object, bool]]:
    """Return the labels of the task, computed directly from the events."""
    events = pl.read_parquet(dataset / "data/**/*.parquet").filter(pl.col("time").is_not_null())
    labels = set()
    for (subject,), rows in events.group_by("subject_id"):
        kinds = {
            kind: rows.filter(pl.col("code").str.starts_with(kind))["time"].unique().sort().to_list()
            for kind in ("ADMISSION//", "DISCHARGE//", "MEDS_DEATH")
        }
        ends = sorted({*kinds["DISCHARGE//"], *kinds["MEDS_DEATH"]})
        for start in kinds["ADMISSION//"]:
            until = start + pl.Series([24]).cast(pl.Duration("ms"))[0] * 3_600_000
            within = [t for times in kinds.values() for t in times if start < t <= until]
            after = [t for t in ends if t > until]
            if not within and after:
                labels.add((int(subject), until, after[0] in kinds["MEDS_DEATH"]))
    return labels


def check_aces(dataset: Path, consumers: Path, folder: Path) -> None:
    found = aces_labels(dataset, consumers, folder)
    rows = set(found.select("subject_id", "prediction_time", "boolean_value").iter_rows())
    assert rows == expected_labels(dataset)
    assert {label for _, _, label in rows} == {True, False}, "both deaths and survivors must occur"


def test_aces_extracts_in_hospital_mortality(built: Path, consumers: Path, tmp_path: Path) -> None:
    check_aces(built, consumers, tmp_path)


def test_aces_extracts_in_hospital_mortality_from_the_demo(demo_built: Path, consumers: Path, tmp_path: Path) -> None:
    check_aces(demo_built, consumers, tmp_path)


def test_hugging_face_datasets_loads_the_parquet_unchanged(built: Path, consumers: Path, tmp_path: Path) -> None:
    run(consumers / "python", HERE / "consumers" / "hugging_face_reads.py", built, tmp_path)
    for split in ("train", "held_out"):
        rows = pl.read_parquet(tmp_path / f"{split}.parquet")
        assert rows.equals(pl.read_parquet(built / "data" / split / "*.parquet"))


def test_meds_torch_data_reads_events_and_labels(built: Path, consumers: Path, tmp_path: Path) -> None:
    dataset, labels = ehrtraj.open(built), tmp_path / "labels"
    found = label(dataset, "readmission_30d")
    # Nobody in the hand-made release is readmitted: every other label is set to true, so that order and value matter.
    found = replace(found, table=found.table.with_columns(boolean_value=pl.int_range(pl.len()) % 2 == 0))
    found.write(labels / "readmission_30d.parquet")
    # It starts other programs by name.
    path = f"{consumers}{os.pathsep}{os.environ['PATH']}"
    run(consumers / "MTD_preprocess", f"MEDS_dataset_dir={built}", f"output_dir={tmp_path / 'tensors'}", PATH=path)
    script = HERE / "consumers" / "meds_torch_data_reads.py"
    lines = run(consumers / "python", script, tmp_path / "tensors", labels).splitlines()
    result = json.loads(next(line for line in lines if line.startswith("{")))
    for split in ("train", "held_out"):
        expected = dataset.filter(split=split)
        assert result[split]["patients"] == list(expected)
        rows = found.table.filter(pl.col("subject_id").is_in(list(expected)))
        assert result[split]["labels"] == rows["boolean_value"].to_list()
    timed = dataset.filter(split="train").scan().filter(pl.col("time").is_not_null()).collect().height
    assert result["train"]["measurements"] == timed
    assert {True, False} <= set(result["train"]["labels"])
