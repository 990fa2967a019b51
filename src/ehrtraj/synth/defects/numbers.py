"""Defects of measured numbers: sentinel values, impossible values, wrong units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, DefectKind, DefectValues, Event, has, is_known
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Cells, number_texts
from ehrtraj.synth.draw import HOUR, Bools, Floats

CHART, LABS, OMR, TRIAGE, VITALS = "icu/chartevents", "hosp/labevents", "hosp/omr", "ed/triage", "ed/vitalsign"
POUND = 0.45359237


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        _scaled("fahrenheit_as_celsius", CHART, (30, 43), _to_fahrenheit, lambda f: (f - 32) / 1.8, "Cel"),
        _scaled("celsius_as_fahrenheit", CHART, (86, 109), _to_celsius, lambda c: c, "Cel"),
        *(DefectKind("celsius_as_fahrenheit", table, _in_fahrenheit, _ed_in_celsius) for table in (TRIAGE, VITALS)),
        _wrong_number("zero_weight", CHART, (1, 1000), lambda rows: np.zeros(len(rows))),
        DefectKind("pounds_as_kilograms", CHART, _listed_item_within("pounds_as_kilograms", CHART, (1, 1000)), _pounds),
        *(
            _scaled("fio2_fraction", table, (21, 100), lambda o2: np.round(o2 / 100, 2), lambda o2: o2 * 100, "%")
            for table in (CHART, LABS)
        ),
        *(
            _wrong_number("fio2_entry_error", table, (21, 100), lambda rows: rows.integers(2, 19).astype(np.float64))
            for table in (CHART, LABS)
        ),
        _zero_near_death(),
        *(_implausible(defect, table) for table in (CHART, LABS) for defect in ("sentinel_value", "impossible_value")),
        *(_impossible_in_ed(table, column) for table in (TRIAGE, VITALS) for column in VITAL_SIGNS),
        _impossible_in_omr(),
        _unit_not_named(),
        *(_pain_text(table) for table in (TRIAGE, VITALS)),
    ]


VITAL_SIGNS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp")
Range = tuple[float, float]


def _charted_cells(numbers: Floats) -> dict[str, Cells]:
    return {"valuenum": numbers, "value": number_texts(numbers)}


def _listed_item_within(defect: str, table: str, within: Range) -> Callable[[TableRows], Bools]:
    """Return a condition: the kind lists the item, and the number is within a range."""
    values, (low, high) = DefectValues.read(defect, table), within

    def where(rows: TableRows) -> Bools:
        number = rows.floats("valuenum")
        return values.cover(rows.ints("itemid")) & (number >= low) & (number <= high)

    return where


def _inferred_event(numbers: Floats, written: Floats, unit: str) -> Event:
    """Return the event after the unit has been inferred, with a raw value if that changes the number."""
    raw = [text if a != b else None for text, a, b in zip(number_texts(written), numbers, written, strict=True)]
    return {"numeric_value": numbers, "unit": unit, "raw_value": raw, "flags": ("unit_inferred",)}


def _rejected_number(raw: list[str | None] | list[str], flag: str) -> Event:
    return {"numeric_value": None, "raw_value": raw, "flags": (flag,)}


Scale = Callable[[Floats], Floats]


def _scaled(defect: str, table: str, within: Range, to_written: Scale, to_right: Scale, unit: str) -> DefectKind:
    """Return a kind that writes the number in another unit."""

    def change(rows: TableRows) -> Change:
        written = to_written(rows.floats("valuenum"))
        return Change(_charted_cells(written), _inferred_event(to_right(written), written, unit))

    return DefectKind(defect, table, _listed_item_within(defect, table, within), change)


def _wrong_number(defect: str, table: str, within: Range, draw_numbers: Callable[[TableRows], Floats]) -> DefectKind:
    """Return a kind that writes a number from which the original cannot be recovered."""
    items = "fio2_fraction" if defect == "fio2_entry_error" else defect

    def change(rows: TableRows) -> Change:
        written = draw_numbers(rows)
        return Change(_charted_cells(written), _rejected_number(number_texts(written), "impossible_value"))

    return DefectKind(defect, table, _listed_item_within(items, table, within), change)


def _to_fahrenheit(celsius: Floats) -> Floats:
    return np.round(celsius * 1.8 + 32, 1)


def _to_celsius(fahrenheit: Floats) -> Floats:
    return np.round((fahrenheit - 32) / 1.8, 1)


def _pounds(rows: TableRows) -> Change:
    """Write a weight in pounds as kilograms. It looks like that of a heavy patient, so the build keeps it."""
    written = np.round(rows.floats("valuenum") / POUND, 1)
    return Change(_charted_cells(written), {"numeric_value": written, "unit": "kg"})


def _in_fahrenheit(rows: TableRows) -> Bools:
    temperature = rows.floats("temperature")
    return (temperature >= 86) & (temperature <= 109)


def _ed_in_celsius(rows: TableRows) -> Change:
    written = _to_celsius(rows.floats("temperature"))
    return Change({"temperature": written}, _inferred_event(written, written, "Cel"))


def _zero_near_death() -> DefectKind:
    values = DefectValues.read("zero_near_death", CHART)

    def where(rows: TableRows) -> Bools:
        death, time = rows.world.patient(rows.ints("subject_id"), "death"), rows.times("charttime")
        near = is_known(death) & (time <= death) & (time > death - 2 * HOUR)
        return near & rows.has("valuenum") & values.cover(rows.ints("itemid"))

    def change(rows: TableRows) -> Change:
        return Change(_charted_cells(np.zeros(len(rows))), {"numeric_value": 0.0})

    return DefectKind("zero_near_death", CHART, where, change)


def _implausible(defect: str, table: str) -> DefectKind:
    values = DefectValues.read(defect, table)

    def change(rows: TableRows) -> Change:
        written = values.draw_for(rows, rows.ints("itemid")).written
        cells: dict[str, Cells] = {"valuenum": np.array(written).astype(np.float64), "value": written}
        return Change(cells, _rejected_number(written, defect))

    return DefectKind(defect, table, lambda rows: rows.has("valuenum") & values.cover(rows.ints("itemid")), change)


def _impossible_in_ed(table: str, column: str) -> DefectKind:
    values = DefectValues.read("impossible_value", table)

    def change(rows: TableRows) -> Change:
        written = values.draw_for(rows, [column] * len(rows)).written
        return Change({column: np.array(written).astype(np.float64)}, _rejected_number(written, "impossible_value"))

    return DefectKind("impossible_value", table, has(column), change)


def _impossible_in_omr() -> DefectKind:
    values = DefectValues.read("impossible_value", OMR)

    def change(rows: TableRows) -> Change:
        written = values.draw_for(rows, rows.texts("result_name")).written
        return Change({"result_value": written}, _rejected_number(written, "impossible_value"))

    return DefectKind("impossible_value", OMR, lambda rows: values.cover(rows.texts("result_name")), change)


def _unit_not_named() -> DefectKind:
    values = DefectValues.read("unit_not_named", OMR)

    def change(rows: TableRows) -> Change:
        drawn, raw = values.draw_for(rows, rows.texts("result_name")), rows.texts("result_value")
        number = np.array([_number(text) for text in raw]) * drawn.factor
        return Change({"result_name": drawn.written}, {"numeric_value": number, "unit": drawn.right, "raw_value": raw})

    return DefectKind("unit_not_named", OMR, lambda rows: values.cover(rows.texts("result_name")), change)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return float("nan")


def _pain_text(table: str) -> DefectKind:
    values = DefectValues.read("pain_text", VITALS)

    def change(rows: TableRows) -> Change:
        written = values.draw_for(rows).written
        return Change({"pain": written}, {"numeric_value": None, "text_value": written})

    return DefectKind("pain_text", table, has("pain"), change)
