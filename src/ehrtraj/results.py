"""What the functions of the library return."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.format.ledger import TableLedger
from ehrtraj.release.subjects import SubjectsFound


@dataclass(frozen=True)
class ExportResult:
    """What an export did.

    Attributes:
        path: folder of the export.
        already_there: whether the same export had been done before, so that nothing was changed.
        files: number of files of events.
        patients: number of patients.
        events: number of events in them, history not counted.
        bytes: size of the files of events.
        seconds: wall time.
        peak_memory: most bytes held by all processes together.
        resumed: whether it resumed an earlier run.
        notes: what the user should know.
        requested: what became of the patients that `subjects` asked for; None where it did not.
    """

    path: Path
    already_there: bool
    files: int
    patients: int
    events: int
    bytes: int
    seconds: float = 0.0
    peak_memory: int = 0
    resumed: bool = False
    notes: tuple[str, ...] = ()
    requested: SubjectsFound | None = None


@dataclass(frozen=True)
class BuildResult:
    """What a build did.

    Attributes:
        path: the dataset.
        already_there: whether the same build had been done before, so that nothing was changed.
        release: version of the release.
        patients: number of patients.
        events: number of events.
        ledger: account of every table's rows.
        seconds: wall time.
        peak_memory: most bytes held by all processes together.
        bytes: size of the dataset.
        notes: what the user should know.
        warnings: what the user must know before using the result.
        versions: release of each download that was read, by its name.
        requested: what became of the patients that `subjects` asked for; None where it did not, or if the dataset was
            already there.
        exports: what was written of the dataset beside it.
        source: what people call the source of the release; empty if the dataset was already there.
    """

    path: Path
    already_there: bool
    release: str
    patients: int
    events: int
    ledger: dict[str, TableLedger] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory: int = 0
    bytes: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    requested: SubjectsFound | None = None
    exports: tuple[ExportResult, ...] = ()
    source: str = ""
