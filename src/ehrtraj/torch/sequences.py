"""Trajectories as sequences of tokens, for autoregressive models."""

from __future__ import annotations

from pathlib import Path

import meds
import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.errors import SettingsError
from ehrtraj.torch.batches import Item
from ehrtraj.torch.cache import NO_TIME
from ehrtraj.torch.dataset import TrajectoryDataset, Window
from ehrtraj.torch.tokens import Encoder, TokenVocabulary

_HOUR = 3_600_000_000


class TokenDataset(TrajectoryDataset):
    """Like `TrajectoryDataset`, but each event becomes the tokens of a `TokenVocabulary`.

    An item begins with static facts and the age at its first event with a time. Then each event has the tokens of the
    gap before it, of its code and of the quantile of its value. They all have the time of the event. The value is at
    the last token of the code.
    """

    @checked
    def __init__(
        self,
        dataset: Dataset | str | Path,
        *,
        split: str = "train",
        labels: pl.DataFrame | str | Path | None = None,
        vocabulary: TokenVocabulary | None = None,
        max_tokens: int = 2048,
        min_events: int = 1,
        window: Window = "last",
        seed: int = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        """Open a split; see `TrajectoryDataset`.

        Args:
            dataset: as in `TrajectoryDataset`, like all arguments that are not listed here.
            split: as in `TrajectoryDataset`.
            labels: as in `TrajectoryDataset`.
            vocabulary: a vocabulary fitted on train; by default it is fitted on the patients of `dataset` in train.
            max_tokens: maximum number of tokens of an item. Events that do not fit completely are left out.
            min_events: minimum number of events of a `random` window. Its maximum is `max_tokens`.
            window: as in `TrajectoryDataset`.
            seed: as in `TrajectoryDataset`.
            cache_dir: as in `TrajectoryDataset`.

        Raises:
            SettingsError: if a setting is invalid, or the labels do not belong to the dataset.
            DatasetError: if the dataset or the labels cannot be read.
            OutputError: if the arrays cannot be written.
        """
        if max_tokens < 1:
            raise SettingsError(f"max_tokens is {max_tokens}: it must be at least 1")
        opened = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
        tokens = vocabulary or TokenVocabulary.fit(opened)
        # Each event has at least one token, so that a window never needs more events.
        super().__init__(
            opened, split=split, labels=labels, vocabulary=tokens, max_events=max_tokens, min_events=min_events,
            window=window, seed=seed, cache_dir=cache_dir,
        )  # fmt: skip
        self.max_tokens = max_tokens
        codes = opened.layout.codes["code"].to_list()
        self._encoder = Encoder(tokens, codes)
        self._has_ages = tokens.form.ages
        self._birth_code = codes.index(meds.birth_code) if meds.birth_code in codes else -1

    def _item(self, selected: npt.NDArray[np.int64], subject_id: int, prediction: int | None, index: int) -> Item:
        codes = self.arrays.codes[selected]
        if self._has_ages:
            selected = selected[codes != self._birth_code]
            codes = self.arrays.codes[selected]
        times, values = self.arrays.times[selected], self.arrays.values[selected]
        static = int(np.count_nonzero(times == NO_TIME))
        birth = self._birth(index, prediction)
        most = self.max_tokens - (birth is not None)
        encoded = self._encoder.encode(codes, times, values, static=static, most=most, latest=self.window != "first")
        kept_times = times[encoded.events]
        timed = kept_times[kept_times != NO_TIME]
        origin = prediction if prediction is not None else int(timed[0]) if len(timed) else 0
        at = len(kept_times) - len(timed)
        age = [self._encoder.age(int(timed[0]) - birth)] if birth is not None and len(timed) else []
        is_static = np.insert(kept_times == NO_TIME, at, [True] * len(age))
        hours = (np.where(kept_times == NO_TIME, origin, kept_times) - origin) / _HOUR
        has_value = encoded.is_code & ~np.isnan(values[encoded.events])
        numbers = np.where(has_value, values[encoded.events], np.float32(0))
        return Item(
            codes=torch.from_numpy(np.insert(encoded.tokens, at, age)),
            times=torch.from_numpy(np.insert(hours, at, [0.0] * len(age))),
            values=torch.from_numpy(np.insert(numbers, at, [0] * len(age))),
            value_mask=torch.from_numpy(np.insert(has_value, at, [False] * len(age))),
            static_mask=torch.from_numpy(is_static),
            subject_id=subject_id,
            prediction_time=prediction,
            label=None if self._labels is None else float(self._labels[index]),
        )

    def _birth(self, index: int, prediction: int | None) -> int | None:
        """Return the time of birth; None if it is not known, or ages have no tokens."""
        if not self._has_ages:
            return None
        begin, end = self.arrays.offsets[self._rows[index] : self._rows[index] + 2]
        at = np.flatnonzero(self.arrays.codes[begin:end] == self._birth_code)
        if not len(at) or (prediction is not None and self.arrays.known[begin + at[0]] > prediction):
            return None
        return int(self.arrays.times[begin + at[0]])
