"""Trajectories for PyTorch's DataLoader: complete patients, or the events known at a prediction time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch.utils.data import Dataset as TorchDataset

from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.torch.batches import Item
from ehrtraj.torch.cache import NO_TIME, Arrays, find_cache, open_cache
from ehrtraj.torch.vocabulary import UNKNOWN, Vocabulary

Window = Literal["last", "first", "random"]

_HOUR = 3_600_000_000
_VALUES = ("boolean_value", "float_value", "integer_value")


class TrajectoryDataset(TorchDataset[Item]):
    """Trajectories of one split, with one item per patient or per label.

    With labels, an item contains the events known at its prediction_time, by available_time, like `Trajectory.as_of`,
    and nothing else. Values are those of the dataset: they are not scaled, and a mask marks the events that have one.

    It works with any DataLoader. Workers of any start method share the arrays on disk, and an item does not depend on
    the worker that creates it.

    Attributes:
        vocabulary: maps codes to token IDs.
        max_events: maximum number of events of an item.
        window: which events to use if there are more.
    """

    @checked
    def __init__(
        self,
        dataset: Dataset | str | Path,
        *,
        split: str = "train",
        labels: pl.DataFrame | str | Path | None = None,
        vocabulary: Vocabulary | None = None,
        max_events: int = 1024,
        min_events: int = 1,
        window: Window = "last",
        seed: int = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Open a split. On first use, the dataset is written as arrays next to its folder (about 24 bytes per event).

        Args:
            dataset: a dataset or its folder. A selection with `filter` or `sample` is respected.
            split: `train`, `tuning` or `held_out`.
            labels: a frame in MEDS' LabelSchema, or a file of one, as `ehrtraj label` writes it. Rows of other splits
                are ignored.
            vocabulary: a vocabulary fitted on train; by default it is fitted on the patients of `dataset` in train.
            max_events: maximum number of events of an item, including static facts.
            min_events: minimum number of events of a `random` window.
            window: which events to use if there are more: the `last` ones, the `first` ones, or a `random` window,
                whose length is sampled from `min_events` to `max_events`, and whose position is sampled, too. With
                labels a window always ends at the prediction time, and only its length is random.
            seed: random seed; `set_epoch` samples new windows.
            cache_dir: folder for the arrays. It must be as private as the dataset.

        Raises:
            SettingsError: if a setting is invalid, or the labels do not belong to the dataset.
            DatasetError: if the dataset or the labels cannot be read.
            OutputError: if the arrays cannot be written.
        """
        if not 1 <= min_events <= max_events:
            raise SettingsError(f"min_events is {min_events}: it must be from 1 to max_events, which is {max_events}")
        if window not in ("last", "first", "random"):
            raise SettingsError(f"window is '{window}': it must be last, first or random")
        if labels is not None and window == "first":
            raise SettingsError("with labels, a window ends at the prediction time: set window to last or random")
        if seed < 0:
            raise SettingsError(f"seed is {seed}: it must not be negative")
        opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
        self.vocabulary = vocabulary or Vocabulary.fit(opened)
        self.max_events, self.min_events, self.window, self.seed = max_events, min_events, window, seed
        # In shared memory, so that persistent workers see the new epoch.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._cache = find_cache(opened.layout, cache_dir)
        self._arrays: Arrays | None = None
        self._numbers = self.vocabulary.numbers(opened.layout.codes["code"].to_list())
        ids = opened.filter(split=split).subjects["subject_id"].to_numpy()
        self._labels: npt.NDArray[np.float32] | None = None
        self._predictions: npt.NDArray[np.int64] | None = None
        if labels is not None:
            ids, self._predictions, self._labels = _read_labels(labels, opened, ids)
        order = np.argsort(self.arrays.subject_ids)
        at = np.searchsorted(self.arrays.subject_ids, ids, sorter=order)
        self._rows: npt.NDArray[np.int64] = order[at]

    @property
    def arrays(self) -> Arrays:
        """The arrays on disk, mapped into this process."""
        if self._arrays is None:
            self._arrays = open_cache(self._cache)
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker maps the files again; their content is not sent to it.
        return self.__dict__ | {"_arrays": None}

    def __len__(self) -> int:
        return len(self._rows)

    @checked
    def set_epoch(self, epoch: int) -> None:
        """Sample new windows. Call this before each epoch. It also reaches persistent workers."""
        self._epoch[0] = epoch

    def __getitem__(self, index: int) -> Item:
        """Return one trajectory.

        Raises:
            IndexError: if the index is out of range.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no trajectory {index}: the dataset has {len(self):,}")
        index %= len(self)
        row = self._rows[index]
        begin, end = self.arrays.offsets[row : row + 2]
        times = self.arrays.times[begin:end]
        prediction = None if self._predictions is None else int(self._predictions[index])
        known = slice(None) if prediction is None else self.arrays.known[begin:end] <= prediction
        positions = np.arange(begin, end)[known]
        selected = self._select(positions, int(np.count_nonzero(times[known] == NO_TIME)), index)
        return self._item(selected, int(self.arrays.subject_ids[row]), prediction, index)

    def _select(self, positions: npt.NDArray[np.int64], static: int, index: int) -> npt.NDArray[np.int64]:
        """Return the positions of the events of an item: static facts, then a window of the timed events."""
        facts, timed = positions[: min(static, self.max_events)], positions[static:]
        length = min(self.max_events - len(facts), len(timed))
        first = 0 if self.window == "first" else len(timed) - length
        if self.window == "random" and length:
            generator = np.random.default_rng([self.seed, int(self._epoch[0]), index])
            length = int(generator.integers(min(self.min_events, length), length + 1))
            last = len(timed) - length
            first = last if self._predictions is not None else int(generator.integers(0, last + 1))
        return np.concatenate([facts, timed[first : first + length]])

    def _item(self, selected: npt.NDArray[np.int64], subject_id: int, prediction: int | None, index: int) -> Item:
        times = self.arrays.times[selected]
        static = times == NO_TIME
        timed = times[~static]
        origin = prediction if prediction is not None else int(timed[0]) if len(timed) else 0
        values = self.arrays.values[selected]
        has_value = ~np.isnan(values)
        return Item(
            codes=torch.from_numpy(self._numbers[self.arrays.codes[selected]]),
            times=torch.from_numpy(np.where(static, 0.0, (np.where(static, origin, times) - origin) / _HOUR)),
            values=torch.from_numpy(np.where(has_value, values, np.float32(0))),
            value_mask=torch.from_numpy(has_value),
            static_mask=torch.from_numpy(static),
            subject_id=subject_id,
            prediction_time=prediction,
            label=None if self._labels is None else float(self._labels[index]),
        )

    def unknown_share(self) -> float:
        """Return the share of the events of these patients whose code is not in the vocabulary."""
        unknown = events = 0
        for row in np.unique(self._rows):
            begin, end = self.arrays.offsets[row : row + 2]
            unknown += int(np.count_nonzero(self._numbers[self.arrays.codes[begin:end]] == UNKNOWN))
            events += int(end - begin)
        return unknown / events if events else 0.0


def _read_labels(
    labels: pl.DataFrame | str | Path, dataset: Dataset, ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return the patient, prediction time (microseconds) and value of each label of the patients `ids`."""
    if isinstance(labels, str | Path):
        try:
            labels = pl.read_parquet(labels, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DatasetError(f"the labels {labels} cannot be read: {str(error).splitlines()[0]}") from None
    missing = {"subject_id", "prediction_time"} - set(labels.columns)
    values = [name for name in _VALUES if name in labels.columns and labels[name].null_count() == 0]
    if missing or not values:
        lacking = ", ".join(sorted(missing)) or "boolean_value without nulls"
        raise SettingsError(f"the labels have no {lacking}: use a file written by `ehrtraj label`, or its columns")
    unlisted_entries = labels.filter(~pl.col("subject_id").is_in(dataset.layout.subjects["subject_id"].implode()))
    if unlisted_entries.height:
        raise SettingsError(
            f"patient {unlisted_entries['subject_id'][0]} of the labels is not in {dataset.path}: the labels belong to "
            "another dataset"
        )
    rows = labels.filter(pl.col("subject_id").is_in(pl.Series(ids).implode()))
    times = rows["prediction_time"].cast(pl.Datetime("us")).dt.epoch("us").to_numpy()
    return rows["subject_id"].to_numpy(), times, rows[values[0]].cast(pl.Float32).to_numpy()
