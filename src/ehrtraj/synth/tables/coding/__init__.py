"""Draw coded diagnoses, procedures, DRGs and HCPCS codes of admissions, and the dictionaries of the codes.

diagnoses.csv and procedures.csv list the codes of each condition, illness or treatment with their weights; drgs.csv and
hcpcs.csv do the same for payment. choices_coding.csv contains the rules:

* coding_number: numbers of codes, and other single figures
* coding_condition_share, coding_operation_share, coding_care_share: probability that a condition is coded, that an
  illness is treated by an operation (or another specific procedure), and that a treatment in intensive care is coded
* coding_failure_share: probability that a failure of an organ with a severity of 1 or more is coded
* coding_factor: "situation code", factor by which the situation multiplies the weight of the code
* coding_with, coding_operation_with: "first>second", probability that codes with the prefix `first` bring `second`
* coding_one_of_9, coding_one_of_10: prefixes of codes of which an admission has only one
* coding_operation_for: "illness diagnoses>procedure", procedures for these principal diagnoses
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import dates
from ehrtraj.synth.tables.coding.books import DIAGNOSES, PROCEDURES, code_table
from ehrtraj.synth.tables.coding.choice import CodedRows, coded_admissions, patient_columns
from ehrtraj.synth.tables.coding.diagnoses import draw_diagnoses
from ehrtraj.synth.tables.coding.payment import drg_codes, hcpcs_codes, hcpcs_events
from ehrtraj.synth.tables.coding.procedures import draw_procedures


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return diagnoses_icd, procedures_icd, drgcodes and hcpcsevents for a block."""
    admissions = coded_admissions(block)
    diagnoses = draw_diagnoses(block, admissions)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    procedures, operated = draw_procedures(block, admissions, principal)
    return {
        "hosp/diagnoses_icd": _code_frame(block, DIAGNOSES, diagnoses, with_day=False),
        "hosp/procedures_icd": _code_frame(block, PROCEDURES, procedures, with_day=True),
        "hosp/drgcodes": drg_codes(block, admissions, diagnoses, operated),
        "hosp/hcpcsevents": hcpcs_events(block, admissions),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return d_icd_diagnoses, d_icd_procedures and d_hcpcs with all codes of the catalog."""
    codes = ["icd_code", "icd_version", "long_title"]
    hcpcs = ["code", "category", "long_description", "short_description"]
    return {
        "hosp/d_icd_diagnoses": code_table(DIAGNOSES).select(codes).sort(codes[:2]),
        "hosp/d_icd_procedures": code_table(PROCEDURES).select(codes).sort(codes[:2]),
        "hosp/d_hcpcs": hcpcs_codes().select(hcpcs).sort("code"),
    }


def _code_frame(block: PatientBlock, file: str, rows: CodedRows, *, with_day: bool) -> pl.DataFrame:
    codes = code_table(file)[rows.number]
    columns = {**patient_columns(block, rows.admission), "seq_num": pl.Series(rows.ordinal + 1)}
    if with_day:
        columns["chartdate"] = dates(rows.day)
    return pl.DataFrame({**columns, "icd_code": codes["icd_code"], "icd_version": codes["icd_version"]})
