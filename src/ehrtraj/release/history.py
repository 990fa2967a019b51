"""Shape of each release, from one data file per release that lists its changes to the previous release.

A release's shape results from replaying the files of its project, `releases/<project>/<version>.csv`, from the first
one. A recipe sees the shape of the newest release. The same lines record earlier locations of tables and earlier names
of columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field

from ehrtraj.errors import ReleaseError
from ehrtraj.files import read_source_file
from ehrtraj.user_files import File

_CHANGES = ("column", "move", "rename", "type", "drop", "caveat", "warning", "fixed")


@dataclass
class _Column:
    name: str
    type: str


@dataclass
class _TableHistory:
    """A table through all releases: one object, even if its name or module changes."""

    module: str
    name: str
    columns: list[_Column] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    names: dict[str, list[str]] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    @property
    def full_name(self) -> str:
        return f"{self.module}/{self.name}"


@dataclass(frozen=True)
class Erratum:
    """An error in the data of a release.

    Attributes:
        table: full name in the newest release.
        text: description of the error: a sentence that begins with the column's name.
        serious: whether it makes results unreliable.
    """

    table: str
    text: str
    serious: bool


@dataclass(frozen=True)
class ReleaseShape:
    """One release of one project.

    Attributes:
        project: the download that the release belongs to.
        release: its version.
        modules: folder of each table, by the table's full name in the newest release.
        columns: names of each table's columns in this release, in lower case.
        errata: known errors in its data.
    """

    project: str
    release: str
    modules: dict[str, str]
    columns: dict[str, frozenset[str]]
    errata: tuple[Erratum, ...]


@dataclass(frozen=True)
class TableVersions:
    """A table in the newest release, with its earlier locations and column names.

    Attributes:
        module, name: of the table in the newest release.
        columns: column names and types.
        places: modules that contain it in any release, newest first.
        names: names of each column in all releases, newest first.
        dropped: columns that later releases omit because they contained no information.
    """

    module: str
    name: str
    columns: dict[str, str]
    places: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """All releases of a source.

    Attributes:
        shapes: oldest first, by project.
        tables: by full name.
    """

    shapes: dict[str, tuple[ReleaseShape, ...]]
    tables: dict[str, TableVersions]


class _Replay:
    """Follows the changes of one project's releases."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._tables: dict[str, _TableHistory] = {}
        self._errata: dict[tuple[int, str], tuple[_TableHistory, str, bool]] = {}
        self._snapshots: list[
            tuple[str, list[tuple[_TableHistory, str, frozenset[str]]], list[tuple[_TableHistory, str, bool]]]
        ] = []

    def release(self, version: str, lines: list[dict[str, str]]) -> None:
        for line in lines:
            if line["change"] not in _CHANGES:
                raise ReleaseError(
                    f"{self._project} {version}: '{line['change']}' is not a valid change: use {', '.join(_CHANGES)}"
                )
            getattr(self, f"_{line['change']}")(line)
        present = [(t, t.module, frozenset(c.name for c in t.columns)) for t in self._tables.values()]
        self._snapshots.append((version, present, list(self._errata.values())))

    def _table(self, line: dict[str, str]) -> _TableHistory:
        return self._tables[line["table"]]

    def _find(self, line: dict[str, str]) -> _Column:
        return next(c for c in self._table(line).columns if c.name == line["column"].lower())

    def _column(self, line: dict[str, str]) -> None:
        module, _, name = line["table"].partition("/")
        table = self._tables.setdefault(line["table"], _TableHistory(module, name, places=[module]))
        column = _Column(line["column"].lower(), line["value"])
        names = [c.name for c in table.columns]
        at = names.index(line["after"]) + 1 if line["after"] else len(names)
        table.columns.insert(at, column)
        table.names[column.name] = [column.name]

    def _move(self, line: dict[str, str]) -> None:
        table = self._tables.pop(line["table"])
        table.module = line["value"]
        table.places.insert(0, table.module)
        self._tables[table.full_name] = table

    def _rename(self, line: dict[str, str]) -> None:
        table, column = self._table(line), self._find(line)
        before = table.names.pop(column.name)
        column.name = line["value"]
        table.names[column.name] = [column.name, *before]

    def _type(self, line: dict[str, str]) -> None:
        self._find(line).type = line["value"]

    def _drop(self, line: dict[str, str]) -> None:
        table, column = self._table(line), self._find(line)
        table.columns.remove(column)
        table.dropped.update(table.names.pop(column.name))

    def _caveat(self, line: dict[str, str], *, serious: bool = False) -> None:
        table = self._table(line)
        self._errata[id(table), line["column"]] = (table, f"{line['column']} {line['value']}", serious)

    def _warning(self, line: dict[str, str]) -> None:
        self._caveat(line, serious=True)

    def _fixed(self, line: dict[str, str]) -> None:
        del self._errata[id(self._table(line)), line["column"]]

    def shapes(self) -> tuple[ReleaseShape, ...]:
        return tuple(
            ReleaseShape(
                self._project,
                version,
                {t.full_name: module for t, module, _ in present},
                {t.full_name: columns for t, _, columns in present},
                tuple(Erratum(t.full_name, text, serious) for t, text, serious in errata),
            )
            for version, present, errata in self._snapshots
        )

    def tables(self) -> dict[str, TableVersions]:
        return {
            t.full_name: TableVersions(
                t.module,
                t.name,
                {c.name: c.type for c in t.columns},
                tuple(t.places),
                {name: tuple(names) for name, names in t.names.items()},
                tuple(sorted(t.dropped)),
            )
            for t in self._tables.values()
        }


def read_lines(file: File) -> list[dict[str, str]]:
    """Return the lines of a source's data file, or an empty list if the file does not exist."""
    return list(csv.DictReader(io.StringIO(read_source_file(file)))) if file.is_file() else []


def version_key(version: str) -> tuple[int, ...]:
    """Return a sort key for versions: 2.2 before 3.0 before 10.0."""
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True)
class PublishedProject:
    """A separately published download.

    Attributes:
        name: of the download, as written in its publisher's URLs.
        title: name as people write it.
        modules: folders that it contains in any release.
    """

    name: str
    title: str
    modules: tuple[str, ...]


def read_projects(folder: File) -> dict[str, PublishedProject]:
    """Return the downloads in which a source is published, the main one first.

    Args:
        folder: of the source, which contains `projects.csv`.
    """
    lines = read_lines(folder / "projects.csv")
    return {r["project"]: PublishedProject(r["project"], r["title"], tuple(r["modules"].split())) for r in lines}


def read_history(folder: File, projects: Iterable[str]) -> History:
    """Return all releases of a source, from their files.

    Args:
        folder: of the source, which contains `releases/<project>/<version>.csv`.
        projects: names of its downloads.

    Raises:
        ReleaseError: if a download has no release, or a release has an invalid change.
    """
    shapes: dict[str, tuple[ReleaseShape, ...]] = {}
    tables: dict[str, TableVersions] = {}
    for project in projects:
        inside = folder / "releases" / project
        files = {f.stem: f for f in (inside.iterdir() if inside.is_dir() else ()) if f.suffix == ".csv"}
        if not files:
            raise ReleaseError(f"{inside} contains no release file, such as 1.0.csv")
        replay = _Replay(project)
        for version in sorted(files, key=version_key):
            replay.release(version, read_lines(files[version]))
        shapes[project] = replay.shapes()
        tables |= replay.tables()
    return History(shapes, tables)


def read_partners(folder: File) -> dict[tuple[str, str], frozenset[str]]:
    """Return the releases of the main download that match a release of another download.

    Args:
        folder: of the source, which may contain `belongs.csv`.

    Returns:
        The matching releases of the main download, by the other download's name and release.
    """
    pairs: dict[tuple[str, str], set[str]] = {}
    for line in read_lines(folder / "belongs.csv"):
        pairs.setdefault((line["project"], line["release"]), set()).add(line["main_release"])
    return {key: frozenset(releases) for key, releases in pairs.items()}


def read_row_counts(folder: File, project: str) -> dict[str, dict[str, int]]:
    """Return the published number of rows of each table (bare name) of a download, by release.

    Args:
        folder: of the source, which may contain `row_counts.csv`.
        project: the download.
    """
    counts: dict[str, dict[str, int]] = {}
    for row in read_lines(folder / "row_counts.csv"):
        if row["project"] == project:
            counts.setdefault(row["release"], {})[row["table"]] = int(row["rows"])
    return counts
