"""Defects of laboratory results: masked values, results as text or in comments, other or missing units."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.kinds import Change, DefectKind, DefectValues, Event, as_bools, has
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.draw import Bools

LABS, OMR = "hosp/labevents", "hosp/omr"
MASK = "___"
_LIMIT = re.compile(r"([<>]=?)([0-9.]*[0-9])")
_RANGE = re.compile(r"([0-9.]+)-([0-9.]+)")

_UNITLESS = "[pH]"
"""pH is often written without a unit, so leaving it out is not a defect."""


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    number = has("value", "valuenum")
    return [
        *(_item_kind(defect, has("value"), change) for defect, change in _TEXTS.items()),
        DefectKind("comparator", OMR, _is_egfr, _egfr_limit),
        _item_kind("caveat_in_comments", number, _hemolyzed),
        _item_kind("caveat_denied", number, _not_hemolyzed),
        _any_item_kind("corrected_result", number, _corrected),
        _any_item_kind("status_in_comments", number, _status_in_comments),
        _any_item_kind("status_in_value", number, _status_in_value),
        *_units(),
        _any_item_kind("item_unknown", number, _item_unknown, one_per="subject_id"),
        DefectKind("masked_result", LABS, has("value"), _masked_result, one_per="subject_id"),
        DefectKind("masked_number", LABS, number, _masked_number),
    ]


Written = list[str]
Write = Callable[[TableRows, Written, list[str | None]], Change]
"""Makes the change of a kind from its rows, the texts to write, and the correct values."""


def _item_kind(defect: str, where: Callable[[TableRows], Bools], write: Write) -> DefectKind:
    """Return a kind whose values depend on the item."""
    values = DefectValues.read(defect, LABS)

    def change(rows: TableRows) -> Change:
        drawn = values.draw_for(rows, rows.ints("itemid"))
        return write(rows, drawn.written, drawn.right)

    return DefectKind(defect, LABS, lambda rows: values.cover(rows.ints("itemid")) & where(rows), change)


def _any_item_kind(
    defect: str, where: Callable[[TableRows], Bools], write: Write, one_per: str | None = None
) -> DefectKind:
    """Return a kind whose values suit any item."""
    values = DefectValues.read(defect, LABS)

    def change(rows: TableRows) -> Change:
        drawn = values.draw_for(rows)
        return write(rows, drawn.written, drawn.right)

    return DefectKind(defect, LABS, where, change, one_per=one_per)


def _limit_event(written: Written) -> Event:
    """Return the correct event for results beyond the limit of the assay."""
    parts = {text: _LIMIT.match(text) for text in set(written)}
    return {
        "numeric_value": None,
        "operator": [match[1] if (match := parts[text]) else None for text in written],
        "bound": np.array([float(match[2]) if (match := parts[text]) else np.nan for text in written]),
    }


def _value_text(right: Callable[[Written], Event]) -> Write:
    return lambda rows, written, _: Change({"value": written, "valuenum": None}, right(written))


def _comment_text(right: Callable[[Written], Event]) -> Write:
    return lambda rows, written, _: Change({"comments": written, "value": None, "valuenum": None}, right(written))


def _range_event(written: Written) -> Event:
    ends = np.array([[float(end) for end in match.groups()] for text in written if (match := _RANGE.match(text))])
    return {"numeric_value": None, "text_value": written, "low": ends[:, 0], "high": ends[:, 1]}


_TEXTS: dict[str, Write] = {
    "comparator": _value_text(lambda written: _limit_event(written) | {"text_value": written}),
    "comparator_invalid": _value_text(lambda written: {"numeric_value": None, "text_value": written}),
    "value_range": _value_text(_range_event),
    "comparator_in_comments": _comment_text(_limit_event),
    "result_in_comments": _comment_text(
        lambda written: {
            "numeric_value": None,
            "text_value": [text.rstrip(".") for text in written],
            "flags": ("text_from_comments",),
        }
    ),
}


def _is_egfr(rows: TableRows) -> Bools:
    pairs = zip(rows.texts("result_name"), rows.texts("result_value"), strict=True)
    return as_bools([(name or "")[:4] == "eGFR" and (value or "")[:1] != ">" for name, value in pairs])


def _egfr_limit(rows: TableRows) -> Change:
    written = DefectValues.read("comparator", OMR).draw_for(rows).written
    return Change({"result_value": written}, _limit_event(written) | {"text_value": written})


def _hemolyzed(rows: TableRows, written: Written, right: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "caveat": right})


def _not_hemolyzed(rows: TableRows, written: Written, _: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "caveat": None})


def _corrected(rows: TableRows, written: Written, right: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "status": right})


def _status_in_comments(_: TableRows, written: Written, right: list[str | None]) -> Change:
    cells = {"comments": written, "value": None, "valuenum": None}
    return Change(cells, {"numeric_value": None, "status": right})


def _status_in_value(_: TableRows, written: Written, right: list[str | None]) -> Change:
    return Change({"value": written, "valuenum": None}, {"numeric_value": None, "status": right})


def _item_unknown(rows: TableRows, written: Written, _: list[str | None]) -> Change:
    items = np.array(written).astype(np.int64)
    right: Event = {"event_type": "LAB", "numeric_value": rows.floats("valuenum"), "flags": ("code_unknown",)}
    return Change({"itemid": items}, right)


def _comments(rows: TableRows) -> list[str | None]:
    """Return comments for masked values, which always have one. The comment itself may be masked."""
    return [text or MASK for text in rows.texts("comments")]


def _masked_result(rows: TableRows) -> Change:
    cells = {"value": MASK, "valuenum": None, "comments": _comments(rows)}
    return Change(cells, {"numeric_value": None, "value": MASK})


def _masked_number(rows: TableRows) -> Change:
    return Change({"value": MASK, "comments": _comments(rows)}, {"numeric_value": rows.floats("valuenum")})


def _units() -> list[DefectKind]:
    unit = has("valuenum", "valueuom")
    return [
        _item_kind("unit_wrong", unit, _unit_wrong),
        _item_kind("unit_variant", unit, _unit_variant),
        DefectKind("unit_missing", LABS, _has_catalog_unit, _unit_removed(None)),
        DefectKind("unit_blank", LABS, _has_catalog_unit, _unit_removed(" ")),
        DefectKind("unit_case", LABS, _has_unit_with_letters, _unit_case),
    ]


def _unit_wrong(rows: TableRows, written: Written, _: list[str | None]) -> Change:
    right = {"numeric_value": rows.floats("valuenum"), "flags": ("unit_unlisted",)}
    return Change({"valueuom": written}, right)


def _unit_variant(rows: TableRows, written: Written, right: list[str | None]) -> Change:
    return Change({"valueuom": written}, {"numeric_value": rows.floats("valuenum"), "unit": right})


def _catalog_units(rows: TableRows, column: str) -> list[str | None]:
    units = catalog.read("defect_units.csv")
    unit_by_item: dict[int, str | None] = dict(zip(units["itemid"].to_list(), units[column].to_list(), strict=True))
    return [unit_by_item.get(item) for item in rows.ints("itemid").tolist()]


def _has_catalog_unit(rows: TableRows) -> Bools:
    same = [u is not None and u == v for u, v in zip(_catalog_units(rows, "unit"), rows.texts("valueuom"), strict=True)]
    return (
        rows.has("valuenum") & as_bools(same) & as_bools([unit != _UNITLESS for unit in _catalog_units(rows, "ucum")])
    )


def _has_unit_with_letters(rows: TableRows) -> Bools:
    return _has_catalog_unit(rows) & as_bools([unit is not None for unit in _catalog_units(rows, "in_case")])


def _unit_removed(written: str | None) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        right = {"numeric_value": rows.floats("valuenum"), "unit": _catalog_units(rows, "ucum")}
        return Change({"valueuom": written}, right | {"flags": ("unit_assumed",)})

    return change


def _unit_case(rows: TableRows) -> Change:
    right = {"numeric_value": rows.floats("valuenum"), "unit": _catalog_units(rows, "ucum")}
    return Change({"valueuom": _catalog_units(rows, "in_case")}, right)
