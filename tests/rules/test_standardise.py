"""Standardising numbers: one unit per item, cited limits, and the source's number kept whenever it is changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ehrtraj
from ehrtraj import rules
from ehrtraj.cli import app
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.format.arrays import Texts
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.rules.listing import as_markdown
from ehrtraj.rules.measures import Measures
from ehrtraj.sources.source import find_source, packaged
from ehrtraj.synth.run import synth

MIMIC = packaged("mimiciv")

SUBJECT = {"subject_id": 10_000_001, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
MEASURES = Measures(MIMIC.rules)
STANDARDISER = Standardiser(MIMIC)


def texts(values: list[str | None]) -> Texts:
    return Texts.encode(pa.chunked_array([pa.array(values, pa.string())]))


def apply(event_type: str, rows: list[tuple[str, str | None, float]], weights: list[float] | None = None) -> list[Any]:
    """Standardise rows of item, unit and number; return number, unit, raw value, raw unit, flags and suffix."""
    items, units, numbers = zip(*rows, strict=True)
    kilograms = None if weights is None else np.array(weights)
    found = STANDARDISER.apply(event_type, texts(list(items)), texts(list(units)), np.array(numbers), kilograms)
    raw = [None] * len(rows) if found.raw_value is None else found.raw_value.take()
    flagged = [{name for name, bit in rules.flags().items() if f & bit} for f in found.flags.tolist()]
    suffixes = [found.rules.rule(n).suffix for n in found.rules.rule_of]
    columns = (
        found.numbers.tolist(),
        found.rules.texts("unit").take(),
        raw,
        found.rules.texts("written").take(),
        flagged,
        suffixes,
    )
    return list(zip(*columns, strict=True))


# ---- one rule at a time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event_type", "item", "unit", "number", "expected"),
    [
        ("CHART", "223761", "°F", 98.6, (37.0, "Cel", "98.6", "°F", {"unit_converted"}, None)),
        ("CHART", "223762", "°C", 37.1, (37.1, "Cel", None, "°C", set(), None)),
        ("CHART", "223762", "°C", 98.6, (37.0, "Cel", "98.6", "°C", {"unit_inferred"}, None)),
        ("CHART", "220045", "bpm", 80.0, (80.0, "/min", None, "bpm", set(), None)),
        ("CHART", "220045", "bpm", 0.0, (0.0, "/min", None, "bpm", {"suspicious_value"}, None)),
        ("CHART", "220045", "bpm", 999999.0, (None, "/min", "999999", "bpm", {"sentinel_value"}, None)),
        ("CHART", "220045", "bpm", -3.0, (None, "/min", "-3", "bpm", {"impossible_value"}, None)),
        ("CHART", "223835", None, 0.5, (50.0, "%", "0.5", None, {"unit_inferred", "unit_assumed"}, None)),
        ("CHART", "223835", None, 7.0, (None, "%", "7", None, {"impossible_value", "unit_assumed"}, None)),
        ("LAB", "50983", "mEq/L", 140.0, (140.0, "mmol/L", None, "mEq/L", set(), None)),
        ("LAB", "50983", "MEQ/L ", 140.0, (140.0, "mmol/L", None, "MEQ/L ", set(), None)),
        ("LAB", "50983", None, 140.0, (140.0, "mmol/L", None, None, {"unit_assumed"}, None)),
        ("LAB", "50820", "units", 7.4, (7.4, "[pH]", None, "units", set(), None)),
        ("LAB", "50820", None, 7.4, (7.4, "[pH]", None, None, {"unit_assumed"}, None)),
        ("CHART", "220739", None, 4.0, (4.0, "{score}", None, None, {"unit_assumed"}, None)),
        ("LAB", "50912", "furlong", 1.0, (1.0, "furlong", None, None, {"unit_unlisted"}, "furlong")),
        ("LAB", "51249", "%", 33.0, (33.0, "g/dL", None, "%", set(), None)),
        ("LAB", "50983", "mEq/L", math.nan, (None, "meq/L", None, "mEq/L", set(), None)),
        ("EMAR_DOSE", "DUE//Cefepime", "g", 2.0, (2000.0, "mg", "2", "g", {"unit_converted"}, "mg")),
        ("EMAR_DOSE", "DUE//Insulin", "UNIT", 4.0, (4.0, "[USP'U]", None, "UNIT", set(), "[USP'U]")),
        ("EMAR_DOSE", "DUE//Insulin", None, 4.0, (4.0, None, None, None, set(), "UNKNOWN")),
        ("EMAR_DOSE", "DUE//Insulin", None, math.nan, (None, None, None, None, set(), "UNKNOWN")),
        ("EMAR_DOSE", "DUE//Insulin", "UNIT", math.nan, (None, "[USP'U]", None, "UNIT", set(), "[USP'U]")),
        # quantities without limits that cannot be negative
        ("INPUT_END", "225158", "ml", -7250.0, (-7250.0, "mL", None, "ml", {"suspicious_value"}, None)),
        ("INPUT_END", "225158", "ml", 1276103.0, (None, "mL", "1276103", "ml", {"sentinel_value"}, None)),
        ("INPUT_START", "225158", "mL/hour", 999999.0, (None, "mL/h", "999999", "mL/hour", {"sentinel_value"}, None)),
        ("INPUT_START", "221668", "mg/hour", -1.0, (-1.0, "mg/h", None, "mg/hour", {"suspicious_value"}, None)),
        ("INPUT_END", "225975", "units", 5000.0, (5000.0, "[USP'U]", None, "units", set(), "[USP'U]")),
        ("INPUT_END", "225975", "dose", -1.0, (-1.0, "{dose}", None, "dose", {"suspicious_value"}, "{dose}")),
        ("DRUG_ORDER_START", "Aspirin", "mg", -5.0, (-5.0, "mg", None, None, {"suspicious_value"}, "mg")),
        ("OUTPUT", "226588", "ml", -100.0, (-100.0, "mL", None, "ml", {"suspicious_value"}, None)),
        ("OUTPUT", "226588", "ml", 999999.0, (None, "mL", "999999", "ml", {"sentinel_value"}, None)),
        ("OUTPUT", "226588", "ml", 55000.0, (None, "mL", "55000", "ml", {"impossible_value"}, None)),
        ("OUTPUT", "227488", "ml", -300.0, (-300.0, "mL", None, "ml", {"suspicious_value"}, None)),
        ("OUTPUT", "226560", "ml", -50.0, (None, "mL", "-50", "ml", {"impossible_value"}, None)),
        # a week in minutes is a duration, a pressure can be negative, and so can a goal of fluid removal
        ("ICU_PROCEDURE_END", "225792", "min", 9999.0, (9999.0, "min", None, None, set(), None)),
        ("CHART", "224149", "mmHg", -129.0, (-129.0, "mm[Hg]", None, "mmHg", set(), None)),
        ("CHART", "225183", "ml", -400.0, (-400.0, "mL", None, "ml", set(), None)),
        # settings of ventilation and renal replacement therapy
        ("CHART", "224687", "L/min", 608.0, (None, "L/min", "608", None, {"impossible_value"}, None)),
        ("CHART", "224687", "L/min", 41.0, (41.0, "L/min", None, None, {"suspicious_value"}, None)),
        ("CHART", "223834", "L/min", 100.0, (100.0, "L/min", None, None, {"suspicious_value"}, None)),
        ("CHART", "224688", "insp/min", 999.0, (None, "/min", "999", "insp/min", {"impossible_value"}, None)),
        ("CHART", "224422", "bpm", 61.0, (61.0, "/min", None, "bpm", {"suspicious_value"}, None)),
        ("CHART", "224144", "ml/min", 20000.0, (None, "mL/min", "20000", "ml/min", {"impossible_value"}, None)),
        ("CHART", "224154", "ml/hr", -1.0, (None, "mL/h", "-1", "ml/hr", {"impossible_value"}, None)),
        # calcium of an ingredient: 0.009 mg per gram of gluconate
        ("INGREDIENT_END", "220363", "mg", 0.009, (0.009, "mg", None, None, {"suspicious_value"}, None)),
        ("INGREDIENT_START", "220363", "gm/hr", 9e-6, (9e-6, "g/h", None, "gm/hr", {"suspicious_value"}, None)),
        ("INGREDIENT_END", "220363", "mg", 93.0, (93.0, "mg", None, None, set(), None)),
    ],
)
def test_one_number(event_type: str, item: str, unit: str | None, number: float, expected: tuple[Any, ...]) -> None:
    (got,) = apply(event_type, [(item, unit, number)])
    value, expected_value = got[0], expected[0]
    assert math.isnan(value) if expected_value is None else value == pytest.approx(expected_value)
    assert got[1:] == expected[1:]


def test_rates_per_patient_need_a_weight() -> None:
    known, missing = apply("INPUT_START", [("221749", "mcg/min", 80.0)] * 2, [80.0, math.nan])
    assert known[0] == pytest.approx(1.0)
    assert known[1:] == ("ug/kg/min", "80", "mcg/min", {"unit_converted", "weight_used"}, None)
    assert math.isnan(missing[0])
    assert missing[1:] == ("ug/min", "80", "mcg/min", {"weight_placeholder"}, None)


@pytest.mark.parametrize(
    ("item", "number", "weight", "expected"),
    [
        ("221906", 0.08, 80, (80.0, {"unit_converted", "impossible_value"})),
        ("221906", 0.08, math.nan, (0.08, {"unit_converted", "unit_inferred"})),
        ("221906", 0.002, math.nan, (0.002, {"unit_converted", "unit_inferred"})),
        ("221906", 0.002, 80, (2.0, {"unit_converted"})),
        ("229617", 0.08, math.nan, (0.08, {"unit_converted", "unit_inferred"})),
        ("229617", 0.002, math.nan, (2.0, {"unit_converted", "suspicious_value"})),
        ("229632", 1.5, math.nan, (1.5, {"unit_converted", "unit_inferred"})),
        ("229632", 3.0, 80, (3000.0, {"unit_converted", "impossible_value"})),
        ("221662", 5.0, math.nan, (5.0, {"unit_converted", "unit_inferred"})),
    ],
)
def test_a_rate_in_mg_per_kg_without_a_weight_was_meant_in_ug(
    item: str, number: float, weight: float, expected: tuple[float, set[str]]
) -> None:
    (got,) = apply("INPUT_START", [(item, "mg/kg/min", number)], [weight])
    value, flags = expected
    assert math.isnan(got[0]) if "impossible_value" in flags else got[0] == pytest.approx(value)
    assert got[4] == flags
    assert got[1:4] == ("ug/kg/min", None if number == got[0] else str(number).removesuffix(".0"), "mg/kg/min")


@pytest.mark.parametrize(("weight", "expected"), [(80, (1.0, "ug/kg/min")), (1, (None, "ug/min"))])
def test_a_weight_of_1_kg_counts_as_missing(
    build_rows: Callable[..., Any], weight: float, expected: tuple[float | None, str]
) -> None:
    infusion = {"subject_id": SUBJECT["subject_id"], "itemid": 221749, "orderid": 5, "patientweight": weight}
    infusion |= {"starttime": "2150-01-01 08:00:00", "rate": 80, "rateuom": "mcg/min"}
    events = build_rows({"hosp/patients": [SUBJECT], "icu/inputevents": [infusion]})
    (start,) = [e for e in events.of(SUBJECT["subject_id"]) if e["code"].startswith("INPUT_START")]
    assert (start["code"], start["raw_value"], start["raw_unit"]) == ("INPUT_START//221749", "80", "mcg/min")
    assert (start["numeric_value"], start["unit"]) == (pytest.approx(expected[0]), expected[1])
    assert ("weight_used" in start["flags"], "weight_placeholder" in start["flags"]) == (weight == 80, weight == 1)


# ---- properties -----------------------------------------------------------------------------------------------------

PAIRS = [
    (event_type, item, written)
    for event_type, item in sorted(MEASURES.units)
    for written in ("mg", "°F", "lb", "mmHg", "g", "x", None)
]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PAIRS), st.floats(-1e7, 1e7, allow_nan=False)), min_size=1, max_size=30))
def test_raw_value_is_set_exactly_where_the_number_changed(rows: list[tuple[Any, float]]) -> None:
    for (event_type, item, written), number in rows:
        ((value, _, raw, _, _, _),) = apply(event_type, [(item, written, number)])
        if raw is None:
            assert value == number
        else:
            assert float(raw) == number
            assert math.isnan(value) or value != number


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PAIRS), st.floats(-1e6, 1e6)), min_size=2, max_size=30), st.randoms())
def test_a_row_does_not_depend_on_its_neighbours(rows: list[tuple[Any, float]], random: Any) -> None:
    event_type = rows[0][0][0]
    same_type = [(item, written, number) for (of, item, written), number in rows if of == event_type]
    shuffled = same_type.copy()
    random.shuffle(shuffled)
    alone = {repr(row): apply(event_type, [row])[0] for row in same_type}
    for row, got in zip(shuffled, apply(event_type, shuffled), strict=True):
        assert str(got) == str(alone[repr(row)])


@pytest.mark.parametrize("line", MIMIC.rules("conversions"), ids=lambda line: f"{line['from_unit']}-{line['to_unit']}")
def test_conversions_can_be_reversed(line: dict[str, str]) -> None:
    """Converting a number and back gives the same number: no factor is zero, and float64 loses nothing."""
    factor, offset = float(line["factor"] or 1), float(line["offset"] or 0)
    for number in (0.001, 1.0, 36.6, 98.6, 4711.0):
        assert (number * factor + offset - offset) / factor == pytest.approx(number)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(PAIRS), st.floats(-1e6, 1e6))
def test_standardising_twice_changes_nothing(pair: tuple[str, str, str | None], number: float) -> None:
    event_type, item, written = pair
    ((value, unit, _, _, _, suffix),) = apply(event_type, [(item, written, number)])
    if suffix is None and unit is not None and not math.isnan(value):
        ((again, unit_again, *_),) = apply(event_type, [(item, unit, value)])
        assert (again, unit_again) == (value, unit)


# ---- in a build ------------------------------------------------------------------------------------------------------


def lab(number: int, item: int, value: str, unit: str | None) -> dict[str, Any]:
    return {
        "labevent_id": number, "subject_id": 10_000_001, "specimen_id": number, "itemid": item, "value": value,
        "valuenum": value, "valueuom": unit, "charttime": "2150-02-03 04:05:00", "storetime": "2150-02-03 05:05:00",
    }  # fmt: skip


def test_a_build_standardises_by_default(build_rows: Callable[..., Any]) -> None:
    rows = {
        "hosp/patients": [SUBJECT],
        "hosp/labevents": [lab(1, 50983, "140", "mEq/L"), lab(2, 50983, "999999", "mEq/L")],
    }
    normal, sentinel = sorted(build_rows(rows).of(10_000_001, "LAB//"), key=lambda e: e["source_key"])
    assert (normal["numeric_value"], normal["unit"], normal["raw_unit"]) == (140.0, "mmol/L", "mEq/L")
    assert (sentinel["numeric_value"], sentinel["raw_value"]) == (None, "999999")
    written, _ = sorted(build_rows(rows, standardise=False).of(10_000_001, "LAB//"), key=lambda e: e["source_key"])
    assert (written["numeric_value"], written["unit"], written["raw_unit"]) == (140.0, "mEq/L", None)


def test_custom_rules_take_precedence_and_are_recorded(build_rows: Callable[..., Any], tmp_path: Path) -> None:
    custom = tmp_path / "overlay" / "rules"
    custom.mkdir(parents=True)
    header = "event_type,item,low,high,suspicious_low,suspicious_high,figures,source\n"
    (custom / "limits.csv").write_text(header + "LAB,50983,100,120,,,100-120,our laboratory\n")
    rows = {"hosp/patients": [SUBJECT], "hosp/labevents": [lab(1, 50983, "140", "mEq/L")]}
    event = build_rows(rows, overlay=custom.parent).one(10_000_001, "LAB//50983")
    assert (event["numeric_value"], event["raw_value"]) == (None, "140")
    assert find_source(overlay=custom.parent).rules_digest() != MIMIC.rules_digest()


def test_a_custom_sentinel_needs_no_limit(build_rows: Callable[..., Any], tmp_path: Path) -> None:
    custom = tmp_path / "overlay" / "rules"
    custom.mkdir(parents=True)
    (custom / "sentinels.csv").write_text("value,source\n139,me\n1390,me\n-7.5,me\n17,me\n")
    rows = {
        "hosp/patients": [SUBJECT],
        # Within the limits, at a unit that is converted, beyond the limits, of an item without rules, in a text, and a
        # bound.
        "hosp/labevents": [
            *(lab(1, 50983, "139", "mEq/L"), lab(2, 50931, "139", "mg/dL"), lab(3, 50983, "-7.5", "mEq/L")),
            *(lab(4, 59999, "139", "furlong"), lab(5, 50983, "140", "mEq/L")),
            lab(6, 50983, "1,390", "mEq/L") | {"valuenum": None},
            lab(7, 50983, "<139", "mEq/L") | {"valuenum": None},
        ],
        # An event type whose numbers have no rules.
        "hosp/microbiologyevents": [
            {
                "microevent_id": number,
                "subject_id": 10_000_001,
                "charttime": "2150-02-03 04:05:00",
                "ab_itemid": 90004,
                "ab_name": "AMPICILLIN",
                "dilution_value": value,
            }
            for number, value in ((8, 17), (9, 16))
        ],
    }
    trajectories = build_rows(rows, overlay=custom.parent)
    events = [*trajectories.of(10_000_001, "LAB//"), *trajectories.of(10_000_001, "MICRO//")]
    found = {e["source_key"]: (e["numeric_value"], e["raw_value"], "sentinel_value" in e["flags"]) for e in events}
    assert found == {
        1: (None, "139", True), 2: (None, "139", True), 3: (None, "-7.5", True), 4: (None, "139", True),
        5: (140.0, None, False), 6: (None, "1,390", True), 7: (None, None, False),
        8: (None, "17", True), 9: (16.0, None, False),
    }  # fmt: skip
    assert not [e for e in events if {"impossible_value", "suspicious_value"} & e["flags"]]


def test_a_unit_that_a_custom_rule_names_needs_no_spelling(build_rows: Callable[..., Any], tmp_path: Path) -> None:
    custom = tmp_path / "overlay" / "rules"
    custom.mkdir(parents=True)
    (custom / "units.csv").write_text("event_type,item,unit,source\nLAB,59999,[ppth]/m3,me\n")
    header = "event_type,item,from_unit,to_unit,factor,offset,weight,source\n"
    (custom / "conversions.csv").write_text(f"{header}LAB,59999,[ppb]/m3,[ppth]/m3,0.000001,0,,me\n")
    rows = {
        "hosp/patients": [SUBJECT],
        "hosp/labevents": [
            lab(1, 59999, "2", "[ppth]/m3"),
            lab(2, 59999, "3000000", " [ppb]/m3"),
            lab(3, 59999, "4", "[PPB]/m3"),
        ],
    }
    events = build_rows(rows, overlay=custom.parent).of(10_000_001, "LAB//")
    found = {e["source_key"]: (e["numeric_value"], e["unit"], "unit_unlisted" in e["flags"]) for e in events}
    assert found[1] == (2.0, "[ppth]/m3", False)
    assert found[2] == (3.0, "[ppth]/m3", False)
    assert found[3][2], "the case of UCUM codes matters"


@pytest.mark.parametrize("columns", ["", "from_unit,weight,"])
def test_custom_rules_may_lack_the_optional_columns(tmp_path: Path, columns: str) -> None:
    (tmp_path / "rules").mkdir()
    header = f"event_type,item,low,high,factor,offset,{columns}source\n"
    line = "INPUT_START,221906,20,30,0.01,0," + ("mg/kg/min,unknown," if columns else "") + "us\n"
    (tmp_path / "rules" / "meant_units.csv").write_text(header + line)
    meant = Measures(find_source(overlay=tmp_path).rules).meant["INPUT_START", "221906"][-1]
    assert (meant.from_unit, meant.unknown_weight) == (("mg/kg/min", True) if columns else ("", False))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event_type,item\nLAB,1\n", "first line"),
        ("event_type,item,low,high,suspicious_low,suspicious_high,figures,source\nLAB,1,2\n", "line 2"),
        (
            "event_type,item,low,high,suspicious_low,suspicious_high,figures,source\nLAB,1,2,3,,,,\n",
            "line 2: source is empty",
        ),
    ],
)
def test_custom_rules_that_cannot_be_used_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "limits.csv").write_text(text)
    with pytest.raises(RecipeError, match=message):
        Measures(find_source(overlay=tmp_path).rules)


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("limit", "LAB,1,2,3,,,,me", "limit.csv is not a rule table that you can add to"),
        ("flags", "x,63,y,me", "flags.csv is not a rule table that you can add to"),
        ("limits", "LAB,1,low,3,,,,me", "limits.csv, line 2: low is 'low', but must be a number"),
        ("limits", "LAB,1,5,3,,,,me", "line 2: low is 5, but must not be greater than high"),
        ("limits", "LABS,1,2,3,,,,me", "event_type is 'LABS', but must be an event type"),
        ("conversions", "LAB,1,mg,g,,,,me", "line 2: factor and offset are required"),
        ("text_forms", "LAB,bound,<,(?P<bound>,me", "pattern is .* but must be a regular expression"),
        ("text_remarks", "LAB,remark,x,y,,no,me", "kind is 'remark', but must be status or caveat"),
        ("item_flags", "LAB,1,bad,me", "flag is 'bad', but must be a flag"),
    ],
)
def test_a_build_names_the_line_of_an_invalid_custom_rule(
    release: Path, tmp_path: Path, name: str, line: str, message: str
) -> None:
    custom = tmp_path / "overlay" / "rules"
    custom.mkdir(parents=True)
    header = "event_type,item"
    if name != "limit":
        header = ",".join(column for column in MIMIC.rules(name)[0] if column != "loinc")
    (custom / f"{name}.csv").write_text(f"{header}\n{line}\n")
    with pytest.raises(RecipeError, match=message):
        ehrtraj.build(release, tmp_path / "out", "v", overlay=custom.parent)
    assert not (tmp_path / "out").exists()


def test_an_overlay_must_exist_and_contain_recipes_or_rules(release: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        ehrtraj.build(release, tmp_path, "v", overlay=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="contains none of recipes/, rules/ and concepts/"):
        ehrtraj.build(release, tmp_path, "v", overlay=tmp_path)


@pytest.fixture(scope="session")
def two_builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Events of a clean synthetic release, standardised and as written."""
    folder = tmp_path_factory.mktemp("standardised")
    release = synth(folder / "release", patients=40, max_cpus=1).path
    datasets = [
        ehrtraj.build(release, folder, name, max_cpus=1, standardise=name == "clean") for name in ("clean", "raw")
    ]
    return tuple(pl.read_parquet(dataset.path / "data" / "**" / "*.parquet") for dataset in datasets)


def test_values_of_a_clean_release_change_only_by_conversion(
    two_builds: tuple[pl.DataFrame, pl.DataFrame],
) -> None:
    clean, raw = two_builds
    assert clean.height == raw.height
    nulled = clean.filter(pl.col("numeric_value").is_null(), pl.col("raw_value").is_not_null())
    assert nulled.is_empty(), nulled["code"].value_counts()
    allowed = sum(rules.flags()[name] for name in ("unit_converted", "unit_inferred", "number_from_text"))
    changed = clean.filter(pl.col("raw_value").is_not_null())
    assert changed.height
    assert (changed["flags"] & allowed != 0).all()


def test_every_item_ends_in_one_unit(two_builds: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    numbers = two_builds[0].filter(pl.col("numeric_value").is_not_null())
    several = numbers.group_by("code").agg(pl.col("unit").n_unique().alias("units")).filter(pl.col("units") > 1)
    assert several.is_empty()


def test_a_unit_is_part_of_all_codes_of_an_item_or_of_none(
    two_builds: tuple[pl.DataFrame, pl.DataFrame], demo_built: Path
) -> None:
    for dataset in (two_builds[0].lazy(), pl.scan_parquet(demo_built / "data" / "**" / "*.parquet")):
        pairs = dataset.select(pl.col("code").cast(pl.String), pl.col("unit").cast(pl.String)).unique().collect()
        codes = set(pairs["code"])
        item = pl.col("code").str.strip_suffix(pl.concat_str(pl.lit("//"), pl.col("unit").fill_null("UNKNOWN")))
        suffixed = pairs.filter(item != pl.col("code"), item.str.contains("//")).select(item).to_series()
        assert len(suffixed)
        assert set(suffixed) & codes == set()


def test_every_item_of_the_demo_ends_in_one_unit(demo_built: Path) -> None:
    events = pl.scan_parquet(demo_built / "data" / "**" / "*.parquet").filter(pl.col("numeric_value").is_not_null())
    several = events.group_by("code").agg(pl.col("unit").n_unique().alias("units")).filter(pl.col("units") > 1)
    assert several.collect().is_empty()


# ---- listing the rules ----------------------------------------------------------------------------------------------


def test_rules_are_listed_and_explained() -> None:
    listed = CliRunner().invoke(app, ["rules", "list"])
    assert listed.exit_code == 0
    assert "limits" in listed.output
    explained = CliRunner().invoke(app, ["rules", "explain", "50912"])
    assert explained.exit_code == 0
    assert "mg/dL" in explained.output
    assert "source:" in explained.output


def test_every_rule_table_is_listed() -> None:
    folders = (Path(rules.__file__).parent, MIMIC.folder / "rules")
    listed = {line["table"] for line in rules.read_general("about")} | {"about"}
    assert listed == {path.stem for folder in folders for path in folder.glob("*.csv")}


def test_the_documentation_of_the_rules_matches_the_files() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "rules.md"
    assert page.read_text() == as_markdown(MIMIC.rules, "mimiciv"), "run `make docs` to regenerate it"
