"""Turn a block of CSV into typed columns, and set aside the rows that cannot be.

The quick reading is pyarrow's. It stops at the first bad value, so a block that fails, or that hides something (a NUL
byte, a quote that swallows line ends), is read again by halves until each bad row stands alone. Both readings use the
same parser, so they agree on every good row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.csv as pacsv

from ehrtraj.release.detect import TableFile
from ehrtraj.release.reader import BLOCK_BYTES, Block, TableStream, UnsoundQuotesError, read_blocks, scan_records

BROKEN_QUOTE = "broken_quote"
# A quote with text before and behind it, which is neither an end of a field nor doubled: pyarrow lets it pass.
_QUOTE_IN_TEXT = re.compile(rb'"(?![,\r\n"])(?<![,\n"]")')
_BAD_VALUE = re.compile(r"CSV column #(\d+):.*conversion error to (\w+)", re.DOTALL)


@dataclass(frozen=True)
class BadRow:
    r"""A row that could not be parsed.

    Attributes:
        line: its line number in the file, the line of column names being 1.
        text: the row as it stands there, decoded as UTF-8, other bytes written as \xNN.
        reason: a word for the ledger.
        detail: what was wrong with it.
    """

    line: int
    text: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Parsed:
    """A block's rows: those that could be typed and those that could not.

    Attributes:
        rows: one column for each known column of the table, null where the file lacks it.
        bad: rows set aside; line numbers count from the block's first line as 0.
        lines: line ends in the block.
    """

    rows: pa.Table
    bad: list[BadRow]
    lines: int


class BlockParser:
    """Parses blocks of one table's file. Safe to use from several threads at once."""

    def __init__(self, file: TableFile) -> None:
        self._schema = file.table.schema
        self._key = file.table.key_columns[0]
        self._header = list(file.header)
        written = file.present
        # Names as the file writes them; renamed to ours after reading.
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
        self._parse = pacsv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)

    def _read(self, data: bytes) -> pa.Table:
        options = pacsv.ReadOptions(use_threads=False, column_names=self._header, block_size=len(data) + 1)
        table = pacsv.read_csv(pa.BufferReader(data), options, self._parse, self._convert)
        return table.rename_columns(self._schema.names)

    def _empty(self) -> pa.Table:
        return self._schema.empty_table()

    def parse(self, block: Block) -> Parsed:
        """Type every row of a block that can be, set aside the others."""
        data = block.data
        try:
            rows = self._read(data)
        except pa.ArrowInvalid:
            return self._parse_with_care(data, data.count(b"\n"))
        unended = not data.endswith(b"\n")
        if b"\0" in data or rows[self._key].null_count:
            return self._parse_with_care(data, data.count(b"\n"))
        if b'"' not in data:
            return Parsed(rows, [], rows.num_rows - unended)
        lines = data.count(b"\n")
        # pyarrow takes the end of the data for the end of a quote that is open there.
        suspicious = data.count(b'"') % 2 or _QUOTE_IN_TEXT.search(data)
        if suspicious or (rows.num_rows != lines + unended and not _is_sound(data, rows.num_rows)):
            return self._parse_with_care(data, lines)
        return Parsed(rows, [], lines)

    def _parse_with_care(self, data: bytes, lines: int) -> Parsed:
        good: list[tuple[int, int]] = []
        bad: dict[int, tuple[int, str, str]] = {}
        for start, end, sound in scan_records(data):
            record = data[start:end]
            if not sound:
                bad[start] = (end, BROKEN_QUOTE, "a quote is opened and not closed at the end of a field")
            elif b"\0" in record:
                bad[start] = (end, "nul_byte", "the row holds a byte of value 0")
            elif record.strip(b"\r\n"):
                good.append((start, end))
        tables: list[pa.Table] = []
        later: list[BadRow] = []
        for table, failed in self._halves(data, good):
            if failed is None:
                tables.append(table)
                continue
            start, end = failed
            reason, detail = self._why(data[start:end])
            first_line = data.find(b"\n", start, end) + 1
            rest = None
            if reason == "wrong_number_of_fields" and 0 < first_line < end:
                rest = self._parse_with_care(data[first_line:end], data.count(b"\n", first_line, end))
            if rest is not None and rest.rows.num_rows:
                # A quote that was never closed met the opening quote of a later row: only its own line is bad. Where
                # no row follows in it, as in a note with a field too many, the record is bad as a whole.
                bad[start] = (first_line, BROKEN_QUOTE, "a quote is opened and not closed in its row")
                tables.append(rest.rows)
                skipped = data.count(b"\n", 0, first_line)
                later += [replace(row, line=row.line + skipped) for row in rest.bad]
            else:
                bad[start] = (end, reason, detail)
        rows = pa.concat_tables([self._empty(), *tables])
        return Parsed(rows, sorted(_bad_rows(data, bad) + later, key=lambda row: row.line), lines)

    def _halves(
        self, data: bytes, records: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[pa.Table | None, tuple[int, int] | None]]:
        if not records:
            return
        try:
            table = self._read(
                b"".join(data[a:b] if data[b - 1 : b] == b"\n" else data[a:b] + b"\n" for a, b in records)
            )
            whole = table.num_rows == len(records) and not table[self._key].null_count
        except pa.ArrowInvalid:
            whole = False
        if whole:
            yield table, None
        elif len(records) == 1:
            yield None, records[0]
        else:
            middle = len(records) // 2
            yield from self._halves(data, records[:middle])
            yield from self._halves(data, records[middle:])

    def _why(self, record: bytes) -> tuple[str, str]:
        """Reason and detail for a single row that does not parse."""
        try:
            record.decode("utf-8")
        except UnicodeDecodeError as error:
            return "not_utf8", str(error)
        try:
            self._read(record)
        except pa.ArrowInvalid as error:
            message = str(error)
            if "Expected" in message and "columns" in message:
                found = re.search(r"Expected (\d+) columns, got (\d+)", message)
                counted = f"{found[2]} fields where there are {found[1]} columns" if found else message
                return "wrong_number_of_fields", counted
            if match := _BAD_VALUE.search(message):
                column = self._header[int(match[1])] if int(match[1]) < len(self._header) else match[1]
                kind = "not_a_time" if match[2].startswith("timestamp") else "not_a_number"
                return kind, f"column {column}: {message.rsplit('error to ', 1)[-1]}"
            return "unreadable", message
        return f"no_{self._key}", f"column {self._key} is empty"


def _is_sound(data: bytes, rows: int) -> bool:
    """Whether a block with line ends in quotes is made of so many sound records."""
    records = list(scan_records(data))
    return len(records) == rows and all(sound for _, _, sound in records)


def check_quotes(parsed: Parsed) -> Parsed:
    """The same, if its block can have been cut rightly by counting quotes.

    Raises:
        UnsoundQuotesError: if not: the table must be read again with its records found one by one.
    """
    if any(row.reason == BROKEN_QUOTE for row in parsed.bad):
        raise UnsoundQuotesError
    return parsed


def read_table(file: TableFile, size: int = BLOCK_BYTES) -> list[Parsed]:
    """A whole table, block by block, in this thread.

    Args:
        file: the table.
        size: bytes to read at a time.

    Raises:
        ReleaseError: if the file is empty, cut off or damaged.
    """
    parser = BlockParser(file)
    try:
        with TableStream(file.path) as stream:
            return [check_quotes(parser.parse(block)) for block in read_blocks(stream, size)]
    except UnsoundQuotesError:
        with TableStream(file.path) as stream:
            return [parser.parse(block) for block in read_blocks(stream, size, scan=True)]


def _bad_rows(data: bytes, bad: dict[int, tuple[int, str, str]]) -> list[BadRow]:
    rows, line, at = [], 0, 0
    for start in sorted(bad):
        end, reason, detail = bad[start]
        line, at = line + data.count(b"\n", at, start), start
        text = data[start:end].rstrip(b"\r\n").decode("utf-8", errors="backslashreplace")
        rows.append(BadRow(line, text, reason, detail))
    return rows
