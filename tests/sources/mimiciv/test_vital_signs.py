"""Vital signs of the emergency department: pain in words, and the rules that they share with intensive care."""

from __future__ import annotations

import duckdb
import pytest

from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")


def test_ed_and_icu_vital_signs_share_their_concepts() -> None:
    concepts = {(line["event_type"], line["item"]): line["concept"] for line in MIMIC.rules("concepts")}
    limits = {(line["event_type"], line["item"]): (line["low"], line["high"]) for line in MIMIC.rules("limits")}
    units = {(line["event_type"], line["item"]): line["unit"] for line in MIMIC.rules("units")}
    same = {
        "temperature": "223762",
        "heartrate": "220045",
        "resprate": "220210",
        "o2sat": "220277",
        "sbp": "220179",
        "dbp": "220180",
    }
    for column, item in same.items():
        for table in (concepts, limits, units):
            assert table["ED_VITAL", column] == table["CHART", item], column


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("10", 10), ("7.5", 7.5), (" 3 ", 3), ("8/10", 8), ("8 out of 10", 8), ("10.0", 10), ("4 / 10", 4),
        ("11", None), ("13", None), ("100", None), ("5-6", None), ("-1", None), ("", None), ("unable", None),
        ("7/100", None), ("10.5", None), ("o", None), (None, None), ("0 asleep", None),
    ],
)  # fmt: skip
def test_pain_scores(text: str | None, number: float | None) -> None:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        assert connection.execute("SELECT pain_score(?)", [text]).fetchone() == (number,)
