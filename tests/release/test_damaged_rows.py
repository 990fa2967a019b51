"""Damage stays local: rows of undamaged patients are read, whatever happens to the quotes of other patients."""

from __future__ import annotations

import csv
import io
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.pipeline.stage.parse import BlockParser, read_table
from ehrtraj.release import reader
from ehrtraj.release.reader import Stamp, scan_records
from ehrtraj.release.records import RecordShape, split_records
from ehrtraj.release.schema import Table
from ehrtraj.release.table_file import TableFile
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

TABLES = {name: table for name, table in MIMIC.tables.items() if table.kind != "no_patients"}
WITH_TEXTS = ["note/discharge", "note/radiology", "note/discharge_detail", "hosp/labevents", "hosp/microbiologyevents"]
LONG_TEXTS = {"text", "comments", "field_value", "long_description"}
ONE_BLOCK = 1 << 20
FIRST_ID = 10_000_000

Bad = tuple[int, str, str]
Patient = int


def written(row: list[str]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()


def read(path: Path, table: Table, data: bytes, size: int = ONE_BLOCK) -> tuple[list[dict[str, Any]], list[Bad]]:
    """Return the rows, and line, reason and text of those that cannot be parsed."""
    path.write_bytes(data)
    rows, bad, line = [], [], 2
    for parsed in read_table(TableFile(table, path, tuple(table.columns), Stamp.of(path.stat())), size):
        rows += parsed.rows.to_pylist()
        bad += [(b.line + line, b.reason, b.text) for b in parsed.bad]
        line += parsed.lines
    return rows, bad


def header(table: Table) -> bytes:
    return (",".join(table.columns) + "\n").encode()


# Rows of any table -------------------------------------------------------------------------------------------------

WORDS = [
    "mild",
    "no fever,",
    "___",
    '"said"',
    "5'10\" tall",
    "x,5,6",
    "a, b, c, d, e, f, g",
    " ",
    '"',
    ",",
    "2150-01-01 00:00:00",
]
SHORT = ["", "x", "mg/dL", "a, b", 'say "hi"', "5'10\" tall", ", so"]


def draw_text(draw: random.Random) -> str:
    """Generate lines of prose with quotes and commas that begin and end like the texts of notes."""
    lines = [" ".join(draw.choices(WORDS, k=draw.randint(0, 6))) for _ in range(draw.randint(0, 6))]
    return draw.choice(["", "\n", " \nName: ___\n", "EXAM:\n"]) + "\n".join(lines) + draw.choice(["", "\n"])


def draw_value(draw: random.Random, table: Table, column: str, patient: Patient) -> str:
    kind = table.columns[column]
    if column == "subject_id":
        return str(FIRST_ID + patient)
    if kind == pa.string():
        if (column in table.key_columns and column not in LONG_TEXTS) or column.endswith("_id"):
            return f"{FIRST_ID + patient}-DS-{draw.randint(1, 99)}"
        return draw_text(draw) if column in LONG_TEXTS else draw.choice(SHORT)
    if column not in table.key_columns and draw.random() < 0.2:
        return ""
    if kind == pa.timestamp("us"):
        return f"21{draw.randint(10, 99)}-0{draw.randint(1, 9)}-1{draw.randint(0, 9)} 0{draw.randint(0, 9)}:00:00"
    return draw.choice(["1.5", "-3", "1e3"]) if kind == pa.float64() else str(draw.randint(1, 10**6))


def draw_rows(draw: random.Random, table: Table) -> list[tuple[Patient, bytes]]:
    return [
        (patient, written([draw_value(draw, table, column, patient) for column in table.columns]))
        for patient in range(draw.randint(3, 12))
        for _ in range(draw.randint(1, 2))
    ]


# Damage ------------------------------------------------------------------------------------------------------------


def places(row: bytes, of: bytes) -> list[int]:
    return [i for i in range(len(row)) if row[i : i + 1] == of] or [len(row)]


def stray(draw: random.Random, row: bytes) -> bytes:
    at = draw.randint(0, len(row))
    return row[:at] + b'"' + row[at:]


def at_a_border(draw: random.Random, row: bytes) -> bytes:
    at = draw.choice([0, len(row), *places(row, b","), *(i + 1 for i in places(row, b","))])
    return row[:at] + b'"' + row[at:]


def next_to_a_quote(draw: random.Random, row: bytes) -> bytes:
    at = draw.choice(places(row, b'"')) + draw.randint(0, 1)
    return row[:at] + b'"' + row[at:]


def remove(draw: random.Random, row: bytes, what: bytes) -> bytes:
    at = draw.choice([places(row, what)[0], places(row, what)[-1], *places(row, what)])
    return row[:at] + row[at + 1 :]


def line_end(draw: random.Random, row: bytes) -> bytes:
    at = draw.randint(0, len(row))
    return row[:at] + b"\n" + row[at:]


DAMAGE: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "stray quote": stray,
    "two stray quotes": lambda draw, row: stray(draw, stray(draw, row)),
    "quote at the start": lambda _, row: b'"' + row,
    "quote at the end": lambda _, row: row + b'"',
    "quote at a field's border": at_a_border,
    "quote next to a quote": next_to_a_quote,
    "lost quote": lambda draw, row: remove(draw, row, b'"'),
    "lost line end": lambda draw, row: remove(draw, row, b"\n"),
    "another line end": line_end,
    "cut": lambda draw, row: row[: draw.randint(0, len(row))],
    "field too many": lambda _, row: row + b",1",
    "letter in a number": lambda _, row: row.replace(b"1", b"O", 1),
}


def damage(draw: random.Random, rows: list[tuple[Patient, bytes]]) -> tuple[list[bytes], set[Patient]]:
    """Damage some of the rows; return all rows, and the patients whose rows are damaged."""
    lines = [line for _, line in rows]
    chosen = draw.sample(range(len(lines)), draw.randint(1, 3))
    if draw.random() < 0.3:
        # Two quotes in the same column of two rows form a pair: everything between them looks like one field.
        first, last = sorted(draw.sample(range(len(lines)), 2))
        column = draw.randint(0, 30)
        for at, before, after in ((first, b'"', b""), (last, b"", b'"')):
            fields = lines[at].removesuffix(b"\n").split(b",")
            i = min(column, len(fields) - 1)
            lines[at] = b",".join([*fields[:i], before + fields[i] + after, *fields[i + 1 :]]) + b"\n"
        chosen = [first, last]
    else:
        for at in chosen:
            lines[at] = draw.choice(list(DAMAGE.values()))(draw, lines[at].removesuffix(b"\n")) + b"\n"
    return lines, {rows[at][0] for at in chosen}


def check_case(path: Path, table: Table, seed: str) -> None:
    draw = random.Random(seed)
    rows = draw_rows(draw, table)
    clean, bad = read(path, table, header(table) + b"".join(line for _, line in rows))
    assert (len(clean), bad) == (len(rows), [])
    lines, touched = damage(draw, rows)
    data = header(table) + b"".join(lines)
    got, bad = read(path, table, data)
    kept = [row for row, (patient, _) in zip(clean, rows, strict=True) if patient not in touched]
    if "subject_id" in table.columns:
        subjects = {FIRST_ID + patient for patient, _ in rows if patient not in touched}
        assert [row for row in got if row["subject_id"] in subjects] == kept
    else:
        assert not Counter(tuple(r.items()) for r in kept) - Counter(tuple(r.items()) for r in got)
    # Rows that are not read are rejected, with their line.
    last = 0
    for line, reason, text in bad:
        assert reason
        assert line > last
        assert data.decode().split("\n", line - 1)[-1].startswith(text)
        last = line + text.count("\n")
    # Every line is in a row that was read or in one that was rejected; empty lines can be in neither.
    lines_read = sum(1 + sum(v.count("\n") for v in row.values() if isinstance(v, str)) for row in got)
    lines_rejected = sum(1 + text.count("\n") for _, _, text in bad)
    missing = data.count(b"\n") - 1 - lines_read - lines_rejected
    assert 0 <= missing <= data.split(b"\n").count(b"") - 1
    assert read(path, table, data, draw.randint(1, 300)) == (got, bad)


@pytest.mark.parametrize("name", TABLES)
def test_rows_of_undamaged_patients_are_read_in_every_table(tmp_path: Path, name: str) -> None:
    for seed in range(40 if name in WITH_TEXTS else 8):
        check_case(tmp_path / "table.csv", TABLES[name], f"{name} {seed}")


# Notes, one case at a time -----------------------------------------------------------------------------------------

NOTES = TABLES["note/discharge"]


def note(patient: Patient, text: str | None = None) -> bytes:
    text = f'\nName: ___\n \n{patient} said "no".\n\n1, 2, and 3\nend of {patient}\n' if text is None else text
    return written([f"{patient}-DS-1", str(patient), "", "DS", "1", "2150-01-01 00:00:00", "", text])


def after(row: bytes, mark: bytes, insert: bytes) -> bytes:
    at = row.index(mark) + len(mark)
    return row[:at] + insert + row[at:]


LOCAL: dict[str, Callable[[bytes], bytes]] = {
    "before the row": lambda row: b'"' + row,
    "after the row": lambda row: row[:-1] + b'"\n',
    "in a line of the text": lambda row: after(row, b"Na", b'"'),
    "before the text": lambda row: after(row, b',,"', b'"'),
    "closing quote lost": lambda row: row[:-2] + b"\n",
    "opening quote lost": lambda row: row.replace(b',,"', b",,", 1),
}


@pytest.mark.parametrize("place", [0, 3, 6])
@pytest.mark.parametrize("case", LOCAL)
def test_a_stray_quote_loses_only_one_note(tmp_path: Path, case: str, place: int) -> None:
    rows = [note(FIRST_ID + i) for i in range(7)]
    clean, _ = read(tmp_path / "notes.csv", NOTES, header(NOTES) + b"".join(rows))
    broken = LOCAL[case](rows[place])
    data = header(NOTES) + b"".join([*rows[:place], broken, *rows[place + 1 :]])
    for size in (1, 100, ONE_BLOCK):
        got, bad = read(tmp_path / "notes.csv", NOTES, data, size)
        assert [r for r in got if r["subject_id"] != FIRST_ID + place] == [*clean[:place], *clean[place + 1 :]]
        assert bad
        assert all(text in broken.decode() for _, _, text in bad)


@pytest.mark.parametrize("case", ["before the row", "in a line of the text", "closing quote lost"])
def test_a_broken_note_is_one_rejected_row(tmp_path: Path, case: str) -> None:
    rows = [note(FIRST_ID + i) for i in range(5)]
    broken = LOCAL[case](rows[2])
    got, bad = read(tmp_path / "notes.csv", NOTES, header(NOTES) + b"".join([*rows[:2], broken, *rows[3:]]))
    line = 2 + b"".join(rows[:2]).count(b"\n")
    assert bad == [(line, "broken_quote", broken.decode().rstrip("\n"))]
    assert len(got) == 4


def test_a_build_keeps_every_other_note_and_the_rejected_one(tmp_path: Path) -> None:
    rows = [note(FIRST_ID + i) for i in range(200)]
    broken = b'"' + rows[1]
    (tmp_path / "release" / "note").mkdir(parents=True)
    path = tmp_path / "release" / "note" / "discharge.csv"
    path.write_bytes(header(NOTES) + b"".join([rows[0], broken, *rows[2:]]))
    result = ehrtraj.build(tmp_path / "release", tmp_path / "out", "v1", max_cpus=1, allow_incomplete=True)
    ledger = result.ledger["note/discharge"]
    assert (ledger.read, ledger.became_events, ledger.rejected) == (200, 199, {"broken_quote": 1})
    (reject,) = pq.read_table(result.path / "rejected" / "discharge.parquet").to_pylist()
    assert (reject["line"], reject["row_text"]) == (2 + rows[0].count(b"\n"), broken.decode().rstrip("\n"))


def test_rows_between_two_stray_quotes_are_found(tmp_path: Path) -> None:
    """The text between the two quotes as one field gives a row with the right number of fields and a numeric key."""
    labs = TABLES["hosp/labevents"]
    rows = draw_rows(random.Random(1), labs)
    lines = [written([*line.decode().split(",")[:8], "", "", "", "", "", "", "", "x"]) for _, line in rows]
    clean, _ = read(tmp_path / "labs.csv", labs, header(labs) + b"".join(lines))
    lines[1], lines[-2] = lines[1].replace(b",x\n", b',"x\n'), lines[-2].replace(b",x\n", b',x"\n')
    got, bad = read(tmp_path / "labs.csv", labs, header(labs) + b"".join(lines))
    assert [row for row in clean if row not in got] == [clean[1], clean[-2]]
    assert [reason for _, reason, _ in bad] == ["broken_quote"]


def test_a_text_can_contain_what_looks_like_a_row(tmp_path: Path) -> None:
    looks = f"{FIRST_ID}-DS-9,{FIRST_ID},1,DS,9,2150-01-01 00:00:00,,"
    texts = [f'a line\n{looks}"fake"\n', f"a line\n{looks}fake\nand more\n", f"\n{looks}\n", looks, f"\n{looks}"]
    rows = [note(FIRST_ID + i, text) for i, text in enumerate(texts)]
    got, bad = read(tmp_path / "notes.csv", NOTES, header(NOTES) + b"".join(rows))
    assert ([row["text"] for row in got], bad) == (texts, [])


def test_a_literal_quote_does_not_cut_a_row_at_the_border_of_a_block(tmp_path: Path) -> None:
    """Counting quotes finds a border within the second row, where pyarrow would end the quoted field."""
    table = TABLES["hosp/d_icd_procedures"]
    data = header(table) + b'A1,9,HOME"\nA2,9,"two\nlines"\nA3,9,x\n'
    for size in (1, 7, 20, ONE_BLOCK):
        got, bad = read(tmp_path / "icd.csv", table, data, size)
        assert ([row["long_title"] for row in got], bad) == (['HOME"', "two\nlines", "x"], [])


def test_text_after_an_empty_quote_is_a_broken_quote(tmp_path: Path) -> None:
    table = TABLES["hosp/d_icd_procedures"]
    got, bad = read(tmp_path / "icd.csv", table, header(table) + b'A1,9,""tail\nA2,9,x\n')
    assert ([row["icd_code"] for row in got], [b[1:] for b in bad]) == (["A2"], [("broken_quote", 'A1,9,""tail')])


def test_lines_that_end_in_cr_are_rows_whatever_their_neighbours(tmp_path: Path) -> None:
    table = TABLES["hosp/d_icd_procedures"]
    for neighbour in (b"", b"A9,x,y\n"):
        got, _ = read(tmp_path / "icd.csv", table, header(table) + b"A1,9,a\rA2,9,b\nA3,9,c\n" + neighbour)
        assert [row["icd_code"] for row in got] == ["A1", "A2", "A3"]


def test_many_bad_rows_are_classified_without_reading_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a single row takes pyarrow 100 µs: a table with a column of another type would take hours."""
    table = TABLES["icu/outputevents"]
    row = "1,2,3,,2150-01-01 00:00:00,2150-01-01 00:00:00,226559,{},mL\n"
    values = ["5O", "5", "1/2", "x" * 9, "5,6"]
    data = header(table) + "".join(row.format(values[i % 5]) for i in range(5000)).encode()
    calls = []
    reads = BlockParser._read
    monkeypatch.setattr(BlockParser, "_read", lambda self, d: calls.append(1) or reads(self, d))
    got, bad = read(tmp_path / "outputs.csv", table, data)
    assert len(got) == 1000
    assert Counter(reason for _, reason, _ in bad) == {"not_a_number": 3000, "wrong_number_of_fields": 1000}
    assert len(calls) < 10


# The splitting -----------------------------------------------------------------------------------------------------

SHAPE = RecordShape.of(["integer", "time", "text"], [0])


@pytest.mark.parametrize(
    ("kinds", "keys", "start"),
    [
        (["integer", "text"], [0], 1),
        (["text", "integer", "integer", "text", "time", "number", "text"], [1, 0, 4, 6], 6),
        (["text", "integer", "text"], [0], 2),
        (["integer", "time"], [0], 2),
        (["text", "text"], [0], 1),
    ],
)
def test_a_record_starts_with_its_keys_and_the_numbers_and_times_after_them(
    kinds: list[Any], keys: list[int], start: int
) -> None:
    assert RecordShape.of(kinds, keys).start == start


def test_spans_do_not_depend_on_how_much_data_is_passed() -> None:
    """Results for the start of the data never change when more data follows."""
    draw = random.Random(7)
    for _ in range(300):
        pieces = [b"1,2150-01-01,a\n", b'2,,"b\nc"\n', b'"', b'3,,"d\n', b"\n", b"text, more\n", b'x","\n', b"4,x,y\n"]
        data = b"".join(draw.choices(pieces, k=draw.randint(1, 12))) + b"\n"
        complete = list(split_records(data, SHAPE, 40))
        for cut in range(len(data)):
            partial = list(split_records(data[:cut], SHAPE, 40, more=True))
            joined = [span for span in partial if span[2] == "broken"]
            assert joined == [span for span in complete if span[2] == "broken"][: len(joined)]
            ends = {end for _, end, o in complete if o != "sound"} | {s for s, _, o in complete if o != "sound"}
            assert all(end <= max(e for _, e, _ in complete) for _, end, _ in partial)
            assert not any(start < edge < end for start, end, _ in partial for edge in ends)


def test_records_of_an_unknown_table_take_their_shape_from_the_first() -> None:
    data = b'1,"a\nb",c\n2,"open,c\n3,d,e\n'
    found = [(data[a:b], sound) for a, b, sound in scan_records(data)]
    assert found == [(b'1,"a\nb",c\n', True), (b'2,"open,c\n', False), (b"3,d,e\n", True)]
    assert list(scan_records(b"")) == []


@pytest.mark.parametrize(
    "line",
    [
        b'x","\n',
        b'"\n',
        b',"\n',
        b'",\n',
        b'1,"\n',
        b'"""x\n',
        b'x""y\n',
        b'"a",',
        b'1,,"a"b\n',
        b"1,,\n",
        b"\n",
        b"x,y,z\nq\n",
    ],
)
def test_no_input_takes_quadratic_time(tmp_path: Path, line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quadratic time would be hours for a few hundred kB. The first row is broken, so records are found one by one."""
    monkeypatch.setattr(reader, "LONGEST_RECORD", 1 << 18)
    table = TABLES["hosp/d_icd_procedures"]
    data = header(table) + b'A0,9,"x"y\n' + line * (400_000 // len(line)) + b"\nA1,9,x\n"
    rows, _ = read(tmp_path / "icd.csv", table, data, 1 << 16)
    assert rows[-1] == {"icd_code": "A1", "icd_version": 9, "long_title": "x"}
