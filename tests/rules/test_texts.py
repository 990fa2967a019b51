"""Texts in place of numbers, and remarks about results: an example of each rule, and properties of all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrtraj import rules
from ehrtraj.format.arrays import Texts
from ehrtraj.pipeline.shard import text_meaning
from ehrtraj.pipeline.shard.text_meaning import KINDS, Interpreter, Meaning
from ehrtraj.pipeline.shard.texts import TextReader
from ehrtraj.rules.measures import Measures
from ehrtraj.rules.texts import text_rules
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

READER = TextReader(text_rules(MIMIC.rules, partial(MIMIC.rules, special_first=True)), Measures(MIMIC.rules).spelled)
SUBJECT = {"subject_id": 10_000_001, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
TABLES = ("text_forms", "text_results", "text_remarks")


def texts(values: list[str | None]) -> Texts:
    return Texts.encode(pa.chunked_array([pa.array(values, pa.string())]))


def read(
    event_type: str, rows: list[tuple[float | None, str | None, str | None]], units: list[str | None] | None = None
) -> list[dict[str, Any]]:
    """Return what is read from rows of number, text and comment, without nulls."""
    numbers = np.array([np.nan if n is None else n for n, _, _ in rows])
    result = READER.read(
        event_type,
        numbers,
        texts([t for _, t, _ in rows]),
        texts([c for _, _, c in rows]),
        None if units is None else texts(units),
    )
    if result is None:
        return [{} if n is None else {"number": n} for n, _, _ in rows]
    columns: dict[str, list[Any]] = {
        "number": [None if np.isnan(n) else n for n in result.numbers.tolist()],
        "bound": [b or None for b in result.bounds.tolist()],
        "text": result.text.take(),
        "raw": result.raw.take(),
        "flags": [{n for n, bit in rules.flags().items() if f & bit} or None for f in result.flags.tolist()],
        **{name: column.to_pylist() for name, column in result.attributes().items()},
    }
    if result.units is not None:
        columns["unit"] = result.units.take()
    return [{name: column[i] for name, column in columns.items() if column[i] is not None} for i in range(len(rows))]


STATUS_AND_CAVEAT = {"status": "unable_to_report", "caveat": "clotted"}


@pytest.mark.parametrize(
    ("event_type", "row", "expected"),
    [
        ("LAB", (None, "<0.1", None), {"number": 0.1, "bound": True, "operator": "<", "text": "<0.1"}),
        ("LAB", (None, ">=1.035", None), {"number": 1.035, "bound": True, "operator": ">=", "text": ">=1.035"}),
        ("LAB", (None, "> 300 ", None), {"number": 300.0, "bound": True, "operator": ">", "text": "> 300 "}),
        ("OMR", (None, ">60", None), {"number": 60.0, "bound": True, "operator": ">", "text": ">60"}),
        ("LAB", (None, "<1>50", None), {"text": "<1>50"}),
        ("LAB", (None, "0-2", None), {"low": 0.0, "high": 2.0, "text": "0-2"}),
        ("DRUG_ORDER_START", (None, "1-2", None), {"low": 1.0, "high": 2.0, "text": "1-2"}),
        ("DRUG_ORDER_START", (None, "25,000", None), {"number": 25_000.0, "raw": "25,000"}),
        ("DRUG_ORDER_START", (None, "2,50", None), {"text": "2,50"}),
        ("LAB", (None, "NEG", None), {"text": "NEG"}),
        ("LAB", (None, "ERROR", None), {"status": "error", "value": "ERROR"}),
        ("LAB", (None, "HOLD.  DISCARD GREATER THAN 4 HOURS OLD.", None), {"status": "held"}),
        ("LAB", (None, None, "NEG."), {"text": "NEG"}),
        ("LAB", (None, None, "1+*."), {"text": "1+"}),
        ("LAB", (None, None, "NEG.  80 (THESE UNITS) = 0.08 (% BY WEIGHT)."), {"text": "NEG"}),
        ("LAB", (None, None, "<0.01.  CTROPNT > 0.10 NG/ML SUGGESTS ACUTE MI."), {"number": 0.01, "operator": "<"}),
        ("LAB", (None, None, ">1.050*."), {"number": 1.05, "bound": True, "operator": ">", "text": ">1.050"}),
        ("LAB", (None, None, "GREATER THAN 2000."), {"number": 2000.0, "operator": ">", "text": "GREATER THAN 2000"}),
        ("LAB", (None, None, "1:40."), {"text": "1:40"}),
        ("LAB", (None, None, "UNABLE TO REPORT, SPECIMEN CLOTTED."), STATUS_AND_CAVEAT),
        ("LAB", (None, None, "25,000."), {}),
        ("LAB", (None, None, "AVAILABLE AT THE ___ LAB."), {}),
        ("LAB", (None, None, "___"), {"status": "masked", "value": None}),
        ("LAB", (4.1, "___", "HEMOLYSIS FALSELY ELEVATES K.."), {"number": 4.1, "text": "___", "caveat": "hemolyzed"}),
        ("LAB", (4.1, None, "VERIFIED.  NOT HEMOLYZED."), {"number": 4.1}),
        ("LAB", (4.1, None, "HEMOLYZED.  ICTERIC SPECIMEN."), {"number": 4.1, "caveat": "hemolyzed, icteric"}),
        ("LAB", (4.1, None, "CORRECTED RESULT PREVIOUSLY REPORTED AS 9."), {"number": 4.1, "status": "corrected"}),
        (
            "LAB",
            (None, None, "NEGATIVE BY INDIRECT IMMUNOFLUORESCENCE."),
            {"text": "NEGATIVE BY INDIRECT IMMUNOFLUORESCENCE"},
        ),
        ("LAB", (None, None, "Borderline Positive - C/W Titer."), {"text": "Borderline Positive - C/W Titer"}),
        ("LAB", (None, None, "POSITIVELY CHARMING."), {"text": None}),
        (
            "LAB",
            (None, None, "DETECTED  <1.3*.  PERFORMED USING THE ___ TEST."),
            {"number": 1.3, "bound": True, "operator": "<", "text": "DETECTED  <1.3"},
        ),
        ("LAB", (None, "100", None), {"number": 100.0, "raw": "100", "text": None}),
        ("LAB", (None, "1.0E+2", None), {"number": 100.0, "raw": "1.0E+2", "text": None}),
        ("LAB", (None, "1e400", None), {"text": "1e400", "raw": None}),
        ("LAB", (None, "1:40", None), {"text": "1:40", "unit": None}),
        ("LAB", (None, "LESS THAN 10 mEq/L", None), {"number": 10.0, "operator": "<", "unit": "mEq/L"}),
        ("LAB", (None, None, "<10 mEq/L."), {"number": 10.0, "operator": "<", "unit": "mEq/L", "text": "<10 mEq/L"}),
        ("CHART", (None, "7.5mm", None), {"number": 7.5, "unit": "mm", "raw": "7.5mm", "text": None}),
        ("CHART", (None, "30 Degrees", None), {"number": 30.0, "unit": "Degrees", "raw": "30 Degrees", "text": None}),
        ("CHART", (None, "16 French", None), {"number": 16.0, "unit": "French"}),
        ("CHART", (None, "10 mg/hour", None), {"number": 10.0, "unit": "mg/hour"}),
        ("CHART", (None, "75", None), {"number": 75.0, "unit": None, "raw": "75"}),
        ("CHART", (None, "< 1 Minute", None), {"number": 1.0, "operator": "<", "unit": "Minute"}),
        ("CHART", (None, "1-3 Minutes", None), {"low": 1.0, "high": 3.0, "unit": "Minutes"}),
        ("CHART", (None, "2 Person Assist", None), {"text": "2 Person Assist", "unit": None}),
        ("CHART", (None, "3 rails up", None), {"text": "3 rails up", "unit": None}),
        ("CHART", (None, "5 bars", None), {"text": "5 bars", "unit": None}),
        ("CHART", (None, "5 N/A", None), {"text": "5 N/A", "unit": None}),
        ("CHART", (None, "8.0 French 40cc", None), {"text": "8.0 French 40cc", "unit": None}),
        ("CHART", (None, "< 10% = NOT Fluid responsive", None), {"text": "< 10% = NOT Fluid responsive", "unit": None}),
        ("CHART", (None, "---", None), {"text": None, "value": "---", "status": "not_recorded"}),
        ("CHART", (None, "-----", None), {"text": None, "value": "-----", "status": "not_recorded"}),
        ("LAB", (None, "___", "NEGATIVE."), {"text": "NEGATIVE", "value": "___"}),
        ("LAB", (None, "___", "HOLD."), {"text": None, "value": "___", "status": "held"}),
        ("LAB", (None, "___", "<1."), {"text": "<1", "number": 1.0, "operator": "<", "value": "___"}),
        ("LAB", (None, "___", "___"), {"text": None, "value": "___", "status": "masked"}),
        ("LAB", (None, "___", None), {"text": None, "value": "___", "status": "masked"}),
        ("LAB", (None, "___", "AVAILABLE AT THE ___ LAB."), {"text": None, "value": "___", "status": "masked"}),
        ("EMAR_DOSE", (None, "___", None), {"text": None, "value": "___", "status": "masked"}),
        ("LAB", (4.1, None, "NEG."), {"number": 4.1}),
        ("LAB", (4.1, None, "<0.1."), {"number": 4.1}),
        ("LAB", (4.1, None, "HOLD."), {"number": 4.1}),
    ],
)
def test_one_text(event_type: str, row: tuple[float | None, str | None, str | None], expected: dict[str, Any]) -> None:
    (got,) = read(event_type, [row])
    assert {name: got.get(name) for name in expected} == expected
    unexpected = {"number", "operator", "low", "high", "status", "caveat"} - set(expected)
    assert sorted(unexpected & set(got)) == []


FLAG_OF = {
    "bound_only": ("operator", "<3"),
    "range_only": ("low", "1-2"),
    "number_from_text": ("raw", "1,000"),
    "no_result": ("status", "ERROR"),
}


@pytest.mark.parametrize("flag", FLAG_OF)
def test_values_read_from_texts_are_flagged(flag: str) -> None:
    name, text = FLAG_OF[flag]
    (got,) = read("LAB", [(None, text, None)])
    assert got["flags"] == {flag}
    assert name in got


def test_results_and_caveats_from_comments_are_flagged() -> None:
    result, caveat = read("LAB", [(None, None, "NEG."), (1.0, None, "HEMOLYZED SPECIMEN.")])
    assert (result["flags"], caveat["flags"]) == ({"text_from_comments"}, {"remarked"})


@pytest.mark.parametrize(
    ("unit", "read_as"), [("mEq/L", True), ("MEQ/L", True), (None, True), ("mg/dL", False), ("furlong", False)]
)
def test_a_text_with_another_unit_than_its_row_is_not_read(unit: str | None, *, read_as: bool) -> None:
    (got,) = read("LAB", [(None, "<10 mEq/L", None)], [unit])
    assert ("operator" in got) is read_as
    assert got["text"] == "<10 mEq/L"
    assert got.get("unit") == ("mEq/L" if read_as else None)


def test_masked_values_and_comments_are_flagged() -> None:
    from_comment, masked = read("LAB", [(None, "___", "NEG."), (None, None, "___")])
    assert (from_comment["flags"], masked["flags"]) == ({"text_from_comments"}, {"no_result"})


def test_event_types_without_rules_are_not_read() -> None:
    assert not READER.reads("MICRO")
    assert not READER.reads("INPUT_START")


# ---- properties -----------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        "<0.1",
        "1-2",
        "25,000",
        "ERROR",
        "HEMOLYZED.",
        "NEG",
        "NEG.",
        "UNABLE TO REPORT.",
        "x",
        "",
        ".",
        "___",
        "3mm",
        "5 x",
    ]
)
ROWS = st.tuples(
    st.one_of(st.none(), st.floats(-1e6, 1e6)),
    st.one_of(st.none(), WORDS, st.text(max_size=8)),
    st.one_of(st.none(), WORDS, st.text(max_size=8)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12), st.sampled_from(["LAB", "CHART", "EMAR_DOSE"]))
def test_a_row_does_not_depend_on_its_neighbours(rows: list[Any], event_type: str) -> None:
    assert read(event_type, rows) == [read(event_type, [row])[0] for row in rows]


@settings(max_examples=80, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=12))
def test_no_value_of_the_source_is_lost(rows: list[Any]) -> None:
    """A number is unchanged; a text stays text_value, or is kept as raw_value or as an attribute."""
    for (number, text, _), got in zip(rows, read("LAB", rows), strict=True):
        if number is not None:
            assert got["number"] == number
            assert got.get("text") == text
        elif text is not None:
            assert text in (got.get("text"), got.get("raw"), got.get("value"))


# ---- the tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_line_has_a_source_and_known_event_types(table: str) -> None:
    lines = MIMIC.rules(table)
    for line in lines:
        assert line["source"].strip(), line
        assert line["event_types"].split(), line
        assert set(line["event_types"].split()) <= set(MIMIC.event_types), line
    assert len({tuple(v for k, v in line.items() if k != "source") for line in lines}) == len(lines)


@pytest.mark.parametrize("form", MIMIC.rules("text_forms"), ids=lambda f: f["form"] + f["operator"])
def test_the_pattern_of_a_form_has_the_groups_of_its_kind(form: dict[str, str]) -> None:
    groups = {"number": {"number"}, "bound": {"bound"}, "range": {"low", "high"}, "result": set()}[form["form"]]
    assert set(re.compile(form["pattern"]).groupindex) - ({"unit"} if groups else set()) == groups
    pc.match_substring_regex(pa.array(["x"]), form["pattern"])
    assert bool(form["operator"]) == (form["form"] == "bound")


@pytest.mark.parametrize("remark", MIMIC.rules("text_remarks"), ids=lambda r: r["name"])
def test_a_remark_has_valid_patterns_and_a_name(remark: dict[str, str]) -> None:
    assert remark["kind"] in ("status", "caveat")
    assert re.fullmatch("[a-z_]+", remark["name"])
    assert remark["no_result"] in ("yes", "no", "empty")
    for pattern in (remark["pattern"], remark["unless"]):
        pc.match_substring_regex(pa.array(["x"]), pattern)


def test_words_that_are_a_result_are_not_read_as_a_status() -> None:
    words = [line["text"] for line in MIMIC.rules("text_results")]
    assert words == [word.upper() for word in words]
    got = read("LAB", [(None, None, f"{word}.") for word in words])
    assert [word for word, row in zip(words, got, strict=True) if row.get("text") != word or "status" in row] == []


# ---- in a build -----------------------------------------------------------------------------------------------------


def lab(number: int, **columns: Any) -> dict[str, Any]:
    row = {"labevent_id": number, "subject_id": 10_000_001, "specimen_id": number, "itemid": 51003, "valueuom": "ng/mL"}
    return row | {"charttime": "2150-01-01 08:00:00", "storetime": "2150-01-01 09:00:00"} | columns


def test_a_bound_is_converted_and_kept_in_attributes(build_rows: Callable[..., Any]) -> None:
    rows = {
        "hosp/patients": [SUBJECT],
        "hosp/labevents": [
            lab(1, value="<0.01", comments="___"),
            lab(2, itemid=52769, value="<100", valueuom="#/uL"),
            lab(3, value="25.5", valuenum=25.5),
        ],
    }
    found = {e["source_key"]: e for e in build_rows(rows).of(10_000_001, "LAB//")}
    bound = found[1]
    assert (bound["code"], bound["numeric_value"], bound["text_value"]) == ("LAB//51003", None, "<0.01")
    assert (bound["attributes"]["operator"], bound["attributes"]["bound"]) == ("<", 0.01)
    assert bound["raw_value"] is None
    converted = found[2]
    assert (converted["unit"], converted["raw_unit"], converted["attributes"]["bound"]) == ("10*3/uL", "#/uL", 0.1)
    assert converted["flags"] == {"bound_only", "unit_converted"}
    assert found[3]["numeric_value"] == 25.5


def test_a_quantity_in_a_text_gets_the_unit_of_its_item(build_rows: Callable[..., Any]) -> None:
    charted = {"subject_id": 10_000_001, "charttime": "2150-01-01 08:00:00", "storetime": "2150-01-01 09:00:00"}
    values = {223837: "7.5mm", 224080: "30 Degrees", 229245: "75", 223994: "20 cm", 228868: "2 Person Assist"}
    values |= {226512: "154 lbs", 224639: "70 kg", 223925: "< 1 Minute", 220045: "0 bpm", 223761: "98.6 °F"}
    rows = {
        "hosp/patients": [SUBJECT],
        "icu/chartevents": [charted | {"itemid": item, "value": value} for item, value in values.items()],
    }
    columns = ("numeric_value", "text_value", "unit", "raw_value", "raw_unit", "flags")
    found = {
        e["code"]: tuple(e[c] for c in columns) for e in build_rows(rows, standardise=True).of(10_000_001, "CHART//")
    }
    from_text = "number_from_text"
    assert found == {
        "CHART//223837": (7.5, None, "mm", "7.5mm", None, {from_text}),
        "CHART//224080": (30.0, None, "deg", "30 Degrees", "Degrees", {from_text}),
        "CHART//229245": (75.0, None, "%", "75", None, {from_text, "unit_assumed"}),
        "CHART//223994": (20.0, None, "cm[H2O]", "20 cm", "cm", {from_text}),
        "CHART//228868": (None, "2 Person Assist", None, None, None, set()),
        "CHART//226512": (pytest.approx(69.853, abs=1e-3), None, "kg", "154 lbs", "lbs", {from_text, "unit_converted"}),
        "CHART//224639": (70.0, None, "kg", "70 kg", None, {from_text}),
        "CHART//223925": (None, "< 1 Minute", "min", None, "Minute", {"bound_only"}),
        "CHART//220045": (0.0, None, "/min", "0 bpm", "bpm", {from_text, "suspicious_value"}),
        "CHART//223761": (37.0, None, "Cel", "98.6 °F", "°F", {from_text, "unit_converted"}),
    }


def test_a_unit_that_the_item_lacks_is_part_of_the_code(build_rows: Callable[..., Any]) -> None:
    rows = {"hosp/patients": [SUBJECT], "hosp/labevents": [lab(1, itemid=50971, valueuom=None, value="5 mm")]}
    (event,) = build_rows(rows, standardise=True).of(10_000_001, "LAB//")
    assert (event["code"], event["numeric_value"], event["raw_value"]) == ("LAB//50971//mm", 5.0, "5 mm")
    assert event["flags"] == {"number_from_text", "unit_unlisted"}


def test_custom_text_rules_take_precedence(build_rows: Callable[..., Any], tmp_path: Any) -> None:
    custom = tmp_path / "overlay" / "rules"
    custom.mkdir(parents=True)
    (custom / "text_results.csv").write_text("event_types,text,source\nLAB,FULL OF STARS,our laboratory\n")
    (custom / "text_forms.csv").write_text(
        "event_types,form,operator,pattern,source\nLAB,bound,<,under (?P<bound>[0-9]+),me\n"
    )
    remark = "LAB,caveat,hemolyzed,PINK,,no,our laboratory"
    (custom / "text_remarks.csv").write_text(f"event_types,kind,name,pattern,unless,no_result,source\n{remark}\n")
    rows = {
        "hosp/patients": [SUBJECT],
        "hosp/labevents": [
            lab(1, comments="Full of stars."),
            lab(2, value="under 5", comments="HEMOLYZED"),
            lab(3, valuenum=1, comments="rather pink"),
        ],
    }
    first, second, third = build_rows(rows, overlay=custom.parent).of(10_000_001, "LAB//")
    assert first["text_value"] == "Full of stars"
    assert second["attributes"]["bound"] == 5
    assert (second["attributes"].get("caveat"), third["attributes"]["caveat"]) == (None, "hemolyzed")
    assert json.loads((tmp_path / "out" / "rows" / "manifest.json").read_text())["settings"]["overlay"] == str(
        custom.parent
    )


WORDS = (
    "<5",
    ">= 7.5 mg/dL",
    "12",
    "1,000 K/uL",
    "0-2",
    "1-2 /hpf",
    "NEG",
    "TR",
    "ERROR",
    "UNABLE TO REPORT",
    "",
    "seen",
    "___",
)


def shown(meaning: Meaning) -> list[tuple[object, ...]]:
    units = [*meaning.units, None]
    columns = (meaning.number, meaning.low, meaning.high, meaning.operator, meaning.status)
    return [
        (kind, units[unit], *map(str, rest))
        for kind, unit, *rest in zip(
            meaning.kind.tolist(), meaning.unit.tolist(), *(c.tolist() for c in columns), strict=True
        )
    ]


@pytest.mark.parametrize("most", [3, 1000])
@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(st.sampled_from(WORDS) | st.text("<>=0123456789.-/ KmgdLu", max_size=9)), max_size=6))
def test_remembered_texts_mean_what_they_meant(most: int, batches: list[list[str]]) -> None:
    for of_type in text_rules(MIMIC.rules, partial(MIMIC.rules, special_first=True)).values():
        spelled = Measures(MIMIC.rules).spelled
        remembering = Interpreter(of_type, spelled)
        for batch in batches:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(text_meaning, "_MOST_KNOWN", most)
                found = remembering.meaning(pa.array(batch, pa.string()))
            assert shown(found) == shown(Interpreter(of_type, spelled).examine(pa.array(batch, pa.string())))
            # A reader may change what it received.
            found.kind[:] = KINDS.index("range")
