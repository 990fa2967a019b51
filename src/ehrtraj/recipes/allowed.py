"""Check that a user's recipe only reads the tables of its session in one SELECT."""

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
_CLOSING = {"'": "'", '"': '"', "--": "\n", "/*": "*/"}
_MAX_DEPTH = 200
_ERROR_LINE = re.compile(r"^LINE ([0-9]+):", re.MULTILINE)
_MACRO = re.compile(r"\s*CREATE\s+(OR\s+REPLACE\s+)?(TEMP\s+|TEMPORARY\s+)?(MACRO|FUNCTION)\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
_ONLY_READ = (
    "SQL of a recipe may only read the tables of the build, in one SELECT that writes nothing "
    "(docs/reference/recipes.md)"
)


@dataclass(frozen=True)
class SqlLocation:
    """Origin of a piece of SQL.

    Attributes:
        what: what it is, such as "recipe hosp/services".
        file: path of a user's file; empty for a packaged recipe.
        line: line of the file where the SQL begins.
    """

    what: str
    file: str = ""
    line: int = 1

    def padded(self, sql: str) -> str:
        """Return the SQL after empty lines, so that DuckDB's errors name the line of the file."""
        return "\n" * (self.line - 1) + sql

    def wrong(self, problem: str, line: int | None = None) -> RecipeError:
        """Return an error that names the file and line."""
        where = f" ({self.file}, line {line or self.line})" if self.file else ""
        return RecipeError(f"{self.what}{where}: {problem}")

    def refused(self, error: duckdb.Error, *, padded: bool = False) -> RecipeError:
        """Return an error that explains why DuckDB did not run the SQL.

        Args:
            error: the error of DuckDB.
            padded: whether the SQL was `padded`.
        """
        text = str(error)
        line = int(found[1]) if padded and (found := _ERROR_LINE.search(text)) else None
        if isinstance(error, duckdb.PermissionException) or "the configuration has been locked" in text:
            return self.wrong(
                "a recipe cannot use files, the network, extensions or settings (docs/reference/recipes.md). "
                f"DuckDB reports: {text}",
                line,
            )
        return self.wrong(f"DuckDB reports: {text}", line)


def check_allowed(folder: UserFile, known: Iterable[recipes.Recipe]) -> None:
    """Check that all SQL of a user's folder can be parsed and is allowed in a recipe.

    Args:
        folder: folder with recipes, views, helpers and macros.
        known: all recipes of the source, including those of the folder.

    Raises:
        RecipeError: if some SQL is not allowed; the message names the file and the line.
    """
    with open_session(threads=1) as connection:
        for name, path in recipes.overlay_sql(folder).items():
            text = recipes.read_sql(path)
            place = SqlLocation(f"recipe {name}", str(path))
            if _depth(text) > _MAX_DEPTH:
                raise place.wrong(f"brackets are nested more than {_MAX_DEPTH} deep")
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
        raise place.wrong(_ONLY_READ)


def _check_macros(connection: duckdb.DuckDBPyConnection, text: str, place: SqlLocation) -> None:
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise place.refused(error, padded=True) from None
    for statement in statements:
        if not _MACRO.match(_COMMENT.sub("", statement.query)):
            raise place.wrong("macros.sql may contain only CREATE MACRO statements (docs/reference/recipes.md)")


def _depth(sql: str) -> int:
    """Return the nesting depth of brackets: DuckDB's parser crashes the process at about 100,000 nested queries."""
    depth = deepest = 0
    inside = ""
    for mark in _TOKEN.findall(sql):
        if inside:
            inside = "" if mark == inside else inside
        elif mark in _CLOSING:
            inside = _CLOSING[mark]
        elif mark in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in ")]}":
            depth -= 1
    return deepest
