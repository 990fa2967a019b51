"""A source: everything that is known of the tables of one origin, read from its folder and from a user's overlay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ehrtraj import recipes as recipe_files
from ehrtraj import rules as rule_files
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.format.source import SourceFacts
from ehrtraj.release import history as releases
from ehrtraj.sources.declaration import FILE, Roles, SourceDeclaration, read_declaration
from ehrtraj.user_files import File, UserFile, keep_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ehrtraj.format.event_types import EventType
    from ehrtraj.recipes import Recipe
    from ehrtraj.release.history import History, PublishedProject
    from ehrtraj.release.schema import Table

_PACKAGED = Path(__file__).parent
_RECIPES, _RULES, _TASKS = "recipes", "rules", "tasks"
_OVERLAY = (_RECIPES, _RULES)
_SOURCE = (FILE, "tables.csv", "projects.csv", "belongs.csv", "row_counts.csv", "releases", _RECIPES, _RULES)
"""What is kept of a user's folders."""
_EVENT_TYPES = "event_types"


@dataclass(frozen=True)
class Source:
    """One source, with what a user adds to it.

    It reads each file of the package when it is first asked for, and once. A user's files are in it as they were
    when it was made: other processes and machines that receive it do not read them again.

    Attributes:
        name: of the source: that of its folder.
        folder: with its `source.toml`, tables, releases, recipes, rules and tasks.
        overlay: a user's folder with `recipes/` and `rules/`, which win over those of the source.
    """

    name: str
    folder: File
    overlay: UserFile | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # Not what was made of the files: it is larger than they are. The package may be elsewhere in another process.
        return _same, (self.name, None if self.is_packaged else self.folder, self.overlay)

    @cached_property
    def declared(self) -> SourceDeclaration:
        """The content of its `source.toml`."""
        return read_declaration(self.folder)

    @property
    def title(self) -> str:
        """What people call it."""
        return self.declared.title

    @property
    def roles(self) -> Roles:
        """The tables that play a part."""
        return self.declared.roles

    @property
    def is_packaged(self) -> bool:
        """Whether it comes with the package, whatever its overlay."""
        return not isinstance(self.folder, UserFile)

    # Releases --------------------------------------------------------------------------------------------------------

    @cached_property
    def projects(self) -> dict[str, PublishedProject]:
        """The downloads that it is published in, the main one first."""
        return releases.read_projects(self.folder)

    @property
    def main_project(self) -> str:
        """The download that holds the patients."""
        return next(iter(self.projects))

    def project_of(self, module: str) -> str:
        """The download that a module belongs to; a user's own module is one by itself."""
        return next((p.name for p in self.projects.values() if module in p.modules), module)

    @cached_property
    def history(self) -> History:
        """All its releases."""
        return releases.read_history(self.folder, self.projects)

    @cached_property
    def partners(self) -> dict[tuple[str, str], frozenset[str]]:
        """Releases of the main download that a release of another one goes with."""
        return releases.read_partners(self.folder)

    def published_row_counts(self, project: str) -> dict[str, dict[str, int]]:
        """Rows of each table (bare name) of a download as published, by release."""
        return releases.read_row_counts(self.folder, project)

    def about(self, release: str) -> dict[str, str]:
        """Name, licence and addresses of a dataset, as MEDS' `dataset.json` has them.

        Args:
            release: as `3.1`, `demo 2.2` or `synthetic 3.1`.
        """
        abouts = self.declared.abouts
        return dict(abouts.get(release.rpartition(" ")[0], abouts[""]))

    # Tables, recipes, rules ------------------------------------------------------------------------------------------

    @cached_property
    def tables(self) -> dict[str, Table]:
        """All its tables by full name, a user's own behind them.

        Raises:
            RecipeError: if a user's table cannot be used.
        """
        from ehrtraj.release.custom_tables import read_custom_tables
        from ehrtraj.release.schema import read_tables

        found = read_tables(self.folder, self.history, self._plain_recipes)
        if self.overlay_recipes is None:
            return found
        return found | read_custom_tables(self.overlay_recipes, found, self._added_recipes)

    def tables_of(self, kind: str) -> dict[str, Table]:
        """Its tables of one kind: `patient` or `dictionary`."""
        return {name: table for name, table in self.tables.items() if table.kind == kind}

    @property
    def overlay_recipes(self) -> UserFile | None:
        """The user's folder of recipes and tables; None where there is none."""
        return self._own(_RECIPES)

    @property
    def overlay_rules(self) -> UserFile | None:
        """The user's folder of rule tables; None where there is none."""
        return self._own(_RULES)

    def _own(self, name: str) -> UserFile | None:
        folder = None if self.overlay is None else self.overlay / name
        return folder if folder is not None and folder.is_dir() else None

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each table of patients, by the table's full name.

        Raises:
            RecipeError: if one breaks the contract, or is of a table that nobody knows.
        """
        read = {self.folder / _RECIPES: self._plain_recipes}
        if self.overlay_recipes is not None:
            read[self.overlay_recipes] = self._added_recipes
        return recipe_files.recipes_of(self.tables_of("patient"), read)

    @cached_property
    def _plain_recipes(self) -> dict[str, Recipe]:
        """Those of the source itself."""
        return recipe_files.read_recipes(self.folder / _RECIPES)

    @cached_property
    def _added_recipes(self) -> dict[str, Recipe]:
        """Those of the user's overlay."""
        return {} if self.overlay_recipes is None else recipe_files.read_overlay_recipes(self.overlay_recipes)

    @cached_property
    def views(self) -> dict[str, str]:
        """What several recipes see as a table, by name: SQL over the tables, each after those that it reads itself."""
        names = [table.name for table in self.tables.values()]
        return recipe_files.read_views(self.folder / _RECIPES, names, self.overlay_recipes)

    def helper(self, name: str) -> str:
        """One of the SQL files beside the recipes, by a name of `HELPERS`."""
        return recipe_files.read_helper(name, self.folder / _RECIPES, self.overlay_recipes)

    def tables_read(self, sql: str, names: Iterable[str]) -> set[str]:
        """Which of the tables (bare names) SQL reads, by itself or through views."""
        return recipe_files.tables_read(sql, names, self.views)

    def rules(self, name: str, *, special_first: bool = False) -> list[dict[str, str]]:
        """The lines of one rule table: those that hold everywhere, then its own, then the user's.

        Args:
            name: of the table, without the ending of its file.
            special_first: the other way round, for a table whose first line that fits counts.

        Raises:
            RecipeError: if the user's file cannot be used.
        """
        lines = rule_files.read_rules(name, self.folder / _RULES, self.overlay_rules, overlay_first=special_first)
        return lines + _event_types_of(self._plain_recipes, lines) if name == _EVENT_TYPES else lines

    @cached_property
    def event_types(self) -> dict[str, EventType]:
        """All kinds of events by name, in the order of their rank.

        Raises:
            RecipeError: if a user's line cannot be used.
        """
        lines = self.rules(_EVENT_TYPES)
        if self.overlay_recipes is not None:
            mine = rule_files.read_overlay_event_types(self.overlay_recipes)
            lines += mine + _event_types_of(self._added_recipes, mine)
        return rule_files.event_types_of(lines)

    @cached_property
    def planned(self) -> frozenset[str]:
        """Event types whose times show what was planned, not what happened."""
        return frozenset(line["event_type"] for line in self.rules("planned_event_types"))

    @property
    def tasks(self) -> Path:
        """Folder of its ready tasks, on disk; there may be none."""
        folder = self.folder.path if isinstance(self.folder, UserFile) else self.folder
        return folder / _TASKS

    # What depends on all of it ---------------------------------------------------------------------------------------

    @property
    def facts(self) -> SourceFacts:
        """What a dataset keeps of it."""
        icu = self.roles.icu_stays
        return SourceFacts(
            name=self.name,
            title=self.title,
            patient_key=self.roles.patients.key,
            tables=tuple(self.tables),
            event_types=self.event_types,
            intervals=tuple(self.rules("intervals")),
            icu_modules=() if icu is None else icu.modules,
        )

    def recipes_digest(self) -> str:
        """SHA-256 over tables, recipes and their helpers, so that changed SQL never meets work made by the old."""
        parts = [(name, recipe.text) for name, recipe in self.recipes.items()]
        parts += [(h, self.helper(h)) for h in recipe_files.HELPERS]
        parts += list(self.views.items())
        parts += [(name, repr(table)) for name, table in self.tables.items()]
        parts += [(name, repr(one)) for name, one in self.event_types.items()]
        parts += [(FILE, repr(self.declared))]
        return _digest(parts)

    def rules_digest(self) -> str:
        """SHA-256 over all rule tables."""
        return _digest((line["table"], repr(self.rules(line["table"]))) for line in self._about_rules())

    def _about_rules(self) -> list[dict[str, str]]:
        # Event types have a user's lines in the folder of recipes, and are in the digest of these.
        return [line for line in rule_files.read_general("about") if line["table"] != _EVENT_TYPES]


def _event_types_of(recipes: Mapping[str, Recipe], others: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Lines of the event types that recipes declare, none of which the lines beside them may have too."""
    found: list[dict[str, str]] = []
    declared = {line["event_type"] for line in others}
    for name, recipe in recipes.items():
        for line in recipe.event_types:
            if line["event_type"] in declared:
                raise RecipeError(f"{recipe.file or f'recipe {name}'}: {line['event_type']} is declared a second time")
            declared.add(line["event_type"])
            found.append(line)
    return found


def _digest(parts: Iterable[tuple[str, str]]) -> str:
    import hashlib

    total = hashlib.sha256()
    for name, text in parts:
        total.update(name.encode() + b"\0" + text.encode() + b"\0")
    return total.hexdigest()


@lru_cache(maxsize=16)
def _same(name: str, folder: UserFile | None = None, overlay: UserFile | None = None) -> Source:
    """The one source of this process with these files; None for the folder of the package."""
    return Source(name, folder or _PACKAGED / name, overlay)


def packaged_names() -> tuple[str, ...]:
    """Names of the sources that come with the package."""
    return tuple(sorted(folder.name for folder in _PACKAGED.iterdir() if (folder / FILE).is_file()))


def packaged(name: str) -> Source:
    """A source that comes with the package, as it is.

    Raises:
        SettingsError: if there is none of this name.
    """
    if name not in packaged_names():
        raise SettingsError(f"there is no source '{name}': there are {', '.join(packaged_names())}")
    return _same(name)


def find_source(given: str | None = None, overlay: Path | None = None) -> Source:
    """The source that a user names.

    Args:
        given: name of a source of the package, or the folder of one of the user's own, which holds a `source.toml`.
            None for the first of the package.
        overlay: a user's folder with recipes and rules that win over those of the source.

    Raises:
        SettingsError: if there is no such source, or no such overlay.
    """
    names = packaged_names()
    if overlay is not None:
        check_overlay_folder(overlay)
    added = None if overlay is None else keep_parts(overlay, _OVERLAY)
    if given is None or given in names:
        return _same(given or names[0], overlay=added)
    folder = Path(given).expanduser()
    if not (folder / FILE).is_file():
        raise SettingsError(
            f"there is no source '{given}': name one of {', '.join(names)}, or a folder that contains a {FILE}"
        )
    folder = folder.resolve()
    if folder == _PACKAGED / folder.name:
        return _same(folder.name, overlay=added)
    return _same(folder.name, keep_parts(folder, _SOURCE), added)


def source_of(manifest: Mapping[str, Any]) -> Source:
    """The source that a dataset was built with, by its manifest, without the user's overlay.

    Raises:
        SettingsError: if it is one of the user's own whose folder is not there any more.
    """
    release = manifest["release"]
    return find_source(release["source_folder"]) if "source_folder" in release else packaged(release["source"])


def check_overlay_folder(folder: Path) -> None:
    """Check that a user's folder is there, and is laid out as one.

    Raises:
        SettingsError: if not.
    """
    if not folder.is_dir():
        raise SettingsError(f"overlay is {folder}: there is no such folder")
    if not any((folder / name).is_dir() for name in (_RECIPES, _RULES)):
        raise SettingsError(f"overlay is {folder}, which contains neither {_RECIPES}/ nor {_RULES}/")
