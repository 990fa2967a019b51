"""Which tables and which patients a build is about."""

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


@dataclass(frozen=True)
class Selection:
    """The tables of a build, by full name.

    Attributes:
        wanted: become events.
        staged: are read: those wanted, those that their recipes join, and the dictionaries.
        dictionaries: describe codes.
        notes: what the user should know.
        warnings: what the user must know before using the result.
    """

    wanted: tuple[str, ...]
    staged: tuple[str, ...]
    dictionaries: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def _full_names(given: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    found = []
    for name in given:
        matches = [k for k in known if name in (k, k.rpartition("/")[2])]
        if not matches:
            raise SettingsError(f"--tables: there is no table '{name}'; there are: {', '.join(known)}")
        found += matches
    return found


def choose_tables(release: Release, settings: Settings) -> Selection:
    """Decide which tables are read and which become events.

    Raises:
        SettingsError: if a table is asked for that does not exist.
        ReleaseError: if one is asked for that the release lacks, or nothing is left.
    """
    _check_complete(release, settings)
    source = release.source
    with_recipe, known = source.recipes, source.tables
    there = [n for n in known if n in release.files]
    notes = []
    if settings.notes == "none" and (of_notes := _note_tables(there, with_recipe)):
        if contrary := [n for n in _full_names(settings.tables, with_recipe) if n in of_notes]:
            raise SettingsError(f"--tables asks for {', '.join(contrary)}, --no-notes leaves it out: give one of them")
        there = [n for n in there if n not in of_notes]
        if not settings.tables:
            notes.append(f"left out, as asked: {', '.join(of_notes)}")
    if settings.tables:
        asked = _full_names(settings.tables, with_recipe)
        if absent := [n for n in asked if n not in there]:
            raise ReleaseError(f"the release in {release.root} has no {', '.join(absent)}")
        wanted = [n for n in there if n in asked]
    else:
        wanted = [n for n in there if n in with_recipe]
    if not wanted:
        raise ReleaseError(f"the release in {release.root} has no table that holds events")
    if settings.icu_only:
        _check_icu_stays(source, there)
    helpers = "\n".join(source.helper(h) for h in recipes.HELPERS_OF_A_SHARD)
    sql = "\n".join([helpers, *(with_recipe[name].sql for name in wanted)])
    joined = source.tables_read(sql, (t.name for t in known.values()))
    dictionaries = [n for n in there if known[n].kind == "dictionary"]
    read = {*wanted, *(n for n in there if known[n].name in joined), *dictionaries}
    needed = {n for n, table in known.items() if table.name in joined} if settings.tables else None
    more_notes, warnings = lacking(release, needed)
    staged = tuple(n for n in there if n in read)
    return Selection(tuple(wanted), staged, tuple(dictionaries), (*notes, *more_notes), tuple(warnings))


def _check_complete(release: Release, settings: Settings) -> None:
    """Refuse a release without the tables that every build needs."""
    if settings.allow_incomplete:
        return
    if absent := [name for name in release.source.roles.needed if name not in release.files]:
        raise ReleaseError(
            f"the release in {release.root} has no {' and no '.join(absent)}: births, deaths and the times of stays "
            "come from there. Download what is missing, give a folder above all modules, or build without it: "
            "--allow-incomplete"
        )


def _check_icu_stays(source: Source, there: Iterable[str]) -> None:
    """Refuse to choose by ICU stays where there are none."""
    stays = source.roles.icu_stays
    if stays is None:
        raise SettingsError(f"--icu-only: {source.title} has no table of ICU stays")
    if stays.table not in there:
        raise ReleaseError(f"--icu-only needs {stays.table}, which is not there")


def _note_tables(there: Iterable[str], with_recipe: Mapping[str, Recipe]) -> list[str]:
    """Tables of the modules that hold notes: those in which a recipe says so."""
    modules = {name.partition("/")[0] for name in there if name in with_recipe and with_recipe[name].separate}
    return [name for name in there if name.partition("/")[0] in modules]
