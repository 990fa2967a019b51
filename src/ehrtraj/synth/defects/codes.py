"""Defects of codes: padded, dotted, unknown, repeated on the bill; organisms that are none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, Event, Kind, Lines, has, truths
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.defects.texts import Cells
from ehrtraj.synth.draw import NONE, Bools

DIAGNOSES, PROCEDURES, DRG, ED = "hosp/diagnoses_icd", "hosp/procedures_icd", "hosp/drgcodes", "ed/diagnosis"
MICRO = "hosp/microbiologyevents"
FIXED_WIDTH = 7
"""Characters of icd_code as a column of fixed width holds it."""


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        Kind("organism_cancelled", MICRO, _no_growth, _no_organism("organism_cancelled")),
        Kind("organism_negative", MICRO, _no_growth, _no_organism("organism_negative")),
        Kind("code_missing", DIAGNOSES, has("icd_code"), _code_missing, one_per="subject_id"),
        _code_unknown(),
        *(
            Kind("repeated_code", table, has("icd_code"), _repeated(table, bill), added=True)
            for table, bill in ((DIAGNOSES, "hadm_id"), (ED, "stay_id"))
        ),
        Kind("code_dotted", DIAGNOSES, _has_dot, _code_dotted),
        *(Kind("code_padded", table, _is_short, _code_padded(_diagnosis)) for table in (DIAGNOSES, ED)),
        Kind("code_padded", PROCEDURES, _is_short, _code_padded(_procedure)),
        Kind("code_padded", DRG, has("drg_type", "drg_code"), _drg_padded),
    ]


def _dotted(code: str, version: int) -> str:
    head = 4 if version == 9 and code.startswith("E") else 3
    return f"{code[:head]}.{code[head:]}" if len(code) > head else code


def _diagnosis(code: str, version: int) -> str:
    return f"DIAGNOSIS//ICD{version}CM//{_dotted(code, version)}"


def _procedure(code: str, version: int) -> str:
    return f"PROCEDURE//ICD9PROC//{code[:2]}.{code[2:]}" if version == 9 else f"PROCEDURE//ICD10PCS//{code}"


Spell = Callable[[str, int], str]


def _spelled(rows: Rows, spell: Spell, codes: list[str] | None = None) -> list[str]:
    codes = [code or "" for code in rows.texts("icd_code")] if codes is None else codes
    return [spell(*pair) for pair in zip(codes, rows.ints("icd_version").tolist(), strict=True)]


def _code_missing(_: Rows) -> Change:
    return Change({"icd_code": None}, {"rejected": "no_code"})


def _code_unknown() -> Kind:
    lines = Lines.of("code_unknown", DIAGNOSES)

    def change(rows: Rows) -> Change:
        written = lines.draw(rows, rows.ints("icd_version")).written
        right: Event = {"code": _spelled(rows, _diagnosis, written), "flags": ("code_unknown",)}
        return Change({"icd_code": written}, right)

    return Kind(
        "code_unknown", DIAGNOSES, lambda rows: rows.has("icd_code") & lines.fit(rows.ints("icd_version")), change
    )


def _repeated(table: str, bill: str) -> Callable[[Rows], Change]:
    """The same code once more on the same bill, under the next number."""

    def change(rows: Rows) -> Change:
        bills = rows.ints(bill)
        order = np.argsort(bills, kind="stable")
        first = np.searchsorted(bills[order], bills[order], "left")
        again = np.empty(len(rows), dtype=np.int64)
        again[order] = np.arange(len(rows)) - first
        number = _last_number(rows, table, bill) + 1 + again
        right: Event = {"code": _spelled(rows, _diagnosis), "seq_num": number, "flags": ("repeated_code",)}
        return Change({"seq_num": number}, right)

    return change


def _last_number(rows: Rows, table: str, bill: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the last number on each row's bill."""
    bills, numbers = rows.world.ints(table, bill), rows.world.ints(table, "seq_num")
    names, place = np.unique(bills, return_inverse=True)
    last = np.full(len(names), NONE)
    np.maximum.at(last, place, numbers)
    return last[np.searchsorted(names, rows.ints(bill))]


def _has_dot(rows: Rows) -> Bools:
    return truths(["." in code for code in _spelled(rows, _dotted)])


def _code_dotted(rows: Rows) -> Change:
    return Change({"icd_code": _spelled(rows, _dotted)}, {"code": _spelled(rows, _diagnosis)})


def _is_short(rows: Rows) -> Bools:
    return truths([3 <= len(code or "") < FIXED_WIDTH for code in rows.texts("icd_code")])


def _code_padded(spell: Spell) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        padded = [(code or "").ljust(FIXED_WIDTH) for code in rows.texts("icd_code")]
        return Change({"icd_code": padded}, {"code": _spelled(rows, spell)})

    return change


def _drg_padded(rows: Rows) -> Change:
    codes = rows.texts("drg_code")
    right = [f"DRG//{kind}//{code}" for kind, code in zip(rows.texts("drg_type"), codes, strict=True)]
    return Change({"drg_code": [f" {code} " for code in codes]}, {"code": right})


def _no_growth(rows: Rows) -> Bools:
    return rows.has("test_itemid") & ~rows.has("org_itemid") & ~rows.has("ab_itemid")


def _no_organism(defect: str) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        drawn = Lines.of(defect, MICRO).draw(rows)
        tests = [f"MICRO//TEST//{item}" for item in rows.ints("test_itemid").tolist()]
        right: Event = {"code": tests, "flags": ("not_an_organism",)}
        cells: dict[str, Cells] = {"org_itemid": np.array(drawn.written).astype(np.int64), "org_name": drawn.right}
        if defect == "organism_cancelled":
            cells["comments"], right["status"] = None, "cancelled"
        return Change(cells, right)

    return change
