"""All concepts, from the package and from a user's overlay, with the order in which they depend on each other."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import duckdb

from ehrtraj.concepts.header import Column, Header, read_header
from ehrtraj.concepts.lists import POINTS, ConceptLists
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.files import read_source_file
from ehrtraj.release.history import read_lines
from ehrtraj.runtime.session import is_one_select, open_session
from ehrtraj.sources.source import Source
from ehrtraj.suggestions import did_you_mean
from ehrtraj.user_files import File

_PACKAGED = Path(__file__).parent
# Points of scores are the same for every source.
_POINTS = _PACKAGED / "points.csv"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WORD = re.compile(r"\w+")
_COMMENT = re.compile(r"--[^\n]*")
_TEXT = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class Concept:
    """A concept.

    Attributes:
        name: its name, which is that of its file.
        group: folder of its file, such as `measurement`.
        header: content of the file's header.
        sql: SELECT over the standard views and the concepts that it needs.
        text: the complete file.
    """

    name: str
    group: str
    header: Header
    sql: str
    text: str

    @property
    def start(self) -> str:
        """Name of the column with the time at which a row begins: `time` or `start`."""
        return self.header.start

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns."""
        return self.header.columns

    @cached_property
    def words(self) -> Counter[str]:
        """Words of the SQL outside of comments and texts, with their numbers: names of views, concepts and others."""
        return Counter(_WORD.findall(_TEXT.sub("", _COMMENT.sub("", self.sql)).lower()))


@dataclass(frozen=True)
class ConceptLibrary:
    """All concepts of a source.

    Attributes:
        concepts: the concepts by name, each after those that it needs.
        views: SELECT of each standard view, by name.
        lists: the lists of items, drugs, limits and points.
    """

    concepts: Mapping[str, Concept]
    views: Mapping[str, str]
    lists: ConceptLists

    def find(self, names: Collection[str]) -> list[Concept]:
        """Return concepts by name, in the order of the library; all of them if there are no names.

        Raises:
            SettingsError: if there is no concept of a name.
        """
        for name in names:
            if name not in self.concepts:
                raise SettingsError(f"there is no concept '{name}'{_nearest(name, self.concepts)}")
        return [concept for name, concept in self.concepts.items() if not names or name in names]

    def with_needs(self, names: Iterable[str]) -> list[Concept]:
        """Return concepts and everything that they need, directly or not, each after those that it needs."""
        wanted: set[str] = set()
        open_names = list(names)
        while open_names:
            name = open_names.pop()
            if name not in wanted:
                wanted.add(name)
                open_names += self.concepts[name].header.needs
        return [concept for name, concept in self.concepts.items() if name in wanted]

    def event_types_of(self, view: str, known: Collection[str]) -> frozenset[str]:
        """Return the event types that a view names in texts; it reads no others.

        Args:
            view: name of the view.
            known: event types that occur.
        """
        texts = " ".join(_TEXT.findall(_COMMENT.sub("", self.views[view]))).replace("\\", "")
        return frozenset(set(_WORD.findall(texts)) & set(known))

    def views_of(self, concepts: Iterable[Concept]) -> list[str]:
        """Return the names of the standard views that concepts read."""
        words = set().union(*(concept.words for concept in concepts))
        return [name for name in self.views if name in words]

    def words_of(self, view: str) -> set[str]:
        """Return all words of a view's SQL."""
        return set(_WORD.findall(self.views[view].lower()))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all files: results of other files must never be reused."""
        total = hashlib.sha256(repr(self.lists).encode())
        for text in (*self.views.values(), *(concept.text for concept in self.concepts.values())):
            total.update(text.encode() + b"\0")
        return total.hexdigest()


def concept_library(source: Source) -> ConceptLibrary:
    """Read the concepts of the package and of a source's overlay. A concept of the overlay replaces one of the package.

    Raises:
        RecipeError: if a file of the overlay is not valid.
    """
    found = dict(_read(_PACKAGED))
    if source.overlay_concepts is not None:
        added = dict(_read(source.overlay_concepts))
        _check_selects(added)
        found |= added
    for name, concept in found.items():
        _check_needs(concept, found)
        if name in source.standard_views:
            raise RecipeError(f"the concept {name} has the name of a standard view: rename its file")
    lists = dict(source.concept_lists)
    lists[POINTS] = lists.get(POINTS, []) + read_lines(_POINTS)
    return ConceptLibrary(_in_order(found), source.standard_views, lists)


def _read(folder: File) -> Iterator[tuple[str, Concept]]:
    for group in _entries(folder):
        for file in _entries(group) if group.is_dir() else ():
            if file.suffix == ".sql":
                if not _NAME.fullmatch(file.stem):
                    raise RecipeError(f"{file}: a concept's name consists of a-z, 0-9 and _")
                text = read_source_file(file)
                header = read_header(f"{group.name}/{file.name}", text)
                yield file.stem, Concept(file.stem, group.name, header, _without_header(text), text)


def _entries(folder: File) -> list[File]:
    entries: list[File] = list(folder.iterdir())
    return sorted(entries, key=lambda entry: entry.name)


def _without_header(text: str) -> str:
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    return "\n".join(lines[begin:]).strip()


def _check_selects(concepts: Mapping[str, Concept]) -> None:
    """Check that the SQL of a user is a single SELECT."""
    with open_session(threads=1) as connection:
        for concept in concepts.values():
            try:
                valid = is_one_select(connection, concept.sql)
            except duckdb.Error as error:
                raise RecipeError(f"concept {concept.name}: {error}") from None
            if not valid:
                raise RecipeError(f"concept {concept.name}: the file must contain a single SELECT")


def _check_needs(concept: Concept, known: Mapping[str, Concept]) -> None:
    """Check that a concept names in its header exactly those concepts that its SQL reads."""
    needs, words = set(concept.header.needs), set(concept.words)
    if unknown := needs - known.keys():
        name = min(unknown)
        raise RecipeError(f"concept {concept.name} needs '{name}', which does not exist{_nearest(name, known)}")
    if unused := needs - words:
        raise RecipeError(f"concept {concept.name} needs {', '.join(sorted(unused))}, but its SQL does not use it")
    own = {column.name for column in concept.header.columns} | {concept.name}
    read = {name for name in words & known.keys() - needs - own if _reads(concept.sql, name)}
    if read:
        raise RecipeError(f"concept {concept.name} reads {', '.join(sorted(read))}: add it to `-- needs:`")


def _reads(sql: str, name: str) -> bool:
    return re.search(rf"\b(?:from|join|,)\s+{name}\b", _COMMENT.sub("", sql), re.IGNORECASE) is not None


def _in_order(concepts: Mapping[str, Concept]) -> dict[str, Concept]:
    """Return concepts by name, each after those that it needs."""
    ordered: dict[str, Concept] = {}
    visiting: list[str] = []

    def visit(name: str) -> None:
        if name in visiting:
            raise RecipeError(f"concepts need each other: {' -> '.join([*visiting, name])}")
        if name not in ordered:
            visiting.append(name)
            for needed in concepts[name].header.needs:
                visit(needed)
            visiting.pop()
            ordered[name] = concepts[name]

    for name in sorted(concepts):
        visit(name)
    return ordered


def _nearest(name: str, known: Collection[str]) -> str:
    return did_you_mean(name, known) or ". `ehrtraj concepts --list` shows all concepts"
