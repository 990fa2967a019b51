"""The examples beside the recipes: few rows in, events out. Reads, builds and writes them.

To write the events of an example after you have changed its rows or the recipe, then check each of them by hand:

    python tests/sources/mimiciv/recipe_examples.py hosp/labevents

docs/reference/recipes.md describes how an example is written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

import ehrtraj
from ehrtraj.format.events import EVENT_SCHEMA
from ehrtraj.release.schema import Table
from ehrtraj.sources.source import Source, packaged

ENDING = ".example.yaml"
WIDTH = 120
OUTCOME = ("codes", "events", "rejected")
"""What the build makes of a case, in the order in which a file has it."""
# What every event of a case has, or has unless the example shows otherwise.
_NOT_SHOWN = {"subject_id", "source_table"}
_DEFAULTS = {"time_precision": "second", "flags": []}

Row = dict[str, str]
Shown = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One case of an example.

    Attributes:
        table: full name of the recipe's table.
        shows: what it shows, a sentence.
        each_row: columns in which all rows agree, the patient's `subject_id` among them.
        given: rows by table, as the file has them.
        base: rows of `example_patient.yaml` by table.
        expected: `events`, `rejected` and `codes`, as the file has them.
    """

    table: str
    shows: str
    each_row: Row
    given: Mapping[str, list[Row]]
    base: Mapping[str, Row]
    expected: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.table}: {self.shows}"

    @property
    def subject(self) -> int:
        """The patient."""
        return int(self.each_row["subject_id"])

    def rows(self, tables: Mapping[str, Table]) -> dict[str, list[Row]]:
        """All rows by table, with the columns in which they agree and the patient's own rows."""
        own_module = self.table.partition("/")[0]
        found: dict[str, list[Row]] = {}
        for name, row in self.base.items():
            identified = set(tables[name].columns) & {"subject_id", "hadm_id", "stay_id"} <= set(self.each_row)
            if name not in self.given and name.partition("/")[0] in ("hosp", own_module) and identified:
                found[name] = [row]
        found |= self.given
        return {name: [self._with_each(row, tables[name]) for row in rows] for name, rows in found.items()}

    def _with_each(self, row: Row, table: Table) -> Row:
        return {name: value for name, value in self.each_row.items() if name in table.columns} | row


def path_of(source: Source, table: str) -> Path:
    """The file with a recipe's example."""
    return Path(str(source.folder)) / "recipes" / f"{table}{ENDING}"


def tables_with_examples(source: Source) -> list[str]:
    """Full names of the tables whose recipe has an example."""
    folder = Path(str(source.folder)) / "recipes"
    return sorted(path.relative_to(folder).as_posix().removesuffix(ENDING) for path in folder.rglob(f"*{ENDING}"))


def read_cases(source: Source, table: str) -> list[Case]:
    """The cases of an example, in their order."""
    base = yaml.load((path_of(source, table).parents[1] / "example_patient.yaml").read_text("utf-8"), yaml.CBaseLoader)
    text = path_of(source, table).read_text("utf-8")
    # As in a CSV file, the values of rows are text: what is written is what the build reads.
    as_text = yaml.load(text, yaml.CBaseLoader)
    return [
        Case(
            table,
            written["shows"],
            written["each_row"],
            written["rows"],
            base,
            {name: case[name] for name in OUTCOME if name in case},
        )
        for written, case in zip(as_text, yaml.load(text, yaml.CSafeLoader), strict=True)
    ]


# Build ----------------------------------------------------------------------------------------------------------------


def rows_of(cases: Iterable[Case], tables: Mapping[str, Table]) -> dict[str, list[Row]]:
    """The rows of several cases by table.

    Raises:
        ValueError: if a row names a column that its table does not have.
    """
    found: dict[str, list[Row]] = {}
    for case in cases:
        for name, rows in case.rows(tables).items():
            for row in rows:
                if unknown := set(row) - set(tables[name].columns):
                    raise ValueError(f"{case}: {name} has no column {', '.join(sorted(unknown))}")
                found.setdefault(name, []).append(row)
    return found


def spelled(value: str, kind: pa.DataType) -> str:
    """A value as MIMIC-IV's files have it: times with seconds, which an example may leave out."""
    return f"{value}:00" if pa.types.is_timestamp(kind) and len(value) == len("2150-03-01 08:00") else value


def write_release(folder: Path, rows: Mapping[str, list[Row]], tables: Mapping[str, Table]) -> None:
    """Write rows as a release."""
    for name, of_table in rows.items():
        kinds = tables[name].columns
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(kinds)
        writer.writerows([spelled(row.get(column, ""), kind) for column, kind in kinds.items()] for row in of_table)
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.getvalue().encode(), 1, mtime=0))


class Built:
    """What a build makes of the cases of several examples."""

    def __init__(self, source: Source, cases: Iterable[Case], folder: Path) -> None:
        """Build all cases at once: no two of them have a patient in common.

        Args:
            source: whose recipes.
            cases: of any tables.
            folder: for the release and the dataset.
        """
        self._recipes = source.recipes
        write_release(folder / "release", rows_of(cases, source.tables), source.tables)
        self._dataset = ehrtraj.build(
            folder / "release",
            folder / "out",
            "v1",
            source=None if source.is_packaged else Path(str(source.folder)),
            max_cpus=1,
            allow_incomplete=True,
        ).path
        files = sorted((self._dataset / "data").rglob("*.parquet"))
        self._events = [event for file in files for event in pq.read_table(file).to_pylist()]
        flags = json.loads((self._dataset / "metadata" / "flags.json").read_text("utf-8"))
        self._flags = {name: flag["value"] for name, flag in flags.items()}

    def outcome(self, case: Case) -> dict[str, Any]:
        """What became of a case, in the form in which its file has it."""
        found = [e for e in self._events if e["subject_id"] == case.subject and e["source_table"] == case.table]
        outcome: dict[str, Any] = {}
        if codes := self._described(case, {event["code"] for event in found}):
            outcome["codes"] = codes
        outcome["events"] = [dict(self._shown(event)) for event in found]
        if rejected := self._rejected(case):
            outcome["rejected"] = rejected
        return outcome

    def _shown(self, event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name in EVENT_SCHEMA.names:
            value = event[name]
            if name == "flags":
                value = [flag for flag, bit in self._flags.items() if event[name] & bit]
            elif name == "attributes" and value is not None:
                value = json.loads(value)
            elif name == "numeric_value" and value is not None:
                value = _number(value)
            if value is not None and name not in _NOT_SHOWN and value != _DEFAULTS.get(name):
                yield name, _time(value)

    @cached_property
    def _codes(self) -> dict[str, Shown]:
        found = pq.read_table(self._dataset / "metadata" / "codes.parquet").to_pylist()
        return {row["code"]: row for row in found}

    def _described(self, case: Case, codes: set[str]) -> dict[str, Shown]:
        """Descriptions and parents of codes, of recipes that give them."""
        sql = self._recipes[case.table].sql
        shown: dict[str, Shown] = {}
        for code in sorted(codes):
            row = self._codes[code]
            if "code_description" in sql and row["description"] is not None:
                shown.setdefault(code, {})["description"] = row["description"]
            if "code_parent" in sql and row["parent_codes"]:
                shown.setdefault(code, {})["parents"] = list(row["parent_codes"])
        return shown

    def _rejected(self, case: Case) -> list[Shown]:
        path = self._dataset / "rejected" / f"{case.table.rpartition('/')[2]}.parquet"
        rows = pq.read_table(path).to_pylist() if path.exists() else []
        return [
            {name: _time(value) for name, value in row.items() if value is not None and name not in case.each_row}
            for row in rows
            if row["subject_id"] == case.subject
        ]


def _time(value: Any) -> Any:
    """A time as an example writes it, without seconds where they are 0."""
    return str(value).removesuffix(":00") if hasattr(value, "isoformat") else value


def _number(value: float) -> float | int:
    """Return the shortest number that is the same float32."""
    short = float(str(np.float32(value)))
    return int(short) if short.is_integer() else short


# Write ----------------------------------------------------------------------------------------------------------------

_OUTCOME_BLOCK = re.compile(rf"^  (?:{'|'.join(OUTCOME)}):.*\n(?:  [- ].*\n)*", re.M)
_TAIL = re.compile(r"(?:(?:#.*)?\n)*\Z")


def with_outcome(text: str, outcomes: Iterable[Mapping[str, Any]]) -> str:
    """The text of an example with other outcomes; comments and rows stay."""
    head, *cases = re.split(r"^(?=- shows:)", text, flags=re.M)
    parts = [head]
    for case, outcome in zip(cases, outcomes, strict=True):
        body = _OUTCOME_BLOCK.sub("", case)
        at = _TAIL.search(body).start()  # type: ignore[union-attr]  # it matches the empty text
        body, tail = body[:at], body[at:]
        # The line feed that ends the last line of rows is not part of what follows the case.
        parts += [body, "\n", "".join(_block(name, outcome[name]) for name in OUTCOME if name in outcome), tail[1:]]
    return "".join(parts)


def _block(name: str, content: Any) -> str:
    if not content:
        return f"  {name}: []\n"
    if isinstance(content, dict):
        lines = [_wrapped(f"    {_plain(code)}: ", of_code) for code, of_code in content.items()]
    else:
        lines = [_wrapped("  - ", entry) for entry in content]
    return f"  {name}:\n" + "".join(lines)


def _wrapped(start: str, entry: Shown) -> str:
    """A mapping in lines that are not too long."""
    lines, line = [], start
    for piece in _pieces(entry):
        if len(line) + len(piece.rstrip()) > WIDTH and line.strip() != "-":
            lines.append(line.rstrip())
            line = " " * 5
        line += piece
    return "\n".join([*lines, line.rstrip()]) + "\n"


def _pieces(value: Any, before: str = "", after: str = "") -> list[str]:
    """A value in pieces, between which a line may end."""
    if not isinstance(value, dict | list) or not value:
        return [before + _plain(value) + after]
    if isinstance(value, dict):
        inner = [_pieces(of_key, f"{_plain(key)}: ", ", ") for key, of_key in value.items()]
        opening, closing = "{}"
    else:
        inner = [_pieces(one, "", ", ") for one in value]
        opening, closing = "[]"
    pieces = [piece for of_one in inner for piece in of_one]
    pieces[0] = before + opening + pieces[0]
    pieces[-1] = pieces[-1].removesuffix(", ") + closing + after
    return pieces


def _plain(value: Any) -> str:
    """A value within a flow mapping, in quotes where YAML would not read it back as it is."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        is_plain = yaml.load(f"[{{key: {value}}}, {{{value}: 1}}]", yaml.CSafeLoader) == [{"key": value}, {value: 1}]
    except yaml.YAMLError:
        is_plain = False
    # Digits are in quotes for readers that take 015869 for a number.
    return value if is_plain and not value.isdigit() else json.dumps(value, ensure_ascii=False)


def main() -> None:
    """Write the events of the examples of some tables, or of all, as the build makes them."""
    source = packaged("mimiciv")
    for table in sys.argv[1:] or tables_with_examples(source):
        cases = read_cases(source, table)
        with tempfile.TemporaryDirectory() as folder:
            built = Built(source, cases, Path(folder))
            path = path_of(source, table)
            path.write_text(with_outcome(path.read_text("utf-8"), map(built.outcome, cases)), "utf-8")


if __name__ == "__main__":
    main()
