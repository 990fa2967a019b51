"""Recipes: one SQL file per table that turns its rows into events. `docs/reference/recipes.md` is their contract."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_source_file, read_text_file
from ehrtraj.recipes.header import read_header
from ehrtraj.user_files import File, UserFile

_MARKER = re.compile(r"^-- \[(every row|also)\][ \t]*(.*)$", re.MULTILINE)
_EVENT_TYPE = re.compile(r"'([A-Z0-9_]+)'\s+AS\s+event_type\b", re.IGNORECASE)
_STATIC = re.compile(r"\bNULL(::TIMESTAMP)?\s+AS\s+time\b", re.IGNORECASE)
_VIEW_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = re.compile(r"--[^\n]*")
_LITERAL = re.compile(r"'[^']*'")
HELPERS_OF_A_SHARD = ("encounters", "subjects", "stays")
HELPERS = ("macros", "dictionaries", *HELPERS_OF_A_SHARD, "codes")
VIEWS = "views"
_CUSTOM_TABLES = ("tables.csv", "columns.csv", "event_types.csv")
MOST_BYTES = 1 << 20
"""Maximum size of an SQL file in bytes. The largest packaged one has 8 kB."""


@dataclass(frozen=True)
class Statement:
    """One SELECT of a recipe.

    Attributes:
        every_row: whether it yields exactly one event for each row.
        about: description of the event in the recipe.
        event_type: event type of its codes.
        sql: the SELECT, without the closing semicolon.
        line: line of the file where the SELECT begins.
    """

    every_row: bool
    about: str
    event_type: str
    sql: str
    line: int = 1

    @property
    def static(self) -> bool:
        """Whether its events have no time, because they are always true."""
        return _STATIC.search(self.sql) is not None


@dataclass(frozen=True)
class Recipe:
    """The recipe of one table.

    Attributes:
        table: full name of the table.
        about: first line of the header.
        left_out: columns that reach no event, with the reason.
        rejected: reasons and SQL conditions of rows that cannot become an event, in order.
        statements: statements of the recipe; the first is the one for every row.
        separate: why text_value may be stored in a separate file (it is a complete note); empty if it may not.
        keys: the table's key columns and duplicate columns, if the recipe declares the table.
        event_types: event types that it declares, as lines of `event_types.csv`.
        text: content of the SQL file.
        file: path of a user's file; empty for a packaged recipe.
    """

    table: str
    about: str
    left_out: dict[str, str]
    rejected: tuple[tuple[str, str], ...]
    statements: tuple[Statement, ...]
    separate: str = ""
    keys: tuple[tuple[str, ...], tuple[str, ...]] | None = None
    event_types: tuple[dict[str, str], ...] = ()
    text: str = ""
    file: str = ""

    @property
    def sql(self) -> str:
        """All SQL of the recipe."""
        return "\n".join([s.sql for s in self.statements] + [c for _, c in self.rejected])

    def mentions(self, names: Iterable[str]) -> set[str]:
        """Return the names that occur in its SQL."""
        return mentioned(self.sql, names)


def mentioned(sql: str, names: Iterable[str]) -> set[str]:
    """Return the names that occur in SQL as words, outside comments and quoted strings."""
    words = set(re.findall(r"\w+", _LITERAL.sub("", _COMMENT.sub("", sql))))
    return {n for n in names if n in words}


def parse_recipe(table: str, text: str, file: str = "") -> Recipe:
    """Read a recipe.

    Args:
        table: full name of its table.
        text: content of the SQL file.
        file: path of a user's file, for messages.

    Raises:
        RecipeError: if it breaks the contract in `docs/reference/recipes.md`.
    """

    def error(at: int, problem: str) -> RecipeError:
        place = f" ({file}, line {_line(text, at)})" if file else ""
        return RecipeError(f"recipe {table}{place}: {problem}")

    markers = list(_MARKER.finditer(text))
    if not markers:
        raise error(0, "no statement is marked with '-- [every row]' or '-- [also]'")
    header = text[: markers[0].start()]
    statements = []
    for marker, following in zip(markers, [*markers[1:], None], strict=True):
        body = text[marker.end() : following.start() if following else len(text)]
        sql, semicolon, rest = body.rpartition(";")
        if not semicolon or _COMMENT.sub("", rest).strip():
            raise error(marker.start(), f"the statement '{marker[2]}' does not end with a semicolon")
        event_types = set(_EVENT_TYPE.findall(_COMMENT.sub("", sql)))
        if len(event_types) != 1:
            raise error(
                marker.start(),
                f"the statement '{marker[2]}' must contain exactly one event type, such as 'LAB' AS event_type "
                f"(found: {', '.join(sorted(event_types)) or 'none'})",
            )
        begins = marker.end() + len(sql) - len(sql.lstrip())
        about, event_type = marker[2].strip(), event_types.pop()
        statements.append(Statement(marker[1] == "every row", about, event_type, sql.strip(), _line(text, begins)))
    if [s.every_row for s in statements] != [True] + [False] * (len(statements) - 1):
        raise error(markers[0].start(), "the first statement, and only the first, must be marked with '-- [every row]'")
    declared = read_header(header, error)
    return Recipe(
        table=table,
        about=header.strip().splitlines()[0].lstrip("- ") if header.strip() else "",
        left_out=declared.left_out,
        rejected=declared.rejected,
        statements=tuple(statements),
        separate=declared.separate,
        keys=declared.keys,
        event_types=declared.event_types,
        text=text,
        file=file,
    )


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _sql_files(folder: File) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for module in folder.iterdir():
        if module.is_dir() and module.name != VIEWS:
            found += [(f"{module.name}/{file.stem}", file) for file in module.iterdir() if file.suffix == ".sql"]
    return sorted(found, key=lambda pair: pair[0])


def read_recipes(folder: File) -> dict[str, Recipe]:
    """Return all recipes of a source by the full name of their table.

    Args:
        folder: with the recipes.

    Raises:
        RecipeError: if a recipe breaks the contract.
    """
    if not folder.is_dir():
        return {}
    return {name: _read_recipe(name, file) for name, file in _sql_files(folder)}


def read_overlay_recipes(folder: UserFile) -> dict[str, Recipe]:
    """Return the recipes of a user's overlay by the full name of their table.

    Args:
        folder: with the recipes.

    Raises:
        RecipeError: if a recipe breaks the contract, or the folder contains files that no build would use.
    """
    files = {
        name: path for name, path in overlay_sql(folder).items() if "/" in name and not name.startswith(f"{VIEWS}/")
    }
    return {name: _read_recipe(name, path) for name, path in files.items()}


def recipes_of(tables: Collection[str], read: Mapping[File, Mapping[str, Recipe]]) -> dict[str, Recipe]:
    """Return the recipe of each table.

    Args:
        tables: full names of the patient tables, each of which needs a recipe.
        read: recipes by folder: those of the source, then those of the overlay, which replace them.

    Raises:
        RecipeError: if a table has no recipe, or a recipe has no table.
    """
    merged: dict[str, Recipe] = {}
    for folder, recipes in read.items():
        if unknown := sorted(set(recipes) - set(tables)):
            raise RecipeError(
                f"{folder} contains a recipe for {', '.join(unknown)}, which is not a known patient table. Declare a "
                "new table with '-- keys: COLUMNS | COLUMNS OF DUPLICATES' in its recipe or with a line in tables.csv, "
                "and its columns in columns.csv (for a source, in releases/)"
            )
        merged |= recipes
    if lacking := [n for n in tables if n not in merged]:
        raise RecipeError(f"{list(read)[-1]} contains no recipe for {', '.join(lacking)}")
    return {name: merged[name] for name in sorted(merged)}


def _read_recipe(table: str, file: File) -> Recipe:
    """Read a recipe. Errors in a user's recipe name its file."""
    if isinstance(file, UserFile):
        return parse_recipe(table, read_sql(file), str(file))
    return parse_recipe(table, read_source_file(file))


def overlay_sql(folder: UserFile) -> dict[str, UserFile]:
    """Return the SQL files of a user's overlay by relative path: `hosp/services`, `views/arrivals`, `macros`.

    Raises:
        RecipeError: if it cannot be read, or contains an SQL or CSV file that no build would use.
    """
    found: dict[str, UserFile] = {}
    for top in names_in(folder, RecipeError):
        path = folder / top
        if not path.exists():
            raise RecipeError(
                f"{path} cannot be read: it is a broken link, or you have no permission to read its folder"
            )
        is_module = path.is_dir() and path.suffix.lower() not in (".sql", ".csv")
        inside = [f"{top}/{name}" for name in names_in(path, RecipeError)] if is_module else [top]
        for name in inside:
            file = folder / name
            ending = file.suffix
            stem = name.removesuffix(ending)
            known = name in _CUSTOM_TABLES or (ending == ".sql" and (stem in HELPERS or "/" in name))
            if ending.lower() in (".sql", ".csv") and not known:
                raise RecipeError(
                    f"{file} is not used: a folder of recipes can contain only {', '.join(_CUSTOM_TABLES)}, "
                    f"{', '.join(f'{h}.sql' for h in HELPERS)}, {VIEWS}/*.sql and <module>/<table>.sql"
                )
            if ending == ".sql":
                found[stem] = file
    return found


def read_sql(path: File) -> str:
    """Return the text of a user's SQL file."""
    return read_text_file(path, "the recipe", RecipeError, MOST_BYTES)


def read_helper(name: str, folder: File, overlay: UserFile | None = None) -> str:
    """Return one of the helper SQL files next to the recipes.

    A user's file replaces that of the source, except for macros: the user's macros are appended.

    Args:
        name: one of `HELPERS`.
        folder: with the source's recipes.
        overlay: folder of recipes in a user's overlay.
    """
    text = read_source_file(folder / f"{name}.sql")
    custom = None if overlay is None else overlay_sql(overlay).get(name)
    if custom is None:
        return text
    return f"{text}\n{read_sql(custom)}" if name == "macros" else read_sql(custom)


def read_views(folder: File, tables: Collection[str], overlay: UserFile | None = None) -> dict[str, str]:
    """Return the SQL of all views by name, each after the views that it reads.

    Args:
        folder: with the source's recipes.
        tables: bare names of all tables, which views may not use.
        overlay: folder of recipes in a user's overlay.

    Raises:
        RecipeError: if a user's view has an invalid name, or views read each other in a circle.
    """
    inside = folder / VIEWS
    files = [f for f in (inside.iterdir() if inside.is_dir() else ()) if f.suffix == ".sql"]
    found = {f.stem: read_source_file(f) for f in files}
    table_names = {name.lower() for name in tables}
    for place, path in ({} if overlay is None else overlay_sql(overlay)).items():
        if place.startswith(f"{VIEWS}/"):
            if not _VIEW_NAME.fullmatch(path.stem):
                raise RecipeError(
                    f"{path}: the name of a view must consist of letters, digits and _, and begin with a letter"
                )
            if path.stem.lower() in table_names:
                raise RecipeError(
                    f"{path}: a table has the same name as this view, and recipes read it. Rename the view"
                )
            found[path.stem] = read_sql(path)
    ordered: dict[str, str] = {}
    while len(ordered) < len(found):
        remaining = [name for name in sorted(found) if name not in ordered]
        ready = [name for name in remaining if mentioned(found[name], remaining) <= {name}]
        if not ready:
            raise RecipeError(f"views read each other in a circle: {', '.join(remaining)}")
        ordered |= {name: found[name] for name in ready}
    return ordered


def tables_read(sql: str, names: Iterable[str], views: Mapping[str, str]) -> set[str]:
    """Return the tables (bare names) that SQL reads, directly or through views."""
    names = list(names)
    through_views = [tables_read(views[view], names, views) for view in mentioned(sql, views)]
    return mentioned(sql, names).union(*through_views)
