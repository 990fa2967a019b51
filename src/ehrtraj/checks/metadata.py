"""Check that codes.parquet agrees with the events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.checks.findings import Finding, Findings
from ehrtraj.checks.official import refusal
from ehrtraj.checks.tables import first, load
from ehrtraj.dataset.database import Database
from ehrtraj.format.names import CODES

CODE_COLUMNS = ("code", "unit", "units", "event_type", "source_table", "n_events", "n_subjects")

# The last line of a code is used, at the position of the first.
_LINES = """
SELECT l.code, l.unit, l.units, l.event_type, l.source_table, l.n_events, l.n_subjects,
    s.events, s.patients, d.units, d.number_units, d.tables
FROM (
    SELECT *, min("row") OVER (PARTITION BY code) AS place,
        row_number() OVER (PARTITION BY code ORDER BY "row" DESC) AS nth FROM lines
) l LEFT JOIN seen s ON s.code = l.code LEFT JOIN detailed d ON d.code = l.code
WHERE l.nth = 1 ORDER BY l.place
"""


def read_table(root: Path, name: str, findings: Findings, *columns: str) -> pa.Table | None:
    """Read a small metadata table. If it is missing, damaged or lacks a column, add a finding and return None."""
    try:
        table = pq.read_table(root / name)
    except FileNotFoundError:
        findings.one("readable", "does not exist", name)
        return None
    except (pa.ArrowInvalid, OSError) as error:
        findings.one("readable", str(error).partition("\n")[0], name)
        return None
    return table if has_columns(table, name, findings, *columns) else None


def has_columns(table: pa.Table, name: str, findings: Findings, *columns: str) -> bool:
    """Return whether a table has all of these columns; if not, add a finding."""
    if lacking := [c for c in columns if c not in table.column_names]:
        findings.one("readable", f"lacks the column {', '.join(lacking)}", name)
    return not lacking


def listed(
    invariant: str, findings: Findings, wrong: tuple[Sequence[Sequence[Any]], int], words: str, file: str | None = None
) -> None:
    """Add findings for the first column of a query's rows, with the total number of rows."""
    rows, count = wrong
    findings.add(invariant, [Finding(words.format(row[0]), file) for row in rows], count)


def check_codes(root: Path, tables: Database, findings: Findings) -> pa.Table | None:
    """Check codes.parquet against MEDS.

    Returns:
        A few of its rows, or None if it cannot be read.
    """
    table = load(tables, root, CODES, "lines", {"code": "VARCHAR"} | dict.fromkeys(CODE_COLUMNS[1:]), findings)
    if table is None:
        return None
    if (why := refusal(meds.CodeMetadataSchema, table)) is not None:
        findings.one("codes_schema", why, CODES)
    if "code" in table.column_names:
        again = 'SELECT code, min("row") AS place FROM lines WHERE code IS NOT NULL GROUP BY code HAVING count(*) > 1'
        listed("codes_unique", findings, first(tables, again, "place"), "{} is listed more than once", CODES)
        lacking = "SELECT code FROM seen ANTI JOIN lines USING (code)"
        listed("codes_covered", findings, first(tables, lacking, "code"), "{} is missing", CODES)
    return table


def check_ehrtraj_codes(
    table: pa.Table, tables: Database, findings: Findings, known: Collection[str], *, standardised: bool
) -> None:
    """Check the additional columns of ehrtraj's codes.parquet: counts, units and tables.

    Args:
        table: a few of its rows.
        tables: database with the counts of the data files.
        findings: receives the violations.
        known: event types of the source.
        standardised: whether numbers are in the item's unit.
    """
    if lacking := [c for c in CODE_COLUMNS if c not in table.column_names]:
        findings.one("code_counts", f"lacks the column {', '.join(lacking)}", CODES)
        return
    for line in tables.rows(_LINES):
        for words in _wrong_line(dict(zip(CODE_COLUMNS, line, strict=False)), *line[len(CODE_COLUMNS) :]):
            findings.one("code_counts", words, CODES)
    if not known:
        findings.skip("the known event types could not be read", "event_types")
    others = "SELECT code FROM seen WHERE split_part(code, '//', 1) NOT IN (SELECT unnest(?))"
    unknown = first(tables, others, "code", [list(known)]) if known else ([], 0)
    listed("event_types", findings, unknown, "{}: its event type is not in metadata/event_types.json")
    if not standardised:
        findings.skip("the numbers were not standardised", "one_unit")
        return
    rows, count = first(tables, "SELECT code, number_units FROM detailed WHERE len(number_units) > 1", "code")
    places = [Finding(f"{code}: {', '.join(unit or 'none' for unit in units)}") for code, units in rows]
    findings.add("one_unit", places, count)


def _wrong_line(
    line: Mapping[str, Any],
    events: int | None,
    patients: int | None,
    units: Sequence[str] | None,
    number_units: Sequence[str] | None,
    source_tables: Sequence[str] | None,
) -> Iterator[str]:
    code = line["code"]
    if events is None:
        yield f"{code}: no event has this code"
        return
    seen_units, seen_tables = list(units or ()), list(source_tables or ())
    seen = {"n_events": events, "n_subjects": patients, "units": seen_units}
    for name, value in seen.items():
        if line[name] != value:
            yield f"{code}: {name} is {line[name]}, but {value} in the data"
    deciding = [unit for unit in number_units or () if unit] or seen_units
    unit = deciding[0] if len(deciding) == 1 else None
    if line["unit"] != unit:
        yield f"{code}: unit is {line['unit']}, but {unit} in the data"
    if line["source_table"] not in seen_tables:
        yield f"{code}: source_table is {line['source_table']}, but {', '.join(seen_tables)} in the data"
    if line["event_type"] != code.partition("//")[0]:
        yield f"{code}: event_type is {line['event_type']}"
