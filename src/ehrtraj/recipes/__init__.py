"""Recipes: which events a table's rows become, one SQL file a table. `docs/reference/recipes.md` is their contract."""

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
"""Maximum size of an SQL file. The largest of ours has 8 kB."""


@dataclass(frozen=True)
class Statement:
    """One SELECT of a recipe.

    Attributes:
        every_row: whether it yields exactly one event for each row.
        about: what the event is, in the recipe's words.
        event_type: of the codes it makes.
        sql: the SELECT, without the closing semicolon.
        line: of the file, where the SELECT begins.
    """

    every_row: bool
    about: str
    event_type: str
    sql: str
    line: int = 1

    @property
    def static(self) -> bool:
        """Whether its events have no time because they are always true."""
        return _STATIC.search(self.sql) is not None


@dataclass(frozen=True)
class Recipe:
    """The recipe of one table.

    Attributes:
        table: full name.
        about: the header's first line.
        left_out: columns that reach no event, with the reason.
        rejected: reasons and SQL conditions for rows that cannot become an event, in order.
        statements: the one for every row first.
        separate: why text_value may lie in a file of its own, if it may: it is a whole note.
        keys: key columns of its table and columns in which exact duplicates agree, where the recipe declares the table.
        event_types: that it declares, as lines of `event_types.csv`.
        text: the SQL file.
        file: path of a user's file; empty for the package's own.
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
        """All its SQL."""
        return "\n".join([s.sql for s in self.statements] + [c for _, c in self.rejected])

    def mentions(self, names: Iterable[str]) -> set[str]:
        """Which of the names stand in its SQL."""
        return mentioned(self.sql, names)


def mentioned(sql: str, names: Iterable[str]) -> set[str]:
    """Which of the names stand in SQL as words, outside of comments and of texts in quotes."""
    words = set(re.findall(r"\w+", _LITERAL.sub("", _COMMENT.sub("", sql))))
    return {n for n in names if n in words}


def parse_recipe(table: str, text: str, file: str = "") -> Recipe:
    """Read a recipe.

    Args:
        table: full name of its table.
        text: the SQL file.
        file: path of a user's file, for messages.

    Raises:
        RecipeError: if it breaks the contract in `docs/reference/recipes.md`.
    """

    def wrong(at: int, what: str) -> RecipeError:
        place = f" ({file}, line {_line(text, at)})" if file else ""
        return RecipeError(f"recipe {table}{place}: {what}")

    markers = list(_MARKER.finditer(text))
    if not markers:
        raise wrong(0, "no statement is marked '-- [every row]' or '-- [also]'")
    header = text[: markers[0].start()]
    statements = []
    for marker, following in zip(markers, [*markers[1:], None], strict=True):
        body = text[marker.end() : following.start() if following else len(text)]
        sql, semicolon, rest = body.rpartition(";")
        if not semicolon or _COMMENT.sub("", rest).strip():
            raise wrong(marker.start(), f"the statement '{marker[2]}' does not end with a semicolon")
        event_types = set(_EVENT_TYPE.findall(_COMMENT.sub("", sql)))
        if len(event_types) != 1:
            raise wrong(
                marker.start(),
                f"the statement '{marker[2]}' must name one event type, as 'LAB' AS event_type "
                f"(found: {', '.join(sorted(event_types)) or 'none'})",
            )
        begins = marker.end() + len(sql) - len(sql.lstrip())
        about, event_type = marker[2].strip(), event_types.pop()
        statements.append(Statement(marker[1] == "every row", about, event_type, sql.strip(), _line(text, begins)))
    if [s.every_row for s in statements] != [True] + [False] * (len(statements) - 1):
        raise wrong(markers[0].start(), "exactly one statement, the first, is marked '-- [every row]'")
    declared = read_header(header, wrong)
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
    """All recipes of a source by the full name of their table.

    Args:
        folder: with the recipes.

    Raises:
        RecipeError: if one breaks the contract.
    """
    if not folder.is_dir():
        return {}
    return {name: _read_recipe(name, file) for name, file in _sql_files(folder)}


def read_overlay_recipes(folder: UserFile) -> dict[str, Recipe]:
    """The recipes of a user's folder by the full name of their table.

    Args:
        folder: with the recipes.

    Raises:
        RecipeError: if one breaks the contract, or the folder holds what no build would use.
    """
    mine = {
        name: path for name, path in overlay_sql(folder).items() if "/" in name and not name.startswith(f"{VIEWS}/")
    }
    return {name: _read_recipe(name, path) for name, path in mine.items()}


def recipes_of(tables: Collection[str], read: Mapping[File, Mapping[str, Recipe]]) -> dict[str, Recipe]:
    """The recipe of each table.

    Args:
        tables: full names of the tables of patients, each of which needs a recipe.
        read: recipes by the folder that they are in: a source's, then a user's own, which come in their place.

    Raises:
        RecipeError: if a table has no recipe, or a recipe no table.
    """
    merged: dict[str, Recipe] = {}
    for folder, recipes in read.items():
        if unknown := sorted(set(recipes) - set(tables)):
            raise RecipeError(
                f"{folder} has a recipe for {', '.join(unknown)}, which is no table of patients: a new table needs a "
                "line '-- keys: COLUMNS | COLUMNS OF DUPLICATES' in its recipe, or one in tables.csv, and its columns "
                "in columns.csv (those of a source in releases/)"
            )
        merged |= recipes
    if lacking := [n for n in tables if n not in merged]:
        raise RecipeError(f"{list(read)[-1]} has no recipe for {', '.join(lacking)}")
    return {name: merged[name] for name in sorted(merged)}


def _read_recipe(table: str, file: File) -> Recipe:
    """Read a recipe. Messages name the file of a user."""
    if isinstance(file, UserFile):
        return parse_recipe(table, read_sql(file), str(file))
    return parse_recipe(table, read_source_file(file))


def overlay_sql(folder: UserFile) -> dict[str, UserFile]:
    """The SQL files of a user's folder by their place in it: `hosp/services`, `views/arrivals`, `macros`.

    Raises:
        RecipeError: if it cannot be read, or holds an SQL or CSV file that no build would use.
    """
    found: dict[str, UserFile] = {}
    for top in names_in(folder, RecipeError):
        path = folder / top
        if not path.exists():
            raise RecipeError(f"{path} cannot be read: it is a dangling link, or in a folder without permission")
        is_module = path.is_dir() and path.suffix.lower() not in (".sql", ".csv")
        inside = [f"{top}/{name}" for name in names_in(path, RecipeError)] if is_module else [top]
        for name in inside:
            file = folder / name
            ending = file.suffix
            stem = name.removesuffix(ending)
            known = name in _CUSTOM_TABLES or (ending == ".sql" and (stem in HELPERS or "/" in name))
            if ending.lower() in (".sql", ".csv") and not known:
                raise RecipeError(
                    f"{file} is not used: a folder of recipes holds {', '.join(_CUSTOM_TABLES)}, "
                    f"{', '.join(f'{h}.sql' for h in HELPERS)}, {VIEWS}/*.sql and <module>/<table>.sql"
                )
            if ending == ".sql":
                found[stem] = file
    return found


def read_sql(path: File) -> str:
    """Return the text of a user's SQL file."""
    return read_text_file(path, "the recipe", RecipeError, MOST_BYTES)


def read_helper(name: str, folder: File, own: UserFile | None = None) -> str:
    """One of the SQL files beside the recipes, by a name of `HELPERS`.

    A user's own file takes the place of the source's; the user's macros come behind them.

    Args:
        name: of the file, without its ending.
        folder: with the source's recipes.
        own: folder with a user's own.
    """
    text = read_source_file(folder / f"{name}.sql")
    mine = None if own is None else overlay_sql(own).get(name)
    if mine is None:
        return text
    return f"{text}\n{read_sql(mine)}" if name == "macros" else read_sql(mine)


def read_views(folder: File, tables: Collection[str], own: UserFile | None = None) -> dict[str, str]:
    """What several recipes see as a table, by name: SQL over the tables, each after those that it reads itself.

    Args:
        folder: with the source's recipes.
        tables: bare names of all tables, which no view may have.
        own: folder with a user's own.

    Raises:
        RecipeError: if a user's view has no usable name, or views read each other in a circle.
    """
    inside = folder / VIEWS
    files = [f for f in (inside.iterdir() if inside.is_dir() else ()) if f.suffix == ".sql"]
    found = {f.stem: read_source_file(f) for f in files}
    taken = {name.lower() for name in tables}
    for place, path in ({} if own is None else overlay_sql(own)).items():
        if place.startswith(f"{VIEWS}/"):
            if not _VIEW_NAME.fullmatch(path.stem):
                raise RecipeError(f"{path}: the name of a view must be letters, digits and _, a letter first")
            if path.stem.lower() in taken:
                raise RecipeError(f"{path}: there is a table of this name, which recipes read: give the view another")
            found[path.stem] = read_sql(path)
    ordered: dict[str, str] = {}
    while len(ordered) < len(found):
        left = [name for name in sorted(found) if name not in ordered]
        ready = [name for name in left if mentioned(found[name], left) <= {name}]
        if not ready:
            raise RecipeError(f"views read each other in a circle: {', '.join(left)}")
        ordered |= {name: found[name] for name in ready}
    return ordered


def tables_read(sql: str, names: Iterable[str], views: Mapping[str, str]) -> set[str]:
    """Which of the tables (bare names) SQL reads, by itself or through views."""
    names = list(names)
    behind = [tables_read(views[view], names, views) for view in mentioned(sql, views)]
    return mentioned(sql, names).union(*behind)
