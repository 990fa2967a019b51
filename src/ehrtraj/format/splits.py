"""The split of each patient, and stable random samples of patients."""

from __future__ import annotations

# Importing numpy takes 0.1 s. Readers of a dataset need only the names of the splits.
TYPE_CHECKING = False
if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ehrtraj.format.arrays import Int64s

SPLITS = ("train", "tuning", "held_out")


_SPLIT_UPPER = (0.8, 0.9)


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


def split_of(subject_ids: Int64s, seed: int) -> npt.NDArray[np.uint8]:
    """Return the index into `SPLITS` of each subject_id: 80 % train, 10 % tuning, 10 % held_out."""
    import numpy as np

    return np.searchsorted(_SPLIT_UPPER, stable_uniform(subject_ids, seed, purpose=0), side="right").astype(np.uint8)


def sample_subjects(subject_ids: Int64s, count: int, seed: int) -> Int64s:
    """Return a sorted sample of `count` subject_ids by a stable hash: a larger sample contains a smaller one."""
    import numpy as np

    order = np.argsort(stable_uniform(subject_ids, seed, purpose=1), kind="stable")
    return np.sort(subject_ids[order[:count]])
