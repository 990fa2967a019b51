"""Whether codes.parquet describes what the events have."""

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

# The last line of a code counts, in the place of the first.
_LINES = """
SELECT l.code, l.unit, l.units, l.event_type, l.source_table, l.n_events, l.n_subjects,
    s.events, s.patients, d.units, d.tables
FROM (
    SELECT *, min("row") OVER (PARTITION BY code) AS place,
        row_number() OVER (PARTITION BY code ORDER BY "row" DESC) AS nth FROM lines
) l LEFT JOIN seen s ON s.code = l.code LEFT JOIN detailed d ON d.code = l.code
WHERE l.nth = 1 ORDER BY l.place
"""


def read_table(root: Path, name: str, findings: Findings, *columns: str) -> pa.Table | None:
    """Read a small table beside the data; None, and a finding, where it is not there, broken, or lacks a column."""
    try:
        table = pq.read_table(root / name)
    except FileNotFoundError:
        findings.one("readable", "is not there", name)
        return None
    except (pa.ArrowInvalid, OSError) as error:
        findings.one("readable", str(error).partition("\n")[0], name)
        return None
    return table if has_columns(table, name, findings, *columns) else None


def has_columns(table: pa.Table, name: str, findings: Findings, *columns: str) -> bool:
    """Whether a table has all of these columns; if not, that is a finding."""
    if lacking := [c for c in columns if c not in table.column_names]:
        findings.one("readable", f"has no column {', '.join(lacking)}", name)
    return not lacking


def listed(
    invariant: str, findings: Findings, wrong: tuple[Sequence[Sequence[Any]], int], words: str, file: str | None = None
) -> None:
    """Add what the first column of a query names, and how many rows it has."""
    rows, count = wrong
    findings.add(invariant, [Finding(words.format(row[0]), file) for row in rows], count)


def check_codes(root: Path, tables: Database, findings: Findings) -> pa.Table | None:
    """What MEDS asks of codes.parquet.

    Returns:
        A few rows of it; None where it cannot be read.
    """
    table = load(tables, root, CODES, "lines", {"code": "VARCHAR"} | dict.fromkeys(CODE_COLUMNS[1:]), findings)
    if table is None:
        return None
    if (why := refusal(meds.CodeMetadataSchema, table)) is not None:
        findings.one("codes_schema", why, CODES)
    if "code" in table.column_names:
        again = 'SELECT code, min("row") AS place FROM lines WHERE code IS NOT NULL GROUP BY code HAVING count(*) > 1'
        listed("codes_unique", findings, first(tables, again, "place"), "{} is there more than once", CODES)
        lacking = "SELECT code FROM seen ANTI JOIN lines USING (code)"
        listed("codes_covered", findings, first(tables, lacking, "code"), "{} is not there", CODES)
    return table


def check_ehrtraj_codes(
    table: pa.Table, tables: Database, findings: Findings, known: Collection[str], *, standardised: bool
) -> None:
    """What our codes.parquet says more: counts, units and tables.

    Args:
        table: a few rows of it.
        tables: what is in the data files.
        findings: receives what is wrong.
        known: event types of the source.
        standardised: whether numbers are in their item's own unit.
    """
    if lacking := [c for c in CODE_COLUMNS if c not in table.column_names]:
        findings.one("code_counts", f"has no column {', '.join(lacking)}", CODES)
        return
    for line in tables.rows(_LINES):
        for words in _wrong_line(dict(zip(CODE_COLUMNS, line, strict=False)), *line[len(CODE_COLUMNS) :]):
            findings.one("code_counts", words, CODES)
    if not known:
        findings.skip("it is not known which there are", "event_types")
    others = "SELECT code FROM seen WHERE split_part(code, '//', 1) NOT IN (SELECT unnest(?))"
    unknown = first(tables, others, "code", [list(known)]) if known else ([], 0)
    listed("event_types", findings, unknown, "{}: its event type is not in metadata/event_types.json")
    if not standardised:
        findings.skip("numbers were left as written", "one_unit")
        return
    rows, count = first(tables, "SELECT code, number_units FROM detailed WHERE len(number_units) > 1", "code")
    places = [Finding(f"{code}: {', '.join(unit or 'none' for unit in units)}") for code, units in rows]
    findings.add("one_unit", places, count)


def _wrong_line(
    line: Mapping[str, Any],
    events: int | None,
    patients: int | None,
    units: Sequence[str] | None,
    source_tables: Sequence[str] | None,
) -> Iterator[str]:
    code = line["code"]
    if events is None:
        yield f"{code}: no event has it"
        return
    seen_units, seen_tables = list(units or ()), list(source_tables or ())
    seen = {"n_events": events, "n_subjects": patients, "units": seen_units}
    for name, value in seen.items():
        if line[name] != value:
            yield f"{code}: {name} is {line[name]}, in the files {value}"
    unit = seen_units[0] if len(seen_units) == 1 else None
    if line["unit"] != unit:
        yield f"{code}: unit is {line['unit']}, in the files {unit}"
    if line["source_table"] not in seen_tables:
        yield f"{code}: source_table is {line['source_table']}, in the files {', '.join(seen_tables)}"
    if line["event_type"] != code.partition("//")[0]:
        yield f"{code}: event_type is {line['event_type']}"
