"""Records that are too long are rejected in limited memory: their start, length and hash are kept."""

from __future__ import annotations

import gzip
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import ehrtraj
from ehrtraj.errors import ReleaseError
from ehrtraj.pipeline.stage.parse import BadRow, read_table
from ehrtraj.release import reader
from ehrtraj.release.reader import Stamp, read_blocks, read_header
from ehrtraj.release.table_file import TableFile
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

TABLE = MIMIC.tables["icu/outputevents"]
HEADER = (",".join(TABLE.columns) + "\n").encode()
ROW = b"1,2,3,,2150-01-01 00:00:00,2150-01-01 00:00:00,226559,5,mL\n"
LIMIT = 2000
KEPT = 100
SIZES = [1, 150, 4096, 1 << 20]


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LONGEST_RECORD", LIMIT)
    monkeypatch.setattr(reader, "KEPT_BYTES", KEPT)


def read(path: Path, data: bytes, size: int) -> tuple[list[dict[str, Any]], list[BadRow]]:
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)
    rows, bad, line = [], [], 2
    for parsed in read_table(TableFile(TABLE, path, tuple(TABLE.columns), Stamp.of(path.stat())), size):
        rows += parsed.rows.to_pylist()
        bad += [BadRow(b.line + line, b.text, b.reason, b.detail) for b in parsed.bad]
        line += parsed.lines
    return rows, bad


TEXT = b"some text of an open quote, without an end\n"
LONG = {
    "one line": b"1,2," + b"a" * 3 * LIMIT + b"\n",
    "one line that could be a row": ROW[:-3] + b"L" * 3 * LIMIT + b"\n",
    "text after an open quote": ROW[:-3] + b'"open\n' + TEXT * (3 * LIMIT // len(TEXT)),
    "a text that is closed": ROW[:-3] + b'"' + TEXT * (3 * LIMIT // len(TEXT)) + b'"\n',
    "quotes": b'"' * (3 * LIMIT + 1) + b"\n",
    "lines of quotes": b'"\n' * (3 * LIMIT // 2 + 1),
    "bytes of value 0": bytes(3 * LIMIT) + b"\n",
}


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("case", LONG)
def test_only_the_record_that_is_too_long_is_rejected(tmp_path: Path, case: str, suffix: str) -> None:
    record = LONG[case]
    for size in SIZES:
        rows, bad = read(tmp_path / f"outputevents{suffix}", HEADER + ROW * 2 + record + ROW * 3, size)
        assert len(rows) == 5
        assert [(b.line, b.reason, b.text) for b in bad] == [(4, "too_long", record[:KEPT].decode())]
        for words in (f"{len(record):,}", f"{LIMIT:,}", f"{KEPT}", hashlib.sha256(record).hexdigest()):
            assert words in bad[0].detail


@pytest.mark.parametrize("size", SIZES)
def test_several_long_records_in_a_row_and_at_either_end(tmp_path: Path, size: int) -> None:
    line = b"1,2,3,,2150-01-01 00:00:00,2150-01-01 00:00:00,226559,5," + b"x" * 2 * LIMIT
    data = HEADER + line + b"\n" + line + b"\n" + ROW + line
    rows, bad = read(tmp_path / "outputevents.csv", data, size)
    assert len(rows) == 1
    assert [(b.line, b.reason) for b in bad] == [(2, "too_long"), (3, "too_long"), (5, "too_long")]
    # The last line has no line end: only bytes that the file contains are counted and hashed.
    assert hashlib.sha256(line).hexdigest() in bad[2].detail
    assert f"{len(line):,}" in bad[2].detail


@pytest.mark.parametrize("size", SIZES)
def test_a_record_of_exactly_the_limit_is_not_too_long(tmp_path: Path, size: int) -> None:
    head, tail = ROW[:-3] + b'"', b'"\n'
    for length, good in ((LIMIT, 1), (LIMIT + 1, 0)):
        text = b"x\n" * ((length - len(head) - len(tail)) // 2)
        record = head + text + b"y" * (length - len(head) - len(tail) - len(text)) + tail
        assert len(record) == length
        rows, bad = read(tmp_path / "outputevents.csv", HEADER + record + ROW, size)
        assert (len(rows), len(bad)) == (1 + good, 1 - good)


@pytest.mark.parametrize("size", SIZES)
def test_rows_without_a_key_are_not_one_long_record(tmp_path: Path, size: int) -> None:
    rows, bad = read(tmp_path / "outputevents.csv", HEADER + b"a,b\n" * LIMIT + b'"\n' + ROW, size)
    assert len(rows) == 1
    assert {b.reason for b in bad} <= {"wrong_number_of_fields", "broken_quote"}
    assert sum(b.text.count("\n") + 1 for b in bad) == LIMIT + 1


def test_memory_does_not_depend_on_the_length_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "LONGEST_RECORD", 1 << 20)
    path = tmp_path / "outputevents.csv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.write(HEADER + ROW + b"1,")
        for _ in range(40):
            file.write(b"a" * (1 << 20))
        file.write(b"\n" + ROW)
    table = TableFile(TABLE, path, tuple(TABLE.columns), Stamp.of(path.stat()))
    tracemalloc.start()
    try:
        with table.open() as stream:
            blocks = list(read_blocks(stream, 1 << 19, scan=table.shape))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [b.skipped.length for b in blocks if b.skipped] == [(40 << 20) + 3]
    assert peak < 10 << 20


def test_a_build_counts_a_record_that_is_too_long(tmp_path: Path, handmade: Any) -> None:
    handmade.write_release(tmp_path / "release", plain=True)
    path = tmp_path / "release" / "icu" / "outputevents.csv"
    long = b"1,2," + b"a" * 3 * LIMIT + b"\n"
    path.write_bytes(path.read_bytes() + long + ROW)
    result = ehrtraj.build(tmp_path / "release", tmp_path / "out", "v1", max_cpus=1, tables=["outputevents"])
    assert result.ledger["icu/outputevents"].rejected["too_long"] == 1


# The line of column names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_without_line_ends_is_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"outputevents{suffix}"
    data = b"subject_id," * (1 << 20)
    path.write_bytes(gzip.compress(data, 1) if suffix == ".csv.gz" else data)
    tracemalloc.start()
    try:
        with pytest.raises(ReleaseError, match="first line is longer than 65,536 bytes") as raised:
            read_header(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(raised.value)
    assert peak < 2 << 20


def test_a_file_with_cr_line_ends_is_named(tmp_path: Path) -> None:
    path = tmp_path / "outputevents.csv"
    path.write_bytes((HEADER + ROW).replace(b"\n", b"\r"))
    with pytest.raises(ReleaseError, match="CR only"):
        read_header(path)
