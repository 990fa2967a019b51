"""Seeded damage to a release, such as a careless editor, a failing disk or an attacker would cause.

Each mutation records the patients whose rows it changed and the number of records in the file afterwards, so that a
test can determine what a build may change and what it must not.
"""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

CELLS = (
    b"",
    b"x",
    b"-1",
    b"0",
    b"NaN",
    b"inf",
    b"1e400",
    b"99999999999999999999",
    b"9223372036854775807",
    b"2150-13-45 00:00:00",
    b"0001-01-01 00:00:00",
    b"9999-12-31 23:59:59",
    b"2150-02-29",
    b"\xff\xfe",
    b"a\0b",
    b"\x1b[31mred",
    b"\xe2\x80\xaeback",
    b"=1+1",
    b"   ",
    b"___",
    "\N{GRINNING FACE}".encode(),
    b'"two\nlines"',
    b'"',
    b"y" * 70_000,
)


@dataclass
class Table:
    """The file of one table while it is changed.

    Attributes:
        name: full name of the table, such as `hosp/labevents`.
        header: column names.
        rows: records as they are in the file, with their line ends.
        subjects: patient of each row, as written in the clean release; None in dictionaries.
    """

    name: str
    header: list[str]
    rows: list[bytes]
    subjects: list[int | None]


@dataclass
class Damage:
    """The damage to a release.

    Attributes:
        did: name of each mutation and its table.
        touched: patients whose rows were changed, or whose IDs were written into other rows.
        everyone: whether all patients may change.
        uncounted: tables in which the number of records depends on how a broken quote is read.
        raw: bytes of files that no longer consist of their rows, by table; None for a file that is removed.
        suffixes: extensions of files other than `.csv`, by table.
    """

    did: list[str] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    everyone: bool = False
    uncounted: set[str] = field(default_factory=set)
    raw: dict[str, bytes | None] = field(default_factory=dict)
    suffixes: dict[str, str] = field(default_factory=dict)


def read_release(folder: Path) -> dict[str, Table]:
    """Return the tables of a clean release with uncompressed files."""
    tables = {}
    for path in sorted(folder.rglob("*.csv")):
        name = f"{path.parent.name}/{path.stem}"
        data = path.read_bytes()
        header, *rest = _records(data)
        columns = next(csv.reader(io.StringIO(header.decode())))
        at = columns.index("subject_id") if "subject_id" in columns else None
        subjects = [None if at is None else int(_cells(row)[at]) for row in rest]
        tables[name] = Table(name, columns, rest, subjects)
    return tables


def _records(data: bytes) -> list[bytes]:
    """Return the records of clean CSV with their line ends: a line end after an even number of quotes ends a record."""
    found, start, quotes = [], 0, 0
    for line in re.finditer(rb"[^\n]*\n", data):
        quotes += line[0].count(b'"')
        if quotes % 2 == 0:
            found.append(data[start : line.end()])
            start, quotes = line.end(), 0
    return found


def _cells(row: bytes) -> list[str]:
    return next(csv.reader(io.StringIO(row.decode(), newline="")))


def _row_of(cells: list[bytes]) -> bytes:
    return b",".join(cells) + b"\n"


def _raw_cells(row: bytes) -> list[bytes]:
    """Return the cells as written, with their quotes."""
    return re.findall(rb'(?:^|,)((?:"(?:[^"]|"")*"|[^,"]*))', row.rstrip(b"\r\n"))


class Mutator:
    """Damages copies of one release."""

    def __init__(self, clean: dict[str, Table], dice: random.Random) -> None:
        self._clean = clean
        self._dice = dice
        self._owners: dict[int, set[int]] = {}
        for table in clean.values():
            for row, subject in zip(table.rows, table.subjects, strict=True):
                if subject is not None:
                    for name, cell in zip(table.header, _cells(row), strict=True):
                        if name in ("subject_id", "hadm_id", "stay_id", "note_id") or name.endswith("_id"):
                            for number in re.findall(r"\d+", cell):
                                self._owners.setdefault(int(number), set()).add(subject)

    def damage(self, kinds: list[str], to: Path) -> tuple[Damage, dict[str, int]]:
        """Write a damaged copy.

        Args:
            kinds: names of the mutations in `KINDS` to apply.
            to: folder for the copy.

        Returns:
            The damage, and the number of records in each table's file.
        """
        tables = {n: Table(n, list(t.header), list(t.rows), list(t.subjects)) for n, t in self._clean.items()}
        damage = Damage()
        for kind in kinds:
            KINDS[kind](self, tables, damage)
        for name, table in tables.items():
            content = damage.raw.get(name, _row_of([c.encode() for c in table.header]) + b"".join(table.rows))
            if content is not None:
                path = to / f"{name}{damage.suffixes.get(name, '.csv')}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return damage, {n: len(t.rows) for n, t in tables.items() if n not in damage.uncounted}

    def _table(self, tables: dict[str, Table], damage: Damage) -> Table:
        """Return a table with patients whose file still consists of its rows."""
        names = [n for n, t in tables.items() if n not in damage.raw and len(t.rows) > 1 and t.subjects[0] is not None]
        # Tables of notes are preferred in three of ten draws.
        if self._dice.random() < 0.3:
            names = [n for n in names if n.startswith("note/")] or names
        return tables[self._dice.choice(names)]

    def _change(self, table: Table, at: int, row: bytes, damage: Damage) -> None:
        subject = table.subjects[at]
        assert subject is not None
        damage.touched.add(subject)
        for number in re.findall(rb"\d{5,19}", row):
            damage.touched |= self._owners.get(int(number), set())
        table.rows[at] = row

    # On rows ------------------------------------------------------------------------------------------------------

    def cell(self, tables: dict[str, Table], damage: Damage) -> None:
        """Replace the value of a cell."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        cells = _raw_cells(table.rows[at])
        place = self._dice.randrange(len(cells))
        cells[place] = self._dice.choice(CELLS)
        if cells[place] == b'"':
            damage.uncounted.add(table.name)
        self._change(table, at, _row_of(cells), damage)
        damage.did.append(f"cell {table.name}.{table.header[min(place, len(table.header) - 1)]}={cells[place][:20]!r}")

    def identifier(self, tables: dict[str, Table], damage: Damage) -> None:
        """Replace an identifier with that of another row, perhaps of another patient."""
        table = self._table(tables, damage)
        places = [n for n, name in enumerate(table.header) if name.endswith("_id")]
        at, other = (self._dice.randrange(len(table.rows)) for _ in range(2))
        place = self._dice.choice(places)
        cells, theirs = _raw_cells(table.rows[at]), _raw_cells(table.rows[other])
        if place < len(cells) and place < len(theirs):
            cells[place] = theirs[place]
            damage.touched.add(table.subjects[other] or 0)
            self._change(table, at, _row_of(cells), damage)
        damage.did.append(f"identifier {table.name}.{table.header[place]}")

    def stray_quote(self, tables: dict[str, Table], damage: Damage) -> None:
        """Insert a quote at any position of a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        row = table.rows[at]
        place = self._dice.choice([0, self._dice.randrange(len(row)), max(0, len(row) - 1)])
        damage.uncounted.add(table.name)
        self._change(table, at, row[:place] + b'"' + row[place:], damage)
        damage.did.append(f"stray quote {table.name} row {at} at {place}")

    def cut_row(self, tables: dict[str, Table], damage: Damage) -> None:
        """Remove the end of a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        row = table.rows[at]
        kept = row[: self._dice.randrange(1, len(row))].rstrip(b"\n")
        damage.uncounted.add(table.name)
        self._change(table, at, kept + b"\n", damage)
        damage.did.append(f"cut row {table.name}")

    def extra_field(self, tables: dict[str, Table], damage: Damage) -> None:
        """Add a field to a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        self._change(table, at, table.rows[at].rstrip(b"\n") + b",more\n", damage)
        damage.did.append(f"extra field {table.name}")

    def duplicate(self, tables: dict[str, Table], damage: Damage) -> None:
        """Duplicate a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        self._change(table, at, table.rows[at], damage)
        table.rows.append(table.rows[at])
        table.subjects.append(table.subjects[at])
        damage.did.append(f"duplicate {table.name}")

    def lost_row(self, tables: dict[str, Table], damage: Damage) -> None:
        """Remove a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        self._change(table, at, table.rows[at], damage)
        del table.rows[at], table.subjects[at]
        damage.did.append(f"lost row {table.name}")

    def lost_line_end(self, tables: dict[str, Table], damage: Damage) -> None:
        """Join two rows into one line."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows) - 1)
        for place in (at, at + 1):
            self._change(table, place, table.rows[place], damage)
        table.rows[at] = table.rows[at].rstrip(b"\n")
        damage.uncounted.add(table.name)
        damage.did.append(f"lost line end {table.name}")

    def junk_line(self, tables: dict[str, Table], damage: Damage) -> None:
        """Insert a line that is not a row."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        table.rows.insert(at, self._dice.choice([b"of no use\n", b"#\n", b"0\n", b"a,b\n", b"\x00\x00\n", b"\xff\n"]))
        table.subjects.insert(at, table.subjects[at])
        damage.did.append(f"junk line {table.name}")

    def time(self, tables: dict[str, Table], damage: Damage) -> None:
        """Shift a time by a thousand years."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        row = re.sub(rb"\b2(\d\d\d-\d\d-\d\d)", self._dice.choice([rb"1\1", rb"3\1"]), table.rows[at], count=1)
        self._change(table, at, row, damage)
        damage.did.append(f"time {table.name}")

    def carriage_return(self, tables: dict[str, Table], damage: Damage) -> None:
        """Replace a line end with that of Windows."""
        table = self._table(tables, damage)
        at = self._dice.randrange(len(table.rows))
        self._change(table, at, table.rows[at].rstrip(b"\n") + b"\r\n", damage)
        damage.did.append(f"carriage return {table.name}")

    def _reject(self, tables: dict[str, Table], damage: Damage, ending: str, value: bytes) -> None:
        """Write a value that does not fit the type of its column, so that the row is rejected."""
        while True:
            table = self._table(tables, damage)
            places = [n for n, name in enumerate(table.header) if name.endswith(ending)]
            if places and table.name not in damage.uncounted:
                break
        at, place = self._dice.randrange(len(table.rows)), self._dice.choice(places)
        cells = _raw_cells(table.rows[at])
        if len(cells) == len(table.header):
            cells[place] = value
            self._change(table, at, _row_of(cells), damage)
        damage.did.append(f"{value!r} in {table.name}.{table.header[place]}")

    def no_patient(self, tables: dict[str, Table], damage: Damage) -> None:
        """Remove the patient of a row."""
        self._reject(tables, damage, "subject_id", b"")

    def bad_number(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write a number that contains a letter."""
        self._reject(tables, damage, "subject_id", b"10900116x")

    def bad_time(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write a date that does not exist."""
        self._reject(tables, damage, "time", b"2150-13-45 00:00:00")

    def bad_bytes(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write bytes that are not UTF-8."""
        self._reject(tables, damage, "_type", b"\xff\xfe")

    def zero_byte(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write a NUL byte."""
        self._reject(tables, damage, "_type", b"a\0b")

    # On files -----------------------------------------------------------------------------------------------------

    def order(self, tables: dict[str, Table], damage: Damage) -> None:
        """Shuffle the rows, which must change nothing."""
        table = self._table(tables, damage)
        places = list(range(len(table.rows)))
        self._dice.shuffle(places)
        table.rows[:] = [table.rows[p] for p in places]
        table.subjects[:] = [table.subjects[p] for p in places]
        damage.did.append(f"order {table.name}")

    def columns(self, tables: dict[str, Table], damage: Damage) -> None:
        """Shuffle the columns, which must change nothing in valid rows."""
        table = self._table(tables, damage)
        cells = [_raw_cells(row) for row in table.rows]
        if any(len(row) != len(table.header) for row in cells) or table.name in damage.uncounted:
            return
        places = list(range(len(table.header)))
        self._dice.shuffle(places)
        table.header[:] = [table.header[p] for p in places]
        table.rows[:] = [_row_of([row[p] for p in places]) for row in cells]
        damage.did.append(f"columns {table.name}")

    def lost_column(self, tables: dict[str, Table], damage: Damage) -> None:
        """Rename a column, which then counts as missing."""
        table = self._table(tables, damage)
        place = self._dice.randrange(len(table.header))
        damage.did.append(f"lost column {table.name}.{table.header[place]}")
        table.header[place] = self._dice.choice(["", "unknown", f"{table.header[place]}x"])
        damage.everyone = True

    def _written(self, table: Table) -> bytes:
        return _row_of([c.encode() for c in table.header]) + b"".join(table.rows)

    def complete_file(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write the same rows in another form, which must change nothing."""
        table = self._table(tables, damage)
        data = self._written(table)
        kind = self._dice.choice(["mark", "no last line end", "packed", "packed in members", "blank lines"])
        if kind == "mark":
            data = b"\xef\xbb\xbf" + data
        elif kind == "no last line end":
            data = data.rstrip(b"\n")
        elif kind == "blank lines":
            data += b"\n" * 3
            damage.uncounted.add(table.name)
        else:
            half = len(data) // 2 if kind == "packed in members" else len(data)
            data = gzip.compress(data[:half]) + (gzip.compress(data[half:]) if data[half:] else b"")
            damage.suffixes[table.name] = ".csv.gz"
        damage.raw[table.name] = data
        damage.did.append(f"{kind} {table.name}")

    def broken_file(self, tables: dict[str, Table], damage: Damage) -> None:
        """Write a file that cannot be read."""
        table = self._table(tables, damage)
        data = self._written(table)
        kind = self._dice.choice(["empty", "cut short", "bit flip", "UTF-16", "not packed", "missing"])
        damage.everyone = True
        damage.uncounted.add(table.name)
        packed = gzip.compress(data, mtime=0)
        if kind in ("cut short", "bit flip", "not packed"):
            damage.suffixes[table.name] = ".csv.gz"
        middle = len(packed) // 2
        damage.raw[table.name] = {
            "empty": b"",
            "cut short": packed[: self._dice.randrange(1, len(packed))],
            "bit flip": packed[:middle] + bytes([packed[middle] ^ 16]) + packed[middle + 1 :],
            "UTF-16": data.decode(errors="replace").encode("utf-16"),
            "not packed": data,
            "missing": None,
        }[kind]
        damage.did.append(f"{kind} {table.name}")


KINDS: dict[str, Callable[[Mutator, dict[str, Table], Damage], None]] = {
    kind.__name__: kind
    for kind in (
        Mutator.cell,
        Mutator.identifier,
        Mutator.stray_quote,
        Mutator.cut_row,
        Mutator.extra_field,
        Mutator.duplicate,
        Mutator.lost_row,
        Mutator.lost_line_end,
        Mutator.junk_line,
        Mutator.time,
        Mutator.carriage_return,
        Mutator.no_patient,
        Mutator.bad_number,
        Mutator.bad_time,
        Mutator.bad_bytes,
        Mutator.zero_byte,
        Mutator.order,
        Mutator.columns,
        Mutator.lost_column,
        Mutator.complete_file,
        Mutator.broken_file,
    )
}
