"""Comorbidities of admissions, from coded diagnoses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.library import ConceptLibrary

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
_NOT_A_COMORBIDITY = {
    "subject_id", "hadm_id", "time", "available_time", "age_score", "charlson_comorbidity_index",
    "elixhauser_van_walraven",
}  # fmt: skip


def coded(*codes: str) -> list[dict[str, Any]]:
    """Return diagnoses of the admission, coded at its end: `9:428.0` or `10:I50.9`."""
    systems = {"9": "ICD9CM", "10": "ICD10CM"}
    return [
        {
            "code": f"DIAGNOSIS//{systems[version]}//{code}",
            "time": "2150-01-03 00:00",
            "stay_id": None,
            "attributes": {"seq_num": seq},
        }
        for seq, (version, code) in enumerate((each.split(":") for each in codes), 1)
    ]


def comorbidities(concept_of: Compute, name: str, *codes: str) -> tuple[set[str], dict[str, Any]]:
    """Return the names of the comorbidities, and the row."""
    row = concept_of(name, events_of(*icu_stay(), *coded(*codes))).row(0, named=True)
    return {column for column in row.keys() - _NOT_A_COMORBIDITY if row[column] == 1}, row


@pytest.mark.parametrize(
    ("codes", "found", "index"),
    [
        ([], set(), 2),
        (["9:428.0"], {"congestive_heart_failure"}, 3),
        (["10:I50.9", "9:428.0"], {"congestive_heart_failure"}, 3),
        (["9:I50.9", "10:428.0"], set(), 2),
        (["9:571.2", "9:572.2"], {"mild_liver_disease", "severe_liver_disease"}, 5),
        (["10:E11.9", "10:E11.22"], {"diabetes_without_cc", "diabetes_with_cc"}, 4),
        (["9:162.9", "9:197.0"], {"malignant_cancer", "metastatic_solid_tumor"}, 8),
        (["9:173.3"], set(), 2),
        (["9:193", "9:195.8"], {"malignant_cancer"}, 4),
        (["10:C7A.0", "10:C44.1"], set(), 2),
        (["10:N18.6", "10:B20", "10:G82.2"], {"renal_disease", "aids", "paraplegia"}, 12),
    ],
)
def test_charlson(concept_of: Compute, codes: list[str], found: set[str], index: int) -> None:
    """The patient is 60 years old: 2 points."""
    names, row = comorbidities(concept_of, "charlson", *codes)
    assert (names, row["charlson_comorbidity_index"]) == (found, index)
    assert row["available_time"] == datetime(2150, 1, 3)


@pytest.mark.parametrize(
    ("codes", "found", "score"),
    [
        ([], set(), 0),
        (["9:428.0", "9:427.31"], {"congestive_heart_failure", "cardiac_arrhythmias"}, 12),
        (["9:401.9", "9:403.91"], {"hypertension_complicated", "renal_failure"}, 5),
        (["10:I10"], {"hypertension_uncomplicated"}, 0),
        (["10:E11.9", "10:E11.22"], {"diabetes_complicated"}, 0),
        (["10:C34.9", "10:C78.0"], {"metastatic_cancer"}, 12),
        (["10:C34.9"], {"solid_tumor"}, 4),
        (["9:425.5"], {"congestive_heart_failure", "alcohol_abuse"}, 7),
        (["10:E66.9", "10:F32.9", "10:F11.2"], {"obesity", "depression", "drug_abuse"}, -14),
        (["10:D50.0", "10:D50.9"], {"blood_loss_anemia", "deficiency_anemias"}, -4),
    ],
)
def test_elixhauser(concept_of: Compute, codes: list[str], found: set[str], score: int) -> None:
    names, row = comorbidities(concept_of, "elixhauser", *codes)
    assert (names, row["elixhauser_van_walraven"]) == (found, score)


@pytest.mark.parametrize("name", ["charlson", "elixhauser"])
def test_comorbidities_are_known_when_the_admission_has_ended(concept_of: Compute, name: str) -> None:
    running = events_of(*icu_stay()).filter(~pl.col("code").str.starts_with("DISCHARGE"))
    assert concept_of(name, running).is_empty()


@pytest.mark.parametrize(("name", "number"), [("charlson", 17), ("elixhauser", 31)])
def test_every_comorbidity_has_codes_and_patients(
    library: ConceptLibrary, demo_concept: Compute, name: str, number: int
) -> None:
    rows = demo_concept(name)
    names = set(rows.columns) - _NOT_A_COMORBIDITY
    lines = [line for line in library.lists["concept_diagnoses"] if line["concept"] == name]
    assert {line["category"] for line in lines} == names
    assert (len(names), rows.height) == (number, 275)
    assert all(3 <= len(line["prefix"]) <= 5 for line in lines), "the SQL compares 3 to 5 characters"
    seen = rows.select(pl.col(sorted(names)).sum()).row(0, named=True)
    assert sum(count > 0 for count in seen.values()) >= number - 2, seen
