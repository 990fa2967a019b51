"""A cache of a dataset: plain arrays on disk, mapped into memory, which training loops read at random in many workers.

It is written once per dataset, independently of split, vocabulary and labels, and identified by the hash of
manifest.json.
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
from ehrtraj.dataset.reading import chunk_events, chunks, read_events
from ehrtraj.errors import DatasetError, OutputError
from ehrtraj.format.names import MANIFEST
from ehrtraj.runtime.bar import bar
from ehrtraj.storage.files import private_files
from ehrtraj.storage.owned import claim, is_claimed, remove_claimed
from ehrtraj.storage.safe import locked_file

# Increased when the format of the arrays changes.
_FORMAT = 1
_KIND = "arrays"
NO_TIME = np.iinfo(np.int64).min
_ARRAYS = {"codes": np.int32, "times": np.int64, "known": np.int64, "values": np.float32}


@dataclass(frozen=True)
class Arrays:
    """The arrays of a cache.

    Attributes:
        codes: code of each event, as a position in the dataset's table of codes (int32).
        times: time of each event in microseconds (int64), `NO_TIME` for static facts.
        known: available_time of each event in microseconds (int64), `NO_TIME` if it was always known.
        values: numeric_value of each event (float32), NaN if there is none.
        offsets: position at which each patient's events begin, and the number of events (int64, patients + 1).
        subject_ids: patients in the order of `offsets` (int64).
    """

    codes: npt.NDArray[np.int32]
    times: npt.NDArray[np.int64]
    known: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    subject_ids: npt.NDArray[np.int64]


def find_cache(layout: DatasetLayout, folder: str | Path | None = None) -> Path:
    """Return the path of a dataset's cache, and write the cache if it does not exist.

    If several processes need it at the same time, one writes it and the others wait.

    Args:
        layout: layout of the dataset.
        folder: folder of the caches. By default it is `.<name of the dataset>.arrays` next to the dataset, from which
            caches of a replaced dataset are removed.

    Raises:
        OutputError: if the cache cannot be written.
        DatasetError: if a data file cannot be read.
    """
    caches = Path(folder).expanduser() if folder is not None else layout.root.parent / f".{layout.root.name}.arrays"
    digest = hashlib.sha256((layout.root / MANIFEST).read_bytes()).hexdigest()[:24]
    cache = caches / f"{digest}-{_FORMAT}"
    if cache.is_dir():
        return cache
    try:
        with private_files():
            caches.mkdir(parents=True, exist_ok=True)
            with locked_file(caches / ".lock", timeout=-1):
                if not cache.is_dir():
                    _create(layout, cache, remove_others=folder is None)
    except OSError as error:
        raise OutputError(
            f"cannot write arrays to {caches}: {error.strerror}. Choose another folder with cache_dir"
        ) from None
    return cache


def _create(layout: DatasetLayout, cache: Path, *, remove_others: bool) -> None:
    """Write a cache under a temporary name, then rename it. Leftovers of killed processes are removed first."""
    temporary = cache.with_name(f".{cache.name}")
    for old in cache.parent.iterdir() if remove_others else [temporary]:
        if is_claimed(old, _KIND):
            remove_claimed(old)
    try:
        claim(temporary, _KIND)
        _write(layout, temporary)
        temporary.rename(cache)
    finally:
        if is_claimed(temporary, _KIND):
            remove_claimed(temporary)


def open_cache(cache: Path) -> Arrays:
    """Map a cache into memory.

    Raises:
        DatasetError: if it is damaged.
    """
    names = (*_ARRAYS, "offsets", "subject_ids")
    try:
        arrays = {name: np.load(cache / f"{name}.npy", mmap_mode="r") for name in names}
    except (OSError, ValueError, EOFError):
        raise DatasetError(f"{cache} is damaged: remove it, and it will be written again") from None
    return Arrays(**arrays)


def _write(layout: DatasetLayout, folder: Path) -> None:
    dataset = Dataset(layout, layout.subjects)
    files = list(dataset.patients_by_file())
    ordered = pl.concat([patients for _, patients in files])
    offsets = np.concatenate(([0], np.cumsum(ordered["n_events"].to_numpy()))).astype(np.int64)
    np.save(folder / "offsets.npy", offsets)
    np.save(folder / "subject_ids.npy", ordered["subject_id"].to_numpy())
    mapped = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=kind, shape=(int(offsets[-1]),))
        for name, kind in _ARRAYS.items()
    }
    code_type = pl.Enum(layout.codes["code"])
    columns = ["time", "code", "numeric_value", "available_time"]
    size, at = chunk_events(columns), 0
    with bar("writing arrays for training") as show_progress:
        for done, (file, patients) in enumerate(files):
            show_progress(done, len(files))
            for chunk in chunks(file, patients, size):
                events = read_events(chunk.file, chunk.position, chunk.count, columns)
                for name, values in _columns(events, code_type).items():
                    mapped[name][at : at + chunk.count] = values
                at += chunk.count
    for array in mapped.values():
        array.flush()


def _columns(events: pl.DataFrame, code_type: pl.Enum) -> dict[str, npt.NDArray[Any]]:
    def microseconds(name: str) -> npt.NDArray[np.int64]:
        return events[name].dt.epoch("us").fill_null(NO_TIME).to_numpy()

    return {
        "codes": events["code"].cast(code_type).to_physical().to_numpy(),
        "times": microseconds("time"),
        "known": microseconds("available_time"),
        "values": events["numeric_value"].cast(pl.Float32).fill_null(float("nan")).to_numpy(),
    }
