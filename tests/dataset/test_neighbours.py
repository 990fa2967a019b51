"""Larger MEDS tools read a dataset without changes: MEDS-transforms, MEDS-Tab and MEDS-Inspect.

They are installed in a separate environment, made by `make neighbours`, which also runs these tests.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl

from ehrtraj.checks import check

PIPELINE = Path(__file__).parent / "consumers" / "meds_transforms.yaml"


def run(folder: Path, name: str, *arguments: object) -> None:
    # MEDS-transforms starts other programs by name.
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    command = [str(folder / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path})
    assert done.returncode == 0, done.stdout + done.stderr


def events_of(dataset: Path, split: str = "**") -> pl.DataFrame:
    return pl.read_parquet(dataset / "data" / split / "*.parquet")


def check_meds_transforms(dataset: Path, neighbours: Path, folder: Path) -> None:
    out = folder / "out"
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(f"input_dir: {dataset}\noutput_dir: {out}\n{PIPELINE.read_text()}")
    run(neighbours, "MEDS_transform-pipeline", pipeline)
    described = pl.read_parquet(dataset / "metadata" / "codes.parquet")
    fitted = pl.read_parquet(out / "metadata" / "codes.parquet")
    added = fitted["code"].str.contains(r"^(AGE$|TIME_OF_DAY//)")
    ours = fitted.filter(~added)
    assert added.sum() == 5
    train = events_of(dataset, "train")
    counted = train.group_by("code").agg(n=pl.len(), subjects=pl.col("subject_id").n_unique())
    assert sorted(ours.select("code", "code/n_occurrences", "code/n_subjects").rows()) == sorted(counted.rows())
    assert fitted["code/vocab_index"].n_unique() == fitted.height
    kept = ours.join(described, on="code", how="left", suffix="_described")
    for column in ("description", "unit", "parent_codes"):
        assert kept[column].equals(kept[f"{column}_described"]), column
    indices = ours["code/vocab_index"].cast(pl.Int64).implode()
    for split in ("train", "held_out"):
        # Codes that do not occur in the split `train` are not part of the vocabulary.
        expected = events_of(dataset, split).filter(pl.col("code").is_in(ours["code"].implode())).height
        assert events_of(out, split).filter(pl.col("code").cast(pl.Int64).is_in(indices)).height == expected


def test_meds_transforms_runs_a_pipeline(several_shards_built: Path, neighbours: Path, tmp_path: Path) -> None:
    check_meds_transforms(several_shards_built, neighbours, tmp_path)


def test_meds_transforms_runs_a_pipeline_on_the_demo(demo_built: Path, neighbours: Path, tmp_path: Path) -> None:
    check_meds_transforms(demo_built, neighbours, tmp_path)


def check_description(dataset: Path, neighbours: Path, out: Path) -> None:
    run(neighbours, "meds-tab-describe", f"input_dir={dataset / 'data'}", f"output_dir={out}")
    found = pl.read_parquet(out / "metadata" / "codes.parquet").with_columns(pl.col("code").cast(pl.String))
    events = events_of(dataset)
    timed = events.filter(pl.col("time").is_not_null())
    valued = timed.filter(pl.col("numeric_value").is_not_null())
    for kind, rows in (("code", timed), ("value", valued)):
        expected = rows.group_by(pl.col("code") + f"/{kind}").agg(n=pl.len()).rows()
        names = [f"{code}/{kind}" for code in events["code"].unique()]
        assert sorted(found.filter(pl.col("code").is_in(names)).select("code", "count").rows()) == sorted(expected)


def test_meds_tab_describes_codes(several_shards_built: Path, neighbours: Path, tmp_path: Path) -> None:
    check_description(several_shards_built, neighbours, tmp_path)


def test_meds_tab_describes_codes_of_the_demo(demo_built: Path, neighbours: Path, tmp_path: Path) -> None:
    check_description(demo_built, neighbours, tmp_path)


def test_meds_tab_tabularises_time_series(several_shards_built: Path, neighbours: Path, tmp_path: Path) -> None:
    dataset = several_shards_built
    folders = (f"input_dir={dataset / 'data'}", f"output_dir={tmp_path}")
    run(neighbours, "meds-tab-describe", *folders)
    windows = (
        "tabularization.min_code_inclusion_count=1",
        "tabularization.window_sizes=[full]",
        "tabularization.aggs=[code/count]",
    )
    run(neighbours, "meds-tab-tabularize-time-series", *folders, *windows)
    for path in sorted((dataset / "data").rglob("*.parquet")):
        timed = pl.read_parquet(path).filter(pl.col("time").is_not_null())
        # A row of the table is a patient and time, and the window of the last row contains all events before.
        moments = timed.select("subject_id", "time").unique(maintain_order=True).with_row_index("row")
        last = moments.group_by("subject_id").agg(pl.col("row").last())["row"].to_list()
        # MEDS-Tab 0.2.0 leaves out the last event of each moment (`matrix[min_index:max_index]`), and counts the
        # moments of a code, not its events. Its aggregates of values are empty for every dataset.
        place = pl.int_range(pl.len()).over("subject_id", "time")
        used = timed.filter(place < pl.len().over("subject_id", "time") - 1)
        with np.load(tmp_path / "tabularize" / path.parent.name / path.stem / "full" / "code" / "count.npz") as file:
            (values, rows, _), shape = file["array"], file["shape"]
        assert shape[0] == moments.height
        assert values[np.isin(rows, last)].sum() == used.select("subject_id", "time", "code").unique().height > 5


def test_meds_inspect_keeps_its_cache_in_the_dataset(built: Path, neighbours: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(built, tmp_path / "dataset"))
    run(neighbours, "MEDS_Inspect_cache", dataset)
    found = pl.read_parquet(dataset / ".meds_inspect_cache" / "code_count_subjects.parquet")
    assert found.height == events_of(dataset)["subject_id"].n_unique()
    report = check(dataset)
    assert report.broken == []
    assert report.foreign == (".meds_inspect_cache/",)
