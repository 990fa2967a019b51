"""Find the version of a release from the columns of its files, the versions in its paths, and its row counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ehrtraj.release.history import ReleaseShape, version_key

if TYPE_CHECKING:
    import re

    from ehrtraj.release.table_file import TableFile
    from ehrtraj.sources.declaration import Demo
    from ehrtraj.sources.source import Source

SYNTHETIC_MARKER = "ehrtraj-synth.json"
"""File that `ehrtraj synth` writes into its output, so that nobody mistakes it for real data."""
UNKNOWN = "unknown"
_MISMATCH = "Some patients and admissions may be in only one of them"


@dataclass(frozen=True)
class Version:
    """Version of one download.

    Attributes:
        project: the download.
        text: `2.2`, `3.1`, `demo 2.2`, `synthetic 3.1`, or `unknown`.
        fits: releases whose columns agree best with those of the files, oldest first.
        exact: whether the columns agree exactly with those of `fits`.
        claimed: whether a path, a marker or the row counts confirm the version, and not the columns alone.
        notes, warnings: what the user should know.
    """

    project: str
    text: str
    fits: tuple[str, ...]
    exact: bool
    claimed: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def number(self) -> str:
        """The bare version, or `unknown`."""
        return self.text.rpartition(" ")[2]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The releases that the download may be."""
        return self.fits if self.number == UNKNOWN else (self.number,)


def _difference(shape: ReleaseShape, files: Iterable[TableFile]) -> int:
    """Return the number of columns and folders in which files differ from a release."""
    total = 0
    for file in files:
        written = {name.lower() for name in file.header}
        columns = shape.columns.get(file.table.full_name)
        total += len(written) if columns is None else len(written ^ columns)
        total += columns is not None and shape.modules[file.table.full_name] != file.folder
    return total


def fits(project: str, files: Iterable[TableFile], source: Source) -> tuple[tuple[str, ...], bool]:
    """Return the releases that files agree with best, and whether they agree in every column and folder."""
    files = list(files)
    shapes = source.history.shapes.get(project, ())
    if not shapes or not files:
        return (), False
    differences = {shape.release: _difference(shape, files) for shape in shapes}
    least = min(differences.values())
    return tuple(release for release, n in differences.items() if n == least), least == 0


def _in_path(root: Path, pattern: re.Pattern[str] | None) -> str:
    """Return the version in a folder's path, or an empty string."""
    matches = [match for part in root.parts if pattern is not None and (match := pattern.fullmatch(part))]
    return matches[-1][1] if matches else ""


def _listed(releases: Iterable[str]) -> str:
    *others, last = releases
    return f"{', '.join(others)} or {last}" if others else last


def find_version(project: str, root: Path, main_root: Path, files: list[TableFile], source: Source) -> Version:
    """Find out which release of a download a folder contains.

    Args:
        project: the download.
        root: folder that contains its modules.
        main_root: folder of the main download; if it is the same as `root`, its path applies to the main download only.
        files: of the download.
        source: source that defines the releases.
    """
    best, exact = fits(project, files, source)
    known = [shape.release for shape in source.history.shapes.get(project, ())]
    main = source.main_project
    if (marker := root / SYNTHETIC_MARKER).is_file():
        number = json.loads(marker.read_text(encoding="utf-8")).get("release", UNKNOWN)
        number = number if project == main or number in best else (best[-1] if best else UNKNOWN)
        return Version(project, f"synthetic {number}", best, exact)
    # With a folder that the user named, tables may be in the download's folder itself, without a module folder.
    named = (
        _in_path(files[0].path.parent, source.declared.version_in_path) if project == main or root != main_root else ""
    )
    if (demo := source.declared.demo) is not None and _is_demo(root, demo):
        return Version(project, f"demo {named or demo.version}", best, exact)
    return _by_path_and_columns(project, named, best, known, source, exact=exact)


def _is_demo(root: Path, demo: Demo) -> bool:
    """Return whether a folder contains a demo, judged by a file in it or by its path."""
    pattern = demo.in_path
    return (root / demo.file).is_file() or any(pattern is not None and pattern.match(p) for p in root.parts[-2:])


def _by_path_and_columns(
    project: str, named: str, best: tuple[str, ...], known: list[str], source: Source, *, exact: bool
) -> Version:
    title = source.projects[project].title if project in source.projects else project
    if not known:
        return Version(project, named or UNKNOWN, (), exact=True)
    if named and named not in known:
        newest = known[-1]
        later = version_key(named) > version_key(newest)
        warning = (
            f"{title} {named} is {'newer than all releases' if later else 'not one of the releases'} that this version "
            f"of ehrtraj supports ({known[0]} to {newest}): its tables are read as those of {best[-1]}. Read the notes "
            "on columns"
        )
        return Version(project, named, best, exact, warnings=(warning,))
    if named in best or (named and not exact):
        return Version(project, named, best, exact)
    if named:
        note = f"the folder is named {title} {named}, but the columns are those of {_listed(best)}: read as {best[-1]}"
        return Version(project, best[-1], best, exact, notes=(note,))
    return Version(project, best[0] if len(best) == 1 and exact else UNKNOWN, best, exact, claimed=False)


def known_errata(version: Version, row_counts: Mapping[str, int], source: Source) -> tuple[list[str], list[str]]:
    """Return notes and warnings on known errata in the tables that are present, a sentence each.

    If the release is not known, a serious erratum becomes a note if the table is as large as in a full release.

    Args:
        version: of a download.
        row_counts: rows of the tables that are present, by full name; 0 if not counted yet.
        source: source that defines the releases.
    """
    full_counts = [c for release, c in source.published_row_counts(version.project).items() if "demo" not in release]
    title = source.projects[version.project].title if version.project in source.projects else version.project
    notes: list[str] = []
    warnings: list[str] = []
    for shape in source.history.shapes.get(version.project, ()):
        for erratum in shape.errata:
            if shape.release not in version.candidates or erratum.table not in row_counts:
                continue
            least = min(
                (counts[n] for counts in full_counts if (n := erratum.table.rpartition("/")[2]) in counts), default=0
            )
            if version.number == UNKNOWN and erratum.serious and row_counts[erratum.table] > least:
                notes.append(f"if this is {title} {shape.release}: in {erratum.table}, {erratum.text}")
            elif version.number == shape.release:
                messages = warnings if erratum.serious else notes
                messages.append(f"{title} {shape.release}: in {erratum.table}, {erratum.text}")
    return notes, warnings


def mixed(versions: Mapping[str, Version], by_module: Mapping[str, tuple[str, ...]], source: Source) -> list[str]:
    """Return warnings about modules from releases that do not belong together, a sentence each.

    Args:
        versions: version of each download that is present.
        by_module: for each module of the main download, the releases whose columns it has.
        source: source that defines the releases.
    """
    main = source.main_project
    found = []
    if by_module and not frozenset.intersection(*map(frozenset, by_module.values())):
        listed = "; ".join(f"{module} has the columns of {_listed(releases)}" for module, releases in by_module.items())
        found.append(
            f"these modules of {source.projects[main].title} are from different releases: {listed}. {_MISMATCH}"
        )
    if main not in versions:
        return found
    pairs = source.partners
    known_here = {shape.release for shape in source.history.shapes[main]}
    # An unknown release counts as the releases whose columns it has.
    main_candidates = set(versions[main].candidates) & known_here or set(versions[main].fits)
    for project, version in versions.items():
        if project == main or project not in source.projects:
            continue
        allowed = {release: pairs.get((project, release), frozenset()) for release in version.candidates}
        known = [release for release, partners in allowed.items() if partners]
        if known and not main_candidates & frozenset().union(*allowed.values()):
            title = source.projects[project].title
            partners = sorted(frozenset().union(*allowed.values()), key=version_key)
            found.append(
                f"{title} {_listed(known)} and {source.projects[main].title} {_listed(versions[main].candidates)} do "
                f"not belong together: it belongs to {_listed(partners)}. {_MISMATCH}"
            )
    return found


def version_by_counts(rows: dict[str, int], source: Source, project: str) -> str | None:
    """Return the published release whose row counts agree with these for most tables, or None.

    Args:
        rows: rows read by bare table name.
        source: source whose published counts to compare with.
        project: the download.
    """
    best: tuple[int, str] = (0, "")
    for release, counts in source.published_row_counts(project).items():
        same = sum(counts.get(name) == n for name, n in rows.items())
        best = max(best, (same, release))
    return best[1] if rows and best[0] * 2 > len(rows) else None


def settle(version: Version, rows: dict[str, int], source: Source) -> Version:
    """Return the final version after the rows were counted: row counts override all other evidence.

    Args:
        version: as found before reading.
        rows: rows read by bare table name, of this download.
        source: source whose published counts to compare with.
    """
    counted = version_by_counts(rows, source, version.project)
    if not counted or counted == version.text:
        return version
    notes: tuple[str, ...] = ()
    if version.text != UNKNOWN:
        notes = (
            f"the release was detected as {version.text}, but the row counts are those of {counted}: read as {counted}",
        )
    return Version(version.project, counted, version.fits, version.exact, notes=notes)
