"""Trajectories as PyTorch's DataLoader takes them: a patient, or what was known of one at a prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch.utils.data import Dataset as TorchDataset

from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.torch.batches import Item
from ehrtraj.torch.cache import NO_TIME, Arrays, find_cache, open_cache
from ehrtraj.torch.vocabulary import UNKNOWN, Vocabulary

Window = Literal["last", "first", "random"]

_HOUR = 3_600_000_000
_VALUES = ("boolean_value", "float_value", "integer_value")


class TrajectoryDataset(TorchDataset[Item]):
    """Trajectories of one split: one an item for each patient, or for each label.

    With labels, an item holds what was known at its prediction_time, by available_time, as `Trajectory.as_of` does,
    and never more. Numbers are those of the dataset: nothing is scaled, and a mask says where there are any.

    Works with any DataLoader: workers of any start method share the arrays on disk, and an item is the same
    whichever worker makes it.

    Attributes:
        vocabulary: numbers of the codes.
        max_events: most events of an item.
        window: which events, where there are more.
    """

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
        """Open a split. The first time, the dataset is written as arrays beside it (about 24 bytes an event).

        Args:
            dataset: or its folder; what `filter` and `sample` choose of it is kept.
            split: `train`, `tuning` or `held_out`.
            labels: a frame in MEDS' LabelSchema or its file, as `ehrtraj label` writes. Rows of other splits are
                left out.
            vocabulary: fitted on train before; by default it is fitted on the patients of `dataset` in train.
            max_events: most events of an item, static facts among them.
            min_events: fewest that `random` draws.
            window: where there are more events: the `last` ones, the `first` ones, or at `random`: as many as is
                drawn, from `min_events` to `max_events`, from a place that is drawn. With labels a window always ends
                at the prediction, and random draws its length alone.
            seed: of what is drawn; `set_epoch` draws anew.
            cache_dir: folder for the arrays, as private as the dataset should be.

        Raises:
            SettingsError: if a setting makes no sense, or labels are of no use.
            DatasetError: if the dataset or the labels cannot be read.
            OutputError: if the arrays cannot be written.
        """
        if not 1 <= min_events <= max_events:
            raise SettingsError(f"min_events is {min_events}: it must lie between 1 and max_events, {max_events}")
        if window not in ("last", "first", "random"):
            raise SettingsError(f"window is '{window}': it must be last, first or random")
        if labels is not None and window == "first":
            raise SettingsError("with labels a window ends at the prediction: let window be last or random")
        if seed < 0:
            raise SettingsError(f"seed is {seed}: it must not be negative")
        opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
        self.vocabulary = vocabulary or Vocabulary.fit(opened)
        self.max_events, self.min_events, self.window, self.seed = max_events, min_events, window, seed
        # Shared, so that workers that live on from epoch to epoch see it change.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._place = find_cache(opened.layout, cache_dir)
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
            self._arrays = open_cache(self._place)
        return self._arrays

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned maps the files anew instead of being sent their content.
        return self.__dict__ | {"_arrays": None}

    def __len__(self) -> int:
        return len(self._rows)

    def set_epoch(self, epoch: int) -> None:
        """Draw other windows; call it before each epoch. Workers that live on see it too."""
        self._epoch[0] = epoch

    def __getitem__(self, index: int) -> Item:
        """One trajectory.

        Raises:
            IndexError: if there is none of this number.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no trajectory {index}: there are {len(self):,}")
        index %= len(self)
        row = self._rows[index]
        begin, end = self.arrays.offsets[row : row + 2]
        times = self.arrays.times[begin:end]
        prediction = None if self._predictions is None else int(self._predictions[index])
        known = slice(None) if prediction is None else self.arrays.known[begin:end] <= prediction
        positions = np.arange(begin, end)[known]
        chosen = self._choose(positions, int(np.count_nonzero(times[known] == NO_TIME)), index)
        return self._item(chosen, int(self.arrays.subject_ids[row]), prediction, index)

    def _choose(self, positions: npt.NDArray[np.int64], static: int, index: int) -> npt.NDArray[np.int64]:
        """Positions of the events of an item: static facts, then a window of what happened."""
        facts, happened = positions[: min(static, self.max_events)], positions[static:]
        most = min(self.max_events - len(facts), len(happened))
        first = 0 if self.window == "first" else len(happened) - most
        if self.window == "random" and most:
            draw = np.random.default_rng([self.seed, int(self._epoch[0]), index])
            most = int(draw.integers(min(self.min_events, most), most + 1))
            last = len(happened) - most
            first = last if self._predictions is not None else int(draw.integers(0, last + 1))
        return np.concatenate([facts, happened[first : first + most]])

    def _item(self, chosen: npt.NDArray[np.int64], subject_id: int, prediction: int | None, index: int) -> Item:
        times = self.arrays.times[chosen]
        static = times == NO_TIME
        timed = times[~static]
        origin = prediction if prediction is not None else int(timed[0]) if len(timed) else 0
        values = self.arrays.values[chosen]
        given = ~np.isnan(values)
        return Item(
            codes=torch.from_numpy(self._numbers[self.arrays.codes[chosen]]),
            times=torch.from_numpy(np.where(static, 0.0, (np.where(static, origin, times) - origin) / _HOUR)),
            values=torch.from_numpy(np.where(given, values, np.float32(0))),
            value_mask=torch.from_numpy(given),
            static_mask=torch.from_numpy(static),
            subject_id=subject_id,
            prediction_time=prediction,
            label=None if self._labels is None else float(self._labels[index]),
        )

    def unknown_share(self) -> float:
        """Share of the events of these patients whose code the vocabulary does not know."""
        unknown = events = 0
        for row in np.unique(self._rows):
            begin, end = self.arrays.offsets[row : row + 2]
            unknown += int(np.count_nonzero(self._numbers[self.arrays.codes[begin:end]] == UNKNOWN))
            events += int(end - begin)
        return unknown / events if events else 0.0


def _read_labels(
    labels: pl.DataFrame | str | Path, dataset: Dataset, ids: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Patient, prediction time (microseconds) and value of each label of some patients."""
    if isinstance(labels, str | Path):
        try:
            labels = pl.read_parquet(labels, glob=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DatasetError(f"the labels {labels} cannot be read: {str(error).splitlines()[0]}") from None
    missing = {"subject_id", "prediction_time"} - set(labels.columns)
    values = [name for name in _VALUES if name in labels.columns and labels[name].null_count() == 0]
    if missing or not values:
        wanted = ", ".join(sorted(missing)) or "boolean_value without gaps"
        raise SettingsError(f"the labels have no {wanted}: they must be as `ehrtraj label` writes them")
    strangers = labels.filter(~pl.col("subject_id").is_in(dataset.layout.subjects["subject_id"].implode()))
    if strangers.height:
        raise SettingsError(
            f"patient {strangers['subject_id'][0]} of the labels is not in {dataset.path}: they are of another dataset"
        )
    own = labels.filter(pl.col("subject_id").is_in(pl.Series(ids).implode()))
    times = own["prediction_time"].cast(pl.Datetime("us")).dt.epoch("us").to_numpy()
    return own["subject_id"].to_numpy(), times, own[values[0]].cast(pl.Float32).to_numpy()
