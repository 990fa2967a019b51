"""No event is available too early: checked against the raw tables, and by changing facts from the future."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

import ehrtraj

# Known only after the stay.
OF_THE_END = ("DISCHARGE", "HOSPITAL_DEATH", "MEDS_DEATH", "DIAGNOSIS", "DRG", "INSURANCE")

# Columns of the source that are known only at the end of an interval, and the event types that may contain them.
KNOWN_AT_THE_END: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hosp/admissions": (
        ("discharge_location", "hospital_expire_flag", "insurance"),
        ("DISCHARGE", "HOSPITAL_DEATH", "INSURANCE"),
    ),
    "hosp/poe": (("order_status",), ("ORDER_STATUS",)),
    "hosp/transfers": (("outtime",), ("TRANSFER_OUT",)),
    "hosp/pharmacy": (("stoptime", "status"), ("PHARMACY_END",)),
    "hosp/prescriptions": (("stoptime",), ("DRUG_ORDER_END",)),
    "icu/icustays": (("outtime", "last_careunit", "los"), ("ICU_END",)),
    "icu/inputevents": (
        ("endtime", "amount", "amountuom", "statusdescription", "continueinnextdept"),
        ("INPUT_END",),
    ),
    "icu/ingredientevents": (("endtime", "amount", "amountuom", "statusdescription"), ("INGREDIENT_END",)),
    "icu/procedureevents": (
        ("endtime", "value", "valueuom", "statusdescription", "continueinnextdept"),
        ("ICU_PROCEDURE_END",),
    ),
    "hosp/patients": (("dod",), ("MEDS_DEATH",)),
    "ed/edstays": (("outtime", "disposition"), ("ED_DEPARTURE",)),
}
# These come from a table other than the changed one: the diagnoses of a visit, and the end of it in admissions.
ELSEWHERE = {("ed/diagnosis", "ED_DIAGNOSIS"), ("hosp/admissions", "ED_OUT")}


def query_of(dataset: Path, release: Path) -> duckdb.DuckDBPyConnection:
    """Open a session with the events, and the raw admissions and patients."""
    connection = duckdb.connect(config={"threads": 1})
    events = str(dataset / "data" / "**" / "*.parquet")
    connection.execute(f"CREATE VIEW events AS SELECT *, split_part(code, '//', 1) AS event_type FROM '{events}'")
    for name in ("admissions", "patients"):
        path = release / "hosp" / f"{name}.csv.gz"
        connection.execute(f"CREATE TABLE {name} AS FROM read_csv('{path}', header = true, sample_size = -1)")
    connection.execute("""
        CREATE TABLE stays AS
        SELECT subject_id, hadm_id, min(admittime::TIMESTAMP) AS start,
               -- If a patient died on the day of a discharge that has only a date, the discharge is at the death.
               max(CASE WHEN deathtime::DATE = dischtime::DATE THEN greatest(deathtime, dischtime)
                        ELSE coalesce(dischtime, deathtime) END::TIMESTAMP) AS stop
        FROM admissions GROUP BY ALL
    """)
    return connection


@pytest.fixture(params=["handmade", "demo"])
def raw(request: pytest.FixtureRequest) -> duckdb.DuckDBPyConnection:
    """Sessions with the events and raw tables of the hand-made release and of the demo."""
    names = {"handmade": ("built", "release"), "demo": ("demo_built", "demo")}[request.param]
    return query_of(*(request.getfixturevalue(name) for name in names))


def test_no_event_is_available_before_it_happens(raw: duckdb.DuckDBPyConnection) -> None:
    total, early, unknown, static = raw.execute("""
        SELECT count(*), count(*) FILTER (available_time < time),
               count(*) FILTER ((available_time IS NULL) <> (time IS NULL)), count(*) FILTER (time IS NULL)
        FROM events
    """).fetchone()
    assert total > 300
    assert (early, unknown) == (0, 0)
    assert static > 0


def test_only_static_facts_have_no_time(raw: duckdb.DuckDBPyConnection) -> None:
    event_types = raw.execute("SELECT DISTINCT event_type FROM events WHERE time IS NULL ORDER BY ALL").fetchall()
    assert event_types == [("ANCHOR_YEAR_GROUP",), ("GENDER",)]


@pytest.mark.parametrize("event_type", OF_THE_END)
def test_facts_from_the_end_of_a_stay_are_not_available_before(raw: duckdb.DuckDBPyConnection, event_type: str) -> None:
    total, early, known_early = raw.execute(f"""
        SELECT count(*), count(*) FILTER (e.time < s.stop), count(*) FILTER (e.available_time < s.stop)
        FROM events e JOIN stays s USING (subject_id, hadm_id)
        WHERE event_type = '{event_type}' AND source_table NOT LIKE 'ed/%'
    """).fetchone()
    assert total > 0
    assert (early, known_early) == (0, 0)


def test_every_end_of_a_stay_belongs_to_a_stay(raw: duckdb.DuckDBPyConnection) -> None:
    """The test above checks events with an admission. All events of these types have one, except deaths elsewhere."""
    event_types = ", ".join(f"'{d}'" for d in OF_THE_END)
    lost = raw.execute(f"""
        SELECT event_type, count(*) FROM events e ANTI JOIN stays s USING (subject_id, hadm_id)
        WHERE event_type IN ({event_types}) AND source_table NOT LIKE 'ed/%' GROUP BY event_type
    """).fetchall()
    assert {event_type for event_type, _ in lost} <= {"MEDS_DEATH"}


def test_no_death_comes_before_its_day_or_before_a_death_in_hospital(raw: duckdb.DuckDBPyConnection) -> None:
    deaths, died, early = raw.execute("""
        SELECT count(*), (SELECT count(*) FROM patients WHERE dod IS NOT NULL),
               count(*) FILTER (e.time::DATE < p.dod::DATE OR e.time < d.deathtime
                                OR (e.time_precision = 'day' AND e.time::TIME < TIME '23:59:59'))
        FROM events e JOIN patients p USING (subject_id)
        LEFT JOIN (SELECT subject_id, min(deathtime::TIMESTAMP) AS deathtime FROM admissions GROUP BY ALL) d
             USING (subject_id)
        WHERE event_type = 'MEDS_DEATH'
    """).fetchone()
    assert deaths == died > 0
    assert early == 0


def test_billing_codes_are_not_available_before_the_discharge(raw: duckdb.DuckDBPyConnection) -> None:
    codes = raw.execute("""
        SELECT event_type, count(*), count(*) FILTER (e.available_time < s.stop)
        FROM events e JOIN stays s USING (subject_id, hadm_id)
        WHERE source_table IN ('hosp/diagnoses_icd', 'hosp/drgcodes') GROUP BY event_type ORDER BY event_type
    """).fetchall()
    assert [(event_type, early) for event_type, _, early in codes] == [("DIAGNOSIS", 0), ("DRG", 0)]


@pytest.mark.parametrize("table", KNOWN_AT_THE_END)
def test_no_start_contains_facts_from_the_end(raw: duckdb.DuckDBPyConnection, table: str) -> None:
    columns, ends = KNOWN_AT_THE_END[table]
    keys = raw.execute(
        """
        SELECT DISTINCT event_type, unnest(json_keys(attributes)) FROM events
        WHERE source_table = ? AND attributes IS NOT NULL
        """,
        [table],
    ).fetchall()
    assert [(event_type, key) for event_type, key in keys if key in columns and event_type not in ends] == []


def texts_of(dataset: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for path in (dataset / "data").rglob("*.parquet"):
        found.update(json.dumps(event, default=str) for event in pq.read_table(path).to_pylist())
    return found


def source_of(event: str) -> tuple[str, str]:
    """Return table and event type of an event."""
    content = json.loads(event)
    return content["source_table"], content["code"].split("//")[0]


NEW_VALUES: dict[str, Callable[[Any], Any]] = {
    "discharge_location": lambda v: "REHAB",
    "hospital_expire_flag": lambda v: 1 - (v or 0),
    "insurance": lambda v: "No charge",
    "order_status": lambda v: "Active",
    "status": lambda v: "Discontinued via patient discharge",
    "last_careunit": lambda v: "Neuro Stepdown",
    "los": lambda v: 17.5,
    "disposition": lambda v: "ELOPED",
    "amount": lambda v: 3 * (v or 1),
    "amountuom": lambda v: "dose",
    "statusdescription": lambda v: "Rewritten",
    "continueinnextdept": lambda v: 1,
    "value": lambda v: 3 * (v or 1),
    "valueuom": lambda v: "day",
}


def later(value: str | None) -> str | None:
    """Return a time one hundred minutes later, a date one day later, and None for None."""
    if value is None:
        return None
    moved = datetime.datetime.fromisoformat(str(value)) + datetime.timedelta(minutes=100)
    return moved.isoformat(" ") if " " in str(value) else (moved + datetime.timedelta(days=1)).date().isoformat()


@pytest.mark.parametrize("standardise", [False, True])
def test_a_different_end_changes_nothing_before_it(
    handmade: ModuleType, release: Path, tmp_path: Path, standardise: bool
) -> None:
    """If the future is changed in the raw tables, only the events at the end change."""
    built = ehrtraj.build(release, tmp_path / "out", "before", max_cpus=1, standardise=standardise).path
    rows = handmade.release_rows()
    for table, (columns, _) in KNOWN_AT_THE_END.items():
        rows[table] = [row | {c: NEW_VALUES.get(c, later)(row.get(c)) for c in columns} for row in rows[table]]
    handmade.write_tables(tmp_path / "release", rows)
    after = ehrtraj.build(tmp_path / "release", tmp_path / "out", "after", max_cpus=1, standardise=standardise).path
    other = texts_of(after)
    before = texts_of(built)
    removed, new = ({source_of(e) for e in events} for events in (before - other, other - before))
    ends = {
        (table, event_type) for table, (_, event_types) in KNOWN_AT_THE_END.items() for event_type in event_types
    } | ELSEWHERE
    assert removed | new <= ends
    # All of them changed, so this test has covered them.
    assert new == ends
