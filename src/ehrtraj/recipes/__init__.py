"""Recipes: which events a table's rows become, one SQL file a table. `docs/recipes.md` is their contract."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from ehrtraj.errors import RecipeError

_MARKER = re.compile(r"^-- \[(every row|also)\]\s*(.*)$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^-- left out:\s*([^|\n]+?)\s*\|\s*(.+?)\s*$", re.MULTILINE)
_SET_ASIDE = re.compile(r"^-- set aside:\s*([a-z0-9_]+)\s*\|\s*(.+?)\s*$", re.MULTILINE)
_DOMAIN = re.compile(r"'([A-Z0-9_]+)'\s+AS\s+domain\b", re.IGNORECASE)
_STATIC = re.compile(r"\bNULL(::TIMESTAMP)?\s+AS\s+time\b", re.IGNORECASE)
_COMMENT = re.compile(r"--[^\n]*")
HELPERS = ("macros", "dictionaries", "encounters", "subjects", "stays", "codes")


@dataclass(frozen=True)
class Statement:
    """One SELECT of a recipe.

    Attributes:
        every_row: whether it yields exactly one event for each row.
        about: what the event is, in the recipe's words.
        domain: of the codes it makes.
        sql: the SELECT, without the closing semicolon.
    """

    every_row: bool
    about: str
    domain: str
    sql: str

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
        set_aside: reasons and SQL conditions for rows that cannot become an event, in order.
        statements: the one for every row first.
    """

    table: str
    about: str
    left_out: dict[str, str]
    set_aside: tuple[tuple[str, str], ...]
    statements: tuple[Statement, ...]

    def mentions(self, names: Iterable[str]) -> set[str]:
        """Which of the table names (bare) its SQL reads."""
        text = " ".join([s.sql for s in self.statements] + [c for _, c in self.set_aside])
        words = set(re.findall(r"\w+", _COMMENT.sub("", text)))
        return {n for n in names if n in words}


def parse_recipe(table: str, text: str) -> Recipe:
    """Read a recipe.

    Args:
        table: full name of its table.
        text: the SQL file.

    Raises:
        RecipeError: if it breaks the contract in `docs/recipes.md`.
    """
    markers = list(_MARKER.finditer(text))
    if not markers:
        raise RecipeError(f"recipe {table}: no statement is marked '-- [every row]' or '-- [also]'")
    header = text[: markers[0].start()]
    statements = []
    for marker, following in zip(markers, [*markers[1:], None], strict=True):
        body = text[marker.end() : following.start() if following else len(text)]
        sql, semicolon, rest = body.rpartition(";")
        if not semicolon or _COMMENT.sub("", rest).strip():
            raise RecipeError(f"recipe {table}: the statement '{marker[2]}' does not end with a semicolon")
        domains = set(_DOMAIN.findall(_COMMENT.sub("", sql)))
        if len(domains) != 1:
            raise RecipeError(
                f"recipe {table}: the statement '{marker[2]}' must name one domain, as 'LAB' AS domain "
                f"(found: {', '.join(sorted(domains)) or 'none'})"
            )
        statements.append(Statement(marker[1] == "every row", marker[2].strip(), domains.pop(), sql.strip()))
    if [s.every_row for s in statements] != [True] + [False] * (len(statements) - 1):
        raise RecipeError(f"recipe {table}: exactly one statement, the first, is marked '-- [every row]'")
    left_out = {column.strip(): match[2] for match in _LEFT_OUT.finditer(header) for column in match[1].split(",")}
    return Recipe(
        table=table,
        about=header.strip().splitlines()[0].lstrip("- ") if header.strip() else "",
        left_out=left_out,
        set_aside=tuple((m[1], m[2]) for m in _SET_ASIDE.finditer(header)),
        statements=tuple(statements),
    )


def _folder(source: str) -> Traversable:
    return files("ehrtraj.recipes") / source


def _sql_files(source: str) -> list[tuple[str, Traversable]]:
    modules = sorted((m for m in _folder(source).iterdir() if m.is_dir()), key=lambda m: m.name)
    return [
        (f"{module.name}/{file.name.removesuffix('.sql')}", file)
        for module in modules
        for file in sorted(module.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".sql")
    ]


@cache
def recipes(source: str = "mimiciv") -> dict[str, Recipe]:
    """All recipes of a source by the full name of their table."""
    return {name: parse_recipe(name, file.read_text(encoding="utf-8")) for name, file in _sql_files(source)}


@cache
def helper(name: str, source: str = "mimiciv") -> str:
    """One of the SQL files beside the recipes, by a name of `HELPERS`."""
    return (_folder(source) / f"{name}.sql").read_text(encoding="utf-8")


def digest(source: str = "mimiciv") -> str:
    """SHA-256 over all recipes and helpers, so that changed SQL never meets work made by the old."""
    total = hashlib.sha256()
    for name, text in [(n, f.read_text(encoding="utf-8")) for n, f in _sql_files(source)] + [
        (h, helper(h, source)) for h in HELPERS
    ]:
        total.update(name.encode() + b"\0" + text.encode() + b"\0")
    return total.hexdigest()
