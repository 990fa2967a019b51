"""The rule tables of numbers: every line names its source, every unit is UCUM, every figure is correct."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from math import inf, isfinite
from pathlib import Path

import duckdb
import pytest
from ucumvert import PintUcumRegistry, get_ucum_parser

from ehrtraj import rules
from ehrtraj.rules.figures import cited_range, problem_of_limits
from ehrtraj.rules.measures import Measures
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

Line = dict[str, str]

TABLES = {
    "spellings": ["written", "ucum", "source"],
    "units": ["event_type", "item", "unit", "source"],
    "conversions": ["event_type", "item", "loinc", "from_unit", "to_unit", "factor", "offset", "weight", "source"],
    "limits": ["event_type", "item", "loinc", "low", "high", "suspicious_low", "suspicious_high", "figures", "source"],
    "quantities": ["unit", "quantity", "low", "sentinels_from", "source"],
    "meant_units": ["event_type", "item", "low", "high", "factor", "offset", "from_unit", "weight", "source"],
    "sentinels": ["value", "source"],
    "concepts": ["event_type", "item", "concept", "source"],
}
KEYS = {
    "spellings": ("written",),
    "units": ("event_type", "item"),
    "conversions": ("event_type", "item", "from_unit", "to_unit"),
    "limits": ("event_type", "item"),
    "quantities": ("unit",),
    "meant_units": ("event_type", "item", "low"),
    "sentinels": ("value",),
    "concepts": ("event_type", "item"),
}
# Event types whose items are the numbers of d_labitems and d_items.
ICU_DRUGS = {"INPUT_START", "INPUT_END", "INGREDIENT_START", "INGREDIENT_END"}
NUMBERED = {"LAB", "CHART", "OUTPUT", "ICU_PROCEDURE_END"} | ICU_DRUGS
# Event types whose items are drugs in free text.
DRUGS = {"DRUG_ORDER_START", "EMAR_DOSE", "EMAR_INFUSION"}

# Conversions that no table of units has, because they depend on what is measured: units, factor, and event types.
BY_MEASURED_QUANTITY = {
    ("meq/L", "mmol/L"): (1, {"LAB", "CHART"}),
    ("{unit}", "[pH]"): (1, {"LAB", "CHART"}),
    ("{unit}", "[USP'U]/h"): (1, {"CHART"}),
    ("{unit}", "[USP'U]"): (1, {"INPUT_END", "INGREDIENT_END", "DRUG_ORDER_START", "EMAR_DOSE"}),
    ("{unit}/h", "[USP'U]/h"): (1, {"INPUT_START", "EMAR_DOSE", "EMAR_INFUSION"}),
    ("{unit}/min", "[USP'U]/h"): (60, {"INPUT_START"}),
    ("{unit}/kg/h", "[USP'U]/h"): (1, {"INPUT_START"}),
    ("ug/kg/min", "kcal/h"): (6e-5, {"INGREDIENT_START"}),
    ("{unit}/mL", "[arb'U]/mL"): (1, {"LAB"}),
    ("{unit}/mL", "[IU]/mL"): (1, {"LAB"}),
    ("{ratio}", "mg/mg"): (1, {"LAB"}),
    ("%", "g/dL"): (1, {"LAB"}),
    ("mL/h", "kcal/h"): (1, {"INGREDIENT_START"}),
    ("mL/h", "g/h"): (1, {"INGREDIENT_START"}),
    ("cm", "cm[H2O]"): (1, {"CHART"}),
}
# Units that the source never writes: they are in the item's name or implied.
UNWRITTEN = {"mL/min/{1.73_m2}"}
# Items with the unit in their label: the size of a number does not show its unit.
UNIT_IN_LABEL = {("CHART", "226531")}
# Items whose unit shows from the placeholder of the weight alone.
WEIGHT_DECIDES = {("INPUT_START", "221906")}

# The items of the project's table of published ranges (data_rules.md).
PUBLISHED = {
    "CHART": """220045 220050 220179 225309 220051 220180 225310 220052 220181 225312 220210 224690 223762 223761 220277
        223835 226512 224639 226531 226730 226707 220739 223901 223900 228096 228640 220765 227989 220339 224700 224684
        224685 224686 224696 225664 223830 220235 220224 220227""",
    "OUTPUT": "226557 226558 226559 226560 226561",
    "LAB": """50816 50983 52623 50824 50971 52610 50822 50902 50806 50882 50868 51006 52647 50912 52546 52024 50931
        52569 50809 50893 50808 51624 50960 50970 50862 50976 50861 50878 50863 50885 50883 50954 50910 50911
        51003 50813 50820 50818 50821 50802 50817 50814 51301 51300 51755 51756 51222 50811 51645 51221 51265
        51279 51250 51248 51249 51277 51237 51675 51274 51275 51214 51256 51244 51254 51200 51146 52075 51133
        52769 50889 51288 50924""",
    "INPUT_START": "221906 221289 221662 221653 221749 222315 221986",
}
# Items of that table without a published range: central venous pressure, NT-proBNP, HbA1c, D-dimer; and irrigant, whose
# volumes (usually 3,000 mL in the demo) are not urine.
NO_RANGE = {"CHART": "220074", "LAB": "50963 50852 51196 50915", "OUTPUT": "227488"}
RENAL_REPLACEMENT = "224144 224153 224154 224191 225183 226457 228004 228005 228006"
NO_CONCEPT = {
    ("CHART", "223679"),
    ("ED_VITAL", "pain"),
    ("ED_TRIAGE", "acuity"),
    *(("CHART", item) for item in RENAL_REPLACEMENT.split()),  # the maps do not have them
    ("INGREDIENT_START", "220363"),
    ("INGREDIENT_END", "220363"),
}  # and outputs: there is no code for urine by its route out of the body

# Numeric items of the demo without a unit, by reason.
NO_UNIT = {
    "D-dimer in FEU or not, which differ by a factor of two: the unit is part of the code": {"LAB": "50915 51196"},
    "the laboratory's own test or calibration, of unknown meaning and without a unit": {
        "LAB": """51564 51657 51658 51659 51660 51663 51733 51734 51735 51736 51737 51749 51763 51903 51904 52004 52005
            52006 52007 52008 52009 52010 52012 52018 52020"""
    },
    "share or number of cells, which the source does not specify": {"LAB": "51398 51404"},
    "dose or count of a pump, no unit written": {"CHART": "224328 224330 224332 224410 224663 224665"},
    "pressure of a gas tank, no unit written": {"CHART": "227565 227566"},
    "index of the NICOM monitor, no unit written": {"CHART": "228376 228380"},
    "doses beside mg or grams: the unit is part of the code": {
        "INPUT_END": """225798 225837 225842 225843 225845 225847 225850 225851 225853 225855 225859 225860 225865
            225866 225869 225879 225883 225884 225885 225892 225893 225899 225902 225905 225906 225907 225909 225910
            225911 225913 225975 227694 229615 229616"""
    },
}
# Written units of the demo that cannot be interpreted.
UNREADABLE = {"gram/12 gram", "iu/ 0 iu", "units\\ 0 units"}


@pytest.fixture(scope="module")
def measures() -> Measures:
    return Measures(MIMIC.rules)


@pytest.fixture(scope="module")
def ucum() -> PintUcumRegistry:
    return PintUcumRegistry()


def _key(table: str, line: Line) -> tuple[str, ...]:
    return tuple(line[column].strip().lower() for column in KEYS[table])


def _item(line: Line) -> tuple[str, str]:
    return line["event_type"], line["item"]


def _number(text: str, empty: float) -> float:
    return float(text) if text else empty


def _items(text: dict[str, str]) -> set[tuple[str, str]]:
    return {(event_type, item) for event_type, items in text.items() for item in items.split()}


def _all_units() -> set[str]:
    columns = {"spellings": ["ucum"], "units": ["unit"], "conversions": ["from_unit", "to_unit"]}
    return {line[c] for table, names in columns.items() for line in MIMIC.rules(table) for c in names} - {""}


# Every line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_every_line_is_complete_unique_and_names_its_source(table: str) -> None:
    lines = MIMIC.rules(table)
    assert lines
    for line in lines:
        assert list(line) == TABLES[table], line
        assert None not in line.values(), line
        assert line["source"].strip(), line
        assert all(value == value.strip() for value in line.values()), line
    keys = [_key(table, line) for line in lines]
    assert sorted({key for key in keys if keys.count(key) > 1}) == []


@pytest.mark.parametrize("table", [table for table, keys in KEYS.items() if "event_type" in keys])
def test_event_types_and_items_are_known(table: str) -> None:
    for line in MIMIC.rules(table):
        event_type, item = _item(line)
        assert event_type in MIMIC.event_types or (event_type == "*" and item == "*"), line
        if event_type in NUMBERED:
            assert item == "*" or item.isdigit(), line
        if event_type in DRUGS:
            assert item == "*", line
        if table in ("limits", "meant_units", "concepts"):
            assert item != "*" or (table, event_type) == ("limits", "OUTPUT"), line


def test_only_drugs_doses_and_d_dimers_have_no_item_unit() -> None:
    without = {_item(line) for line in MIMIC.rules("units") if not line["unit"]}
    assert {event_type for event_type, item in without if item == "*"} == DRUGS
    assert {item for event_type, item in without if event_type == "LAB"} == {"50915", "51196"}
    doses = {line["item"] for line in MIMIC.rules("units") if line["event_type"] == "INPUT_END" and not line["unit"]}
    assert {event_type for event_type, _ in without} == DRUGS | {"LAB", "INPUT_END"}
    assert {"225975", "225798", "225911"} <= doses


# Units -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", sorted(_all_units()))
def test_every_unit_is_ucum(unit: str) -> None:
    get_ucum_parser().parse(unit)


def test_every_item_unit_can_be_reached_from_written_units() -> None:
    spelled = {line["ucum"] for line in MIMIC.rules("spellings")} - {""}
    targets = defaultdict(set)
    for line in MIMIC.rules("conversions"):
        assert line["from_unit"] in spelled, line
        targets[line["to_unit"]].add(_item(line))
    for line in MIMIC.rules("units"):
        unit, event_type = line["unit"], line["event_type"]
        conversions = {("*", "*"), (event_type, "*"), _item(line)} & targets[unit]
        if unit and unit not in spelled and not unit.startswith("{") and not conversions:
            assert unit in UNWRITTEN or "no unit" in line["source"], line


def test_a_conversion_of_an_item_converts_into_the_items_unit() -> None:
    units = {_item(line): line["unit"] for line in MIMIC.rules("units")}
    for line in MIMIC.rules("conversions"):
        if line["item"] != "*":
            assert units[_item(line)] == line["to_unit"], line


def _converted(ucum: PintUcumRegistry, number: float, source: str, target: str) -> float:
    start, end = ucum.from_ucum(source), ucum.from_ucum(target)
    return float(ucum.Quantity(number * start.magnitude, start.units).to(end.units).magnitude / end.magnitude)


def test_conversions_agree_with_ucum_or_the_measured_quantity(ucum: PintUcumRegistry) -> None:
    for line in MIMIC.rules("conversions"):
        factor, offset = float(line["factor"]), float(line["offset"])
        source, target = line["from_unit"], line["to_unit"]
        pair = source, target
        if pair in BY_MEASURED_QUANTITY:
            assert line["event_type"] in BY_MEASURED_QUANTITY[pair][1], line
            assert (factor, offset) == (BY_MEASURED_QUANTITY[pair][0], 0), line
            continue
        if line["weight"]:  # a rate of the patient and a rate per kg: compared without the kg
            source, target = source.replace("/kg", ""), target.replace("/kg", "")
        for number in (0.0, 1.0, 37.5):
            expected = pytest.approx(_converted(ucum, number, source, target), rel=1e-12, abs=1e-12)
            assert number * factor + offset == expected, line


def test_weight_joins_a_rate_per_patient_and_a_rate_per_kg() -> None:
    for line in MIMIC.rules("conversions"):
        per_kg = ["/kg/" in line[column] for column in ("from_unit", "to_unit")]
        assert per_kg == {"": per_kg[:1] * 2, "divide": [False, True], "multiply": [True, False]}[line["weight"]], line


@pytest.mark.parametrize("written", ["ng/min", "mcg/min", "mg/min", "mcg/hour", "mg/hour", "grams/hour", "grams/min"])
def test_every_item_per_kg_takes_a_rate_of_the_patient(measures: Measures, written: str) -> None:
    per_kg = [item for item, unit in measures.units.items() if item[0] == "INPUT_START" and "/kg/" in unit]
    assert len(per_kg) > 20
    assert {measures.rule(*item, written).conversion.weight for item in per_kg} == {-1}


def test_a_weight_is_not_used_for_items_without_a_unit(measures: Measures) -> None:
    for event_type in ("INPUT_START", "EMAR_INFUSION"):
        for written in ("mcg/min", "mg/hour", "units/kg/hour", "mcg/kg/min"):
            rule = measures.rule(event_type, "999999", written)
            assert (rule.conversion.weight, bool(rule.suffix)) == (0, True)


def test_equivalents_equal_moles_only_for_monovalent_ions() -> None:
    divalent = _items(
        {"LAB": "50893 50808 51624 50960 50970 51077 51088 51095", "CHART": "225625 225667 220635 225677"}
    )
    lines = [line for line in MIMIC.rules("conversions") if line["from_unit"].startswith("meq")]
    assert not {_item(line) for line in lines} & (divalent | {("*", "*"), ("LAB", "*"), ("CHART", "*")})
    units = {_item(line): line["unit"] for line in MIMIC.rules("units")}
    assert {units[item] for item in divalent} == {"mg/dL", "mmol/L"}


@pytest.mark.parametrize(
    ("event_type", "item", "written", "number", "unit", "converted"),
    [
        ("CHART", "223761", "°F", 98.6, "Cel", 37),
        ("CHART", "223762", "°C", 37, "Cel", 37),
        ("CHART", "226707", "Inch", 70, "cm", 177.8),
        ("OMR", "Weight (Lbs)", "lb", 200, "kg", 90.718474),
        ("OMR", "Height (Inches)", "in", 60, "cm", 152.4),
        ("OMR", "Blood Pressure//SYSTOLIC", "mmHg", 120, "mm[Hg]", 120),
        ("LAB", "50983", "mEq/L", 140, "mmol/L", 140),
        ("LAB", "50971", "MEQ/L", 4, "mmol/L", 4),
        ("LAB", "50820", "units", 7.4, "[pH]", 7.4),
        ("LAB", "51249", "%", 33, "g/dL", 33),
        ("LAB", "51249", "g/dL", 33, "g/dL", 33),
        ("LAB", "51222", "g/dL", 12, "g/dL", 12),
        ("CHART", "220228", "g/dl", 12, "g/dL", 12),
        ("LAB", "51003", "ng/mL", 0.05, "ng/mL", 0.05),
        ("LAB", "50861", "IU/L", 30, "U/L", 30),
        ("LAB", "51301", "K/uL", 9, "10*3/uL", 9),
        ("LAB", "52769", "#/uL", 1500, "10*3/uL", 1.5),
        ("LAB", "51237", None, 1.1, "{INR}", 1.1),
        ("LAB", "50889", " ", 12, "mg/L", 12),
        ("OUTPUT", "226559", "ml", 300, "mL", 300),
        ("INPUT_START", "221906", "mcg/kg/min", 0.1, "ug/kg/min", 0.1),
        ("INPUT_START", "221906", "mg/kg/min", 0.0001, "ug/kg/min", 0.1),
        ("INPUT_START", "222315", "units/hour", 2.4, "[USP'U]/h", 2.4),
        ("INPUT_START", "222315", "units/min", 0.04, "[USP'U]/h", 2.4),
        ("INPUT_START", "220949", "mL/hour", 10, "mL/h", 10),
        ("INPUT_START", "221794", "mg/min", 1, "mg/h", 60),
        ("INPUT_END", "225150", "mg", 0.2, "ug", 200),
        ("INPUT_END", "225942", "mg", 0.2, "ug", 200),
        ("INPUT_END", "229249", "mg", 500, "g", 0.5),
        ("INPUT_END", "229764", "ng", 2.5e6, "mg", 2.5),
        ("CHART", "229789", "mcg", 100, "mg", 0.1),
        ("INGREDIENT_START", "226060", "mL/hour", 60, "kcal/h", 60),
        ("ICU_PROCEDURE_END", "225792", "day", 2, "min", 2880),
        ("EMAR_DOSE", "Administered//Levothyroxine Sodium", "mcg", 50, "mg", 0.05),
        ("EMAR_DOSE", "Administered//Insulin", "UNIT", 8, "[USP'U]", 8),
        ("EMAR_INFUSION", "Rate Change//Fentanyl Citrate", "mcg/hr", 50, "ug/h", 50),
        ("DRUG_ORDER_START", "MoviPrep", "L", 1, "mL", 1000),
    ],
)
def test_numbers_are_converted_into_the_items_unit(
    measures: Measures, event_type: str, item: str, written: str | None, number: float, unit: str, converted: float
) -> None:
    rule = measures.rule(event_type, item, written)
    assert (rule.unit, rule.conversion.weight) == (unit, 0)
    assert number * rule.conversion.factor + rule.conversion.offset == pytest.approx(converted)
    assert rule.suffix == (unit if event_type in DRUGS else None)


@pytest.mark.parametrize(
    ("event_type", "item", "written"),
    [
        ("LAB", "51003", "ng/L"),  # the laboratory's unit is ng/mL: the unit is wrong, not the number (mimic-iv#39)
        ("LAB", "50893", "mmol/L"),
        ("LAB", "50912", "umol/L"),
        ("LAB", "50960", "mEq/L"),
        ("INGREDIENT_START", "226060", "mmol/hour"),
    ],
)
def test_a_unit_that_cannot_be_converted_is_kept(measures: Measures, event_type: str, item: str, written: str) -> None:
    rule = measures.rule(event_type, item, written)
    assert rule.suffix
    assert not rule.conversion.changes


@pytest.mark.parametrize(
    ("event_type", "item", "written", "suffix"),
    [
        ("DRUG_ORDER_START", "Ibuprofen", "mg", "mg"),
        ("DRUG_ORDER_START", "Ibuprofen", None, "UNKNOWN"),
        ("DRUG_ORDER_START", "Ibuprofen", "handful", "handful"),
        ("INPUT_END", "225975", "dose", "{dose}"),
        ("INPUT_END", "225975", "units", "[USP'U]"),
        ("INPUT_END", "225843", "grams", "mg"),
        ("LAB", "50915", "ng/mL FEU", "ng/mL{FEU}"),
        ("LAB", "50912", "mg/dL", None),
        ("LAB", "50912", None, None),
        ("INPUT_START", "221749", "mcg/min", None),
    ],
)
def test_a_unit_is_part_of_all_codes_of_an_item_or_of_none(
    measures: Measures, event_type: str, item: str, written: str | None, suffix: str | None
) -> None:
    assert measures.rule(event_type, item, written).suffix == suffix
    without_number = measures.spelling_only(event_type, item, written).suffix
    assert without_number == ("g" if written == "grams" else suffix)
    if measures.item_unit(event_type, item):
        assert measures.without_weight(event_type, item, written).suffix is None


# Limits ------------------------------------------------------------------------------------------------------------


def _bounds(line: Line) -> tuple[float, float, float, float]:
    low, high = _number(line["low"], -inf), _number(line["high"], inf)
    return low, high, _number(line["suspicious_low"], -inf), _number(line["suspicious_high"], inf)


def test_limits_are_consistent() -> None:
    units = {_item(line): line["unit"] for line in MIMIC.rules("units")}
    for line in MIMIC.rules("limits"):
        low, high, suspicious_low, suspicious_high = _bounds(line)
        assert isfinite(low) or isfinite(high), line
        assert low < high, line
        assert suspicious_low < suspicious_high, line
        assert suspicious_low == -inf or low < suspicious_low < high, line
        assert suspicious_high == inf or low < suspicious_high < high, line
        assert line["figures"], line
        assert units.get(_item(line)) or units.get((line["event_type"], "*")), line


def test_units_of_one_dimension_are_all_quantities_that_cannot_be_negative(ucum: PintUcumRegistry) -> None:
    listed = {line["unit"] for line in MIMIC.rules("quantities")}
    no_dimension = {unit for unit in listed if unit.startswith("{") or "'U]" in unit or unit == "[IU]"}
    dimensions = {ucum.from_ucum(unit).dimensionality for unit in listed - no_dimension}
    units = {u for u in _all_units() if not u.startswith("{") and "'U]" not in u and u not in ("[IU]", "[pH]")}
    missing = {u for u in units if ucum.from_ucum(u).dimensionality in dimensions} - listed
    # Fractions, angles and the like have the dimension of g/kg, and growth rates the one of a flow over an area.
    assert missing == {"%", "%{current_rate}", "/[HPF]", "/[LPF]", "[ppm]", "deg", "mg/g", "mg/mg", "mm/h"}


def test_only_signed_quantities_have_no_default_limit(measures: Measures) -> None:
    assert "mL" in measures.quantities
    assert not {"mm[Hg]", "cm[H2O]", "Cel", "{score}", "%", "mmol/L", "mV", "{ratio}"} & set(measures.quantities)


def test_limits_are_within_the_figures_they_cite() -> None:
    for line in MIMIC.rules("limits"):
        assert problem_of_limits(line) is None, line


@pytest.mark.parametrize(
    ("figures", "found"),
    [
        ("R 0-300; C 0-350", (0, 350)),
        ("R -5-4", (-5, 4)),
        ("R -25-25; E 26-45 (14.2-47)", (-25, 47)),
        ("C 0-10000 ng/L = 0-10 ng/mL", (0, 10000)),
        ("M above 0, below 300", (0, 300)),
        ("R from 0; C 1-200", (0, inf)),
        ("M up to 30", (-inf, 30)),
        ("no published range; MIMIC-IV demo 2.2, omr: 14.6 to 4649.4", None),
        ("", None),
    ],
)
def test_cited_ranges_are_read(figures: str, found: tuple[float, float] | None) -> None:
    assert cited_range(figures) == found


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({}, None),
        ({"high": "301"}, "high is 301, outside all ranges in figures (0 to 300)"),
        ({"suspicious_low": "-1"}, "suspicious_low is -1, outside all ranges"),
        ({"high": "301", "source": "assumption of this project"}, None),
        ({"figures": ""}, "figures contains no range"),
        ({"low": "", "high": ""}, None),
    ],
)
def test_limits_beyond_their_figures_are_named(change: Line, problem: str | None) -> None:
    line = {"low": "0", "high": "300", "suspicious_low": "", "suspicious_high": "", "figures": "C 0-300", "source": "C"}
    found = problem_of_limits(line | change)
    assert found is None if problem is None else problem in str(found)


def test_every_item_of_the_published_table_has_limits() -> None:
    limited = {_item(line) for line in MIMIC.rules("limits")}
    assert _items(PUBLISHED) - limited == set()
    assert _items(NO_RANGE) & limited == set()


@pytest.mark.parametrize(
    ("event_type", "item", "bounds"),
    [
        ("CHART", "220045", (0, 350, 1, 300)),
        ("CHART", "220052", (0, 330, 14, 250)),
        ("CHART", "223761", (10, 50, 32, 42)),
        ("CHART", "223835", (20, 100, 21, inf)),  # C and E 0.21-1
        ("LAB", "50882", (0, 10000, 5, 50)),
        ("LAB", "50808", (0, 5, 0.5, 2)),  # C 0-20 mg/dL
        ("LAB", "51003", (0, inf, 0.01, 10)),  # C 0-10000 ng/L; R is open above
        ("LAB", "50912", (0, 150, 0.1, 15)),
        ("LAB", "50910", (0, inf, -inf, inf)),
        ("CHART", "226730", (76, 255, 120, 230)),
    ],
)
def test_limits_are_the_union_and_the_narrowest(event_type: str, item: str, bounds: tuple[float, ...]) -> None:
    assert [_bounds(line) for line in MIMIC.rules("limits") if _item(line) == (event_type, item)] == [bounds]


@pytest.mark.parametrize("item", ["220045", "220050", "220179", "220051", "220180", "220052", "220181", "220210"])
def test_zero_is_kept_where_it_can_mean_death(measures: Measures, item: str) -> None:
    assert measures.limits["CHART", item].low == 0


def test_numbers_of_an_inferred_unit_are_impossible_as_written(measures: Measures) -> None:
    for line in MIMIC.rules("meant_units"):
        event_type, item = _item(line)
        low, high = float(line["low"]), float(line["high"])
        assert low < high, line
        assert measures.item_unit(event_type, item), line
        limits = measures.limits.get((event_type, item))
        if limits is None:
            continue
        if line["weight"]:
            assert (line["from_unit"], line["weight"]) == ("mg/kg/min", "unknown"), line
        ends = [number * float(line["factor"]) + float(line["offset"]) for number in (low, high)]
        assert limits.low <= min(ends) <= max(ends) <= limits.high, line
        if (event_type, item) not in UNIT_IN_LABEL:
            if (event_type, item) in WEIGHT_DECIDES:
                continue
            written = line["from_unit"] or {"223761": "°F", "temperature": "°F"}.get(item)
            as_item = measures.rule(event_type, item, written).conversion
            as_written = [number * as_item.factor + as_item.offset for number in (low, high)]
            assert max(as_written) < limits.low or min(as_written) > limits.high, line


def test_sentinels_are_large_integers_and_include_the_observed_ones() -> None:
    values = [line["value"] for line in MIMIC.rules("sentinels")]
    assert all(re.fullmatch(r"[1-9]\d{3,}", value) for value in values)
    assert {"999999", "1276103", "8888888", "9999"} <= set(values)


# Concepts ----------------------------------------------------------------------------------------------------------


def _loinc_check_digit(body: str) -> int:
    """Return the check digit of a LOINC code: by Luhn's rule, every second digit from the right doubled."""
    digits = [int(digit) for digit in reversed(body)]
    total = sum(digits[1::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[0::2])
    return -total % 10


def test_concepts_are_codes() -> None:
    for line in MIMIC.rules("concepts"):
        vocabulary, code = line["concept"].split("/")
        if vocabulary == "LOINC":
            body, digit = code.split("-")
            assert _loinc_check_digit(body) == int(digit), line
        else:
            assert vocabulary in ("SNOMED", "RxNorm"), line
            assert code.isdigit(), line


@pytest.mark.parametrize("table", ["limits", "conversions"])
def test_limits_and_conversions_name_the_loinc_code_of_their_item(table: str) -> None:
    """Another source can use them through its own LOINC codes."""
    loinc = {_item(line): line["concept"] for line in MIMIC.rules("concepts") if line["concept"].startswith("LOINC/")}
    lines = MIMIC.rules(table)
    assert [line["loinc"] for line in lines] == [loinc.get(_item(line), "LOINC/")[6:] for line in lines]
    assert any(line["loinc"] for line in lines)


def test_items_with_limits_have_a_concept() -> None:
    limited = {_item(line) for line in MIMIC.rules("limits") if line["event_type"] != "OUTPUT"}
    assert limited - {_item(line) for line in MIMIC.rules("concepts")} == NO_CONCEPT


def test_items_of_one_concept_share_unit_and_limits(measures: Measures) -> None:
    sharing = defaultdict(set)
    for line in MIMIC.rules("concepts"):
        item = _item(line)
        if not line["concept"].startswith("RxNorm"):  # a drug's rate and its amount
            sharing[line["concept"]].add((measures.item_unit(*item), measures.limits.get(item)))
    assert {concept: found for concept, found in sharing.items() if len(found) > 1} == {}


# The demo ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_numbers(demo_built: Path) -> list[tuple[str, str, str | None, float, float]]:
    """Event type, item, unit as written, least and greatest number: of all numbers in the demo's dataset."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        return connection.execute(
            """
            SELECT
              split_part(code, '//', 1)                     AS event_type,
              CASE WHEN event_type = 'OMR' THEN code[6:] ELSE split_part(code, '//', 2) END AS item,
              coalesce(raw_unit, unit)                      AS written,
              min(numeric_value), max(numeric_value)
            FROM read_parquet(?)
            WHERE numeric_value IS NOT NULL
            GROUP BY ALL
            """,
            [str(demo_built / "data" / "**" / "*.parquet")],
        ).fetchall()


def test_every_numeric_item_of_the_demo_has_a_unit_or_a_reason(
    measures: Measures, demo: Path, demo_numbers: list[tuple[str, str, str | None, float, float]]
) -> None:
    with duckdb.connect() as connection:
        dictionary = connection.read_csv(str(demo / "icu" / "d_items.csv.gz"))
        kinds = {str(item): kind for item, kind in dictionary.project("itemid, param_type").fetchall()}
    without = defaultdict(list)
    for event_type, item, written, low, high in demo_numbers:
        if event_type in measures.event_types - DRUGS and not measures.item_unit(event_type, item):
            without[event_type, item].append((written, low, high))
    # Answers from lists are numbered and checkboxes are 1 or 0: they are not measurements, unless they are a score.
    answers = {key for key in without if key[0] == "CHART" and kinds[key[1]] in ("Text", "Checkbox")}
    # A procedure at a single time has the number 1 and no unit.
    tasks = {key for key, found in without.items() if key[0] == "ICU_PROCEDURE_END" and found == [(None, 1, 1)]}
    assert set(without) - answers - tasks == {key for text in NO_UNIT.values() for key in _items(text)}
    assert {event_type for event_type, *_ in demo_numbers} - measures.event_types == {"MICRO"}


def test_every_unit_written_in_the_demo_has_a_ucum_spelling(
    measures: Measures, demo_numbers: list[tuple[str, str, str | None, float, float]]
) -> None:
    ucum = _all_units()
    written = {unit for event_type, _, unit, _, _ in demo_numbers if unit and event_type in measures.event_types}
    assert {u.strip().lower() for u in written if measures.spelled(u) is None and u not in ucum} == UNREADABLE


def test_every_laboratory_item_in_the_tables_is_in_the_dictionary(demo: Path) -> None:
    with duckdb.connect() as connection:
        labs, items = (
            {str(item) for (item,) in connection.read_csv(str(demo / file)).project("itemid").fetchall()}
            for file in ("hosp/d_labitems.csv.gz", "icu/d_items.csv.gz")
        )
    for table in ("units", "conversions", "limits", "meant_units", "concepts"):
        for line in MIMIC.rules(table):
            event_type, item = _item(line)
            if event_type in NUMBERED and item != "*":
                assert item in (labs if event_type == "LAB" else items), (table, line)


def test_the_files_are_plain_csv() -> None:
    folders = (Path(rules.__file__).parent, MIMIC.folder / "rules")
    for table, columns in TABLES.items():
        files = [file for folder in folders if (file := folder / f"{table}.csv").is_file()]
        assert files, table
        for file in files:
            data = file.read_bytes()
            assert b"\r" not in data, file
            rows = list(csv.reader(data.decode("utf-8").splitlines()))
            assert {len(row) for row in rows} == {len(columns)}, file
            assert rows[0] == rules.columns_of(table), file
