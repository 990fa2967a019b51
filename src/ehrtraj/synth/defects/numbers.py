"""Defects of measured numbers: sentinels, impossible values, the wrong scale."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, Event, Kind, Lines, has, known
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.defects.texts import Cells, number_texts
from ehrtraj.synth.draw import HOUR, Bools, Floats

CHART, LABS, OMR, TRIAGE, VITALS = "icu/chartevents", "hosp/labevents", "hosp/omr", "ed/triage", "ed/vitalsign"
POUND = 0.45359237


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        _scaled("fahrenheit_as_celsius", CHART, (30, 43), _to_fahrenheit, lambda f: (f - 32) / 1.8, "Cel"),
        _scaled("celsius_as_fahrenheit", CHART, (86, 109), _to_celsius, lambda c: c, "Cel"),
        *(Kind("celsius_as_fahrenheit", table, _in_fahrenheit, _ed_in_celsius) for table in (TRIAGE, VITALS)),
        _lost("zero_weight", CHART, (1, 1000), lambda rows: np.zeros(len(rows))),
        Kind("pounds_as_kilograms", CHART, _item_within("pounds_as_kilograms", CHART, (1, 1000)), _pounds),
        *(
            _scaled("fio2_fraction", table, (21, 100), lambda o2: np.round(o2 / 100, 2), lambda o2: o2 * 100, "%")
            for table in (CHART, LABS)
        ),
        *(
            _lost("fio2_entry_error", table, (21, 100), lambda rows: rows.between(2, 19).astype(np.float64))
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


def _charted(numbers: Floats) -> dict[str, Cells]:
    return {"valuenum": numbers, "value": number_texts(numbers)}


def _item_within(defect: str, table: str, within: Range) -> Callable[[Rows], Bools]:
    """The item is listed for the kind, its number within a range."""
    lines, (low, high) = Lines.of(defect, table), within

    def where(rows: Rows) -> Bools:
        number = rows.floats("valuenum")
        return lines.fit(rows.ints("itemid")) & (number >= low) & (number <= high)

    return where


def _inferred(numbers: Floats, written: Floats, unit: str) -> Event:
    """The event as it is once the right scale is inferred; a raw value where the number is another one by that."""
    raw = [text if a != b else None for text, a, b in zip(number_texts(written), numbers, written, strict=True)]
    return {"numeric_value": numbers, "unit": unit, "raw_value": raw, "flags": ("unit_inferred",)}


def _not_a_number(raw: list[str | None] | list[str], flag: str) -> Event:
    return {"numeric_value": None, "raw_value": raw, "flags": (flag,)}


Scale = Callable[[Floats], Floats]


def _scaled(defect: str, table: str, within: Range, there: Scale, back: Scale, unit: str) -> Kind:
    """The number of one scale where that of another belongs."""

    def change(rows: Rows) -> Change:
        written = there(rows.floats("valuenum"))
        return Change(_charted(written), _inferred(back(written), written, unit))

    return Kind(defect, table, _item_within(defect, table, within), change)


def _lost(defect: str, table: str, within: Range, draw: Callable[[Rows], Floats]) -> Kind:
    """A number that tells nothing of the right one."""
    items = "fio2_fraction" if defect == "fio2_entry_error" else defect

    def change(rows: Rows) -> Change:
        written = draw(rows)
        return Change(_charted(written), _not_a_number(number_texts(written), "impossible_value"))

    return Kind(defect, table, _item_within(items, table, within), change)


def _to_fahrenheit(celsius: Floats) -> Floats:
    return np.round(celsius * 1.8 + 32, 1)


def _to_celsius(fahrenheit: Floats) -> Floats:
    return np.round((fahrenheit - 32) / 1.8, 1)


def _pounds(rows: Rows) -> Change:
    """A weight in pounds under kilograms cannot be told from that of a heavy patient: it stays."""
    written = np.round(rows.floats("valuenum") / POUND, 1)
    return Change(_charted(written), {"numeric_value": written, "unit": "kg"})


def _in_fahrenheit(rows: Rows) -> Bools:
    temperature = rows.floats("temperature")
    return (temperature >= 86) & (temperature <= 109)


def _ed_in_celsius(rows: Rows) -> Change:
    written = _to_celsius(rows.floats("temperature"))
    return Change({"temperature": written}, _inferred(written, written, "Cel"))


def _zero_near_death() -> Kind:
    lines = Lines.of("zero_near_death", CHART)

    def where(rows: Rows) -> Bools:
        death, time = rows.world.patient(rows.ints("subject_id"), "death"), rows.times("charttime")
        near = known(death) & (time <= death) & (time > death - 2 * HOUR)
        return near & rows.has("valuenum") & lines.fit(rows.ints("itemid"))

    def change(rows: Rows) -> Change:
        return Change(_charted(np.zeros(len(rows))), {"numeric_value": 0.0})

    return Kind("zero_near_death", CHART, where, change)


def _implausible(defect: str, table: str) -> Kind:
    lines = Lines.of(defect, table)

    def change(rows: Rows) -> Change:
        written = lines.draw(rows, rows.ints("itemid")).written
        cells: dict[str, Cells] = {"valuenum": np.array(written).astype(np.float64), "value": written}
        return Change(cells, _not_a_number(written, defect))

    return Kind(defect, table, lambda rows: rows.has("valuenum") & lines.fit(rows.ints("itemid")), change)


def _impossible_in_ed(table: str, column: str) -> Kind:
    lines = Lines.of("impossible_value", table)

    def change(rows: Rows) -> Change:
        written = lines.draw(rows, [column] * len(rows)).written
        return Change({column: np.array(written).astype(np.float64)}, _not_a_number(written, "impossible_value"))

    return Kind("impossible_value", table, has(column), change)


def _impossible_in_omr() -> Kind:
    lines = Lines.of("impossible_value", OMR)

    def change(rows: Rows) -> Change:
        written = lines.draw(rows, rows.texts("result_name")).written
        return Change({"result_value": written}, _not_a_number(written, "impossible_value"))

    return Kind("impossible_value", OMR, lambda rows: lines.fit(rows.texts("result_name")), change)


def _unit_not_named() -> Kind:
    lines = Lines.of("unit_not_named", OMR)

    def change(rows: Rows) -> Change:
        drawn, raw = lines.draw(rows, rows.texts("result_name")), rows.texts("result_value")
        number = np.array([_number(text) for text in raw]) * drawn.factor
        return Change({"result_name": drawn.written}, {"numeric_value": number, "unit": drawn.right, "raw_value": raw})

    return Kind("unit_not_named", OMR, lambda rows: lines.fit(rows.texts("result_name")), change)


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return float("nan")


def _pain_text(table: str) -> Kind:
    lines = Lines.of("pain_text", VITALS)

    def change(rows: Rows) -> Change:
        written = lines.draw(rows).written
        return Change({"pain": written}, {"numeric_value": None, "text_value": written})

    return Kind("pain_text", table, has("pain"), change)
