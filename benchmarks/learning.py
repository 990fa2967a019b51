"""Time labels against ACES, and training items against `Trajectory.as_of`, on the same dataset in one run.

Needs the environment of `make consumers`, which has ACES and PyTorch:

  .envs/consumers/bin/python benchmarks/learning.py trajectories/v1 --files 10
"""

from __future__ import annotations

import argparse
import logging
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

import ehrtraj
from ehrtraj.labels import label
from ehrtraj.labels.ready import task_text

TASK = "in_hospital_mortality"


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Call a function; return its seconds and its result."""
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def aces_labels(files: list[Path], folder: Path) -> int:
    """Return the number of labels that ACES finds in the files, in one process."""
    from aces import config, predicates, query
    from omegaconf import OmegaConf

    logging.disable(logging.CRITICAL)
    path = folder / "task.yaml"
    path.write_text(task_text(TASK), encoding="utf-8")
    count = 0
    for file in files:
        task = config.TaskExtractorConfig.load(config_path=path)
        data = OmegaConf.create({"standard": "meds", "path": str(file), "ts_format": None})
        count += len(query.query(task, predicates.get_predicates_df(task, data)))
    return count


def show_labels(dataset: ehrtraj.Dataset, files: int, folder: Path) -> None:
    """Label the patients of some files with ehrtraj and ACES."""
    chosen = dataset.files[:files]
    selected_shards = pl.DataFrame(
        [(file.split, file.shard) for file in chosen], schema=["split", "shard"], orient="row"
    )
    subset = ehrtraj.Dataset(dataset.layout, dataset.subjects.join(selected_shards, on=["split", "shard"], how="semi"))
    ehrtraj_seconds, ehrtraj_count = timed(lambda: label(subset, TASK).table.height)
    aces_seconds, aces_count = timed(lambda: aces_labels([file.path for file in chosen], folder))
    events = int(subset.subjects["n_events"].sum())
    print(f"{events:,} events in {len(chosen)} files: {ehrtraj_count:,} labels by ehrtraj, {aces_count:,} by ACES")
    print(f"  ehrtraj {ehrtraj_seconds:6.2f} s")
    print(f"  ACES    {aces_seconds:6.2f} s, {aces_seconds / ehrtraj_seconds:.1f} times as long")


def show_items(dataset: ehrtraj.Dataset, count: int, folder: Path) -> None:
    """Load random training items of labels, from arrays and from the Parquet files."""
    from ehrtraj.torch import TrajectoryDataset, Vocabulary

    labels = label(dataset, TASK).table
    learning, vocabulary = timed(lambda: Vocabulary.fit(dataset))
    writing, items = timed(
        lambda: TrajectoryDataset(dataset, labels=labels, vocabulary=vocabulary, cache_dir=folder)  # type: ignore[arg-type]
    )
    events = int(dataset.layout.subjects["n_events"].sum())
    size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
    print(f"vocabulary {learning:.1f} s; arrays of {events:,} events {writing:.1f} s, {size / 1e6:,.0f} MB")
    indices = random.Random(0).sample(range(len(items)), min(count, len(items)))  # type: ignore[arg-type]
    fast, _ = timed(lambda: [items[index] for index in indices])  # type: ignore[index]
    train = labels.join(dataset.filter(split="train").subjects, on="subject_id", how="semi", maintain_order="left")
    slow, _ = timed(lambda: [dataset[s].as_of(t) for s, t in (train.row(index)[:2] for index in indices)])
    print(f"{len(indices):,} random items, in this process")
    print(f"  TrajectoryDataset     {len(indices) / fast:8,.0f} per second")
    print(f"  dataset[s].as_of(t)   {len(indices) / slow:8,.0f} per second")


def main() -> None:
    """Run both comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--files", type=int, default=10, help="number of files to label (default 10)")
    parser.add_argument("--items", type=int, default=2000, help="number of training items (default 2000)")
    arguments = parser.parse_args()
    dataset = ehrtraj.open(arguments.dataset)
    with tempfile.TemporaryDirectory() as folder:
        show_labels(dataset, arguments.files, Path(folder))
        show_items(dataset, arguments.items, Path(folder) / "arrays")


if __name__ == "__main__":
    main()
