"""Coded diagnoses, procedures, DRGs and HCPCS codes of the admissions, and the dictionaries of the codes.

diagnoses.csv and procedures.csv say which codes belong to which condition, illness or treatment, and how they weigh
against each other; drgs.csv and hcpcs.csv the same for payment. choices_coding.csv holds the rules between them:

* coding_number: how many codes there are, and other single figures
* coding_condition_share, coding_operation_share, coding_care_share: how often a condition is coded, an illness operated
  on (or otherwise treated by a procedure of its own), a treatment in intensive care coded
* coding_factor: "situation code", a code's weight is multiplied by this in the situation
* coding_with, coding_operation_with: "first>second", how often the first code (by its beginning) brings the second
* coding_one_of_9, coding_one_of_10: beginnings of codes of which an admission has only one
* coding_operation_for: "illness diagnoses>procedure", the procedures for these principal diagnoses
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import dates
from ehrtraj.synth.tables.coding.books import DIAGNOSES, PROCEDURES, book_of
from ehrtraj.synth.tables.coding.choice import Rows, coded_stays, whose
from ehrtraj.synth.tables.coding.diagnoses import draw_diagnoses
from ehrtraj.synth.tables.coding.payment import drg_codes, hcpcs_codes, hcpcs_events
from ehrtraj.synth.tables.coding.procedures import draw_procedures


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return diagnoses_icd, procedures_icd, drgcodes and hcpcsevents of a block's admissions."""
    stays = coded_stays(block)
    diagnoses = draw_diagnoses(block, stays)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    procedures, operated = draw_procedures(block, stays, principal)
    return {
        "hosp/diagnoses_icd": _code_frame(block, DIAGNOSES, diagnoses, with_day=False),
        "hosp/procedures_icd": _code_frame(block, PROCEDURES, procedures, with_day=True),
        "hosp/drgcodes": drg_codes(block, stays, diagnoses, operated),
        "hosp/hcpcsevents": hcpcs_events(block, stays),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return d_icd_diagnoses, d_icd_procedures and d_hcpcs: all codes of the catalog."""
    codes = ["icd_code", "icd_version", "long_title"]
    hcpcs = ["code", "category", "long_description", "short_description"]
    return {
        "hosp/d_icd_diagnoses": book_of(DIAGNOSES).select(codes).sort(codes[:2]),
        "hosp/d_icd_procedures": book_of(PROCEDURES).select(codes).sort(codes[:2]),
        "hosp/d_hcpcs": hcpcs_codes().select(hcpcs).sort("code"),
    }


def _code_frame(block: PatientBlock, file: str, rows: Rows, *, with_day: bool) -> pl.DataFrame:
    codes = book_of(file)[rows.number]
    columns = {**whose(block, rows.stay), "seq_num": pl.Series(rows.ordinal + 1)}
    if with_day:
        columns["chartdate"] = dates(rows.day)
    return pl.DataFrame({**columns, "icd_code": codes["icd_code"], "icd_version": codes["icd_version"]})
