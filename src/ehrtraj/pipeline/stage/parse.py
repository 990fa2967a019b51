"""Convert a block of CSV to typed columns, and reject the rows that cannot be converted.

pyarrow parses complete blocks quickly, but stops at the first bad value. A block that fails, or that may hide a
problem (a NUL byte, a quote that contains line ends), is therefore split in halves until each bad row is isolated. Both
ways use the same parser, so they agree on every good row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.csv as pacsv

from ehrtraj.format.keys import numbers_of
from ehrtraj.release import reader
from ehrtraj.release.reader import CsvBlock, Skipped, count_lines, read_blocks
from ehrtraj.release.records import (
    RecordShape,
    UnsoundQuotesError,
    count_fields,
    misfit,
    quotes_end_on_their_line,
    sound_records,
)
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.sizes import DEFAULT

BROKEN_QUOTE = "broken_quote"
TOO_LONG = "too_long"
_BROKEN_DETAIL = "a quote is opened and not closed at the end of a field"
_BAD_VALUE = re.compile(r"CSV column #(\d+):.*conversion error to (\w+)", re.DOTALL)


@dataclass(frozen=True)
class BadRow:
    r"""A row that could not be parsed.

    Attributes:
        line: line number in the file; the line of column names is line 1.
        text: text of the row in the file, decoded as UTF-8; invalid bytes are written as \xNN.
        reason: reason for rejection, as in the ledger.
        detail: explanation of the problem.
    """

    line: int
    text: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Parsed:
    """The rows of a block: those that could be parsed and those that could not.

    Attributes:
        rows: one column for each column of the table; a column that the file lacks is null.
        bad: rejected rows; their line numbers are relative to the first line of the block, which is 0.
        lines: number of line ends in the block.
    """

    rows: pa.Table
    bad: list[BadRow]
    lines: int


class BlockParser:
    """Parses blocks of one table's file. Several threads can use it at the same time."""

    def __init__(self, file: TableFile) -> None:
        self._schema = file.table.schema
        self._names = list(file.table.columns)
        self._key = file.table.key
        self._header = list(file.header)
        self._shape = file.shape
        written = file.present
        # Column names as in the file. They are renamed to the table's names after reading.
        self._types = {written.get(c, c): t for c, t in file.table.columns.items()}
        self._convert = pacsv.ConvertOptions(
            column_types=self._types,
            include_columns=list(self._types),
            include_missing_columns=True,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            true_values=[],
            false_values=[],
        )
        self._parse = pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=True)

    def _read(self, data: bytes) -> pa.Table:
        options = pacsv.ReadOptions(use_threads=False, column_names=self._header, block_size=len(data) + 1)
        table = pacsv.read_csv(pa.BufferReader(data), options, self._parse, self._convert)
        return table.rename_columns(self._names)

    def _with_subjects(self, rows: pa.Table) -> pa.Table:
        """Return the rows with a column `subject_id`, which is added if the patient's key is another column."""
        if rows.num_columns == len(self._schema):
            return rows
        return rows.append_column(self._schema.field(SUBJECT_ID), numbers_of(rows[self._key]))

    def parse(self, block: CsvBlock) -> Parsed:
        """Parse every row of a block that can be parsed, and reject the others.

        Raises:
            UnsoundQuotesError: if the block was cut by counting quotes and this count may be wrong.
        """
        if block.skipped:
            return self._too_long(block.data, block.skipped)
        data = block.data if block.data.endswith(b"\n") else block.data + b"\n"
        sound = _outside(len(data), block.broken)
        good = b"".join([data[a:b] for a, b in sound]) if block.broken else data
        lines = count_lines(data) if block.lines is None else block.lines
        rows = self._quickly(good, count_lines(good) if block.broken else lines, judge=not block.scanned)
        broken = {start: (end, BROKEN_QUOTE, _BROKEN_DETAIL) for start, end in block.broken}
        if rows is None:
            tables, bad = self._with_care(data, sound, judge=not block.scanned)
            empty = self._schema.empty_table().select(self._names)
            rows, broken = pa.concat_tables([empty, *tables]), broken | bad
        return Parsed(self._with_subjects(rows), _bad_rows(data, broken), lines)

    def _quickly(self, data: bytes, lines: int, *, judge: bool) -> pa.Table | None:
        """Return the rows of data, which has this number of line ends, if all of them are good, else None."""
        try:
            rows = self._read(data)
        except pa.ArrowInvalid:
            return None
        if b"\0" in data or rows[self._key].null_count:
            return None
        if b'"' not in data and b"\r" not in data:
            return rows
        # pyarrow accepts unsound quotes, and treats the end of the data as the end of a quote.
        if rows.num_rows == lines:
            return rows if quotes_end_on_their_line(data) else None
        try:
            records = sum(1 for _ in sound_records(data, self._shape, judge=judge))
        except UnsoundQuotesError:
            return None
        return rows if records == rows.num_rows else None

    def _too_long(self, start: bytes, skipped: Skipped) -> Parsed:
        detail = (
            f"the record is longer than {reader.LONGEST_RECORD:,} bytes: it has {skipped.length:,} bytes, of which the "
            f"first {len(start):,} are kept, and sha256 {skipped.sha256}"
        )
        return Parsed(self._schema.empty_table(), [BadRow(0, _text(start), TOO_LONG, detail)], skipped.lines)

    def _with_care(
        self, data: bytes, sound: Sequence[tuple[int, int]], *, judge: bool
    ) -> tuple[list[pa.Table], dict[int, tuple[int, str, str]]]:
        """Return the good rows of sound records, and the end, reason and detail of the others by their start."""
        good: list[tuple[int, int]] = []
        bad: dict[int, tuple[int, str, str]] = {}
        for start, end in (record for a, b in sound for record in sound_records(data, self._shape, a, b, judge=judge)):
            if data.find(b"\0", start, end) >= 0:
                bad[start] = (end, "nul_byte", "the row holds a byte of value 0")
            elif (fields := count_fields(data, self._shape, start, end)) and data.find(b"\r", start, end - 2) < 0:
                bad[start] = (end, *self._wrong_length(data[start:end], fields))
            elif field := misfit(data, self._shape, start, end):
                bad[start] = (end, *self._misfit(data[start:end], *field))
            else:
                good.append((start, end))
        tables: list[pa.Table] = []
        for table, failed in self._halves(data, good):
            if table is not None:
                tables.append(table)
            elif failed is not None:
                start, end = failed
                bad[start] = (end, *self._why(data[start:end]))
        return tables, bad

    def _halves(
        self, data: bytes, records: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[pa.Table | None, tuple[int, int] | None]]:
        if not records:
            return
        try:
            table = self._read(b"".join(data[a:b] for a, b in records))
            # A single record that is parsed as several rows contains lines that end in CR only.
            all_good = len(records) in (1, table.num_rows) and not table[self._key].null_count
        except pa.ArrowInvalid:
            all_good = False
        if all_good:
            yield table, None
        elif len(records) == 1:
            yield None, records[0]
        else:
            middle = len(records) // 2
            yield from self._halves(data, records[:middle])
            yield from self._halves(data, records[middle:])

    def _wrong_length(self, record: bytes, fields: int) -> tuple[str, str]:
        """Return reason and detail for a row with a wrong number of fields."""
        counted = f"{fields} fields where there are {len(self._header)} columns"
        return _not_utf8(record) or ("wrong_number_of_fields", counted)

    def _misfit(self, record: bytes, position: int, field: bytes) -> tuple[str, str]:
        """Return reason and detail for a row with a field that does not fit the type of its column.

        This is faster than `_why`.
        """
        column = self._header[position]
        kind = self._types[column]
        reason = "not_a_time" if pa.types.is_timestamp(kind) else "not_a_number"
        value = _text(field.strip(b'"'))
        return _not_utf8(record) or (reason, f"column {column}: {kind}: invalid value '{value}'")

    def _why(self, record: bytes) -> tuple[str, str]:
        """Return reason and detail for a single row that cannot be parsed."""
        if reason := _not_utf8(record):
            return reason
        try:
            self._read(record)
        except pa.ArrowInvalid as error:
            message = str(error)
            if "Expected" in message and "columns" in message:
                numbers = re.search(r"Expected (\d+) columns, got (\d+)", message)
                counted = f"{numbers[2]} fields where there are {numbers[1]} columns" if numbers else message
                return "wrong_number_of_fields", counted
            if match := _BAD_VALUE.search(message):
                column = self._header[int(match[1])] if int(match[1]) < len(self._header) else match[1]
                kind = "not_a_time" if match[2].startswith("timestamp") else "not_a_number"
                return kind, f"column {column}: {message.rsplit('error to ', 1)[-1]}"
            return "unreadable", message
        return f"no_{self._key}", f"column {self._key} is empty"


def read_table(file: TableFile, size: int = DEFAULT.block_bytes, columns: Sequence[str] | None = None) -> list[Parsed]:
    """Return a complete table, block by block, read in this thread.

    Args:
        file: file of the table.
        size: number of bytes to read at a time.
        columns: columns to return; None for all.

    Raises:
        ReleaseError: if the file is empty, cut off or damaged, or changed since the release was detected.
    """
    parser = BlockParser(file)

    def read(scan: RecordShape | None) -> list[Parsed]:
        with file.open() as stream:
            blocks = map(parser.parse, read_blocks(stream, size, scan=scan))
            return [p if columns is None else replace(p, rows=p.rows.select(list(columns))) for p in blocks]

    try:
        return read(None)
    except UnsoundQuotesError:
        return read(file.shape)


def _outside(length: int, broken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the ranges of `length` bytes that are not broken."""
    starts, stops = [0, *(end for _, end in broken)], [*(start for start, _ in broken), length]
    return [(a, b) for a, b in zip(starts, stops, strict=True) if a < b]


def _not_utf8(record: bytes) -> tuple[str, str] | None:
    try:
        record.decode("utf-8")
    except UnicodeDecodeError as error:
        return "not_utf8", str(error)
    return None


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="backslashreplace")


def _bad_rows(data: bytes, bad: dict[int, tuple[int, str, str]]) -> list[BadRow]:
    rows, line, position = [], 0, 0
    for start in sorted(bad):
        end, reason, detail = bad[start]
        line, position = line + data.count(b"\n", position, start), start
        rows.append(BadRow(line, _text(data[start:end].rstrip(b"\r\n")), reason, detail))
    return rows
