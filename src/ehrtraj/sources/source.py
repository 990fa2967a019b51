"""A source: all descriptions of the tables of one origin, read from its folder and from a user's overlay."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ehrtraj import recipes as recipe_files
from ehrtraj import rules as rule_files
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.files import read_source_file
from ehrtraj.format.source import SourceFacts
from ehrtraj.release import history as releases
from ehrtraj.sources.declaration import FILE, Roles, SourceDeclaration, read_declaration
from ehrtraj.suggestions import did_you_mean
from ehrtraj.user_files import File, UserFile, keep_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from ehrtraj.format.event_types import EventType
    from ehrtraj.recipes import Recipe
    from ehrtraj.release.history import History, PublishedProject
    from ehrtraj.release.schema import Table

_PACKAGED = Path(__file__).parent
_RECIPES, _RULES, _TASKS, _VIEWS, _CONCEPTS = "recipes", "rules", "tasks", "views", "concepts"
_TEXT_ORDER = "text_order.csv"
_TIMELINE = "timeline.csv"
_OVERLAY = (_RECIPES, _RULES, _CONCEPTS)
_SOURCE = (
    FILE,
    "tables.csv",
    "projects.csv",
    "belongs.csv",
    "row_counts.csv",
    _TEXT_ORDER,
    _TIMELINE,
    "releases",
    _RECIPES,
    _RULES,
    _VIEWS,
    _CONCEPTS,
)
"""The files and folders that are read from a user's source."""
_EVENT_TYPES = "event_types"


@dataclass(frozen=True)
class Source:
    """One source, with a user's overlay.

    It reads each packaged file once, when it is first needed. It contains the content of a user's files at the time of
    its creation: other processes and machines that receive it do not read them again.

    Attributes:
        name: name of the source, which is that of its folder.
        folder: folder with its `source.toml`, tables, releases, recipes, rules and tasks.
        overlay: a user's folder with `recipes/`, `rules/` and `concepts/`, which take precedence over those of the
            source.
    """

    name: str
    folder: File
    overlay: UserFile | None = None

    def __reduce__(self) -> tuple[object, ...]:
        # Without cached properties, which are larger than the files. Another process may have the package elsewhere.
        return _shared_source, (self.name, None if self.is_packaged else self.folder, self.overlay)

    @cached_property
    def declared(self) -> SourceDeclaration:
        """The content of its `source.toml`."""
        return read_declaration(self.folder)

    @property
    def title(self) -> str:
        """Name of the source as people write it."""
        return self.declared.title

    @property
    def roles(self) -> Roles:
        """The tables with a role."""
        return self.declared.roles

    @property
    def is_packaged(self) -> bool:
        """Whether it is part of the package, with or without an overlay."""
        return not isinstance(self.folder, UserFile)

    # Releases --------------------------------------------------------------------------------------------------------

    @cached_property
    def projects(self) -> dict[str, PublishedProject]:
        """The downloads in which it is published, the main one first."""
        return releases.read_projects(self.folder)

    @property
    def main_project(self) -> str:
        """Name of the download that contains the patients."""
        return next(iter(self.projects))

    def project_of(self, module: str) -> str:
        """Return the download that a module belongs to; for a custom module, its own name."""
        return next((p.name for p in self.projects.values() if module in p.modules), module)

    @cached_property
    def history(self) -> History:
        """All its releases."""
        return releases.read_history(self.folder, self.projects)

    @cached_property
    def partners(self) -> dict[tuple[str, str], frozenset[str]]:
        """Releases of the main download that match a release of another download."""
        return releases.read_partners(self.folder)

    def published_row_counts(self, project: str) -> dict[str, dict[str, int]]:
        """Return the published number of rows of each table (bare name) of a download, by release."""
        return releases.read_row_counts(self.folder, project)

    def about(self, release: str) -> dict[str, str]:
        """Return name, licence and URLs of a dataset, in the form of MEDS' `dataset.json`.

        Args:
            release: release such as `3.1`, `demo 2.2` or `synthetic 3.1`.
        """
        abouts = self.declared.abouts
        return dict(abouts.get(release.rpartition(" ")[0], abouts[""]))

    # Tables, recipes, rules ------------------------------------------------------------------------------------------

    @cached_property
    def tables(self) -> dict[str, Table]:
        """All its tables by full name, followed by custom tables.

        Raises:
            RecipeError: if a custom table cannot be used.
        """
        from ehrtraj.release.custom_tables import read_custom_tables
        from ehrtraj.release.schema import read_tables

        found = read_tables(self.folder, self.history, self._plain_recipes)
        if self.overlay_recipes is None:
            return found
        return found | read_custom_tables(self.overlay_recipes, found, self._added_recipes)

    def tables_of(self, kind: str) -> dict[str, Table]:
        """Return its tables of one kind: `patient` or `dictionary`."""
        return {name: table for name, table in self.tables.items() if table.kind == kind}

    @property
    def overlay_recipes(self) -> UserFile | None:
        """The overlay's folder of recipes and tables, or None."""
        return self._overlay_folder(_RECIPES)

    @property
    def overlay_rules(self) -> UserFile | None:
        """The overlay's folder of rule tables, or None."""
        return self._overlay_folder(_RULES)

    @property
    def overlay_concepts(self) -> UserFile | None:
        """The overlay's folder of concepts and their lists, or None."""
        return self._overlay_folder(_CONCEPTS)

    def _overlay_folder(self, name: str) -> UserFile | None:
        folder = None if self.overlay is None else self.overlay / name
        return folder if folder is not None and folder.is_dir() else None

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each patient table, by the table's full name.

        Raises:
            RecipeError: if a recipe breaks the contract, or its table is unknown.
        """
        read = {self.folder / _RECIPES: self._plain_recipes}
        if self.overlay_recipes is not None:
            read[self.overlay_recipes] = self._added_recipes
        return recipe_files.recipes_of(self.tables_of("patient"), read)

    @cached_property
    def _plain_recipes(self) -> dict[str, Recipe]:
        """Recipes of the source without the overlay."""
        return recipe_files.read_recipes(self.folder / _RECIPES)

    @cached_property
    def _added_recipes(self) -> dict[str, Recipe]:
        """Recipes of the overlay."""
        return {} if self.overlay_recipes is None else recipe_files.read_overlay_recipes(self.overlay_recipes)

    @cached_property
    def views(self) -> dict[str, str]:
        """SQL of the views that recipes can read like tables, by name, each after the views that it reads."""
        names = [table.name for table in self.tables.values()]
        return recipe_files.read_views(self.folder / _RECIPES, names, self.overlay_recipes)

    def helper(self, name: str) -> str:
        """Return one of the helper SQL files next to the recipes, by a name of `HELPERS`."""
        return recipe_files.read_helper(name, self.folder / _RECIPES, self.overlay_recipes)

    def tables_read(self, sql: str, names: Iterable[str]) -> set[str]:
        """Return the tables (bare names) that SQL reads, directly or through views."""
        return recipe_files.tables_read(sql, names, self.views)

    def rules(self, name: str, *, special_first: bool = False) -> list[dict[str, str]]:
        """Return the lines of one rule table: general lines, then those of the source, then those of the overlay.

        Args:
            name: name of the table, without file ending.
            special_first: return them in reverse order, for tables whose first matching line is used.

        Raises:
            RecipeError: if the user's file cannot be used.
        """
        lines = rule_files.read_rules(name, self.folder / _RULES, self.overlay_rules, overlay_first=special_first)
        return lines + _event_types_of(self._plain_recipes, lines) if name == _EVENT_TYPES else lines

    def overlay_lines(self, name: str) -> list[dict[str, str]]:
        """Return the lines of one rule table of the overlay.

        Raises:
            RecipeError: if the user's file cannot be used.
        """
        if self.overlay_rules is None:
            return []
        return [line for _, line in rule_files.overlay_lines(name, self.overlay_rules)]

    @cached_property
    def event_types(self) -> dict[str, EventType]:
        """All event types by name, in the order of their rank.

        Raises:
            RecipeError: if a user's line cannot be used.
        """
        lines = self.rules(_EVENT_TYPES)
        if self.overlay_recipes is not None:
            added = rule_files.read_overlay_event_types(self.overlay_recipes)
            lines += added + _event_types_of(self._added_recipes, added)
        return rule_files.event_types_of(lines)

    @cached_property
    def planned(self) -> frozenset[str]:
        """Event types whose times are those planned, not those at which something happened."""
        return frozenset(line["event_type"] for line in self.rules("planned_event_types"))

    @property
    def tasks(self) -> Path:
        """Folder of its ready-made tasks on disk; it may not exist."""
        folder = self.folder.path if isinstance(self.folder, UserFile) else self.folder
        return folder / _TASKS

    @cached_property
    def standard_views(self) -> dict[str, str]:
        """SELECT of each standard view over the events of a dataset, by name."""
        return {file.stem: read_source_file(file) for file in self._files(_VIEWS, ".sql")}

    @cached_property
    def concept_lists(self) -> dict[str, list[dict[str, str]]]:
        """Lists of the items and drugs of each concept, by name of their table in `Dataset.sql`: `concept_items`.

        Lines of the overlay come first, so that they take precedence in lists whose first matching line is used.

        Raises:
            RecipeError: if a line of the overlay is not valid.
        """
        found = {f"concept_{file.stem}": releases.read_lines(file) for file in self._files(_CONCEPTS, ".csv")}
        if self.overlay_concepts is None:
            return found
        return rule_files.with_overlay_lists(found, self.overlay_concepts)

    @property
    def text_order(self) -> list[dict[str, str]]:
        """Event types in the order of their importance in a text, the most important first; empty if not declared."""
        return self._optional_lines(_TEXT_ORDER)

    @property
    def timeline(self) -> list[dict[str, str]]:
        """How event types are shown in the picture of a patient, in this order; empty if not declared."""
        return self._optional_lines(_TIMELINE)

    def _optional_lines(self, name: str) -> list[dict[str, str]]:
        file = self.folder / name
        return releases.read_lines(file) if file.is_file() else []

    def _files(self, folder: str, suffix: str) -> list[File]:
        inside = self.folder / folder
        files = [file for file in inside.iterdir() if file.suffix == suffix] if inside.is_dir() else []
        return sorted(files, key=lambda file: file.name)

    # Values that depend on everything ---------------------------------------------------------------------------------

    @property
    def facts(self) -> SourceFacts:
        """Facts about the source that are stored in a dataset."""
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
        """Return the SHA-256 of tables, recipes and helpers: changed SQL must never reuse results of the old SQL."""
        parts = [(name, recipe.text) for name, recipe in self.recipes.items()]
        parts += [(h, self.helper(h)) for h in recipe_files.HELPERS]
        parts += list(self.views.items())
        parts += [(name, repr(table)) for name, table in self.tables.items()]
        parts += [(name, repr(one)) for name, one in self.event_types.items()]
        parts += [(FILE, repr(self.declared))]
        return _digest(parts)

    def rules_digest(self) -> str:
        """Return the SHA-256 of all rule tables."""
        return _digest((line["table"], repr(self.rules(line["table"]))) for line in self._about_rules())

    def _about_rules(self) -> list[dict[str, str]]:
        # A user's event types are in the folder of recipes, so event types are part of the digest of recipes.
        return [line for line in rule_files.read_general("about") if line["table"] != _EVENT_TYPES]


def _event_types_of(recipes: Mapping[str, Recipe], others: Iterable[Mapping[str, str]]) -> list[dict[str, str]]:
    """Return the lines of event types that recipes declare. None of them may already be in `others`."""
    found: list[dict[str, str]] = []
    declared = {line["event_type"] for line in others}
    for name, recipe in recipes.items():
        for line in recipe.event_types:
            if line["event_type"] in declared:
                raise RecipeError(
                    f"{recipe.file or f'recipe {name}'}: the event type {line['event_type']} is declared twice"
                )
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
def _shared_source(name: str, folder: UserFile | None = None, overlay: UserFile | None = None) -> Source:
    """Return the source with these files, one object per process; `folder` is None for a packaged source."""
    return Source(name, folder or _PACKAGED / name, overlay)


def packaged_names() -> tuple[str, ...]:
    """Return the names of the packaged sources."""
    return tuple(sorted(folder.name for folder in _PACKAGED.iterdir() if (folder / FILE).is_file()))


def packaged(name: str) -> Source:
    """Return a packaged source without an overlay.

    Raises:
        SettingsError: if there is no source of this name.
    """
    if name not in packaged_names():
        near = did_you_mean(name, packaged_names())
        raise SettingsError(f"there is no source '{name}'{near}: use one of {', '.join(packaged_names())}")
    return _shared_source(name)


def find_source(given: str | None = None, overlay: Path | None = None) -> Source:
    """Return the source that a user names.

    Args:
        given: name of a packaged source, or a folder that contains a `source.toml`; None for the first packaged source.
        overlay: a user's folder with recipes and rules that take precedence over those of the source.

    Raises:
        SettingsError: if the source or the overlay does not exist.
    """
    names = packaged_names()
    if overlay is not None:
        check_overlay_folder(overlay)
    added = None if overlay is None else keep_parts(overlay, _OVERLAY)
    if given is None or given in names:
        return _shared_source(given or names[0], overlay=added)
    folder = Path(given).expanduser()
    if not (folder / FILE).is_file():
        near = did_you_mean(given, names)
        raise SettingsError(
            f"there is no source '{given}'{near}: use one of {', '.join(names)}, or a folder that contains a {FILE}"
        )
    folder = folder.resolve()
    if folder == _PACKAGED / folder.name:
        return _shared_source(folder.name, overlay=added)
    return _shared_source(folder.name, keep_parts(folder, _SOURCE), added)


def source_of(manifest: Mapping[str, Any]) -> Source:
    """Return the source that a dataset was built with, without the overlay, from its manifest.

    Raises:
        SettingsError: if it is a custom source whose folder no longer exists.
    """
    release = manifest["release"]
    return find_source(release["source_folder"]) if "source_folder" in release else packaged(release["source"])


def check_overlay_folder(folder: Path) -> None:
    """Check that a user's overlay exists and has the layout of an overlay.

    Raises:
        SettingsError: if it does not.
    """
    if not folder.is_dir():
        raise SettingsError(f"the overlay {folder} does not exist, or is not a folder")
    if not any((folder / name).is_dir() for name in _OVERLAY):
        raise SettingsError(f"the overlay {folder} contains none of {_RECIPES}/, {_RULES}/ and {_CONCEPTS}/")
