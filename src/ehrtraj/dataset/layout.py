"""A dataset's files: found, checked to be all there, and its small tables read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.errors import DatasetError
from ehrtraj.format.event_types import from_json
from ehrtraj.format.names import CODES, DATA, DATASET_JSON, EVENT_TYPES, FLAGS, FORMAT, MANIFEST, SOURCE, SUBJECTS
from ehrtraj.format.source import SourceFacts
from ehrtraj.format.splits import SPLITS
from ehrtraj.paths import dataset_errors
from ehrtraj.rules import columns_of

_MISSING_SHOWN = 3
# What polars raises over a file that is not Parquet, is cut short, or lacks a column.
READ_ERRORS = (pl.exceptions.PolarsError, OSError)


@dataclass(frozen=True)
class DataFile:
    """One file of events: whole patients, each contiguous and in order.

    Attributes:
        split: `train`, `tuning` or `held_out`.
        shard: as in subjects.parquet, `00007`.
        path: where it is.
    """

    split: str
    shard: str
    path: Path


@dataclass(frozen=True)
class DatasetLayout:
    """Where everything of a dataset is, and what its manifest says.

    Attributes:
        root: folder of the dataset.
        manifest: content of manifest.json.
    """

    root: Path
    manifest: dict[str, Any]

    @cached_property
    def files(self) -> tuple[DataFile, ...]:
        """The data files, in the order of split (train first) and shard."""
        pairs = self.subjects.select("split", "shard").unique().rows()
        pairs.sort(key=lambda pair: (SPLITS.index(pair[0]), pair[1]))
        return tuple(DataFile(split, shard, self.data_path(split, shard)) for split, shard in pairs)

    def data_path(self, split: str, shard: str) -> Path:
        """Path of the file that holds a shard's patients of one split."""
        return self.root / DATA / split / f"{shard}.parquet"

    @cached_property
    def subjects(self) -> pl.DataFrame:
        """metadata/subjects.parquet, sorted by subject_id: a row for each patient."""
        return self._table(SUBJECTS).sort("subject_id")

    @cached_property
    def codes(self) -> pl.DataFrame:
        """metadata/codes.parquet: a row for each code that occurs."""
        return self._table(CODES)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """What each code means, in words."""
        described = self.codes.filter(pl.col("description").is_not_null())
        return dict(described.select("code", "description").iter_rows())

    @cached_property
    def flags(self) -> dict[str, int]:
        """Bit of each flag, a power of two."""
        return {name: flag["value"] for name, flag in _read_json(self.root / FLAGS).items()}

    @cached_property
    def about(self) -> dict[str, Any]:
        """metadata/dataset.json: MEDS' account of the dataset."""
        return _read_json(self.root / DATASET_JSON)

    @cached_property
    def source(self) -> SourceFacts:
        """metadata/source.json and event_types.json: what the dataset keeps of its source."""
        path = self.root / EVENT_TYPES
        try:
            event_types = from_json(_read_json(path))
            path = self.root / SOURCE
            return SourceFacts.from_json(_read_json(path), event_types)
        except ValueError as error:
            raise broken(path, error) from None

    @cached_property
    def intervals(self) -> pl.DataFrame:
        """The rule table `intervals`, each line with its number (`line`)."""
        return numbered(self.source.intervals)

    @property
    def clock(self) -> str:
        """`event`, or `available` where the column time holds when things were known."""
        return str(self.manifest["settings"]["clock"])

    def _table(self, name: str) -> pl.DataFrame:
        path = self.root / name
        try:
            return pl.read_parquet(path, glob=False)
        except READ_ERRORS as error:
            raise broken(path, error) from None


def numbered(intervals: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    """Lines of the rule table `intervals` as a frame, each with its number (`line`)."""
    columns = {name: pl.String for name in columns_of("intervals") if name != "source"}
    return pl.DataFrame(list(intervals), schema=columns).with_row_index("line")


def broken(path: Path, error: Exception) -> DatasetError:
    """Return the error that says a file cannot be read, and what to do."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if not path.exists():
        return DatasetError(f"{path} is gone: copy the dataset again, or build it again")
    if isinstance(error, PermissionError):
        return DatasetError(f"{path} cannot be read: {error.strerror}. A dataset belongs to the user who built it")
    return DatasetError(f"{path} is damaged ({reason}): copy the dataset again, or build it again with --overwrite")


def find_layout(path: str | Path) -> DatasetLayout:
    """Find a dataset and check that all of it is there, by names and sizes (contents are not read).

    Args:
        path: folder of the dataset, such as `trajectories/v1`.

    Raises:
        DatasetError: if there is none, it is of a newer format, or files of it are missing or of another size.
    """
    with dataset_errors():
        return _find(Path(path).expanduser())


def _find(root: Path) -> DatasetLayout:
    if not root.is_dir():
        there = "is a file" if root.exists() else "there is no such folder"
        raise DatasetError(f"{root}: {there}. Name the folder of a dataset, such as trajectories/v1")
    if not (root / MANIFEST).is_file():
        raise _no_dataset(root)
    manifest = _read_json(root / MANIFEST)
    check_format(root, manifest)
    layout = DatasetLayout(root, manifest)
    _check_complete(layout)
    return layout


def check_format(root: Path, manifest: dict[str, Any]) -> None:
    """Check that this version knows the format of a dataset.

    Raises:
        DatasetError: if not, or if the manifest lacks what every one has.
    """
    made = manifest.get("software", {}).get("ehrtraj", "another version")
    found = manifest.get("format", 0)
    if found > FORMAT:
        raise DatasetError(
            f"{root} was built by ehrtraj {made}: its format is {found}, and this version reads {FORMAT}. "
            "Update with `pip install --upgrade ehrtraj`"
        )
    if found < FORMAT:
        raise DatasetError(
            f"{root} was built by an older ehrtraj: its format is {found}, and this version reads {FORMAT}. "
            "Build it again with --overwrite"
        )
    missing = [key for key in ("settings", "release", "contents") if key not in manifest]
    if missing:
        raise DatasetError(f"{root / MANIFEST} is damaged: it has no {', '.join(missing)}. Copy the dataset again")


def _no_dataset(root: Path) -> DatasetError:
    """Say what lies there instead of a dataset."""
    if root.name.startswith(".") and root.name.endswith(".build"):
        return DatasetError(
            f"{root} is the folder of a build that is not done: run `ehrtraj build` again to finish it, "
            "then open the dataset beside it"
        )
    inside = sorted(p.parent.name for p in root.glob(f"*/{MANIFEST}"))
    if inside:
        return DatasetError(f"{root} holds datasets and is none itself: open one of {', '.join(inside)} in it")
    if (root / DATASET_JSON).is_file() or (root / DATA).is_dir():
        return DatasetError(
            f"{root} has no {MANIFEST}: it is a dataset that was copied in part, or one that ehrtraj did not build. "
            "Copy all of it again; any MEDS dataset can be read with polars"
        )
    return DatasetError(f"{root} is not a dataset: it has no {MANIFEST}. `ehrtraj build` makes one from a release")


def _check_complete(layout: DatasetLayout) -> None:
    """Check that every file that the manifest names is there, in its size.

    Raises:
        DatasetError: if not.
    """
    missing, wrong = [], []
    for name, file in layout.manifest["contents"].items():
        path = layout.root / name
        if not path.is_file():
            missing.append(name)
        elif (found := path.stat().st_size) != file["bytes"]:
            wrong.append(f"{name} ({found:,} of {file['bytes']:,} bytes)")
    for files, what in ((missing, "missing"), (wrong, "of another size than when built")):
        if files:
            more = f" and {len(files) - _MISSING_SHOWN:,} more" if len(files) > _MISSING_SHOWN else ""
            raise DatasetError(
                f"{layout.root} is not whole: {', '.join(files[:_MISSING_SHOWN])}{more} "
                f"{'is' if len(files) == 1 else 'are'} {what}. Copy the dataset again, or build it again with "
                "--overwrite"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise broken(path, error) from None
    except ValueError:
        raise DatasetError(f"{path} is damaged: copy the dataset again, or build it again with --overwrite") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is damaged: it holds no JSON object")
    return content
