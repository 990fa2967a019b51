"""How much of the demo has a parent in a public vocabulary, without any option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

PUBLIC = {
    "APR-DRG", "CPT4", "HCPCS", "ICD10CM", "ICD10PCS", "ICD9CM", "ICD9Proc", "LOINC", "MS-DRG", "NDC", "RxNorm",
    "SNOMED",
}  # fmt: skip


@pytest.fixture
def share(demo_built: Path) -> Callable[..., tuple[float, float]]:
    """The codes, and the events, that have a public parent, of all codes and events under some event types."""
    codes = pq.read_table(demo_built / "metadata" / "codes.parquet").to_pylist()
    of_release = [row for row in codes if row["source_table"].split("/")[0] in ("hosp", "icu")]

    def measure(*event_types: str) -> tuple[float, float]:
        asked = [row for row in of_release if not event_types or row["event_type"] in event_types]
        found = [row for row in asked if PUBLIC & {parent.split("/")[0] for parent in row["parent_codes"]}]
        return len(found) / len(asked), events(found) / events(asked)

    return measure


def events(rows: list[dict[str, Any]]) -> int:
    return sum(row["n_events"] for row in rows)


def test_most_codes_and_events_of_hospital_and_icu_have_a_public_parent(
    share: Callable[..., tuple[float, float]],
) -> None:
    codes, covered = share()
    assert codes >= 0.75
    assert covered >= 0.60


@pytest.mark.parametrize(
    ("event_types", "codes", "covered"),
    [
        (["EMAR", "EMAR_DOSE"], 0.9, 0.9),
        (["EMAR_INFUSION"], 0.8, 0.6),
        (["PHARMACY_START", "PHARMACY_VERIFIED", "PHARMACY_END"], 0.9, 0.9),
        (["DRUG_ORDER_START", "DRUG_ORDER_END"], 0.9, 0.9),
        (["LAB"], 0.8, 0.94),
        (["CHART"], 0.2, 0.55),
        (["CHART_DATE"], 0.85, 0.95),
        (["OUTPUT"], 0.7, 0.9),
        (["INPUT_START", "INPUT_END"], 0.85, 0.8),
        (["INGREDIENT_START", "INGREDIENT_END"], 0.55, 0.9),
        (["ICU_PROCEDURE_START", "ICU_PROCEDURE_END"], 0.8, 0.9),
        (["DIAGNOSIS", "PROCEDURE", "DRG", "HCPCS"], 1, 1),
    ],
)
def test_each_kind_of_event_has_its_share(
    share: Callable[..., tuple[float, float]], event_types: list[str], codes: float, covered: float
) -> None:
    found = share(*event_types)
    assert found[0] >= codes
    assert found[1] >= covered
