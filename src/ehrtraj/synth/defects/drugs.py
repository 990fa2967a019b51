"""Defects of drug orders, infusions and administered doses."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.kinds import Change, DefectKind, DefectValues, Event, as_bools, has
from ehrtraj.synth.defects.results import MASK
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Cells, number_text
from ehrtraj.synth.draw import Bools, Floats

PRESCRIPTIONS, INPUTS, DETAIL = "hosp/prescriptions", "icu/inputevents", "hosp/emar_detail"
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
_THOUSANDS = re.compile(r"[0-9]{4,6}")
_START: Event = {"event_type": "DRUG_ORDER_START"}


_FACTOR_TO_BUILD_UNIT = {"mcg": 0.001, "g": 1000.0, "L": 1000.0}
"""Factors to mg or mL, the units to which the build converts doses."""


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        DefectKind("rate_unit", INPUTS, _has_listed_rate, _rate_unit),
        DefectKind("rewritten", INPUTS, has("statusdescription"), _rewritten),
        DefectKind("placeholder_weight", INPUTS, _has_weight, _placeholder_weight),
        DefectKind("weight_differs", INPUTS, _has_weight, _weight_differs),
        DefectKind("dose_thousands", PRESCRIPTIONS, _dose_like(_THOUSANDS), _dose_thousands),
        DefectKind("dose_range", PRESCRIPTIONS, _dose_like(_PLAIN), _dose_range),
        DefectKind("dose_text", PRESCRIPTIONS, _dose_like(_PLAIN), _dose_text),
        DefectKind("gsn_padded", PRESCRIPTIONS, has("gsn"), _gsn_padded),
        DefectKind("ndc_zero", PRESCRIPTIONS, _has_ndc, _no_ndc("0")),
        DefectKind("ndc_zero", "ed/medrecon", has("ndc"), _no_home_ndc),
        DefectKind("ndc_missing", PRESCRIPTIONS, _has_ndc, _no_ndc(None)),
        DefectKind("dose_given_text", DETAIL, has("dose_given", "parent_field_ordinal"), _dose_given_text),
    ]


def _rate_lines(rows: TableRows) -> list[dict[str, str | float] | None]:
    """Return the line of defect_rates.csv for the drug and unit of each row, or None."""
    lines = {(line["itemid"], line["rateuom"]): line for line in catalog.read("defect_rates.csv").iter_rows(named=True)}
    return [lines.get(pair) for pair in zip(rows.ints("itemid").tolist(), rows.texts("rateuom"), strict=True)]


def _has_listed_rate(rows: TableRows) -> Bools:
    listed = as_bools([line is not None for line in _rate_lines(rows)])
    return listed & (rows.floats("rate") > 0) & _has_weight(rows)


def _rate_unit(rows: TableRows) -> Change:
    lines = [line for line in _rate_lines(rows) if line is not None]
    by_weight = np.array([line["by_weight"] for line in lines]) == 1
    factor = np.array([line["factor"] for line in lines]) * np.where(by_weight, rows.floats("patientweight"), 1.0)
    units = [str(line["written"]) for line in lines]
    rate = _rounded(rows.floats("rate") * factor)
    flags = [("unit_converted", "weight_used") if weight else ("unit_converted",) for weight in by_weight.tolist()]
    return Change(
        {"rateuom": units, "rate": rate, "originalrate": _rounded(rows.floats("originalrate") * factor)},
        {
            "event_type": "INPUT_START",
            "numeric_value": rate / factor,
            "unit": [str(line["ucum"]) for line in lines],
            "raw_unit": units,
            "flags": flags,
        },
    )


def _rounded(numbers: Floats) -> Floats:
    """Round to nine significant digits, to remove floating-point noise of the multiplication."""
    return np.array([float(f"{number:.9g}") for number in numbers.tolist()])


def _rewritten(_: TableRows) -> Change:
    """Write a status that is known only at the end. Removing the start event because of it would leak the future."""
    right = {"event_type": "INPUT_END", "statusdescription": "Rewritten"}
    return Change({"statusdescription": "Rewritten"}, right)


def _has_weight(rows: TableRows) -> Bools:
    return rows.floats("patientweight") > 1


def _placeholder_weight(_: TableRows) -> Change:
    right = {"event_type": "INPUT_START", "patientweight": None, "flags": ("weight_placeholder",)}
    return Change({"patientweight": 1.0}, right)


def _weight_differs(rows: TableRows) -> Change:
    weight = np.round(rows.floats("patientweight") * 1.3, 1)
    return Change({"patientweight": weight}, {"event_type": "INPUT_START", "patientweight": weight})


def _dose_like(pattern: re.Pattern[str]) -> Callable[[TableRows], Bools]:
    def where(rows: TableRows) -> Bools:
        matches = [bool(pattern.fullmatch(dose or "")) and float(dose or 0) > 0 for dose in rows.texts("dose_val_rx")]
        return as_bools(matches)

    return where


def _doses(rows: TableRows) -> Floats:
    return np.array([float(dose or 0) for dose in rows.texts("dose_val_rx")])


def _dose_thousands(rows: TableRows) -> Change:
    doses = _doses(rows)
    factor = np.array([_FACTOR_TO_BUILD_UNIT.get(unit or "", 1.0) for unit in rows.texts("dose_unit_rx")])
    right = _START | {"numeric_value": doses * factor}
    return Change({"dose_val_rx": [f"{dose:,.0f}" for dose in doses.tolist()]}, right)


def _dose_range(rows: TableRows) -> Change:
    low = _doses(rows)
    written = [f"{number_text(dose)}-{number_text(2 * dose)}" for dose in low.tolist()]
    right: Event = {"numeric_value": None, "text_value": written, "low": low, "high": 2 * low}
    return Change({"dose_val_rx": written}, _START | right)


def _dose_text(rows: TableRows) -> Change:
    written = DefectValues.read("dose_text", PRESCRIPTIONS).draw_for(rows).written
    # A number with the unit of the row, or with any unit if the row has none, is a quantity.
    units = [(unit or "").strip().upper() for unit in rows.texts("dose_unit_rx")]
    read = [text == "1 tab" and unit in ("TAB", "") for text, unit in zip(written, units, strict=True)]
    right: Event = {
        "numeric_value": np.where(read, 1.0, np.nan),
        "text_value": [None if quantity else text for text, quantity in zip(written, read, strict=True)],
    }
    return Change({"dose_val_rx": written}, _START | right)


def _gsn_padded(rows: TableRows) -> Change:
    gsn = rows.texts("gsn")
    return Change({"gsn": [f"{text} " for text in gsn]}, _START | {"gsn": gsn})


def _has_ndc(rows: TableRows) -> Bools:
    return as_bools([ndc is not None and ndc != "0" for ndc in rows.texts("ndc")])


def _no_ndc(written: str | None) -> Callable[[TableRows], Change]:
    cells: dict[str, Cells] = {"ndc": written}
    return lambda _: Change(cells, _START | {"ndc": None})


def _no_home_ndc(_: TableRows) -> Change:
    return Change({"ndc": "0"}, {"event_type": "HOME_DRUG", "ndc": None})


def _dose_given_text(rows: TableRows) -> Change:
    written = DefectValues.read("dose_given_text", DETAIL).draw_for(rows).written
    right: Event = {
        "event_type": "EMAR_DOSE",
        "numeric_value": None,
        "text_value": [None if text == MASK else text for text in written],
        "value": [text if text == MASK else None for text in written],
    }
    return Change({"dose_given": written}, right)
