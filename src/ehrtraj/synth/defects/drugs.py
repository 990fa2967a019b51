"""Defects of orders, infusions and given doses."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.kinds import Change, Event, Kind, Lines, has, truths
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.defects.texts import Cells, number_text
from ehrtraj.synth.draw import Bools, Floats

PRESCRIPTIONS, INPUTS, DETAIL = "hosp/prescriptions", "icu/inputevents", "hosp/emar_detail"
_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
_THOUSANDS = re.compile(r"[0-9]{4,6}")
_START: Event = {"event_type": "DRUG_ORDER_START"}


_INTO_OWN_UNIT = {"mcg": 0.001, "g": 1000.0, "L": 1000.0}
"""What the build brings doses to: mg and mL."""


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        Kind("rate_unit", INPUTS, _in_usual_unit, _rate_unit),
        Kind("rewritten", INPUTS, has("statusdescription"), _rewritten),
        Kind("placeholder_weight", INPUTS, _weighed, _placeholder_weight),
        Kind("weight_differs", INPUTS, _weighed, _weight_differs),
        Kind("dose_thousands", PRESCRIPTIONS, _dose_like(_THOUSANDS), _dose_thousands),
        Kind("dose_range", PRESCRIPTIONS, _dose_like(_PLAIN), _dose_range),
        Kind("dose_text", PRESCRIPTIONS, _dose_like(_PLAIN), _dose_text),
        Kind("gsn_padded", PRESCRIPTIONS, has("gsn"), _gsn_padded),
        Kind("ndc_zero", PRESCRIPTIONS, _has_ndc, _no_ndc("0")),
        Kind("ndc_zero", "ed/medrecon", has("ndc"), _no_home_ndc),
        Kind("ndc_missing", PRESCRIPTIONS, _has_ndc, _no_ndc(None)),
        Kind("dose_given_text", DETAIL, has("dose_given", "parent_field_ordinal"), _dose_given_text),
    ]


def _rates(rows: Rows) -> list[dict[str, str | float] | None]:
    """Return, for each row, the line of defect_rates.csv for its drug and unit."""
    lines = {(line["itemid"], line["rateuom"]): line for line in catalog.read("defect_rates.csv").iter_rows(named=True)}
    return [lines.get(pair) for pair in zip(rows.ints("itemid").tolist(), rows.texts("rateuom"), strict=True)]


def _in_usual_unit(rows: Rows) -> Bools:
    listed = truths([line is not None for line in _rates(rows)])
    return listed & (rows.floats("rate") > 0) & _weighed(rows)


def _rate_unit(rows: Rows) -> Change:
    lines = [line for line in _rates(rows) if line is not None]
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
    """Nine significant digits: no noise of multiplication."""
    return np.array([float(f"{number:.9g}") for number in numbers.tolist()])


def _rewritten(_: Rows) -> Change:
    """A status that is known at the end only: taking the start away for it would tell of the end."""
    right = {"event_type": "INPUT_END", "statusdescription": "Rewritten"}
    return Change({"statusdescription": "Rewritten"}, right)


def _weighed(rows: Rows) -> Bools:
    return rows.floats("patientweight") > 1


def _placeholder_weight(_: Rows) -> Change:
    right = {"event_type": "INPUT_START", "patientweight": None, "flags": ("weight_placeholder",)}
    return Change({"patientweight": 1.0}, right)


def _weight_differs(rows: Rows) -> Change:
    weight = np.round(rows.floats("patientweight") * 1.3, 1)
    return Change({"patientweight": weight}, {"event_type": "INPUT_START", "patientweight": weight})


def _dose_like(pattern: re.Pattern[str]) -> Callable[[Rows], Bools]:
    def where(rows: Rows) -> Bools:
        fits = [bool(pattern.fullmatch(dose or "")) and float(dose or 0) > 0 for dose in rows.texts("dose_val_rx")]
        return truths(fits)

    return where


def _doses(rows: Rows) -> Floats:
    return np.array([float(dose or 0) for dose in rows.texts("dose_val_rx")])


def _dose_thousands(rows: Rows) -> Change:
    doses = _doses(rows)
    factor = np.array([_INTO_OWN_UNIT.get(unit or "", 1.0) for unit in rows.texts("dose_unit_rx")])
    right = _START | {"numeric_value": doses * factor}
    return Change({"dose_val_rx": [f"{dose:,.0f}" for dose in doses.tolist()]}, right)


def _dose_range(rows: Rows) -> Change:
    low = _doses(rows)
    written = [f"{number_text(dose)}-{number_text(2 * dose)}" for dose in low.tolist()]
    right: Event = {"numeric_value": None, "text_value": written, "low": low, "high": 2 * low}
    return Change({"dose_val_rx": written}, _START | right)


def _dose_text(rows: Rows) -> Change:
    written = Lines.of("dose_text", PRESCRIPTIONS).draw(rows).written
    right: Event = {"numeric_value": None, "text_value": written}
    return Change({"dose_val_rx": written}, _START | right)


def _gsn_padded(rows: Rows) -> Change:
    gsn = rows.texts("gsn")
    return Change({"gsn": [f"{text} " for text in gsn]}, _START | {"gsn": gsn})


def _has_ndc(rows: Rows) -> Bools:
    return truths([ndc is not None and ndc != "0" for ndc in rows.texts("ndc")])


def _no_ndc(written: str | None) -> Callable[[Rows], Change]:
    cells: dict[str, Cells] = {"ndc": written}
    return lambda _: Change(cells, _START | {"ndc": None})


def _no_home_ndc(_: Rows) -> Change:
    return Change({"ndc": "0"}, {"event_type": "HOME_DRUG", "ndc": None})


def _dose_given_text(rows: Rows) -> Change:
    written = Lines.of("dose_given_text", DETAIL).draw(rows).written
    return Change({"dose_given": written}, {"event_type": "EMAR_DOSE", "numeric_value": None, "text_value": written})
