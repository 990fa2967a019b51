"""The header of a concept's SQL file: what a row is, its columns, its definition, and what it needs.

-- Vital signs in intensive care: the mean of the plausible values of one time.
--
-- source: MIT-LCP/mimic-code, mimic-iv/concepts/measurement/vitalsign.sql
-- needs: heart_rhythm, height
-- row: stay_id, time
-- mimic-code: charttime = time, without hadm_id
-- columns:
--   time            TIMESTAMP  -      When it was charted.
--   heart_rate      DOUBLE     /min   Heart rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ehrtraj.errors import RecipeError

TYPES = frozenset({"BIGINT", "INTEGER", "DOUBLE", "VARCHAR", "BOOLEAN", "TIMESTAMP", "DATE"})
_KEY = re.compile(r"(source|needs|row|mimic-code|differs|empty|columns):\s*(.*)")
_COLUMN = re.compile(r"([a-z][a-z0-9_]*)\s+([A-Z]+)\s+(\S+)\s+(.+)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SUBJECT = "subject_id"
AVAILABLE = "available_time"


@dataclass(frozen=True)
class Column:
    """A column of a concept.

    Attributes:
        name: its name.
        type: its type in DuckDB, one of `TYPES`.
        unit: unit in UCUM; empty if it has none.
        meaning: what it contains, in one sentence.
    """

    name: str
    type: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Header:
    """What the header of a concept contains.

    Attributes:
        description: what a row is, and what to know about it.
        sources: where the definition comes from, one citation each.
        needs: names of other concepts that it reads.
        row: columns that identify a row.
        columns: all its columns, in order.
        renamed: mimic-code's name of each column that has another name there.
        without: columns that mimic-code's table lacks.
        differs: why rows differ from mimic-code's, one sentence for each reason.
        empty: why the concept can be empty in the demo; empty if it cannot.
    """

    description: str
    sources: tuple[str, ...]
    needs: tuple[str, ...]
    row: tuple[str, ...]
    columns: tuple[Column, ...]
    renamed: dict[str, str]
    without: frozenset[str]
    differs: tuple[str, ...]
    empty: str

    @property
    def start(self) -> str:
        """Name of the column with the time at which a row begins: `time` or `start`."""
        return "time" if any(column.name == "time" for column in self.columns) else "start"


def read_header(where: str, text: str) -> Header:
    """Read the header of an SQL file.

    Args:
        where: the file, for messages.
        text: its content.

    Raises:
        RecipeError: if the header is incomplete or malformed.
    """
    description, entries, columns = _split(where, text)
    one = {key: _one(where, key, entries) for key in ("needs", "row", "mimic-code", "empty")}
    renamed, without = _mimic_code(where, one["mimic-code"])
    found = Header(
        description=description,
        sources=tuple(entries.get("source", ())),
        needs=_names(where, "needs", one["needs"]),
        row=_names(where, "row", one["row"]),
        columns=columns,
        renamed=renamed,
        without=without,
        differs=tuple(entries.get("differs", ())),
        empty=one["empty"],
    )
    _check(where, found)
    return found


def _split(where: str, text: str) -> tuple[str, dict[str, list[str]], tuple[Column, ...]]:
    """Return the description, the entries by key, and the columns."""
    description: list[str] = []
    entries: dict[str, list[str]] = {}
    columns: list[Column] = []
    current: list[str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("--"):
            break
        words = line.removeprefix("--").strip()
        if key := _KEY.fullmatch(words):
            current = entries.setdefault(key[1], [])
            current.append(key[2])
        elif "columns" in entries:
            columns.append(_column(f"{where}, line {number}", words))
        elif current is not None:
            current[-1] = f"{current[-1]} {words}".strip()
        else:
            description.append(words)
    return "\n".join(description).strip(), entries, tuple(columns)


def _column(where: str, words: str) -> Column:
    found = _COLUMN.fullmatch(words)
    if found is None or found[2] not in TYPES:
        raise RecipeError(
            f"{where}: '{words}' is not the description of a column: write `name TYPE unit meaning`, with one of "
            f"{', '.join(sorted(TYPES))} as the type, and - if there is no unit"
        )
    return Column(found[1], found[2], "" if found[3] == "-" else found[3], found[4])


def _one(where: str, key: str, entries: dict[str, list[str]]) -> str:
    given = entries.get(key, [""])
    if len(given) > 1:
        raise RecipeError(f"{where}: the header contains `{key}:` twice")
    return given[0]


def _names(where: str, key: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if not _NAME.fullmatch(name):
            raise RecipeError(f"{where}: `{key}:` contains '{name}', which is not a valid name: use a-z, 0-9 and _")
    return names


def _mimic_code(where: str, text: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return the renamed columns and those that mimic-code's table lacks: `theirs = ours, without column`."""
    renamed, without = {}, set()
    for part in text.split(",") if text else ():
        theirs, equals, ours = (word.strip() for word in part.partition("="))
        if equals:
            renamed[ours] = theirs
        elif theirs.startswith("without "):
            without.add(theirs.removeprefix("without ").strip())
        else:
            raise RecipeError(f"{where}: `mimic-code:` contains '{theirs}': write `theirs = ours` or `without column`")
    return renamed, frozenset(without)


def _check(where: str, header: Header) -> None:
    names = [column.name for column in header.columns]
    times = [{"time"}, {"start", "end"}]
    problems = {
        "it has no description in its first lines": not header.description,
        "it cites no source: add a line `-- source: ...`": not all(header.sources) or not header.sources,
        "it has no line `-- row: ...` with the columns that identify a row": not header.row,
        "it describes a column twice": len(set(names)) < len(names),
        f"it must have the columns {_SUBJECT} and {AVAILABLE}": not {_SUBJECT, AVAILABLE} <= set(names),
        "it must have either the column time, or the columns start and end": (
            sum(time <= set(names) for time in times) != 1
        ),
        "`row:` or `mimic-code:` names a column that it does not have": not (
            {*header.row, *header.renamed, *header.without} <= set(names)
        ),
    }
    for problem, found in problems.items():
        if found:
            raise RecipeError(f"{where}: {problem}")
