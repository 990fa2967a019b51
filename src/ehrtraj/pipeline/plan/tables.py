"""Select the tables of a build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ehrtraj import recipes
from ehrtraj.config import Settings
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.recipes import Recipe
from ehrtraj.release.completeness import lacking
from ehrtraj.release.found import Release
from ehrtraj.sources.source import Source
from ehrtraj.suggestions import did_you_mean_table


@dataclass(frozen=True)
class Selection:
    """The tables of a build, by full name.

    Attributes:
        event_tables: tables that become events.
        staged: tables that are read: those that become events, those that their recipes join, and the dictionaries.
        dictionaries: tables that describe codes.
        notes: what the user should know.
        warnings: what the user must know before using the result.
    """

    event_tables: tuple[str, ...]
    staged: tuple[str, ...]
    dictionaries: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def _full_names(names: Iterable[str], tables: Iterable[str]) -> list[str]:
    tables = list(tables)
    full_names = []
    for name in names:
        matches = [table for table in tables if name in (table, table.rpartition("/")[2])]
        if not matches:
            near = did_you_mean_table(name, tables)
            raise SettingsError(f"--tables: there is no table '{name}'{near}. The tables are: {', '.join(tables)}")
        full_names += matches
    return full_names


def choose_tables(release: Release, settings: Settings) -> Selection:
    """Determine which tables are read and which become events.

    Raises:
        SettingsError: if a requested table does not exist.
        ReleaseError: if the release lacks a requested table, or no table is left.
    """
    _check_complete(release, settings)
    source = release.source
    with_recipe, tables = source.recipes, source.tables
    present = [n for n in tables if n in release.files]
    notes = []
    if settings.notes == "none" and (note_tables := _note_tables(present, with_recipe)):
        if contradicting := [n for n in _full_names(settings.tables, with_recipe) if n in note_tables]:
            raise SettingsError(
                f"--tables requests {', '.join(contradicting)}, but --no-notes leaves it out: use only one of them"
            )
        present = [n for n in present if n not in note_tables]
        if not settings.tables:
            notes.append(f"left out, as requested: {', '.join(note_tables)}")
    if settings.tables:
        requested = _full_names(settings.tables, with_recipe)
        if absent := [n for n in requested if n not in present]:
            raise ReleaseError(f"the release in {release.root} has no {', '.join(absent)}")
        event_tables = [n for n in present if n in requested]
    else:
        event_tables = [n for n in present if n in with_recipe]
    if not event_tables:
        raise ReleaseError(f"the release in {release.root} contains no table with events")
    if settings.icu_only:
        _check_icu_stays(source, present)
    helpers = "\n".join(source.helper(h) for h in recipes.HELPERS_OF_A_SHARD)
    sql = "\n".join([helpers, *(with_recipe[name].sql for name in event_tables)])
    joined = source.tables_read(sql, (t.name for t in tables.values()))
    dictionaries = [n for n in present if tables[n].kind == "dictionary"]
    read = {*event_tables, *(n for n in present if tables[n].name in joined), *dictionaries}
    needed = {n for n, table in tables.items() if table.name in joined} if settings.tables else None
    more_notes, warnings = lacking(release, needed)
    staged = tuple(n for n in present if n in read)
    return Selection(tuple(event_tables), staged, tuple(dictionaries), (*notes, *more_notes), tuple(warnings))


def _check_complete(release: Release, settings: Settings) -> None:
    """Check that the release contains the tables that every build needs."""
    if settings.allow_incomplete:
        return
    if absent := [name for name in release.source.roles.needed if name not in release.files]:
        raise ReleaseError(
            f"the release in {release.root} has no {' and no '.join(absent)}, which every build needs for births, "
            "deaths and the times of stays. Download the missing table, pass a folder that contains all modules, or "
            "build without it with --allow-incomplete"
        )


def _check_icu_stays(source: Source, present: Iterable[str]) -> None:
    """Check that the release contains ICU stays, which `--icu-only` needs."""
    stays = source.roles.icu_stays
    if stays is None:
        raise SettingsError(f"--icu-only: {source.title} has no table of ICU stays")
    if stays.table not in present:
        raise ReleaseError(f"--icu-only needs {stays.table}, which the release does not contain")


def _note_tables(present: Iterable[str], with_recipe: Mapping[str, Recipe]) -> list[str]:
    """Return the tables of the modules with notes, which are those whose recipes can store texts separately."""
    modules = {name.partition("/")[0] for name in present if name in with_recipe and with_recipe[name].separate}
    return [name for name in present if name.partition("/")[0] in modules]
