"""What a user's recipe may do: read the tables of its session in one SELECT, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from ehrtraj import recipes
from ehrtraj.errors import RecipeError
from ehrtraj.runtime.session import is_one_select, open_session
from ehrtraj.user_files import UserFile

_TOKEN = re.compile(r"""'|"|--|\n|/\*|\*/|[(\[{]|[)\]}]""")
_ENDS = {"'": "'", '"': '"', "--": "\n", "/*": "*/"}
_DEEPEST = 200
_ERROR_LINE = re.compile(r"^LINE ([0-9]+):", re.MULTILINE)
_MACRO = re.compile(r"\s*CREATE\s+(OR\s+REPLACE\s+)?(TEMP\s+|TEMPORARY\s+)?(MACRO|FUNCTION)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_MAY = (
    "SQL of a recipe may only read the tables of the build, in one SELECT that writes nothing "
    "(docs/reference/recipes.md)"
)


@dataclass(frozen=True)
class SqlLocation:
    """Where SQL comes from.

    Attributes:
        what: it is, such as "recipe hosp/services".
        file: path of a user's file; empty for the package's own.
        line: of the file, where the SQL begins.
    """

    what: str
    file: str = ""
    line: int = 1

    def padded(self, sql: str) -> str:
        """Return the SQL, moved down so that DuckDB names the line of the file."""
        return "\n" * (self.line - 1) + sql

    def wrong(self, problem: str, line: int | None = None) -> RecipeError:
        """Return an error that names the place."""
        where = f" ({self.file}, line {line or self.line})" if self.file else ""
        return RecipeError(f"{self.what}{where}: {problem}")

    def refused(self, error: duckdb.Error, *, padded: bool = False) -> RecipeError:
        """Return an error that says why DuckDB did not run the SQL.

        Args:
            error: of DuckDB.
            padded: whether the SQL was `padded`.
        """
        text = str(error)
        line = int(found[1]) if padded and (found := _ERROR_LINE.search(text)) else None
        if isinstance(error, duckdb.PermissionException) or "the configuration has been locked" in text:
            return self.wrong(
                "files, the network, extensions and settings are out of reach of a recipe (docs/reference/recipes.md). "
                f"DuckDB says: {text}",
                line,
            )
        return self.wrong(f"DuckDB says: {text}", line)


def check_allowed(folder: UserFile, known: Iterable[recipes.Recipe]) -> None:
    """Check that all SQL of a user's folder parses, and is of the kind that a recipe may be.

    Args:
        folder: with recipes, views, helpers and macros.
        known: all recipes of the source, those of the folder among them.

    Raises:
        RecipeError: if it is not; the message names the file and the line.
    """
    with open_session(threads=1) as connection:
        for name, path in recipes.overlay_sql(folder).items():
            text = recipes.read_sql(path)
            place = SqlLocation(f"recipe {name}", str(path))
            if _depth(text) > _DEEPEST:
                raise place.wrong(f"more than {_DEEPEST} brackets inside each other")
            if name == "macros":
                _check_macros(connection, text, place)
            elif name in recipes.HELPERS or name.startswith(f"{recipes.VIEWS}/"):
                _check_select(connection, text, place)
        for recipe in known:
            if recipe.file:
                _check_recipe(connection, recipe)


def _check_recipe(connection: duckdb.DuckDBPyConnection, recipe: recipes.Recipe) -> None:
    for statement in recipe.statements:
        _check_select(connection, statement.sql, SqlLocation(f"recipe {recipe.table}", recipe.file, statement.line))
    for _, condition in recipe.rejected:
        line = recipe.text.count("\n", 0, recipe.text.index(condition)) + 1
        _check_select(connection, f"SELECT ({condition})", SqlLocation(f"recipe {recipe.table}", recipe.file, line))


def _check_select(connection: duckdb.DuckDBPyConnection, sql: str, place: SqlLocation) -> None:
    try:
        allowed = is_one_select(connection, place.padded(sql))
    except duckdb.Error as error:
        raise place.refused(error, padded=True) from None
    if not allowed:
        raise place.wrong(_MAY)


def _check_macros(connection: duckdb.DuckDBPyConnection, text: str, place: SqlLocation) -> None:
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise place.refused(error, padded=True) from None
    for statement in statements:
        if not _MACRO.match(_COMMENT.sub("", statement.query)):
            raise place.wrong("macros.sql may only hold CREATE MACRO statements (docs/reference/recipes.md)")


def _depth(sql: str) -> int:
    """How deep brackets lie inside each other: DuckDB's parser ends the process at about 100,000 nested queries."""
    depth = deepest = 0
    inside = ""
    for mark in _TOKEN.findall(sql):
        if inside:
            inside = "" if mark == inside else inside
        elif mark in _ENDS:
            inside = _ENDS[mark]
        elif mark in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in ")]}":
            depth -= 1
    return deepest
