"""Defects of codes: padded, dotted, unknown or repeated codes, and entries for organisms that are not organisms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, DefectKind, DefectValues, Event, as_bools, has
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Cells
from ehrtraj.synth.draw import NONE, Bools

DIAGNOSES, PROCEDURES, DRG, ED = "hosp/diagnoses_icd", "hosp/procedures_icd", "hosp/drgcodes", "ed/diagnosis"
MICRO = "hosp/microbiologyevents"
FIXED_WIDTH = 7
"""Number of characters of icd_code in a column of fixed width."""


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        DefectKind("organism_cancelled", MICRO, _is_negative_culture, _not_an_organism("organism_cancelled")),
        DefectKind("organism_negative", MICRO, _is_negative_culture, _not_an_organism("organism_negative")),
        DefectKind("code_missing", DIAGNOSES, has("icd_code"), _code_missing, one_per="subject_id"),
        _code_unknown(),
        *(
            DefectKind("repeated_code", table, has("icd_code"), _repeated(table, key), added=True)
            for table, key in ((DIAGNOSES, "hadm_id"), (ED, "stay_id"))
        ),
        DefectKind("code_dotted", DIAGNOSES, _has_dot, _code_dotted),
        DefectKind("code_padded", DIAGNOSES, _is_short, _code_padded(_diagnosis_code)),
        DefectKind("code_padded", ED, _is_short, _code_padded(_ed_diagnosis_code)),
        DefectKind("code_padded", PROCEDURES, _is_short, _code_padded(_procedure_code)),
        DefectKind("code_padded", DRG, has("drg_type", "drg_code"), _drg_padded),
    ]


def _dotted(code: str, version: int) -> str:
    head = 4 if version == 9 and code.startswith("E") else 3
    return f"{code[:head]}.{code[head:]}" if len(code) > head else code


def _diagnosis_code(code: str, version: int) -> str:
    return f"DIAGNOSIS//ICD{version}CM//{_dotted(code, version)}"


def _ed_diagnosis_code(code: str, version: int) -> str:
    return f"ED_{_diagnosis_code(code, version)}"


def _procedure_code(code: str, version: int) -> str:
    return f"PROCEDURE//ICD9PROC//{code[:2]}.{code[2:]}" if version == 9 else f"PROCEDURE//ICD10PCS//{code}"


CodeFormat = Callable[[str, int], str]


def _formatted(rows: TableRows, code_format: CodeFormat, codes: list[str] | None = None) -> list[str]:
    codes = [code or "" for code in rows.texts("icd_code")] if codes is None else codes
    return [code_format(*pair) for pair in zip(codes, rows.ints("icd_version").tolist(), strict=True)]


def _code_missing(_: TableRows) -> Change:
    return Change({"icd_code": None}, {"rejected": "no_code"})


def _code_unknown() -> DefectKind:
    values = DefectValues.read("code_unknown", DIAGNOSES)

    def change(rows: TableRows) -> Change:
        written = values.draw_for(rows, rows.ints("icd_version")).written
        right: Event = {"code": _formatted(rows, _diagnosis_code, written), "flags": ("code_unknown",)}
        return Change({"icd_code": written}, right)

    return DefectKind(
        "code_unknown", DIAGNOSES, lambda rows: rows.has("icd_code") & values.cover(rows.ints("icd_version")), change
    )


def _repeated(table: str, key: str) -> Callable[[TableRows], Change]:
    """Return a change that repeats a code in the same admission or ED stay, under the next seq_num."""

    def change(rows: TableRows) -> Change:
        keys = rows.ints(key)
        order = np.argsort(keys, kind="stable")
        first = np.searchsorted(keys[order], keys[order], "left")
        repetition = np.empty(len(rows), dtype=np.int64)
        repetition[order] = np.arange(len(rows)) - first
        number = _last_number(rows, table, key) + 1 + repetition
        code_format = _ed_diagnosis_code if table == ED else _diagnosis_code
        right: Event = {"code": _formatted(rows, code_format), "seq_num": number, "flags": ("repeated_code",)}
        return Change({"seq_num": number}, right)

    return change


def _last_number(rows: TableRows, table: str, key: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the highest seq_num in the admission or ED stay of each row."""
    keys, numbers = rows.world.ints(table, key), rows.world.ints(table, "seq_num")
    names, place = np.unique(keys, return_inverse=True)
    last = np.full(len(names), NONE)
    np.maximum.at(last, place, numbers)
    return last[np.searchsorted(names, rows.ints(key))]


def _has_dot(rows: TableRows) -> Bools:
    return as_bools(["." in code for code in _formatted(rows, _dotted)])


def _code_dotted(rows: TableRows) -> Change:
    return Change({"icd_code": _formatted(rows, _dotted)}, {"code": _formatted(rows, _diagnosis_code)})


def _is_short(rows: TableRows) -> Bools:
    return as_bools([3 <= len(code or "") < FIXED_WIDTH for code in rows.texts("icd_code")])


def _code_padded(code_format: CodeFormat) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        padded = [(code or "").ljust(FIXED_WIDTH) for code in rows.texts("icd_code")]
        return Change({"icd_code": padded}, {"code": _formatted(rows, code_format)})

    return change


def _drg_padded(rows: TableRows) -> Change:
    codes = rows.texts("drg_code")
    right = [f"DRG//{kind}//{code}" for kind, code in zip(rows.texts("drg_type"), codes, strict=True)]
    return Change({"drg_code": [f" {code} " for code in codes]}, {"code": right})


def _is_negative_culture(rows: TableRows) -> Bools:
    return rows.has("test_itemid") & ~rows.has("org_itemid") & ~rows.has("ab_itemid")


def _not_an_organism(defect: str) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        drawn = DefectValues.read(defect, MICRO).draw_for(rows)
        tests = [f"MICRO//TEST//{item}" for item in rows.ints("test_itemid").tolist()]
        right: Event = {"code": tests, "flags": ("not_an_organism",)}
        cells: dict[str, Cells] = {"org_itemid": np.array(drawn.written).astype(np.int64), "org_name": drawn.right}
        if defect == "organism_cancelled":
            cells["comments"], right["status"] = None, "cancelled"
        return Change(cells, right)

    return change
