"""Defects of laboratory results: masked, only a text, only a remark, in another unit or none."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.kinds import Change, Event, Kind, Lines, has, truths
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.draw import Bools

LABS, OMR = "hosp/labevents", "hosp/omr"
MASK = "___"
_LIMIT = re.compile(r"([<>]=?)([0-9.]*[0-9])")
_RANGE = re.compile(r"([0-9.]+)-([0-9.]+)")

_BARE = "[pH]"
"""pH is often written without a unit: leaving it out is no defect."""


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    number = has("value", "valuenum")
    return [
        *(_of_item(defect, has("value"), change) for defect, change in _TEXTS.items()),
        Kind("comparator", OMR, _is_egfr, _egfr_limit),
        _of_item("caveat_in_comments", number, _hemolyzed),
        _of_item("caveat_denied", number, _not_hemolyzed),
        _of_any("corrected_result", number, _corrected),
        _of_any("status_in_comments", number, _status_in_comments),
        _of_any("status_in_value", number, _status_in_value),
        *_units(),
        _of_any("item_unknown", number, _item_unknown, one_per="subject_id"),
        Kind("masked_result", LABS, has("value"), _masked_result, one_per="subject_id"),
        Kind("masked_number", LABS, number, _masked_number),
    ]


Written = list[str]
Write = Callable[[Rows, Written, list[str | None]], Change]
"""What a kind makes of the rows, of the lines written, and of what is right for them."""


def _of_item(defect: str, where: Callable[[Rows], Bools], write: Write) -> Kind:
    """A kind whose lines are each for one item."""
    lines = Lines.of(defect, LABS)

    def change(rows: Rows) -> Change:
        drawn = lines.draw(rows, rows.ints("itemid"))
        return write(rows, drawn.written, drawn.right)

    return Kind(defect, LABS, lambda rows: lines.fit(rows.ints("itemid")) & where(rows), change)


def _of_any(defect: str, where: Callable[[Rows], Bools], write: Write, one_per: str | None = None) -> Kind:
    """A kind whose lines are for any item."""
    lines = Lines.of(defect, LABS)

    def change(rows: Rows) -> Change:
        drawn = lines.draw(rows)
        return write(rows, drawn.written, drawn.right)

    return Kind(defect, LABS, where, change, one_per=one_per)


def _limit(written: Written) -> Event:
    """A result beyond the assay's limit."""
    parts = {text: _LIMIT.match(text) for text in set(written)}
    return {
        "numeric_value": None,
        "operator": [found[1] if (found := parts[text]) else None for text in written],
        "bound": np.array([float(found[2]) if (found := parts[text]) else np.nan for text in written]),
    }


def _in_value(right: Callable[[Written], Event]) -> Write:
    return lambda rows, written, _: Change({"value": written, "valuenum": None}, right(written))


def _in_comments(right: Callable[[Written], Event]) -> Write:
    return lambda rows, written, _: Change({"comments": written, "value": None, "valuenum": None}, right(written))


def _range(written: Written) -> Event:
    ends = np.array([[float(end) for end in found.groups()] for text in written if (found := _RANGE.match(text))])
    return {"numeric_value": None, "text_value": written, "low": ends[:, 0], "high": ends[:, 1]}


_TEXTS: dict[str, Write] = {
    "comparator": _in_value(lambda written: _limit(written) | {"text_value": written}),
    "comparator_invalid": _in_value(lambda written: {"numeric_value": None, "text_value": written}),
    "value_range": _in_value(_range),
    "comparator_in_comments": _in_comments(_limit),
    "result_in_comments": _in_comments(
        lambda written: {
            "numeric_value": None,
            "text_value": [text.rstrip(".") for text in written],
            "flags": ("text_from_comments",),
        }
    ),
}


def _is_egfr(rows: Rows) -> Bools:
    pairs = zip(rows.texts("result_name"), rows.texts("result_value"), strict=True)
    return truths([(name or "")[:4] == "eGFR" and (value or "")[:1] != ">" for name, value in pairs])


def _egfr_limit(rows: Rows) -> Change:
    written = Lines.of("comparator", OMR).draw(rows).written
    return Change({"result_value": written}, _limit(written) | {"text_value": written})


def _hemolyzed(rows: Rows, written: Written, right: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "caveat": right})


def _not_hemolyzed(rows: Rows, written: Written, _: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "caveat": None})


def _corrected(rows: Rows, written: Written, right: list[str | None]) -> Change:
    number = rows.floats("valuenum")
    return Change({"comments": written, "value": MASK}, {"numeric_value": number, "status": right})


def _status_in_comments(_: Rows, written: Written, right: list[str | None]) -> Change:
    cells = {"comments": written, "value": None, "valuenum": None}
    return Change(cells, {"numeric_value": None, "status": right})


def _status_in_value(_: Rows, written: Written, right: list[str | None]) -> Change:
    return Change({"value": written, "valuenum": None}, {"numeric_value": None, "status": right})


def _item_unknown(rows: Rows, written: Written, _: list[str | None]) -> Change:
    items = np.array(written).astype(np.int64)
    right: Event = {"event_type": "LAB", "numeric_value": rows.floats("valuenum"), "flags": ("code_unknown",)}
    return Change({"itemid": items}, right)


def _comments(rows: Rows) -> list[str | None]:
    """A masked value always has a comment, which may be masked itself."""
    return [text or MASK for text in rows.texts("comments")]


def _masked_result(rows: Rows) -> Change:
    cells = {"value": MASK, "valuenum": None, "comments": _comments(rows)}
    return Change(cells, {"numeric_value": None, "text_value": MASK})


def _masked_number(rows: Rows) -> Change:
    return Change({"value": MASK, "comments": _comments(rows)}, {"numeric_value": rows.floats("valuenum")})


def _units() -> list[Kind]:
    unit = has("valuenum", "valueuom")
    return [
        _of_item("unit_wrong", unit, _unit_wrong),
        _of_item("unit_variant", unit, _unit_variant),
        Kind("unit_missing", LABS, _in_listed_unit, _unit_left_out(None)),
        Kind("unit_blank", LABS, _in_listed_unit, _unit_left_out(" ")),
        Kind("unit_case", LABS, _in_unit_with_letters, _unit_case),
    ]


def _unit_wrong(rows: Rows, written: Written, _: list[str | None]) -> Change:
    right = {"numeric_value": rows.floats("valuenum"), "flags": ("unit_unlisted",)}
    return Change({"valueuom": written}, right)


def _unit_variant(rows: Rows, written: Written, right: list[str | None]) -> Change:
    return Change({"valueuom": written}, {"numeric_value": rows.floats("valuenum"), "unit": right})


def _listed_units(rows: Rows, column: str) -> list[str | None]:
    units = catalog.read("defect_units.csv")
    known: dict[int, str | None] = dict(zip(units["itemid"].to_list(), units[column].to_list(), strict=True))
    return [known.get(item) for item in rows.ints("itemid").tolist()]


def _in_listed_unit(rows: Rows) -> Bools:
    same = [u is not None and u == v for u, v in zip(_listed_units(rows, "unit"), rows.texts("valueuom"), strict=True)]
    return rows.has("valuenum") & truths(same) & truths([unit != _BARE for unit in _listed_units(rows, "ucum")])


def _in_unit_with_letters(rows: Rows) -> Bools:
    return _in_listed_unit(rows) & truths([unit is not None for unit in _listed_units(rows, "in_case")])


def _unit_left_out(written: str | None) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        right = {"numeric_value": rows.floats("valuenum"), "unit": _listed_units(rows, "ucum")}
        return Change({"valueuom": written}, right | {"flags": ("unit_assumed",)})

    return change


def _unit_case(rows: Rows) -> Change:
    right = {"numeric_value": rows.floats("valuenum"), "unit": _listed_units(rows, "ucum")}
    return Change({"valueuom": _listed_units(rows, "in_case")}, right)
