"""Reading of tables: cutting into blocks, parsing, and rejecting rows that cannot be parsed."""

from __future__ import annotations

import csv
import datetime
import gzip
import hashlib
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehrtraj.errors import ReleaseError
from ehrtraj.pipeline.stage.parse import BadRow, BlockParser, read_table
from ehrtraj.release import reader, records
from ehrtraj.release.reader import Stamp, TableStream, read_blocks, read_header, scan_records
from ehrtraj.release.schema import ARROW_TYPES, Table
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.sizes import DEFAULT

COLUMNS = {
    "subject_id": "bigint",
    "charttime": "timestamp",
    "valuenum": "double",
    "value": "string",
    "warning": "integer",
    "comments": "string",
}
TABLE = Table(
    "hosp",
    "sheet",
    "patient",
    {n: ARROW_TYPES[t] for n, t in COLUMNS.items()},
    ("subject_id",),
    ("subject_id",),
)
HEADER = list(COLUMNS)
ONE_BLOCK = 1 << 20
Rows = list[list[str]]

# Characters of clinical text, and characters that are hard to parse: quotes, commas, line ends, other scripts.
TEXTS = st.text(st.sampled_from("aZ9 .,\"\n'|;{}\\é°中🩺"), max_size=12)
INTEGERS = st.integers(-(2**31), 2**31 - 1).map(str)
NUMBERS = st.one_of(st.just(""), st.floats(-1e6, 1e6, allow_nan=False).map(repr))
TIMES = st.one_of(st.just(""), st.datetimes(datetime.datetime(2100, 1, 1), datetime.datetime(2200, 12, 31)).map(str))
ROWS = st.lists(
    st.tuples(INTEGERS, TIMES, NUMBERS, TEXTS, st.one_of(st.just(""), INTEGERS), TEXTS).map(list), max_size=12
)
quickly = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def to_csv(rows: Rows, line_end: str = "\n", quoting: int = csv.QUOTE_MINIMAL) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=line_end, quoting=quoting)
    writer.writerow(HEADER)
    writer.writerows(rows)
    return text.getvalue().encode()


def table_file(path: Path, data: bytes) -> TableFile:
    path.write_bytes(data)
    return TableFile(TABLE, path, tuple(read_header(path)), Stamp.of(path.stat()))


def read(path: Path, data: bytes, size: int = ONE_BLOCK) -> tuple[list[dict[str, Any]], list[BadRow]]:
    """Return the rows of a file, and the rejected ones with line numbers counted from the file's start."""
    file = table_file(path, data)
    rows, bad, line = [], [], 2
    for parsed in read_table(file, size):
        assert parsed.rows.schema.equals(TABLE.schema)
        rows += parsed.rows.to_pylist()
        bad += [BadRow(b.line + line, b.text, b.reason, b.detail) for b in parsed.bad]
        line += parsed.lines
    return rows, bad


def expected(rows: Rows) -> list[dict[str, Any]]:
    """Return the parsed values of the rows."""
    parse: dict[str, Callable[[str], Any]] = {
        "bigint": int,
        "integer": int,
        "double": float,
        "string": str,
        "timestamp": datetime.datetime.fromisoformat,
    }
    return [{n: parse[COLUMNS[n]](v) if v != "" else None for n, v in zip(HEADER, row, strict=True)} for row in rows]


# Good files -------------------------------------------------------------------------------------------------


@quickly
@given(rows=ROWS, size=st.integers(1, 90), quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
def test_any_table_in_blocks_of_any_size_is_read_as_by_the_csv_module(
    tmp_path: Path, rows: Rows, size: int, quoting: int
) -> None:
    data = to_csv(rows, quoting=quoting)
    assert list(csv.reader(io.StringIO(data.decode(), newline="")))[1:] == rows
    assert read(tmp_path / "sheet.csv", data, size) == (expected(rows), [])


@quickly
@given(rows=ROWS, size=st.integers(1, 60))
def test_blocks_contain_complete_records_and_add_up_to_the_file(tmp_path: Path, rows: Rows, size: int) -> None:
    data = to_csv(rows)
    path = tmp_path / "sheet.csv"
    path.write_bytes(data)
    with TableStream(path) as stream:
        blocks = list(read_blocks(stream, size))
    assert [b.index for b in blocks] == list(range(len(blocks)))
    assert b"".join(b.data for b in blocks) == data[data.index(b"\n") + 1 :]
    for block in blocks:
        records = list(scan_records(block.data))
        assert all(sound for _, _, sound in records)
        assert records[-1][1] == len(block.data)
    assert sum(len(list(scan_records(b.data))) for b in blocks) == len(rows)


@quickly
@given(rows=ROWS, size=st.integers(1, 60))
def test_windows_line_ends_a_byte_order_mark_and_a_missing_last_line_end(tmp_path: Path, rows: Rows, size: int) -> None:
    rows = [[*row[:-1], row[-1].replace("\n", " ")] for row in rows]
    data = to_csv(rows, line_end="\r\n")
    for variant in (data, b"\xef\xbb\xbf" + data, data.removesuffix(b"\r\n")):
        assert read(tmp_path / "sheet.csv", variant, size) == (expected(rows), [])
    assert read(tmp_path / "sheet.csv", to_csv(rows).removesuffix(b"\n"), size) == (expected(rows), [])


def test_a_comment_longer_than_a_block_is_one_field(tmp_path: Path) -> None:
    text = "\n".join(f'line {n}, "quoted"' for n in range(500))
    rows = [["1", "", "", text, "", ""], ["2", "", "", "short", "", text]]
    assert read(tmp_path / "sheet.csv", to_csv(rows), 64) == (expected(rows), [])


def test_a_quote_within_an_unquoted_field_is_a_literal_character(tmp_path: Path) -> None:
    data = to_csv([]) + b"1,,,5'10\" tall,,\n2,,,b,,\n"
    good = expected([["1", "", "", "5'10\" tall", "", ""], ["2", "", "", "b", "", ""]])
    for size in (1, 7, ONE_BLOCK):
        assert read(tmp_path / "sheet.csv", data, size) == (good, [])


def test_empty_lines_are_skipped(tmp_path: Path) -> None:
    data = to_csv([]) + b"1,,,a,,\n\n\r\n2,,,b,,\n\n"
    good = expected([["1", "", "", "a", "", ""], ["2", "", "", "b", "", ""]])
    for size in (1, 7, ONE_BLOCK):
        assert read(tmp_path / "sheet.csv", data, size) == (good, [])


def test_a_table_without_rows_is_read(tmp_path: Path) -> None:
    for data in (to_csv([]), to_csv([]).rstrip(b"\n")):
        assert read(tmp_path / "sheet.csv", data) == ([], [])


def test_columns_can_be_reordered_unknown_missing_or_in_another_case(tmp_path: Path) -> None:
    data = b'VALUE,invented,Subject_ID,valuenum\nhigh,zzz,7,1.5\n"a,b",yyy,8,\n'
    rows, bad = read(tmp_path / "sheet.csv", data)
    blank = {"charttime": None, "warning": None, "comments": None}
    assert rows == [
        {"subject_id": 7, "valuenum": 1.5, "value": "high"} | blank,
        {"subject_id": 8, "valuenum": None, "value": "a,b"} | blank,
    ]
    assert bad == []


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("2150-03-01", datetime.datetime(2150, 3, 1)),
        ("2150-03-01 04:05:06", datetime.datetime(2150, 3, 1, 4, 5, 6)),
        ("2150-03-01 04:05:06.25", datetime.datetime(2150, 3, 1, 4, 5, 6, 250000)),
    ],
)
def test_times_are_dates_with_or_without_a_time_of_day(tmp_path: Path, text: str, meaning: datetime.datetime) -> None:
    rows, bad = read(tmp_path / "sheet.csv", to_csv([["1", text, "", "", "", ""]]))
    assert (rows[0]["charttime"], bad) == (meaning, [])


def test_words_for_missing_values_are_read_as_text(tmp_path: Path) -> None:
    rows = [["1", "", "", word, "", ""] for word in ("NA", "null", "NULL", "None", "nan", "N/A", "#N/A", "-", "true")]
    assert read(tmp_path / "sheet.csv", to_csv(rows)) == (expected(rows), [])


# Bad rows ---------------------------------------------------------------------------------------------------

BAD = {
    "too many fields": (b"5,2150-01-01 00:00:00,1,a,0,c,d", "wrong_number_of_fields"),
    "too few fields": (b"5,2150-01-01 00:00:00,1", "wrong_number_of_fields"),
    "letter in a number": (b"5,2150-01-01 00:00:00,1O3,a,0,c", "not_a_number"),
    "letter in a whole number": (b"5,,,a,yes,c", "not_a_number"),
    "fraction in a whole number": (b"5,,,a,1.5,c", "not_a_number"),
    "number too large": (b"5,,,a,2147483648,c", "not_a_number"),
    "letter in the key": (b"5x,,,a,0,c", "not_a_number"),
    "impossible date": (b"5,2150-02-30 00:00:00,1,a,0,c", "not_a_time"),
    "impossible hour": (b"5,2150-02-03 25:00:00,1,a,0,c", "not_a_time"),
    "time with a zone": (b"5,2150-02-03 05:00:00Z,1,a,0,c", "not_a_time"),
    "broken quote": (b'5,,1,"a,0,c', "broken_quote"),
    "text after a quote": (b'5,,1,"a"b,0,c', "broken_quote"),
    "byte of value zero": (b"5,,1,a\x00b,0,c", "nul_byte"),
    "not UTF-8": (b"5,,1,caf\xe9,0,c", "not_utf8"),
    "not UTF-8 in a column that is not text": (b"5\xff,,1,a,0,c", "not_utf8"),
    "no subject": (b",2150-01-01 00:00:00,1,a,0,c", "no_subject_id"),
    "only commas": (b",,,,,", "no_subject_id"),
}
GOOD: Rows = [
    ["1", "2150-01-01 00:00:00", "1.5", "plain", "0", ""],
    ["2", "", "", 'two\nlines, "quoted"', "", "x"],
    ["3", "2151-12-31 23:59:59", "-3", "", "1", "é"],
    ["4", "", "", ",", "", '""'],
]


def good_lines() -> list[bytes]:
    return [to_csv([row]).partition(b"\n")[2] for row in GOOD]


@pytest.mark.parametrize("size", [1, 40, ONE_BLOCK])
@pytest.mark.parametrize("place", range(len(GOOD) + 1))
@pytest.mark.parametrize("case", BAD)
def test_only_the_bad_row_is_rejected(tmp_path: Path, case: str, place: int, size: int) -> None:
    line, reason = BAD[case]
    lines = good_lines()
    lines.insert(place, line + b"\n")
    rows, bad = read(tmp_path / "sheet.csv", to_csv([]) + b"".join(lines), size)
    assert rows == expected(GOOD)
    assert [(b.reason, b.text) for b in bad] == [(reason, line.decode("utf-8", errors="backslashreplace"))]
    assert bad[0].line == 2 + b"".join(lines[:place]).count(b"\n")
    assert bad[0].detail


@quickly
@given(
    cases=st.lists(st.sampled_from(sorted(set(BAD) - {"broken quote", "text after a quote"})), max_size=5),
    rows=ROWS,
    size=st.integers(1, 200),
    data=st.data(),
)
def test_several_bad_rows_among_any_good_ones(
    tmp_path: Path, cases: list[str], rows: Rows, size: int, data: st.DataObject
) -> None:
    content: list[tuple[bytes, str | None]] = [(to_csv([row]).partition(b"\n")[2], None) for row in rows]
    for case in cases:
        content.insert(data.draw(st.integers(0, len(content))), (BAD[case][0] + b"\n", BAD[case][1]))
    got, bad = read(tmp_path / "sheet.csv", to_csv([]) + b"".join(line for line, _ in content), size)
    assert got == expected(rows)
    line, expected_bad = 2, []
    for text, reason in content:
        if reason:
            expected_bad.append((line, reason, text.rstrip(b"\n").decode("utf-8", errors="backslashreplace")))
        line += text.count(b"\n")
    assert [(b.line, b.reason, b.text) for b in bad] == expected_bad


def test_the_detail_names_the_column_as_the_file_writes_it(tmp_path: Path) -> None:
    _, bad = read(tmp_path / "sheet.csv", b"SUBJECT_ID,ValueNum,value\n1,abc,x\n")
    assert [b.reason for b in bad] == ["not_a_number"]
    assert "ValueNum" in bad[0].detail
    assert "abc" in bad[0].detail


def test_the_detail_contains_the_numbers_of_fields(tmp_path: Path) -> None:
    _, bad = read(tmp_path / "sheet.csv", to_csv([]) + b"1,2\n")
    assert "2 fields" in bad[0].detail
    assert str(len(HEADER)) in bad[0].detail


@pytest.mark.parametrize("neighbour", [b"", b"1,x,,,,\n"])
def test_whether_a_row_is_good_does_not_depend_on_its_neighbours(tmp_path: Path, neighbour: bytes) -> None:
    """A bad neighbour causes a second reading with another method: both must agree."""
    for line in (b'2,,,"a"b,,\n', b"2,,,a\rb,,\n", b'2,,,"a" ,,\n', b'2,,, "a",,\n', b'2,,,a""b,,\n'):
        alone, rejected = read(tmp_path / "sheet.csv", to_csv([]) + line)
        with_neighbour, _ = read(tmp_path / "sheet.csv", to_csv([]) + neighbour + line)
        assert alone == with_neighbour, line
        assert len(alone) + len(rejected) == 1, line


@pytest.mark.parametrize("size", [4096, ONE_BLOCK])
def test_a_broken_quote_costs_one_line_of_thousands(tmp_path: Path, size: int) -> None:
    rows = [[str(n), "", "", f"text, {n}", "", 'the "same"'] for n in range(3000)]
    broken = b'7,,,"never closed,,\n'
    data = to_csv(rows)
    cut = data.index(b"\n1000,") + 1
    got, bad = read(tmp_path / "sheet.csv", data[:cut] + broken + data[cut:], size)
    assert got == expected(rows)
    assert [(b.line, b.reason, b.text) for b in bad] == [(1002, "broken_quote", broken.decode().rstrip())]


def test_a_broken_quote_does_not_swallow_lines_up_to_a_quoted_field_that_begins_with_a_comma(
    tmp_path: Path,
) -> None:
    """The quote that opens ', so' seems to close the broken one, as if everything in between were one field."""
    rows = [[str(n), "", "", "x", "", ""] for n in range(20)] + [["20", "", "", ", so", "", ""]]
    got, bad = read(tmp_path / "sheet.csv", to_csv([]) + b'99,,,"broken,,\n' + to_csv(rows).partition(b"\n")[2])
    assert [b.text for b in bad] == ['99,,,"broken,,']
    assert got == expected(rows)


def test_a_broken_quote_costs_no_row_at_the_borders_of_blocks(tmp_path: Path) -> None:
    """After it, line ends within quotes look as if they were outside quotes: no block may be cut there."""
    text = "\n".join(f"line {n} of a long comment" for n in range(30))
    rows = [[str(n), "", "", "", "", text] for n in range(30_000)]
    data = to_csv(rows)
    assert len(data) > 2 * DEFAULT.block_bytes
    first = data.index(b"\n") + 1
    got, bad = read(tmp_path / "sheet.csv", data[:first] + b'7,,,"never closed,,\n' + data[first:], DEFAULT.block_bytes)
    assert [(b.line, b.reason, b.text) for b in bad] == [(2, "broken_quote", '7,,,"never closed,,')]
    assert got == expected(rows)


def test_a_record_that_continues_in_the_next_read_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If quotes cannot be counted, because one is a literal character, records are found one by one."""
    monkeypatch.setattr(reader, "LONGEST_RECORD", 3000)
    rows = [[str(n), "", "", 'said "yes",\nthen "no"', "", ""] for n in range(300)]
    data = to_csv([]) + b"7,,,5'10\" tall,,\n" + to_csv(rows).partition(b"\n")[2]
    good = expected([["7", "", "", "5'10\" tall", "", ""], *rows])
    for size in (100, 101, 103, 107, 109):
        assert read(tmp_path / "sheet.csv", data, size) == (good, [])


def test_a_broken_quote_in_the_last_line_loses_no_row(tmp_path: Path) -> None:
    for end in (b"", b"\n"):
        rows, bad = read(tmp_path / "sheet.csv", to_csv(GOOD) + b'5,,,"open,,' + end)
        assert rows == expected(GOOD)
        assert [(b.reason, b.text) for b in bad] == [("broken_quote", '5,,,"open,,')]


# Damaged files ----------------------------------------------------------------------------------------------


def gzipped() -> bytes:
    rows = [[str(n), "", "", f"text {n * 7919 % 1000}", "", ""] for n in range(2000)]
    return gzip.compress(to_csv(rows), mtime=0)


def wrong_crc(data: bytes) -> bytes:
    (crc,) = struct.unpack("<I", data[-8:-4])
    return data[:-8] + struct.pack("<I", crc ^ 1) + data[-4:]


def wrong_length(data: bytes) -> bytes:
    (length,) = struct.unpack("<I", data[-4:])
    return data[:-4] + struct.pack("<I", length + 1)


DAMAGE = {
    "cut off in the middle": (lambda data: data[: len(data) // 2], "is truncated"),
    "cut off in the checksum": (lambda data: data[:-5], "is truncated"),
    "cut off in the header": (lambda data: data[:6], "is truncated"),
    "wrong checksum": (wrong_crc, "damaged"),
    "wrong length": (wrong_length, "damaged"),
    "changed bytes": (lambda data: data[:2000] + bytes(300) + data[2300:], "damaged|is truncated"),
    "not gzip": (lambda data: b"subject_id,value\n1,2\n", "damaged"),
    "a web page": (lambda data: b"<!DOCTYPE html><html>Log in</html>", "damaged"),
    "empty": (lambda data: b"", "empty|is truncated"),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("size", [100, ONE_BLOCK])
def test_a_damaged_file_is_named(tmp_path: Path, case: str, size: int) -> None:
    damage, complaint = DAMAGE[case]
    path = tmp_path / "labevents.csv.gz"
    path.write_bytes(damage(gzipped()))
    with pytest.raises(ReleaseError, match=complaint) as raised, TableStream(path) as stream:
        list(read_blocks(stream, size))
    assert str(path) in str(raised.value)


def test_an_undamaged_file_raises_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv.gz"
    path.write_bytes(gzipped())
    with TableStream(path) as stream:
        assert sum(b.data.count(b"\n") for b in read_blocks(stream, 100)) == 2000


def test_a_file_of_several_gzip_members_is_read_completely(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv.gz"
    data = to_csv([[str(n), "", "", "", "", ""] for n in range(100)])
    path.write_bytes(gzip.compress(data[:300]) + gzip.compress(data[300:]))
    with TableStream(path) as stream:
        assert b"".join(b.data for b in read_blocks(stream)) == data.partition(b"\n")[2]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n1,2\n", b",,\n"])
def test_a_file_without_column_names_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(ReleaseError, match="empty") as raised:
        read_header(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"\x89PNG\xff\xfe\x00\n")
    with pytest.raises(ReleaseError, match="not text") as raised:
        read_header(path)
    assert str(path) in str(raised.value)


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="No such file") as raised:
        read_header(tmp_path / "missing.csv.gz")
    assert "missing.csv.gz" in str(raised.value)


def test_the_hash_is_that_of_the_file_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv.gz"
    path.write_bytes(gzipped())
    with TableStream(path) as stream:
        list(read_blocks(stream, 1000))
        assert stream.sha256 == hashlib.sha256(gzipped()).hexdigest()
        assert stream.consumed == len(gzipped())


def test_rows_of_a_block_have_the_types_of_the_table(tmp_path: Path) -> None:
    file = table_file(tmp_path / "sheet.csv", to_csv(GOOD))
    with TableStream(file.path) as stream:
        (block,) = read_blocks(stream)
    assert BlockParser(file).parse(block).rows.schema == pa.schema([(n, ARROW_TYPES[t]) for n, t in COLUMNS.items()])


@given(st.lists(st.sampled_from(['"', ",", "\n", "a", "\r", '""']), max_size=14), st.sampled_from(["\n", ""]))
@pytest.mark.parametrize("sparse", [0, 10**9])
def test_plain_quotes_are_quotes_that_end_on_their_line(sparse: int, parts: list[str], end: str) -> None:
    """The short way of recognising sound quotes accepts only what the regular expression accepts."""
    data = ("".join(parts) + end).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_SPARSE", sparse)
        plain = records._quotes_are_plain(data)
    assert not plain or records._CLOSED_QUOTES.fullmatch(data)


@pytest.mark.parametrize("sparse", [0, 10**9])
@pytest.mark.parametrize("data", [b'1,"a, b",2\n', b'"x"\n"y",1\n', b"1,2\n", b""])
def test_usual_quotes_are_plain(monkeypatch: pytest.MonkeyPatch, data: bytes, sparse: int) -> None:
    monkeypatch.setattr(records, "_SPARSE", sparse)
    assert records._quotes_are_plain(data)


@pytest.mark.parametrize("data", [b'1,"say ""a""",2\n', b'"""x"\n', b'1,""\n', b'"a"""\n'])
def test_a_few_quotes_in_quotes_are_plain(data: bytes) -> None:
    padded = b"1,2\n" * 1000 + data + b"1,2\n" * 1000
    assert records._quotes_are_plain(padded)
    assert records._CLOSED_QUOTES.fullmatch(padded)
