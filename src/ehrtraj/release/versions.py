"""Which release it is: by the columns of its files, the versions in its paths, and the numbers of its rows."""

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
"""File that `ehrtraj synth` leaves in what it makes, so that nobody takes it for the real thing."""
UNKNOWN = "unknown"
_APART = "Patients and admissions of one may lack in the other"


@dataclass(frozen=True)
class Version:
    """What is known of the version of one download.

    Attributes:
        project: the download.
        text: `2.2`, `3.1`, `demo 2.2`, `synthetic 3.1`, or `unknown`.
        fits: releases whose columns the files have, oldest first: all of them where they agree with none exactly.
        exact: whether the columns are those of `fits`.
        claimed: whether a path, a marker or the numbers of rows say so, and not the columns alone.
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
        """The bare version, `unknown` where there is none."""
        return self.text.rpartition(" ")[2]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The releases that it may be."""
        return self.fits if self.number == UNKNOWN else (self.number,)


def _difference(shape: ReleaseShape, files: Iterable[TableFile]) -> int:
    """Columns and folders in which files differ from a release."""
    total = 0
    for file in files:
        written = {name.lower() for name in file.header}
        columns = shape.columns.get(file.table.full_name)
        total += len(written) if columns is None else len(written ^ columns)
        total += columns is not None and shape.modules[file.table.full_name] != file.folder
    return total


def fits(project: str, files: Iterable[TableFile], source: Source) -> tuple[tuple[str, ...], bool]:
    """Releases of a download that files agree with best, and whether they agree in every column and folder."""
    files = list(files)
    shapes = source.history.shapes.get(project, ())
    if not shapes or not files:
        return (), False
    differences = {shape.release: _difference(shape, files) for shape in shapes}
    least = min(differences.values())
    return tuple(release for release, n in differences.items() if n == least), least == 0


def _in_path(root: Path, pattern: re.Pattern[str] | None) -> str:
    """The version that a folder's path names, `` where it names none."""
    matches = [match for part in root.parts if pattern is not None and (match := pattern.fullmatch(part))]
    return matches[-1][1] if matches else ""


def _listed(releases: Iterable[str]) -> str:
    *others, last = releases
    return f"{', '.join(others)} or {last}" if others else last


def find_version(project: str, root: Path, main_root: Path, files: list[TableFile], source: Source) -> Version:
    """Find out which release of a download lies in a folder.

    Args:
        project: the download.
        root: folder that holds its modules.
        main_root: folder of the main download; where it is the same, its path says nothing of the others.
        files: of the download.
        source: whose releases.
    """
    best, exact = fits(project, files, source)
    known = [shape.release for shape in source.history.shapes.get(project, ())]
    main = source.main_project
    if (marker := root / SYNTHETIC_MARKER).is_file():
        number = json.loads(marker.read_text(encoding="utf-8")).get("release", UNKNOWN)
        number = number if project == main or number in best else (best[-1] if best else UNKNOWN)
        return Version(project, f"synthetic {number}", best, exact)
    # Tables that were named may lie in the download's folder itself, without one of their module.
    named = (
        _in_path(files[0].path.parent, source.declared.version_in_path) if project == main or root != main_root else ""
    )
    if (demo := source.declared.demo) is not None and _is_demo(root, demo):
        return Version(project, f"demo {named or demo.version}", best, exact)
    return _by_path_and_columns(project, named, best, known, source, exact=exact)


def _is_demo(root: Path, demo: Demo) -> bool:
    """Whether a folder is that of a demonstration, by a file in it or by its path."""
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
            f"{title} {named} is {'newer than any release' if later else 'a release'} that this version of ehrtraj "
            f"knows ({known[0]} to {newest}): its tables are read as those of {best[-1]}. Look at the notes on columns"
        )
        return Version(project, named, best, exact, warnings=(warning,))
    if named in best or (named and not exact):
        return Version(project, named, best, exact)
    if named:
        note = f"the folder says {title} {named}, the columns are those of {_listed(best)}: taken as {best[-1]}"
        return Version(project, best[-1], best, exact, notes=(note,))
    return Version(project, best[0] if len(best) == 1 and exact else UNKNOWN, best, exact, claimed=False)


def known_errata(version: Version, there: Mapping[str, int], source: Source) -> tuple[list[str], list[str]]:
    """What a release says wrongly in tables that are there: notes and warnings, a sentence each.

    Where the release is not known, what may be wrong is a note, if the table is as large as a whole release's.

    Args:
        version: of a download.
        there: rows of the tables that are there, by full name; 0 for not counted yet.
        source: whose releases.
    """
    whole = [c for release, c in source.published_row_counts(version.project).items() if "demo" not in release]
    title = source.projects[version.project].title if version.project in source.projects else version.project
    notes: list[str] = []
    warnings: list[str] = []
    for shape in source.history.shapes.get(version.project, ()):
        for remark in shape.errata:
            if shape.release not in version.candidates or remark.table not in there:
                continue
            least = min((counts[n] for counts in whole if (n := remark.table.rpartition("/")[2]) in counts), default=0)
            if version.number == UNKNOWN and remark.loud and there[remark.table] > least:
                notes.append(f"if this is {title} {shape.release}: in {remark.table}, {remark.text}")
            elif version.number == shape.release:
                told = warnings if remark.loud else notes
                told.append(f"{title} {shape.release}: in {remark.table}, {remark.text}")
    return notes, warnings


def mixed(versions: Mapping[str, Version], by_module: Mapping[str, tuple[str, ...]], source: Source) -> list[str]:
    """Modules that come from releases which do not belong together, a sentence each.

    Args:
        versions: of each download that is there.
        by_module: for each module of the main download, the releases whose columns it has.
        source: whose releases.
    """
    main = source.main_project
    found = []
    if by_module and not frozenset.intersection(*map(frozenset, by_module.values())):
        said = "; ".join(f"{module} has the columns of {_listed(releases)}" for module, releases in by_module.items())
        found.append(f"these modules of {source.projects[main].title} do not belong together: {said}. {_APART}")
    if main not in versions:
        return found
    pairs = source.partners
    known_here = {shape.release for shape in source.history.shapes[main]}
    # A release that nobody knows is taken for those whose columns it has.
    ours = set(versions[main].candidates) & known_here or set(versions[main].fits)
    for project, version in versions.items():
        if project == main or project not in source.projects:
            continue
        allowed = {release: pairs.get((project, release), frozenset()) for release in version.candidates}
        known = [release for release, partners in allowed.items() if partners]
        if known and not ours & frozenset().union(*allowed.values()):
            title = source.projects[project].title
            partners = sorted(frozenset().union(*allowed.values()), key=version_key)
            found.append(
                f"{title} {_listed(known)} and {source.projects[main].title} {_listed(versions[main].candidates)} do "
                f"not belong together: it goes with {_listed(partners)}. {_APART}"
            )
    return found


def version_by_counts(rows: dict[str, int], source: Source, project: str) -> str | None:
    """The published release whose row counts agree with these for most tables, or None.

    Args:
        rows: rows read by bare table name.
        source: whose published counts to compare with.
        project: the download.
    """
    best: tuple[int, str] = (0, "")
    for release, counts in source.published_row_counts(project).items():
        same = sum(counts.get(name) == n for name, n in rows.items())
        best = max(best, (same, release))
    return best[1] if rows and best[0] * 2 > len(rows) else None


def settle(version: Version, rows: dict[str, int], source: Source) -> Version:
    """The version after the rows were counted, which has the last word.

    Args:
        version: as found before reading.
        rows: rows read by bare table name, of this download.
        source: whose published counts to compare with.
    """
    counted = version_by_counts(rows, source, version.project)
    if not counted or counted == version.text:
        return version
    notes: tuple[str, ...] = ()
    if version.text != UNKNOWN:
        notes = (f"the folder says release {version.text}, the row counts say {counted}: taken as {counted}",)
    return Version(version.project, counted, version.fits, version.exact, notes=notes)
