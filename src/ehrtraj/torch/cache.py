"""A dataset as plain arrays on disk, mapped into memory: what a training loop reads at random, from many workers.

It is made once for a dataset, whatever the split, vocabulary or labels, and found again by the hash of manifest.json.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.dataset.reading import chunks, read_events
from ehrtraj.errors import DatasetError, OutputError
from ehrtraj.format.names import MANIFEST
from ehrtraj.runtime.bar import bar
from ehrtraj.storage.files import private_files
from ehrtraj.storage.owned import claim, is_claimed, remove_claimed
from ehrtraj.storage.safe import locked_file

# Grows when the arrays change.
_FORMAT = 1
_KIND = "arrays"
NO_TIME = np.iinfo(np.int64).min
_ARRAYS = {"codes": np.int32, "times": np.int64, "known": np.int64, "values": np.float32}


@dataclass(frozen=True)
class Arrays:
    """The arrays of a cache.

    Attributes:
        codes: of each event, as a position in the dataset's table of codes (int32).
        times: microseconds (int64), `NO_TIME` for what is always true.
        known: available_time, microseconds (int64), `NO_TIME` for what was always known.
        values: numeric_value (float32), NaN where there is none.
        offsets: where each patient's events begin; one more than there are patients (int64).
        subject_ids: of the patients, in the order of `offsets` (int64).
    """

    codes: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    subject_ids: npt.NDArray[np.int64]


def find_cache(layout: DatasetLayout, folder: str | Path | None = None) -> Path:
    """Find a dataset's cache, or make it. Of several processes one makes it, the others wait.

    Args:
        layout: of the dataset.
        folder: that holds caches; `.<name of the dataset>.arrays` beside the dataset by default, where those of a
            dataset that was replaced are removed.

    Raises:
        OutputError: if it cannot be written.
        DatasetError: if a data file cannot be read.
    """
    above = Path(folder).expanduser() if folder is not None else layout.root.parent / f".{layout.root.name}.arrays"
    digest = hashlib.sha256((layout.root / MANIFEST).read_bytes()).hexdigest()[:24]
    place = above / f"{digest}-{_FORMAT}"
    if place.is_dir():
        return place
    try:
        with private_files():
            above.mkdir(parents=True, exist_ok=True)
            with locked_file(above / ".lock", timeout=-1):
                if not place.is_dir():
                    _make(layout, place, alone=folder is None)
    except OSError as error:
        raise OutputError(f"cannot write arrays to {above}: {error.strerror}. Name a folder with cache_dir") from None
    return place


def _make(layout: DatasetLayout, place: Path, *, alone: bool) -> None:
    """Write a cache under another name, then give it its own. What a process that was killed has left goes first."""
    temporary = place.with_name(f".{place.name}")
    for old in place.parent.iterdir() if alone else [temporary]:
        if is_claimed(old, _KIND):
            remove_claimed(old)
    try:
        claim(temporary, _KIND)
        _write(layout, temporary)
        temporary.rename(place)
    finally:
        if is_claimed(temporary, _KIND):
            remove_claimed(temporary)


def open_cache(place: Path) -> Arrays:
    """Map a cache into memory.

    Raises:
        DatasetError: if it is damaged.
    """
    names = (*_ARRAYS, "offsets", "subject_ids")
    try:
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in names}
    except (OSError, ValueError, EOFError):
        raise DatasetError(f"{place} is damaged: remove it, it is made again") from None
    return Arrays(**arrays)


def _write(layout: DatasetLayout, folder: Path) -> None:
    whole = Dataset(layout, layout.subjects)
    ordered = pl.concat([whole.patients_of(file) for file in whole.files])
    offsets = np.concatenate(([0], np.cumsum(ordered["n_events"].to_numpy()))).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "subject_ids.npy", ordered["subject_id"].to_numpy())
    mapped = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=(int(offsets[-1]),))
        for name, kind in _ARRAYS.items()
    }
    kinds = pl.Enum(layout.codes["code"])
    columns = ["time", "code", "numeric_value", "available_time"]
    at = 0
    with bar("writing arrays for training") as tell:
        for done, file in enumerate(whole.files):
            tell(done, len(whole.files))
            for chunk in chunks(file, whole.patients_of(file)):
                events = read_events(chunk.file, chunk.position, chunk.count, columns)
                for name, values in _columns(events, kinds).items():
                    mapped[name][at : at + chunk.count] = values
                at += chunk.count
    for array in mapped.values():
        array.flush()


def _columns(events: pl.DataFrame, kinds: pl.Enum) -> dict[str, npt.NDArray[Any]]:
    def microseconds(name: str) -> npt.NDArray[np.int64]:
        return events[name].dt.epoch("us").fill_null(NO_TIME).to_numpy()

    return {
        "codes": events["code"].cast(kinds).to_physical().to_numpy(),
        "times": microseconds("time"),
        "known": microseconds("available_time"),
        "values": events["numeric_value"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
    }
