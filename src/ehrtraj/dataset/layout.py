"""Find a dataset's files, check that they are complete, and read the small tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from ehrtraj.dataset.importance import Importance, importance_of
from ehrtraj.dataset.known_codes import KnownCodes
from ehrtraj.errors import DatasetError
from ehrtraj.format.event_types import CONCEPT, from_json
from ehrtraj.format.names import CODES, DATA, DATASET_JSON, EVENT_TYPES, FLAGS, FORMAT, MANIFEST, SOURCE, SUBJECTS
from ehrtraj.format.source import SourceFacts
from ehrtraj.format.splits import SPLITS
from ehrtraj.paths import dataset_errors
from ehrtraj.rules import columns_of

if TYPE_CHECKING:
    from ehrtraj.timeline.choices import Choices

_MISSING_SHOWN = 3
# Exceptions of polars for a file that is not Parquet, is truncated, or lacks a column.
READ_ERRORS = (pl.exceptions.PolarsError, OSError)


@dataclass(frozen=True)
class DataFile:
    """One file of events of complete patients, each contiguous and in order.

    Attributes:
        split: `train`, `tuning` or `held_out`.
        shard: name of the shard as in subjects.parquet, such as `00007`.
        path: path of the file.
    """

    split: str
    shard: str
    path: Path


@dataclass(frozen=True)
class DatasetLayout:
    """The files of a dataset and its manifest.

    Attributes:
        root: folder of the dataset.
        manifest: content of manifest.json.
    """

    root: Path
    manifest: dict[str, Any]

    @cached_property
    def files(self) -> tuple[DataFile, ...]:
        """Data files, in the order of split (train first) and shard."""
        pairs = self.subjects.select("split", "shard").unique().rows()
        pairs.sort(key=lambda pair: (SPLITS.index(pair[0]), pair[1]))
        return tuple(DataFile(split, shard, self.data_path(split, shard)) for split, shard in pairs)

    def data_path(self, split: str, shard: str) -> Path:
        """Return the path of the file with a shard's patients of one split."""
        return self.root / DATA / split / f"{shard}.parquet"

    @cached_property
    def subjects(self) -> pl.DataFrame:
        """Content of metadata/subjects.parquet, sorted by subject_id: a row for each patient."""
        return self._table(SUBJECTS).sort("subject_id")

    @cached_property
    def codes(self) -> pl.DataFrame:
        """Content of metadata/codes.parquet: a row for each code that occurs."""
        return self._table(CODES)

    @cached_property
    def numbers(self) -> pl.DataFrame:
        """Content of tallies/numbers.parquet: a histogram of the numbers of each code."""
        from ehrtraj.format.tallies import NUMBERS

        return self._table(NUMBERS)

    @cached_property
    def known_codes(self) -> KnownCodes:
        """The codes, with which patterns are checked."""
        return KnownCodes(self.codes, str(self.root))

    @cached_property
    def importance(self) -> Importance:
        """The order of importance of codes in a text of limited length."""
        return importance_of(self.manifest, self.codes)

    @cached_property
    def choices(self) -> Choices:
        """How the events of the source are shown in the picture of a patient."""
        from ehrtraj.timeline.choices import choices_of

        return choices_of(self.manifest)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """Description of each code that has one."""
        described = self.codes.filter(pl.col("description").is_not_null())
        return dict(described.select("code", "description").iter_rows())

    @cached_property
    def flags(self) -> dict[str, int]:
        """Bit of each flag, a power of two."""
        return {name: flag["value"] for name, flag in _read_json(self.root / FLAGS).items()}

    @cached_property
    def about(self) -> dict[str, Any]:
        """Content of metadata/dataset.json: MEDS' description of the dataset."""
        return _read_json(self.root / DATASET_JSON)

    @cached_property
    def source(self) -> SourceFacts:
        """Facts about the source, from metadata/source.json and event_types.json."""
        path = self.root / EVENT_TYPES
        try:
            event_types = from_json(_read_json(path))
            path = self.root / SOURCE
            return SourceFacts.from_json(_read_json(path), event_types)
        except ValueError as error:
            raise broken(path, error) from None

    @cached_property
    def intervals(self) -> pl.DataFrame:
        """The rule table `intervals`, with line numbers (`line`)."""
        return numbered(self.source.intervals)

    @property
    def includes_concepts(self) -> bool:
        """Whether the data files include concepts as events, as `ehrtraj concepts --events` writes them."""
        return CONCEPT in self.source.event_types

    @property
    def clock(self) -> str:
        """`event`, or `available` if the column time contains when things became known."""
        return str(self.manifest["settings"]["clock"])

    def _table(self, name: str) -> pl.DataFrame:
        path = self.root / name
        try:
            return pl.read_parquet(path, glob=False)
        except READ_ERRORS as error:
            raise broken(path, error) from None


def numbered(intervals: Sequence[Mapping[str, str]]) -> pl.DataFrame:
    """Return the lines of the rule table `intervals` as a frame, with line numbers (`line`)."""
    columns = {name: pl.String for name in columns_of("intervals") if name != "source"}
    return pl.DataFrame(list(intervals), schema=columns).with_row_index("line")


def broken(path: Path, error: Exception) -> DatasetError:
    """Return an error that explains why a file cannot be read, and what to do."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    if not path.exists():
        return DatasetError(f"{path} is missing: copy the dataset again, or build it again")
    if isinstance(error, PermissionError):
        return DatasetError(
            f"{path} cannot be read: {error.strerror}. The dataset is owned by the user who built it: ask for access"
        )
    return DatasetError(f"{path} is damaged ({reason}): copy the dataset again, or build it again with --overwrite")


def find_layout(path: str | Path) -> DatasetLayout:
    """Find a dataset and check that it is complete, by names and sizes of files (contents are not read).

    Args:
        path: folder of the dataset, such as `trajectories/v1`.

    Raises:
        DatasetError: if it is not a dataset, has another format, or files are missing or have the wrong size.
    """
    with dataset_errors():
        return _find(Path(path).expanduser())


def _find(root: Path) -> DatasetLayout:
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise DatasetError(f"{root} {problem}. Give the folder of a dataset, such as trajectories/v1")
    if not (root / MANIFEST).is_file():
        raise _no_dataset(root)
    manifest = _read_json(root / MANIFEST)
    check_format(root, manifest)
    layout = DatasetLayout(root, manifest)
    _check_complete(layout)
    return layout


def check_format(root: Path, manifest: dict[str, Any]) -> None:
    """Check that this version supports the format of a dataset.

    Raises:
        DatasetError: if it does not, or if the manifest lacks required keys.
    """
    built_by = manifest.get("software", {}).get("ehrtraj", "another version")
    found = manifest.get("format", 0)
    if found > FORMAT:
        raise DatasetError(
            f"{root} was built by ehrtraj {built_by} in format {found}, but this version reads format {FORMAT}. "
            "Update with `pip install --upgrade ehrtraj`"
        )
    if found < FORMAT:
        raise DatasetError(
            f"{root} was built by an older ehrtraj in format {found}, but this version reads format {FORMAT}. "
            "Build it again with --overwrite"
        )
    missing = [key for key in ("settings", "release", "contents") if key not in manifest]
    if missing:
        raise DatasetError(f"{root / MANIFEST} is damaged: it lacks {', '.join(missing)}. Copy the dataset again")


def _no_dataset(root: Path) -> DatasetError:
    """Return an error that explains why a folder is not a dataset."""
    if root.name.startswith(".") and root.name.endswith(".build"):
        return DatasetError(
            f"{root} is the working folder of an unfinished build: run `ehrtraj build` again to finish it, then open "
            "the dataset next to this folder"
        )
    inside = sorted(p.parent.name for p in root.glob(f"*/{MANIFEST}"))
    if inside:
        return DatasetError(f"{root} is not a dataset, but contains datasets: open one of {', '.join(inside)} in it")
    if (root / DATASET_JSON).is_file() or (root / DATA).is_dir():
        return DatasetError(
            f"{root} has no {MANIFEST}: the dataset was copied incompletely, or was not built by ehrtraj. Copy it "
            "again; other MEDS datasets can be read with polars"
        )
    return DatasetError(f"{root} is not a dataset: it has no {MANIFEST}. Build one from a release with `ehrtraj build`")


def _check_complete(layout: DatasetLayout) -> None:
    """Check that every file in the manifest exists and has the recorded size.

    Raises:
        DatasetError: if a file is missing or has another size.
    """
    missing, wrong = [], []
    for name, file in layout.manifest["contents"].items():
        path = layout.root / name
        if not path.is_file():
            missing.append(name)
        elif (found := path.stat().st_size) != file["bytes"]:
            wrong.append(f"{name} ({found:,} of {file['bytes']:,} bytes)")
    for files, problem in ((missing, "missing"), (wrong, "not of the size recorded in the manifest")):
        if files:
            more = f" and {len(files) - _MISSING_SHOWN:,} more" if len(files) > _MISSING_SHOWN else ""
            raise DatasetError(
                f"{layout.root} is incomplete: {', '.join(files[:_MISSING_SHOWN])}{more} "
                f"{'is' if len(files) == 1 else 'are'} {problem}. Copy the dataset again, or build it again with "
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
        raise DatasetError(f"{path} is damaged: it does not contain a JSON object")
    return content
