"""Token IDs for codes, learnt only from the patients in the split train."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.storage.files import private_files, write_json

PAD, UNKNOWN = 0, 1
_SPECIAL = 2


class Vocabulary:
    """Token IDs for codes: 0 is padding (PAD), 1 is any code not seen in training (UNKNOWN), and the others follow.

    Attributes:
        codes: the code of each token ID, beginning with 2.
    """

    def __init__(self, codes: Sequence[str]) -> None:
        """Create a vocabulary from codes in the order of their token IDs.

        Raises:
            SettingsError: if a code occurs twice.
        """
        self.codes = tuple(codes)
        self._numbers = {code: number for number, code in enumerate(self.codes, start=_SPECIAL)}
        if len(self._numbers) != len(self.codes):
            raise SettingsError("a code occurs twice in the vocabulary")

    @classmethod
    @checked
    def fit(cls, dataset: Dataset, *, min_count: int = 1) -> Vocabulary:
        """Learn the codes of the patients in the split train, the most frequent first. No other split is read.

        Args:
            dataset: a dataset, or a selection of its patients.
            min_count: a code with fewer events than this is UNKNOWN.

        Raises:
            SettingsError: if there are no patients in train.
        """
        train = dataset.filter(split="train")
        if not len(train):
            raise SettingsError(f"{dataset.path} has no patients in train, from which to learn a vocabulary")
        counts = train.scan().group_by("code").len().filter(pl.col("len") >= min_count).collect()
        return cls(counts.sort(["len", "code"], descending=[True, False])["code"].to_list())

    @classmethod
    @checked
    def load(cls, path: str | Path) -> Vocabulary:
        """Read a vocabulary that `save` wrote.

        Raises:
            DatasetError: if the file cannot be read, or is not a vocabulary.
        """
        try:
            codes = json.loads(Path(path).read_text(encoding="utf-8"))["codes"]
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DatasetError(f"{path} is not a vocabulary") from None
        return cls(codes)

    @checked
    def save(self, path: str | Path) -> None:
        """Write the vocabulary as JSON. Only the user can read the file."""
        with private_files():
            write_json(Path(path), {"pad": PAD, "unknown": UNKNOWN, "codes": self.codes})

    def __len__(self) -> int:
        """Return the number of token IDs, which is the size of an embedding."""
        return len(self.codes) + _SPECIAL

    def __getitem__(self, code: str) -> int:
        """Return the token ID of a code."""
        return self._numbers.get(code, UNKNOWN)

    def code(self, number: int) -> str:
        """Return the code of a token ID, `<pad>` or `<unknown>`."""
        return ("<pad>", "<unknown>", *self.codes)[number]

    def numbers(self, codes: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the token IDs of codes, int64 [len(codes)]."""
        return np.array([self._numbers.get(code, UNKNOWN) for code in codes], dtype=np.int64)
