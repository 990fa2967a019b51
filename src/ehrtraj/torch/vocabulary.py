"""Numbers for codes, learnt from the patients of the split train alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.storage.files import private_files, write_json

PAD, UNKNOWN = 0, 1
_SPECIAL = 2


class Vocabulary:
    """Numbers for codes: 0 fills up (PAD), 1 is any code that training did not see (UNKNOWN), the others follow.

    Attributes:
        codes: the code of each number from 2 on.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        """Take codes in the order of their numbers.

        Raises:
            SettingsError: if a code stands twice.
        """
        self.codes = tuple(codes)
        self._numbers = {code: number for number, code in enumerate(self.codes, start=_SPECIAL)}
        if len(self._numbers) != len(self.codes):
            raise SettingsError("a code stands twice in the vocabulary")

    @classmethod
    def fit(cls, dataset: Dataset, *, min_count: int = 1) -> Vocabulary:
        """Learn the codes of the patients in the split train, the most frequent first. No other split is read.

        Args:
            dataset: all of one, or what was chosen of it.
            min_count: a code with fewer events than this is UNKNOWN.

        Raises:
            SettingsError: if there is nobody in train.
        """
        train = dataset.filter(split="train")
        if not len(train):
            raise SettingsError(f"{dataset.path} has no patient in train: there is nothing to learn a vocabulary from")
        counts = train.scan().group_by("code").len().filter(pl.col("len") >= min_count).collect()
        return cls(counts.sort(["len", "code"], descending=[True, False])["code"].to_list())

    @classmethod
    def load(cls, path: str | Path) -> Vocabulary:
        """Read what `save` wrote.

        Raises:
            DatasetError: if it is not there, or is something else.
        """
        try:
            codes = json.loads(Path(path).read_text(encoding="utf-8"))["codes"]
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{path} is not a vocabulary") from None
        return cls(codes)

    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON, readable by the user alone."""
        with private_files():
            write_json(Path(path), {"pad": PAD, "unknown": UNKNOWN, "codes": self.codes})

    def __len__(self) -> int:
        """How many numbers there are: the size of an embedding."""
        return len(self.codes) + _SPECIAL

    def __getitem__(self, code: str) -> int:
        """Number of a code."""
        return self._numbers.get(code, UNKNOWN)

    def code(self, number: int) -> str:
        """Code of a number, `<pad>` or `<unknown>`."""
        return ("<pad>", "<unknown>", *self.codes)[number]

    def numbers(self, codes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Numbers of codes: int64, as many as codes."""
        return np.array([self._numbers.get(code, UNKNOWN) for code in codes], dtype=np.int64)
