"""The split of each patient, and stable random samples of patients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

# Importing numpy takes 0.1 s. Readers of a dataset need only the names of the splits.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import numpy as np
    import numpy.typing as npt

    from ehrtraj.format.arrays import Int64s

SPLITS = ("train", "tuning", "held_out")

DEFAULT_SPLITS = "0.8,0.1,0.1"
"""The shares of the splits, as a user writes them."""
TEMPORAL = "temporal"
_HOW = f"write three shares ({DEFAULT_SPLITS}), the file of a table with subject_id and split, or {TEMPORAL}"


@dataclass(frozen=True)
class SplitMethod:
    """How patients are assigned to splits. One of the attributes is given, or none for the method `temporal`.

    Attributes:
        upper: upper bounds of the hash for `train` and `tuning`.
        file: CSV or Parquet file with the columns `subject_id` and `split`.
    """

    upper: tuple[float, float] | None = None
    file: Path | None = None


def parse_splits(given: str | Path) -> SplitMethod:
    """Return the method that a user writes: shares such as `0.8,0.1,0.1`, a file, or `temporal`.

    Raises:
        SettingsError: if it is none of them.
    """
    text = str(given).strip()
    if is_temporal(text):
        return SplitMethod()
    shares = _numbers(text)
    if shares is None:
        path = Path(text).expanduser()
        if not path.is_file():
            near = did_you_mean(text, [TEMPORAL])
            raise SettingsError(f"splits is '{text}', which is not an existing file{near}: {_HOW}")
        return SplitMethod(file=path)
    if not (len(shares) == len(SPLITS) and min(shares) >= 0 and abs(sum(shares) - 1) < 1e-9):
        raise SettingsError(f"splits is '{text}': the shares of {', '.join(SPLITS)} must be 0 or more, and add up to 1")
    # Rounded, so that 0.7 + 0.1 is 0.8.
    return SplitMethod(upper=(shares[0], round(shares[0] + shares[1], 12)))


def is_temporal(given: str) -> bool:
    """Return whether splits follow from calendar periods.

    Args:
        given: the setting `splits`.
    """
    return given.strip() == TEMPORAL


def _numbers(text: str) -> list[float] | None:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def bounds_of(given: str) -> tuple[float, float] | None:
    """Return the upper bounds of the hash for `train` and `tuning`, or None if splits do not follow from the hash.

    Args:
        given: the setting `splits`, in a form that was accepted before.
    """
    return None if _numbers(given) is None else parse_splits(given).upper


def by_period(periods: Iterable[str]) -> dict[str, str]:
    """Return the split of each period: the latest is `held_out`, the one before it `tuning`, all earlier are `train`.

    With two periods, there is no `tuning`.

    Args:
        periods: periods that sort by time, such as `2011 - 2013`.

    Raises:
        SettingsError: if there are fewer than two.
    """
    ordered = sorted(set(periods))
    if len(ordered) < 2:
        raise SettingsError(
            f"splits by time need patients of at least two periods, but there is only {', '.join(ordered) or 'none'}"
        )
    splits = dict.fromkeys(ordered, SPLITS[0])
    if len(ordered) > 2:
        splits[ordered[-2]] = SPLITS[1]
    splits[ordered[-1]] = SPLITS[2]
    return splits


def stable_uniform(subject_ids: Int64s, seed: int, purpose: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each subject_id that does not depend on other patients.

    The hash is SplitMix64 (Steele et al. 2014).

    Args:
        subject_ids: array of any shape.
        seed: seed of the build.
        purpose: makes different uses of the same seed independent.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        offset = np.uint64((seed * 2 + 1) & (2**64 - 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = subject_ids.astype(np.uint64) + offset * np.uint64(purpose + 1)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


_DEFAULT_UPPER = (0.8, 0.9)


def split_of(subject_ids: Int64s, seed: int, upper: tuple[float, float] = _DEFAULT_UPPER) -> npt.NDArray[np.uint8]:
    """Return the index into `SPLITS` of each subject_id: by default 80 % train, 10 % tuning, 10 % held_out.

    Args:
        subject_ids: patients.
        seed: seed of the build.
        upper: upper bounds of the hash for `train` and `tuning`.
    """
    import numpy as np

    return np.searchsorted(upper, stable_uniform(subject_ids, seed, purpose=0), side="right").astype(np.uint8)


@dataclass(frozen=True)
class HashSplits:
    """Splits that follow from a hash of subject_id.

    Attributes:
        seed: seed of the build.
        upper: upper bounds of the hash for `train` and `tuning`.
    """

    seed: int
    upper: tuple[float, float] = _DEFAULT_UPPER

    def of(self, subject_ids: Int64s) -> npt.NDArray[np.uint8]:
        """Return the index into `SPLITS` of each subject_id."""
        return split_of(subject_ids, self.seed, self.upper)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a document. `splits_from_json` is the inverse."""
        return {"seed": self.seed, "upper": list(self.upper)}


@dataclass(frozen=True)
class ListedSplits:
    """Splits that are listed for each patient. A patient who is not listed is in `train`.

    Attributes:
        subject_ids: patients, sorted.
        indices: index into `SPLITS` of each patient.
    """

    subject_ids: Int64s
    indices: npt.NDArray[np.uint8]

    def of(self, subject_ids: Int64s) -> npt.NDArray[np.uint8]:
        """Return the index into `SPLITS` of each subject_id."""
        import numpy as np

        if not len(self.subject_ids):
            return np.zeros(len(subject_ids), np.uint8)
        at = np.minimum(np.searchsorted(self.subject_ids, subject_ids), len(self.subject_ids) - 1)
        return np.where(self.subject_ids[at] == subject_ids, self.indices[at], 0).astype(np.uint8)

    def to_json(self) -> dict[str, Any]:
        """Return the content of a document. `splits_from_json` is the inverse."""
        return {"subject_ids": self.subject_ids.tolist(), "indices": self.indices.tolist()}


Splits = HashSplits | ListedSplits


def splits_from_json(content: dict[str, Any]) -> Splits:
    """Return the splits in the content of a document."""
    import numpy as np

    if "upper" in content:
        return HashSplits(int(content["seed"]), (float(content["upper"][0]), float(content["upper"][1])))
    return ListedSplits(np.array(content["subject_ids"], np.int64), np.array(content["indices"], np.uint8))


def sample_subjects(subject_ids: Int64s, count: int, seed: int) -> Int64s:
    """Return a sorted sample of `count` subject_ids by a stable hash: a larger sample contains a smaller one."""
    import numpy as np

    order = np.argsort(stable_uniform(subject_ids, seed, purpose=1), kind="stable")
    return np.sort(subject_ids[order[:count]])
