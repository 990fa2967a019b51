"""TrajectoryDataset: an item contains only what was known, and does not depend on the worker that creates it.

PyTorch is in the environment that `make consumers` creates, in which `make test` runs this file.
"""

from __future__ import annotations

import pickle
import shutil
import stat
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import ehrtraj
from ehrtraj.errors import DatasetError, SettingsError

torch = pytest.importorskip("torch", reason="PyTorch is in the environment of `make consumers`")

from torch.utils.data import DataLoader  # noqa: E402

from ehrtraj.storage.owned import claim  # noqa: E402
from ehrtraj.torch import TrajectoryDataset, Vocabulary, pack, pad  # noqa: E402

EPOCH = datetime(1970, 1, 1)
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def dataset(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


@pytest.fixture(scope="module")
def vocabulary(dataset: ehrtraj.Dataset) -> Vocabulary:
    return Vocabulary.fit(dataset)


@pytest.fixture(scope="module")
def labels(dataset: ehrtraj.Dataset) -> pl.DataFrame:
    """Labels at every time at which an event happened or became known, and one microsecond before."""
    times = dataset.scan().select("subject_id", pl.concat_list("time", "available_time").alias("prediction_time"))
    times = (
        times.explode("prediction_time", empty_as_null=True)
        .drop_nulls()
        .unique()
        .sort("subject_id", "prediction_time")
        .collect()
    )
    before = times.with_columns(pl.col("prediction_time") - timedelta(microseconds=1))
    rows = pl.concat([times, before]).sort("subject_id", "prediction_time")
    return rows.with_columns(boolean_value=pl.int_range(pl.len()) % 3 == 0)


def check_item(item: dict, trajectory: ehrtraj.Trajectory, vocabulary: Vocabulary, origin: datetime) -> None:
    events = trajectory.events
    assert item["codes"].tolist() == [vocabulary[code] for code in events["code"]]
    static = events["time"].is_null()
    assert item["static_mask"].tolist() == static.to_list()
    hours = [0.0 if time is None else (time - origin) / HOUR for time in events["time"]]
    assert item["times"].tolist() == pytest.approx(hours, abs=1e-9)
    assert item["value_mask"].tolist() == events["numeric_value"].is_not_null().to_list()
    assert item["values"].tolist() == events["numeric_value"].fill_null(0).to_list()


def test_the_item_of_a_label_contains_the_events_known_at_its_prediction_time(
    dataset: ehrtraj.Dataset, vocabulary: Vocabulary, labels: pl.DataFrame
) -> None:
    seen, hidden = 0, 0
    for split in ("train", "held_out"):
        of_split = labels.join(dataset.filter(split=split).subjects, on="subject_id", how="semi", maintain_order="left")
        items = TrajectoryDataset(dataset, split=split, labels=labels, vocabulary=vocabulary)
        assert len(items) == of_split.height > 0
        for index in range(0, len(items), 3):
            subject, time, value = of_split.row(index)
            item = items[index]
            known = dataset[subject].as_of(time)
            check_item(item, known, vocabulary, time)
            assert (item["subject_id"], item["label"]) == (subject, float(value))
            assert item["prediction_time"] == (time - EPOCH) // timedelta(microseconds=1)
            assert item["times"].max() <= 0
            seen += len(known)
            hidden += dataset[subject].between(None, time).events.height - len(known)
    assert seen > 1000
    assert hidden > 0, "the test needs events that had happened but were not known yet"


def test_the_item_of_a_patient_is_the_complete_trajectory(dataset: ehrtraj.Dataset, vocabulary: Vocabulary) -> None:
    items = TrajectoryDataset(dataset, vocabulary=vocabulary)
    train = list(dataset.filter(split="train"))
    assert [items[i]["subject_id"] for i in range(len(items))] == train
    for index, subject in enumerate(train):
        trajectory = dataset[subject]
        check_item(items[index], trajectory, vocabulary, trajectory.events["time"].drop_nulls()[0])
        assert (items[index]["label"], items[index]["prediction_time"]) == (None, None)
    assert items[-1]["subject_id"] == train[-1]
    with pytest.raises(IndexError):
        items[len(train)]


def test_only_selected_patients_have_items(dataset: ehrtraj.Dataset, vocabulary: Vocabulary) -> None:
    some = dataset.filter(pl.col("sex") == "F")
    items = TrajectoryDataset(some, vocabulary=vocabulary)
    assert [items[i]["subject_id"] for i in range(len(items))] == list(some.filter(split="train"))


def test_the_vocabulary_is_learnt_only_from_train(
    dataset: ehrtraj.Dataset, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    train = dataset.filter(split="train").scan().select(pl.col("code").unique()).collect()["code"]
    assert sorted(vocabulary.codes) == sorted(train)
    unseen = set(dataset.codes["code"]) - set(train)
    assert unseen, "the test needs codes that occur only in held_out"
    assert {vocabulary[code] for code in unseen} == {1}
    held_out = TrajectoryDataset(dataset, split="held_out", vocabulary=vocabulary)
    found = torch.cat([held_out[i]["codes"] for i in range(len(held_out))])
    assert held_out.unknown_share() == pytest.approx(float((found == 1).float().mean()))
    assert 0 < held_out.unknown_share() < 1
    assert len(vocabulary) == len(train) + 2
    vocabulary.save(tmp_path / "vocabulary.json")
    assert stat.S_IMODE((tmp_path / "vocabulary.json").stat().st_mode) == 0o600
    assert Vocabulary.load(tmp_path / "vocabulary.json").codes == vocabulary.codes
    rare = Vocabulary.fit(dataset, min_count=3)
    assert 0 < len(rare) < len(vocabulary)
    assert (rare.code(0), rare.code(1), rare.code(rare[rare.codes[5]])) == ("<pad>", "<unknown>", rare.codes[5])


def test_padded_and_packed_batches_have_the_same_content(dataset: ehrtraj.Dataset, labels: pl.DataFrame) -> None:
    items = TrajectoryDataset(dataset, labels=labels, max_events=40)
    some = [items[index] for index in (0, 5, 90, 200)]
    padded, packed = pad(some), pack(some)
    lengths = [len(item["codes"]) for item in some]
    assert padded.lengths.tolist() == padded.mask.sum(1).tolist() == packed.offsets.diff().tolist() == lengths
    assert len(set(lengths)) > 1
    assert padded.codes.shape == (4, max(lengths))
    assert packed.longest == max(lengths)
    for name in ("codes", "times", "values", "value_mask", "static_mask"):
        assert torch.equal(getattr(padded, name)[padded.mask], getattr(packed, name))
        assert not getattr(padded, name)[~padded.mask].any()
    assert padded.labels.tolist() == packed.labels.tolist() == [item["label"] for item in some]
    assert padded.subject_ids.tolist() == [item["subject_id"] for item in some]
    assert padded.prediction_times.tolist() == [item["prediction_time"] for item in some]
    assert (padded.codes.dtype, padded.times.dtype, padded.values.dtype) == (torch.int64, torch.float64, torch.float32)
    moved = padded.to("meta")
    assert moved.codes.device.type == moved.labels.device.type == "meta"


def events_of(item: dict) -> list[tuple]:
    return [tuple(row) for row in zip(item["codes"].tolist(), item["values"].tolist(), strict=True)]


def test_windows_are_contiguous_parts_of_the_trajectory(
    dataset: ehrtraj.Dataset, vocabulary: Vocabulary, labels: pl.DataFrame
) -> None:
    complete = TrajectoryDataset(dataset, vocabulary=vocabulary)
    last = TrajectoryDataset(dataset, vocabulary=vocabulary, max_events=20)
    first = TrajectoryDataset(dataset, vocabulary=vocabulary, max_events=20, window="first")
    sampled = TrajectoryDataset(dataset, vocabulary=vocabulary, max_events=20, min_events=5, window="random")
    lengths = set()
    for index in range(len(complete)):
        all_events, static = events_of(complete[index]), int(complete[index]["static_mask"].sum())
        facts, timed = all_events[:static], all_events[static:]
        most = min(20 - static, len(timed))
        assert events_of(last[index]) == facts + timed[len(timed) - most :]
        assert events_of(first[index]) == facts + timed[:most]
        for epoch in range(20):
            sampled.set_epoch(epoch)
            item = events_of(sampled[index])
            assert item == events_of(sampled[index])
            run = item[static:]
            assert item[:static] == facts
            assert min(5, most) <= len(run) <= most
            assert any(timed[at : at + len(run)] == run for at in range(len(timed) - len(run) + 1))
            lengths.add(len(run))
    assert len(lengths) > 10
    before = TrajectoryDataset(dataset, vocabulary=vocabulary, labels=labels)
    ends = TrajectoryDataset(dataset, vocabulary=vocabulary, labels=labels, max_events=20, window="random")
    for index in range(0, len(before), 50):
        run = events_of(ends[index])[int(ends[index]["static_mask"].sum()) :]
        assert events_of(before[index])[len(before[index]["codes"]) - len(run) :] == run


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_create_the_same_items(dataset: ehrtraj.Dataset, vocabulary: Vocabulary, method: str) -> None:
    items = TrajectoryDataset(dataset, vocabulary=vocabulary, max_events=30, window="random", seed=3)

    def epochs(loader: DataLoader) -> list[list]:
        codes = []
        for epoch in (0, 1):
            items.set_epoch(epoch)
            codes.append([batch.codes.tolist() for batch in loader])
        return codes

    without_workers = epochs(DataLoader(items, batch_size=3, collate_fn=pad))
    context = get_context(method)
    workers = DataLoader(
        items, batch_size=3, collate_fn=pad, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    assert epochs(workers) == without_workers
    assert without_workers[0] != without_workers[1]


def test_the_arrays_do_not_replace_foreign_files(built: Path, tmp_path: Path) -> None:
    dataset = shutil.copytree(built, tmp_path / "v1")
    foreign = tmp_path / ".v1.arrays" / "thesis"
    foreign.mkdir(parents=True)
    (foreign / "thesis.txt").write_text("years of work")
    TrajectoryDataset(dataset)
    assert (foreign / "thesis.txt").is_file()
    # Arrays of a dataset that was replaced are removed.
    manifest = dataset / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    TrajectoryDataset(dataset)
    assert len([path for path in foreign.parent.iterdir() if path.is_dir()]) == 2
    assert (foreign / "thesis.txt").is_file()


def test_the_arrays_are_written_once_and_are_private(built: Path, tmp_path: Path) -> None:
    dataset = ehrtraj.open(built)
    TrajectoryDataset(dataset, cache_dir=tmp_path / "arrays")
    (cache,) = (path for path in (tmp_path / "arrays").iterdir() if path.is_dir())
    files = sorted(cache.iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (cache, cache.parent)] == [0o700, 0o700]
    written = [path.stat().st_mtime_ns for path in files]
    items = TrajectoryDataset(dataset, split="held_out", cache_dir=tmp_path / "arrays")
    assert [path.stat().st_mtime_ns for path in files] == written
    assert len(pickle.dumps(items)) < 50_000, "the arrays must not be sent to workers"
    (cache / "times.npy").write_bytes(b"")
    with pytest.raises(DatasetError, match="damaged: remove it"):
        TrajectoryDataset(dataset, cache_dir=tmp_path / "arrays")


def test_partial_arrays_of_a_killed_process_are_replaced(built: Path, tmp_path: Path) -> None:
    dataset = ehrtraj.open(built)
    expected = TrajectoryDataset(dataset, cache_dir=tmp_path / "a")
    (cache,) = (path for path in (tmp_path / "a").iterdir() if path.is_dir())
    partial = tmp_path / "b" / f".{cache.name}"
    partial.parent.mkdir()
    claim(partial, "arrays")
    (partial / "codes.npy").write_bytes(b"half")
    again = TrajectoryDataset(dataset, cache_dir=tmp_path / "b")
    assert torch.equal(again[0]["codes"], expected[0]["codes"])
    assert [path.name for path in (tmp_path / "b").iterdir()] == [cache.name]


def test_invalid_settings_are_reported(dataset: ehrtraj.Dataset, labels: pl.DataFrame, tmp_path: Path) -> None:
    stranger = labels.head(1).with_columns(subject_id=pl.lit(4711, dtype=pl.Int64))
    invalid = [
        ({"labels": stranger}, "patient 4711 of the labels is not in"),
        ({"labels": labels.drop("boolean_value")}, "no boolean_value"),
        ({"labels": labels.drop("prediction_time")}, "no prediction_time"),
        ({"labels": labels, "window": "first"}, "ends at the prediction time"),
        ({"seed": -1}, "must not be negative"),
        ({"window": "middle"}, "must be last, first or random"),
        ({"min_events": 5, "max_events": 4}, "from 1 to max_events, which is 4"),
        ({"split": "test"}, "there is no split 'test'"),
    ]
    for settings, message in invalid:
        with pytest.raises(SettingsError, match=message):
            TrajectoryDataset(dataset, **settings)
    with pytest.raises(SettingsError, match="no patients in train"):
        TrajectoryDataset(dataset.filter(split="held_out"))
    with pytest.raises(DatasetError, match="cannot be read"):
        TrajectoryDataset(dataset, labels=tmp_path / "none.parquet")
    (tmp_path / "vocabulary.json").write_text("[]")
    with pytest.raises(DatasetError, match="not a vocabulary"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_a_model_learns_from_batches(dataset: ehrtraj.Dataset, vocabulary: Vocabulary, labels: pl.DataFrame) -> None:
    """A bag of codes learns labels that the codes determine, so items, labels and batches belong together."""
    seen = [dataset[s].as_of(t).codes("ADMISSION//*").events.height > 0 for s, t, _ in labels.iter_rows()]
    items = TrajectoryDataset(dataset, labels=labels.with_columns(boolean_value=pl.Series(seen)), vocabulary=vocabulary)
    torch.manual_seed(0)
    bag = torch.nn.EmbeddingBag(len(vocabulary), 1, mode="sum")
    optimiser = torch.optim.Adam(bag.parameters(), lr=0.1)
    loader = DataLoader(items, batch_size=64, shuffle=True, collate_fn=pack)
    for _ in range(10):
        for batch in loader:
            optimiser.zero_grad()
            logits = bag(batch.codes, batch.offsets[:-1].long()).squeeze(1)
            torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.labels).backward()
            optimiser.step()
    batch = pack([items[i] for i in range(len(items))])
    is_correct = (bag(batch.codes, batch.offsets[:-1].long()).squeeze(1) > 0).float() == batch.labels
    assert 0.2 < np.mean(seen) < 0.9
    assert is_correct.float().mean() > 0.95
