"""Results that the functions of the library return."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.format.ledger import TableLedger
from ehrtraj.readable import duration, release_name, size
from ehrtraj.release.subjects import SubjectsFound

_MOST_TABLES = 12


@dataclass(frozen=True)
class ExportResult:
    """Result of an export.

    Attributes:
        path: folder of the export.
        already_there: whether the same export already existed, so that nothing was changed.
        files: number of files of events.
        patients: number of patients.
        events: number of events in these files, without history.
        bytes: total size of the files of events.
        seconds: wall time in seconds.
        peak_memory: peak memory of all processes together, in bytes.
        resumed: whether it resumed an earlier run.
        notes: what the user should know.
        requested: the patients requested with `subjects`, found and not found; None without `subjects`.
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
    """Result of a build.

    Attributes:
        path: folder of the dataset.
        already_there: whether the same dataset already existed, so that nothing was changed.
        release: version of the release.
        patients: number of patients.
        events: number of events.
        ledger: counts of rows by outcome, for each table.
        seconds: wall time in seconds.
        peak_memory: peak memory of all processes together, in bytes.
        bytes: size of the dataset.
        notes: what the user should know.
        warnings: what the user must know before using the result.
        versions: version of each download that was read, by its name.
        requested: the patients requested with `subjects`, found and not found; None without `subjects`, or if the
            dataset already existed.
        exports: results of the exports that the settings request.
        source: title of the release's source; empty if the dataset already existed.
        concepts: number of rows of each concept that the settings request.
        report: path of the report; None if the settings request none, or it could not be written.
        cpu: CPU seconds of this run by step and table; the table is empty for steps that work on all tables together.
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
    cpu: dict[tuple[str, str], float] = field(default_factory=dict)
    concepts: dict[str, int] = field(default_factory=dict)
    report: Path | None = None

    def _repr_html_(self) -> str:
        from ehrtraj.notebook.card import Card, first_rows

        tables = sorted(self.ledger.items(), key=lambda entry: (-entry[1].events, entry[0]))
        rows = [(name, one.read, one.events, one.rejected.total()) for name, one in tables]
        rejected = sum(one.rejected.total() for one in self.ledger.values())
        facts = (
            ("release", release_name(self.source, self.release) if self.source else self.release),
            ("patients", self.patients),
            ("events", self.events),
            ("rejected rows", rejected if self.ledger else None),
            ("size", size(self.bytes) if self.bytes else None),
            ("time", duration(self.seconds) if self.seconds else None),
            ("peak memory", size(self.peak_memory) if self.peak_memory else None),
            ("folder", str(self.path)),
        )
        existed = ("The same dataset already existed: nothing was changed.",) if self.already_there else ()
        warnings = tuple(f"Warning: {text}" for text in self.warnings)
        columns = ("table", "rows", "events", "rejected rows")
        table = first_rows("what became of the rows", columns, rows, _MOST_TABLES)
        return Card(f"Build of {self.path.name}", facts, (table,), (*existed, *warnings, *self.notes)).html()
