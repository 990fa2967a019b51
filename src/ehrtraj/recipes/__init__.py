"""Recipes: which events a table's rows become, one SQL file a table. `docs/recipes.md` is their contract."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from ehrtraj.errors import RecipeError
from ehrtraj.release.schema import tables
from ehrtraj.rules import domains

_MARKER = re.compile(r"^-- \[(every row|also)\]\s*(.*)$", re.MULTILINE)
_LEFT_OUT = re.compile(r"^-- left out:\s*([^|\n]+?)\s*\|\s*(.+?)\s*$", re.MULTILINE)
_SET_ASIDE = re.compile(r"^-- set aside:\s*([a-z0-9_]+)\s*\|\s*(.+?)\s*$", re.MULTILINE)
_DOMAIN = re.compile(r"'([A-Z0-9_]+)'\s+AS\s+domain\b", re.IGNORECASE)
_STATIC = re.compile(r"\bNULL(::TIMESTAMP)?\s+AS\s+time\b", re.IGNORECASE)
_SEPARATE = re.compile(r"^-- separate:\s*text_value\s*\|\s*(.+?)\s*$", re.MULTILINE)
_COMMENT = re.compile(r"--[^\n]*")
_LITERAL = re.compile(r"'[^']*'")
HELPERS_OF_A_SHARD = ("encounters", "subjects", "stays")
HELPERS = ("macros", "dictionaries", *HELPERS_OF_A_SHARD, "codes")
_VIEWS = "views"


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
        separate: why text_value may lie in a file of its own, if it may: it is a whole note.
        text: the SQL file.
    """

    table: str
    about: str
    left_out: dict[str, str]
    set_aside: tuple[tuple[str, str], ...]
    statements: tuple[Statement, ...]
    separate: str = ""
    text: str = ""

    @property
    def sql(self) -> str:
        """All its SQL."""
        return "\n".join([s.sql for s in self.statements] + [c for _, c in self.set_aside])

    def mentions(self, names: Iterable[str]) -> set[str]:
        """Which of the names stand in its SQL."""
        return mentioned(self.sql, names)


def mentioned(sql: str, names: Iterable[str]) -> set[str]:
    """Which of the names stand in SQL as words, outside of comments and of texts in quotes."""
    words = set(re.findall(r"\w+", _LITERAL.sub("", _COMMENT.sub("", sql))))
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
        separate=match[1] if (match := _SEPARATE.search(header)) else "",
        text=text,
    )


def _folder(source: str) -> Traversable:
    return files("ehrtraj.recipes") / source


def _sql_files(folder: Traversable) -> list[tuple[str, Traversable]]:
    modules = sorted((m for m in folder.iterdir() if m.is_dir() and m.name != _VIEWS), key=lambda m: m.name)
    return [
        (f"{module.name}/{file.name.removesuffix('.sql')}", file)
        for module in modules
        for file in sorted(module.iterdir(), key=lambda f: f.name)
        if file.name.endswith(".sql")
    ]


@cache
def recipes(source: str = "mimiciv", extra: Path | None = None) -> dict[str, Recipe]:
    """All recipes of a source by the full name of their table.

    Args:
        source: whose recipes.
        extra: folder with a user's own, which come in the place of the package's.

    Raises:
        RecipeError: if one breaks the contract, or is of a table that nobody knows.
    """
    found = dict(_sql_files(_folder(source)))
    if extra is not None:
        own = dict(_sql_files(extra))
        if unknown := sorted(set(own) - {n for n, t in tables(source, extra).items() if t.kind == "patient"}):
            raise RecipeError(
                f"{extra} has a recipe for {', '.join(unknown)}, which is no table of patients: a new table needs a "
                "line in tables.csv and its columns in columns.csv"
            )
        found |= own
    read = {name: parse_recipe(name, file.read_text(encoding="utf-8")) for name, file in found.items()}
    if lacking := [n for n, t in tables(source, extra).items() if t.kind == "patient" and n not in read]:
        raise RecipeError(f"{extra or 'the package'} has no recipe for {', '.join(lacking)}")
    return {name: read[name] for name in sorted(read)}


@cache
def helper(name: str, source: str = "mimiciv", extra: Path | None = None) -> str:
    """One of the SQL files beside the recipes, by a name of `HELPERS`.

    A user's own file takes the place of the package's; the user's macros come behind them.
    """
    text = (_folder(source) / f"{name}.sql").read_text(encoding="utf-8")
    own = None if extra is None else extra / f"{name}.sql"
    if own is None or not own.is_file():
        return text
    return f"{text}\n{own.read_text(encoding='utf-8')}" if name == "macros" else own.read_text(encoding="utf-8")


@cache
def views(source: str = "mimiciv", extra: Path | None = None) -> dict[str, str]:
    """What several recipes see as a table, by name: SQL over the tables, each after those that it reads itself."""
    found: dict[str, str] = {}
    for folder in (_folder(source), extra):
        if folder is not None and (inside := folder / _VIEWS).is_dir():
            files_ = [f for f in inside.iterdir() if f.name.endswith(".sql")]
            found |= {f.name.removesuffix(".sql"): f.read_text(encoding="utf-8") for f in files_}
    ordered: dict[str, str] = {}
    while len(ordered) < len(found):
        left = [name for name in sorted(found) if name not in ordered]
        ready = [name for name in left if mentioned(found[name], left) <= {name}]
        if not ready:
            raise RecipeError(f"views read each other in a circle: {', '.join(left)}")
        ordered |= {name: found[name] for name in ready}
    return ordered


def tables_read(sql: str, names: Iterable[str], source: str = "mimiciv", extra: Path | None = None) -> set[str]:
    """Which of the tables (bare names) SQL reads, by itself or through views."""
    names = list(names)
    known = views(source, extra)
    behind = [tables_read(known[view], names, source, extra) for view in mentioned(sql, known)]
    return mentioned(sql, names).union(*behind)


def digest(source: str = "mimiciv", extra: Path | None = None) -> str:
    """SHA-256 over all recipes, helpers and tables, so that changed SQL never meets work made by the old."""
    total = hashlib.sha256()
    parts = [(name, recipe.text) for name, recipe in recipes(source, extra).items()]
    parts += [(h, helper(h, source, extra)) for h in HELPERS]
    parts += list(views(source, extra).items())
    parts += [(name, repr(table)) for name, table in tables(source, extra).items()]
    parts += [(domain.name, repr(domain)) for domain in domains(extra).values()]
    for name, text in parts:
        total.update(name.encode() + b"\0" + text.encode() + b"\0")
    return total.hexdigest()
