"""Every row becomes an event or is rejected completely: the ledger is compared with the content of the files."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.errors import LedgerError
from ehrtraj.format.ledger import TableLedger
from ehrtraj.pipeline.publish.ledger import check_balance
from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.extract import Extractor
from ehrtraj.recipes import parse_recipe
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

KNOWN = MIMIC.tables
PATIENT_TABLES = [name for name, table in KNOWN.items() if table.kind == "patient"]
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Tally:
    """Lines of one table in `ledger.parquet`."""

    read: int
    became: int
    events: int
    rejected: dict[str, int]
    not_selected: dict[str, int]
    dictionary: int


def tallies(dataset: Path) -> dict[str, Tally]:
    found: dict[str, Tally] = {}
    for line in pq.read_table(dataset / "ledger.parquet").to_pylist():
        tally = found.setdefault(line["table"], Tally(0, 0, 0, {}, {}, 0))
        rows, reason = line["rows"], line["reason"]
        assert rows > 0 or line["outcome"] == "read"
        match line["outcome"]:
            case "read":
                assert tally.read == 0
                tally.read = rows
            case "events":
                assert tally.became == 0
                tally.became, tally.events = rows, line["events"]
            case "rejected":
                assert reason not in tally.rejected
                tally.rejected[reason] = rows
            case "not_selected":
                assert reason not in tally.not_selected
                tally.not_selected[reason] = rows
            case "dictionary":
                tally.dictionary = rows
            case other:
                pytest.fail(f"unknown outcome {other}")
    return found


def assert_holds(dataset: Path) -> dict[str, Tally]:
    """Check that the ledger balances and agrees with the data and the rejected rows, and return the ledger."""
    ledger = tallies(dataset)
    events = pa.concat_tables(
        [pq.read_table(p, columns=["source_table", "code"]) for p in sorted((dataset / "data").rglob("*.parquet"))]
    )
    by_table = Counter(events["source_table"].to_pylist())
    by_event_type = Counter(
        (table, code.split("//")[0])
        for table, code in zip(events["source_table"].to_pylist(), events["code"].to_pylist(), strict=True)
    )
    assert set(by_table) <= set(ledger)
    for name, tally in ledger.items():
        accounted = tally.became + sum(tally.rejected.values()) + sum(tally.not_selected.values()) + tally.dictionary
        assert tally.read == accounted, name
        assert by_table[name] == tally.events, name
        if name in MIMIC.recipes:
            # The first statement makes one event of each row. This can be counted if no other has its event type.
            first, *others = MIMIC.recipes[name].statements
            if first.event_type not in {s.event_type for s in others}:
                assert by_event_type[name, first.event_type] == tally.became, name
        path = dataset / "rejected" / f"{name.split('/')[1]}.parquet"
        reasons = Counter(pq.read_table(path)["reason"].to_pylist()) if path.exists() else Counter()
        assert reasons == tally.rejected, name
    assert len(list((dataset / "rejected").glob("*"))) == sum(bool(a.rejected) for a in ledger.values())
    return ledger


def flaws_of(handmade: ModuleType) -> dict[str, dict[str, int]]:
    """Return the rows of the hand-made release that cannot become an event, by table and reason."""
    flaws: dict[str, dict[str, int]] = {}
    for (name, reason), rows in handmade.REJECTED.items():
        flaws.setdefault(name, {})[reason] = rows
    return flaws


def test_the_hand_made_release(built: Path, handmade: ModuleType) -> None:
    ledger = assert_holds(built)
    rows = handmade.release_rows()
    assert set(ledger) == {n for n, t in KNOWN.items() if t.kind != "no_patients"} & set(rows)
    assert {n for n in ledger if n in PATIENT_TABLES} == set(PATIENT_TABLES)
    assert {n: a.read for n, a in ledger.items()} == {n: len(rows[n]) for n in ledger}
    assert {n: a.rejected for n, a in ledger.items() if a.rejected} == flaws_of(handmade)


def duplicates_in(file: Path) -> int:
    """Return the rows of a table that equal an earlier row in every column."""
    query = f"SELECT count(*), count(DISTINCT t) FROM read_csv('{file}', all_varchar = true) t"
    ((rows, distinct),) = duckdb.sql(query).fetchall()
    return rows - distinct


def test_the_demo(demo_built: Path, demo: Path, tmp_path: Path) -> None:
    ledger = assert_holds(demo_built)
    published = MIMIC.published_row_counts("mimiciv")["demo 2.2"]
    assert {n.split("/")[1]: a.read for n, a in ledger.items()}.items() >= {
        n: rows for n, rows in published.items() if any(n == t.split("/")[1] for t in ledger)
    }.items()
    assert len(published) >= 28
    # No row of the demo repeats another row or lacks a value that an event needs: this is counted in the files.
    assert all(duplicates_in(demo / f"{name}.csv.gz") == 0 for name in ledger if name in PATIENT_TABLES)
    assert {n: a.rejected for n, a in ledger.items() if a.rejected} == {}


def test_the_counts_of_the_demo_give_no_warning(demo: Path, tmp_path: Path) -> None:
    result = ehrtraj.build(demo, tmp_path, "small", max_cpus=1, tables="services,patients,transfers")
    assert result.release == "demo 2.2"
    assert not [n for n in (*result.notes, *result.warnings) if "published" in n or "incomplete" in n]


def test_missing_rows_of_a_known_release_are_reported(demo: Path, tmp_path: Path) -> None:
    short = tmp_path / "demo"
    for module in ("hosp", "icu"):
        (short / module).mkdir(parents=True)
        for path in (demo / module).iterdir():
            (short / module / path.name).symlink_to(path)
    (short / "demo_subject_id.csv").symlink_to(demo / "demo_subject_id.csv")
    services = short / "hosp" / "services.csv"
    lines = gzip.decompress((short / "hosp" / "services.csv.gz").read_bytes()).splitlines(keepends=True)
    (short / "hosp" / "services.csv.gz").unlink()
    services.write_bytes(b"".join(lines[:-7]))
    result = ehrtraj.build(short, tmp_path / "out", "small", max_cpus=1, tables="services,patients,transfers")
    assert [w for w in result.warnings if "services 312 of 319" in w]


# Planted dirt ------------------------------------------------------------------------------------------------


@dataclass
class Planted:
    """A record of a file and its expected outcome: the reason for rejection, or None for an event."""

    record: bytes
    reason: str | None = None


def csv_record(values: Iterable[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(["" if v is None else v for v in values])
    return text.getvalue().encode()


def spelled(handmade: ModuleType, name: str, row: dict[str, Any]) -> dict[str, str]:
    return {c: handmade._spelled(row.get(c), kind) for c, kind in KNOWN[name].columns.items()}


PARENTS = {
    "hosp/diagnoses_icd": ("no_admission", {"hadm_id": "28888888"}),
    "hosp/drgcodes": ("no_admission", {"hadm_id": "28888888"}),
    "hosp/emar_detail": ("no_parent", {"emar_seq": "777"}),
    "hosp/poe_detail": ("no_parent", {"poe_seq": "777"}),
    "ed/triage": ("no_stay", {"stay_id": "38888888"}),
    "ed/diagnosis": ("no_stay", {"stay_id": "38888888"}),
    "note/discharge_detail": ("no_note", {"note_id": "10900116-DS-99"}),
    "note/radiology_detail": ("no_note", {"note_id": "10900116-RR-99"}),
}
CODES = {
    "hosp/diagnoses_icd": "icd_code",
    "hosp/procedures_icd": "icd_code",
    "hosp/drgcodes": "drg_code",
    "hosp/hcpcsevents": "hcpcs_cd",
    "ed/diagnosis": "icd_code",
    "hosp/omr": "result_name",
    "hosp/services": "curr_service",
    "hosp/poe_detail": "field_name",
    "note/discharge_detail": "field_name",
    "note/radiology_detail": "field_name",
    "hosp/labevents": "itemid",
    "icu/chartevents": "itemid",
    "icu/datetimeevents": "itemid",
    "icu/inputevents": "itemid",
    "icu/ingredientevents": "itemid",
    "icu/outputevents": "itemid",
    "icu/procedureevents": "itemid",
}


def dirt(name: str, good: dict[str, str], unknown_subject: int) -> dict[str, Planted]:
    """Return a record with each kind of dirt, made from a good row."""
    columns = KNOWN[name].columns
    times = [c for c, t in columns.items() if pa.types.is_timestamp(t)]
    texts = [c for c, t in columns.items() if pa.types.is_string(t)]
    line = csv_record(good.values())

    def record(**changed: str) -> bytes:
        return csv_record((good | changed).values())

    made = {
        "letter in a number": Planted(record(subject_id=f"{good['subject_id']}x"), "not_a_number"),
        "too many fields": Planted(line.rstrip(b"\n") + b",and more\n", "wrong_number_of_fields"),
        "too few fields": Planted(good["subject_id"].encode() + b"\n", "wrong_number_of_fields"),
        "no subject": Planted(record(subject_id=""), "no_subject_id"),
        "NUL": Planted(line.replace(b",", b"\0,", 1), "nul_byte"),
        "broken quote": Planted(b'"' + csv_record([good["subject_id"]]).rstrip(b"\n") + b",1\n", "broken_quote"),
        "unknown subject": Planted(record(subject_id=str(unknown_subject)), PARENTS.get(name, (None, {}))[0]),
    }
    if texts:
        last = texts[-1]
        made["not UTF-8"] = Planted(record(**{last: "@@"}).replace(b"@@", b"caf\xe9"), "not_utf8")
    if times:
        made["impossible date"] = Planted(record(**{times[0]: "2153-02-30 10:00:00"}), "not_a_time")
        if any(reason == "no_time" for reason, _ in MIMIC.recipes[name].rejected) and name not in PARENTS:
            made["no time"] = Planted(record(**dict.fromkeys(times, "")), "no_time")
    if name in PARENTS:
        made["no parent"] = Planted(record(**PARENTS[name][1]), PARENTS[name][0])
    if name in CODES:
        nothing = " " if pa.types.is_string(columns[CODES[name]]) else ""
        made["no code"] = Planted(record(**{CODES[name]: nothing}), "no_code")
    return made


PARSED = ("exact_duplicate", "no_time", "no_parent", "no_admission", "no_code", "no_stay", "no_note")


def expected_reject(name: str, planted: Planted) -> tuple[Any, ...]:
    """Return the expected content of a rejected row: its text if it could not be parsed, otherwise its values."""
    if planted.reason in PARSED:
        (values,) = csv.reader(io.StringIO(planted.record.decode(), newline=""))
        kinds = KNOWN[name].columns.values()
        return (planted.reason, None, *(typed(v, k) for v, k in zip(values, kinds, strict=True)))
    text = planted.record.rstrip(b"\n").decode("utf-8", errors="backslashreplace")
    return (planted.reason, text, *[None] * len(KNOWN[name].columns))


def typed(text: str, kind: pa.DataType) -> Any:
    if text == "":
        return None
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_floating(kind):
        return float(text)
    return datetime.datetime.fromisoformat(text) if pa.types.is_timestamp(kind) else text


def test_every_kind_of_dirt_can_be_planted() -> None:
    columns = dict.fromkeys(KNOWN["hosp/diagnoses_icd"].columns, "1")
    reasons = {p.reason for p in dirt("hosp/diagnoses_icd", columns, 2).values()}
    columns = dict.fromkeys(KNOWN["hosp/labevents"].columns, "1")
    reasons |= {p.reason for p in dirt("hosp/labevents", columns, 2).values()}
    assert reasons == {
        "not_a_number", "wrong_number_of_fields", "no_subject_id", "nul_byte", "broken_quote", "not_utf8", "not_a_time",
        "no_time", "no_admission", "no_code", None,
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_dirt_is_rejected_completely_and_counted(
    handmade: ModuleType, built: Path, tmp_path: Path, seed: int
) -> None:
    flaws = flaws_of(handmade)
    planted: dict[str, list[Planted]] = {}
    for number, (name, rows) in enumerate(sorted(handmade.release_rows().items())):
        # Each table is tested separately: the dirt in one table does not affect the others.
        dice = random.Random(f"{seed} {name}")
        lines = [spelled(handmade, name, row) for row in rows]
        planted[name] = [Planted(csv_record(line.values())) for line in lines]
        if name in PATIENT_TABLES:
            # The dirt is made from the first row, which is valid in every table, and no two records are equal.
            made = dirt(name, lines[0], 10_990_000 + number)
            chosen = list(made) if seed == 1 else dice.sample(sorted(made), dice.randint(1, len(made)))
            planted[name] += [made[kind] for kind in chosen]
            copies = dice.randint(1, 4)
            planted[name] += [Planted(csv_record(lines[0].values()), "exact_duplicate")] * copies
        dice.shuffle(planted[name])
        path = tmp_path / "release" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(csv_record(KNOWN[name].columns) + b"".join(p.record for p in planted[name]))

    dataset = ehrtraj.build(tmp_path / "release", tmp_path / "out", "dirty", max_cpus=1).path
    ledger = assert_holds(dataset)
    for name, records in planted.items():
        if name not in ledger:
            continue
        assert ledger[name].read == len(records), name
        expected = Counter(p.reason for p in records if p.reason) + Counter(flaws.get(name, {}))
        assert ledger[name].rejected == expected, name
        if name in PATIENT_TABLES:
            assert whole(dataset, name) - whole(built, name) == Counter(
                expected_reject(name, p) for p in records if p.reason
            ), name
            assert whole(built, name) <= whole(dataset, name), name


def whole(dataset: Path, name: str) -> Counter[tuple[Any, ...]]:
    path = dataset / "rejected" / f"{name.split('/')[1]}.parquet"
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    text = "row_text" if "text" in KNOWN[name].columns else "text"
    return Counter((r["reason"], r[text], *(r[c] for c in KNOWN[name].columns)) for r in rows)


def test_the_line_of_a_bad_row_is_the_one_in_the_file(handmade: ModuleType, tmp_path: Path) -> None:
    handmade.write_release(tmp_path / "release", plain=True)
    path = tmp_path / "release" / "hosp" / "labevents.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) > len(handmade.release_rows()["hosp/labevents"]) + 1, "no value contains a line end"
    bad = b"12,rubbish\n"
    path.write_bytes(b"".join([*lines[:-3], bad, *lines[-3:]]))
    dataset = ehrtraj.build(tmp_path / "release", tmp_path / "out", "v1", max_cpus=1).path
    rows = [r for r in pq.read_table(dataset / "rejected" / "labevents.parquet").to_pylist() if r["text"]]
    assert [(r["line"], r["text"]) for r in rows] == [(len(lines) - 2, "12,rubbish")]


# Recipes that break the contract -------------------------------------------------------------------------------

LABS = """-- hosp/labevents: results
-- [every row] a result
SELECT subject_id, charttime AS time, 'LAB' AS event_type, itemid AS item FROM labevents {};
"""
BREAKS = {
    "multiplies rows in a join": "JOIN admissions USING (subject_id)",
    "loses rows in a join": "JOIN icustays USING (subject_id)",
    "loses rows by a condition": "WHERE valuenum IS NOT NULL",
    "repeats all rows": "UNION ALL SELECT subject_id, charttime, 'LAB', itemid FROM labevents",
}


def run_recipe(text: str) -> int:
    """Run one recipe on two results of a patient with two admissions, and return the number of events."""
    rows = {
        "hosp/labevents": [
            {"subject_id": 1, "itemid": 50912, "charttime": datetime.datetime(2150, 1, d), "valuenum": v}
            for d, v in ((1, 1.0), (2, None))
        ],
        "hosp/admissions": [{"subject_id": 1, "hadm_id": h} for h in (2, 3)],
    }

    def read(name: str) -> pa.Table:
        schema = KNOWN[name].schema
        lines = [dict.fromkeys(schema.names) | row for row in rows.get(name, [])]
        return pa.Table.from_pylist(lines, schema=schema)

    name = "hosp/labevents"
    patient = {n: KNOWN[n] for n in PATIENT_TABLES}
    extractor = Extractor(MIMIC, patient, [name], 10**8, recipes={name: parse_recipe(name, text)})
    buffer = EventBuffer()
    buffer.clear(10)
    try:
        counts, _ = extractor.run(read, {}, buffer, Codes(MIMIC.event_types))
    finally:
        extractor.close()
    return counts[name].events


@pytest.mark.parametrize("how", BREAKS)
def test_a_recipe_that_loses_or_multiplies_rows_stops_the_build(how: str) -> None:
    assert run_recipe(LABS.format("")) == 2
    with pytest.raises(LedgerError, match=r"hosp/labevents: 2 rows became \d events"):
        run_recipe(LABS.format(BREAKS[how]))


@pytest.mark.parametrize(
    "entry",
    [
        TableLedger(read=10, became_events=9),
        TableLedger(read=10, became_events=10, rejected=Counter(no_time=1)),
        TableLedger(read=10, became_events=5, not_selected=Counter(other_patients=4)),
        TableLedger(read=10, dictionary=11),
    ],
)
def test_a_row_not_accounted_for_exactly_once_stops_the_build(entry: TableLedger) -> None:
    check_balance({"hosp/omr": TableLedger(read=2, became_events=1, rejected=Counter(no_time=1))})
    with pytest.raises(LedgerError, match="icu/outputevents"):
        check_balance({"hosp/omr": TableLedger(), "icu/outputevents": entry})


# A part of the release -----------------------------------------------------------------------------------------


def test_tables_that_are_not_selected_are_accounted_for(release: Path, handmade: ModuleType, tmp_path: Path) -> None:
    dataset = ehrtraj.build(release, tmp_path, "some", max_cpus=1, tables="diagnoses_icd,icu/chartevents").path
    ledger = assert_holds(dataset)
    rows = handmade.release_rows()
    assert {n for n, a in ledger.items() if a.became} == {"hosp/diagnoses_icd", "icu/chartevents"}
    assert ledger["hosp/admissions"].not_selected == {"table_not_chosen": len(rows["hosp/admissions"])}
    assert "hosp/labevents" not in ledger


@pytest.mark.parametrize("how", ["number", "file", "icu_only"])
def test_patients_who_are_not_selected_are_accounted_for(
    release: Path, handmade: ModuleType, tmp_path: Path, read_events: Callable[[Path], pa.Table], how: str
) -> None:
    chosen = tmp_path / "chosen.txt"
    chosen.write_text(f"{handmade.DIED}\n{handmade.CLINIC}\n{handmade.VISIT}\n12345\n")
    settings: dict[str, Any] = {
        "number": {"subjects": 3},
        "file": {"subjects": chosen},
        "icu_only": {"icu_only": True},
    }[how]
    dataset = ehrtraj.build(release, tmp_path, "some", max_cpus=1, **settings).path
    ledger = assert_holds(dataset)
    there = set(read_events(dataset)["subject_id"].to_pylist())
    if how == "number":
        assert len(there) == 3
    elif how == "file":
        assert there == {handmade.DIED, handmade.CLINIC, handmade.VISIT}
    else:
        assert there == {handmade.SEPSIS, handmade.DIED}
    for name, rows in handmade.release_rows().items():
        if name in PATIENT_TABLES:
            others = sum(row["subject_id"] not in there for row in rows)
            assert ledger[name].not_selected == ({"other_patients": others} if others else {}), name
