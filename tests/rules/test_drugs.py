"""All itemids of one drug share unit, conversions, limits and parents, whether the demo has rows of them or not."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import duckdb
import pytest

from ehrtraj.rules.measures import Measures
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

GROUPS = {
    "acd-a citrate": "227528 227529",
    "aminocaproic acid": "229058 229249",
    "amiodarone": "221347 228339 229654 230034",
    "angiotensin ii": "229709 229764",
    "bivalirudin": "225148 229781",
    "calcium gluconate": "221456 227525 228317 229640",
    "dexmedetomidine": "225150 229420",
    "epinephrine": "221289 229617",
    "fentanyl": "221744 225942 225972",
    "furosemide": "221794 228340",
    "heparin sodium": "225152 225975 229597 230044",
    "hydrochloric acid": "225167 225924",
    "insulin": "223257 223258 223259 223260 223261 223262 229299 229619",
    "magnesium sulfate": "222011 227523 227524",
    "nicardipine": "222042 229624",
    "phenylephrine": "221749 229630 229631 229632",
    "potassium chloride": "225166 227522 227536",
    "potassium phosphate": "225834 225925",
    "ranitidine": "222190 225911",
    "sodium acetate": "225926 229861",
    "sodium bicarbonate": "220995 227533",
}
"""Itemids of inputevents by ingredient: those with several."""

VOLUMES = "the volume of the bag is charted, not the drug: 228317 229640 227522 227523 227533"
DOSES = "a number of doses is charted, of unknown strength: 225975 225911"
NO_SHARED_PARENT = {"acd-a citrate", "insulin"}
"""A solution, and insulins that differ in their ingredient: they share units only."""

# Drugs that are charted during an intubation or a dialysis: item of CHART, item of an input, event type of the input.
CHARTED = [
    ("229789", "221749", "INPUT_END"),
    ("229788", "229233", "INPUT_END"),
    ("227210", "222168", "INPUT_END"),
    ("227211", "221712", "INPUT_END"),
    ("227213", "222062", "INPUT_END"),
    ("227214", "221555", "INPUT_END"),
    ("224145", "225152", "INPUT_START"),
]
SYNONYMS = {"kcl": "potassium chloride", "k phos": "potassium phosphate"}


@pytest.fixture(scope="module")
def measures() -> Measures:
    return Measures(MIMIC.rules)


@pytest.fixture(scope="module")
def parents() -> dict[tuple[str, str], str]:
    return {(line["event_type"], line["item"]): line["concept"] for line in MIMIC.rules("concepts")}


def _comparable(group: str) -> list[str]:
    exceptions = f"{VOLUMES} {DOSES}".split()
    return [item for item in GROUPS[group].split() if item not in exceptions]


def ingredient(label: str) -> str:
    """Return the drug in a label of d_items: without brackets, strengths, kinds and dots."""
    name = re.sub(r"\(.*?\)|_old_\d+|[\d.,]+ ?(mg)?(/\d+|%)?| - .*", " ", label.lower())
    name = " ".join(name.strip(" .").split())
    return SYNONYMS.get(name, name)


def test_the_groups_are_those_of_the_dictionary(demo: Path) -> None:
    with duckdb.connect() as connection:
        items = connection.read_csv(str(demo / "icu" / "d_items.csv.gz")).filter(
            "linksto = 'inputevents' AND (category IN ('Medications', 'Antibiotics') OR category LIKE 'Nutrition%' OR "
            "label LIKE 'Sodium Bicarbonate 8.4%')"
        )
        rows = items.filter("category NOT LIKE 'Nutrition%' OR unitname IN ('mEq', 'mmol', 'mg')").fetchall()
    found = defaultdict(set)
    for item, label, *_ in rows:
        found[ingredient(label)].add(str(item))
    several = {name: items for name, items in found.items() if len(items) > 1}
    assert several == {name: set(items.split()) for name, items in GROUPS.items()}


@pytest.mark.parametrize("group", GROUPS)
def test_one_drug_has_one_unit_and_the_same_limits_and_conversions(measures: Measures, group: str) -> None:
    of_items: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for _, item, source, target in measures.conversions:
        if item != "*":
            of_items[item].append((source, target))
    for event_type in ("INPUT_START", "INPUT_END"):
        items = _comparable(group)
        assert len({measures.item_unit(event_type, item) for item in items}) == 1
        assert len({measures.limits.get((event_type, item)) for item in items}) == 1
        assert len({measures.meant.get((event_type, item)) for item in items}) == 1
    assert len({tuple(sorted(of_items[item])) for item in _comparable(group)}) == 1


@pytest.mark.parametrize("group", sorted(GROUPS.keys() - NO_SHARED_PARENT))
def test_one_drug_has_one_parent(parents: dict[tuple[str, str], str], group: str) -> None:
    of_group = {parents.get((t, item)) for item in GROUPS[group].split() for t in ("INPUT_START", "INPUT_END")}
    assert len(of_group) == 1
    assert str(of_group.pop()).startswith("RxNorm/")


@pytest.mark.parametrize(("charted", "item", "event_type"), CHARTED)
def test_a_drug_in_the_chart_is_that_of_the_inputs(
    measures: Measures, parents: dict[tuple[str, str], str], charted: str, item: str, event_type: str
) -> None:
    assert measures.item_unit("CHART", charted) == measures.item_unit(event_type, item)
    assert parents["CHART", charted] == parents[event_type, item]


@pytest.mark.parametrize("item", GROUPS["phenylephrine"].split())
def test_an_impossible_rate_is_impossible_under_every_item_of_the_drug(measures: Measures, item: str) -> None:
    rule = measures.rule("INPUT_START", item, "mcg/kg/min")
    assert (rule.unit, rule.limits.high, rule.limits.suspicious_high) == ("ug/kg/min", 18.2, 10)
    assert measures.rule("INPUT_START", item, "mcg/min").conversion.weight == -1
