"""Views that several statements read are evaluated once for each part, and give what their tables contain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.extract import Extractor
from ehrtraj.pipeline.shard.slots import read_repeatedly, slot_of_view
from ehrtraj.runtime.session import open_session
from ehrtraj.sources.source import Source, find_source

SERVICES = """-- hosp/services: services
-- rejected: no_code | curr_service IS NULL AND EXISTS (FROM service_counts WHERE subject_id = services.subject_id)

-- [every row] a service
SELECT s.subject_id, transfertime AS time, 'SERVICE' AS event_type, {item} AS item
FROM services AS s LEFT JOIN service_counts USING (subject_id);

-- [also] the number of services
SELECT s.subject_id, transfertime AS time, 'SERVICE' AS event_type, 'ALSO' || {item} AS item
FROM services AS s LEFT JOIN service_counts USING (subject_id);
"""
"""Two statements, and a condition that rejects rows of the table that their view reads."""


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_session(threads=1) as opened:
        yield opened


def overlay(folder: Path, view: str, item: str) -> Source:
    for name, text in (("views/service_counts", view), ("hosp/services", SERVICES.format(item=item))):
        file = folder / "recipes" / f"{name}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return find_source(overlay=folder)


def codes_of_parts(source: Source, *parts: list[str | None]) -> tuple[list[list[str]], Counter[str]]:
    """Return the codes of each part with these services, and how often each view was evaluated."""
    tables = source.tables_of("patient")
    extractor = Extractor(source, tables, ["hosp/services"], 10**8)
    evaluated: Counter[str] = Counter()
    run = extractor._arrow

    def counted(sql: str, what: str, line: int = 1) -> pa.Table:
        evaluated[what] += 1
        return run(sql, what, line)

    extractor._arrow = counted  # type: ignore[method-assign]
    found = []
    try:
        for part in parts:
            lines: list[dict[str, object]] = [
                {"subject_id": 1, "transfertime": 0, "curr_service": service} for service in part
            ]

            def read(name: str, lines: list[dict[str, object]] = lines) -> pa.Table:
                schema = tables[name].schema
                rows = [dict.fromkeys(schema.names) | line for line in lines] if name == "hosp/services" else []
                return pa.Table.from_pylist(rows, schema=schema)

            codes, buffer = Codes(source.event_types), EventBuffer()
            buffer.clear(10)
            extractor.run(read, {}, buffer, codes)
            found.append(sorted(codes.names))
    finally:
        extractor.close()
    return found, evaluated


def test_a_view_is_evaluated_once_for_each_part_and_again_after_rows_are_rejected(tmp_path: Path) -> None:
    view = "SELECT subject_id, count(*) AS services FROM services GROUP BY subject_id"
    source = overlay(tmp_path, view, "services")
    found, evaluated = codes_of_parts(source, ["MED", None, "SURG"], ["MED"])
    assert found == [["SERVICE//2", "SERVICE//ALSO2"], ["SERVICE//1", "SERVICE//ALSO1"]]
    assert evaluated["views/service_counts"] == 2 + 1


def test_a_view_with_a_type_that_arrow_lacks_is_evaluated_each_time(tmp_path: Path) -> None:
    view = "SELECT subject_id, count(*)::HUGEINT AS services FROM services GROUP BY subject_id"
    source = overlay(tmp_path, view, "CASE typeof(services) WHEN 'HUGEINT' THEN services::INTEGER END")
    found, evaluated = codes_of_parts(source, ["MED", "SURG"])
    assert found == [["SERVICE//2", "SERVICE//ALSO2"]]
    assert evaluated["views/service_counts"] == 0


def test_a_slot_of_a_view_has_the_types_of_the_view(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT 1 AS a, 'x' AS b, NULL::TIMESTAMP AS c, {'d': 1.5} AS d"
    slot = slot_of_view(connection, "kept", sql)
    assert slot is not None
    assert connection.table("kept").types == connection.sql(sql).types
    assert slot_of_view(connection, "huge", "SELECT 1::HUGEINT AS a") is None
    with pytest.raises(duckdb.CatalogException):
        connection.sql("FROM huge")


def test_only_views_with_several_readers_are_kept() -> None:
    views = {"twice": "FROM a", "once": "FROM twice", "never": "FROM once", "by_views": "FROM b"}
    views |= {"first": "FROM by_views", "second": "FROM by_views"}
    assert read_repeatedly(views, ["FROM twice -- and not once", "SELECT 'never'", "FROM first"]) == {
        "twice",
        "by_views",
    }
