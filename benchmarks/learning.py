"""Labels against ACES, and items for training against trajectories cut one by one, over the same dataset in one run.

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
    """Seconds that something took, and what it gave."""
    begin = time.perf_counter()
    given = work()
    return time.perf_counter() - begin, given


def aces_labels(files: list[Path], folder: Path) -> int:
    """Number of labels that ACES gives over files, in one process."""
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
    """Label the patients of some files with both."""
    chosen = dataset.files[:files]
    held = pl.DataFrame([(file.split, file.shard) for file in chosen], schema=["split", "shard"], orient="row")
    some = ehrtraj.Dataset(dataset.layout, dataset.subjects.join(held, on=["split", "shard"], how="semi"))
    own, found = timed(lambda: label(some, TASK).table.height)
    theirs, expected = timed(lambda: aces_labels([file.path for file in chosen], folder))
    events = int(some.subjects["n_events"].sum())
    print(f"labels of {events:,} events in {len(chosen)} files: {found:,} by ehrtraj, {expected:,} by ACES")
    print(f"  ehrtraj {own:6.2f} s\n  ACES    {theirs:6.2f} s, {theirs / own:.1f} times as long")


def show_items(dataset: ehrtraj.Dataset, count: int, folder: Path) -> None:
    """Make items of labels, at random, from arrays and from the Parquet."""
    from ehrtraj.torch import TrajectoryDataset, Vocabulary

    labels = label(dataset, TASK).table
    learning, vocabulary = timed(lambda: Vocabulary.fit(dataset))
    writing, items = timed(
        lambda: TrajectoryDataset(dataset, labels=labels, vocabulary=vocabulary, cache_dir=folder)  # type: ignore[arg-type]
    )
    events = int(dataset.layout.subjects["n_events"].sum())
    size = sum(path.stat().st_size for path in folder.rglob("*.npy"))
    print(f"vocabulary {learning:.1f} s; arrays of {events:,} events {writing:.1f} s, {size / 1e6:,.0f} MB")
    at = random.Random(0).sample(range(len(items)), min(count, len(items)))  # type: ignore[arg-type]
    fast, _ = timed(lambda: [items[index] for index in at])  # type: ignore[index]
    train = labels.join(dataset.filter(split="train").subjects, on="subject_id", how="semi", maintain_order="left")
    slow, _ = timed(lambda: [dataset[s].as_of(t) for s, t in (train.row(index)[:2] for index in at)])
    print(f"{len(at):,} items at random, in this process")
    print(f"  TrajectoryDataset     {len(at) / fast:8,.0f} a second")
    print(f"  dataset[s].as_of(t)   {len(at) / slow:8,.0f} a second")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--files", type=int, default=10, help="files to label with both (default 10)")
    parser.add_argument("--items", type=int, default=2000, help="items to make (default 2000)")
    given = parser.parse_args()
    dataset = ehrtraj.open(given.dataset)
    with tempfile.TemporaryDirectory() as folder:
        show_labels(dataset, given.files, Path(folder))
        show_items(dataset, given.items, Path(folder) / "arrays")


if __name__ == "__main__":
    main()
