"""The rule table of items in public vocabularies: every line has a source, and a code that its system can have."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from ehrtraj import rules
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")
LINES = MIMIC.rules("item_parents")
# The Verhoeff scheme of SNOMED CT: multiplication in the dihedral group of order 10, and its permutation.
_DIHEDRAL = [[(i + j) % 5 + 5 * (j > 4) if i < 5 else (i - j) % 5 + 5 * (j < 5) for j in range(10)] for i in range(10)]
_PERMUTATION = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]


def loinc_is_valid(code: str) -> bool:
    """Whether the last digit is the check digit of the others (LOINC Users' Guide: modulus 10)."""
    digits, check = code.split("-")
    doubled = "".join(str(int(d) * (2 - i % 2)) for i, d in enumerate(reversed(digits)))
    return (sum(map(int, doubled)) + int(check)) % 10 == 0


def snomed_is_valid(code: str) -> bool:
    """Whether the last digit is the check digit of the others (SNOMED CT: Verhoeff)."""
    total = 0
    for place, digit in enumerate(map(int, reversed(code))):
        for _ in range(place):
            digit = _PERMUTATION[digit]
        total = _DIHEDRAL[total][digit]
    return total == 0


def test_check_digits_find_a_wrong_code() -> None:
    assert loinc_is_valid("8867-4")
    assert not loinc_is_valid("8876-4")
    assert snomed_is_valid("386423001")
    assert not snomed_is_valid("386432001")
    assert not snomed_is_valid("386423002")


def test_every_line_has_an_event_type_a_source_and_stands_once() -> None:
    assert list(LINES[0]) == rules.columns_of("item_parents")
    assert {line["event_type"] for line in LINES} <= set(MIMIC.event_types)
    assert all(line["source"].strip() and line["item"].isdecimal() for line in LINES)
    assert max(Counter((line["event_type"], line["item"], line["parent"]) for line in LINES).values()) == 1


def test_every_parent_is_a_code_of_a_public_vocabulary_with_its_check_digit() -> None:
    forms = {line["parent"]: line["form"] for line in MIMIC.rules("code_forms")}
    valid = {"LOINC": loinc_is_valid, "SNOMED": snomed_is_valid, "RxNorm": lambda code: True}
    wrong = []
    for line in LINES:
        system, _, code = line["parent"].partition("/")
        if not re.fullmatch(forms[system], code) or not valid[system](code):
            wrong.append(line)
    assert wrong == []


def test_no_line_repeats_or_contradicts_a_concept() -> None:
    concepts = {(r["event_type"], r["item"], r["concept"].split("/")[0]) for r in MIMIC.rules("concepts")}
    assert not concepts & {(r["event_type"], r["item"], r["parent"].split("/")[0]) for r in LINES}


@pytest.mark.parametrize("pair", ["INPUT", "INGREDIENT", "ICU_PROCEDURE"])
def test_the_start_and_the_end_of_an_interval_have_the_same_parents(pair: str) -> None:
    start, end = (
        {(r["item"], r["parent"]) for r in LINES if r["event_type"] == f"{pair}_{edge}"} for edge in ("START", "END")
    )
    assert start == end
    assert start


def test_every_item_is_in_the_demo_s_dictionaries_under_its_table(demo: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        for name, table in MIMIC.tables_of("dictionary").items():
            connection.register(table.name, table.schema.empty_table())
            if name in ("hosp/d_labitems", "icu/d_items"):
                connection.unregister(table.name)
                connection.read_csv(str(demo / f"{name}.csv.gz")).create(table.name)
        described = {code for code, _ in connection.execute(MIMIC.helper("codes")).fetchall()}
    assert {f"{r['event_type']}//{r['item']}" for r in LINES} <= described


def test_lines_from_the_concept_maps_are_those_of_the_maps() -> None:
    maps = Path(__file__).resolve().parents[3] / "shared" / "concept_maps"
    if not maps.is_dir():
        pytest.skip(f"the concept maps of mimic-code are not in {maps}")
    known: dict[str, set[tuple[str, str]]] = {}
    for file in maps.glob("*.csv"):
        with file.open(encoding="utf-8-sig", newline="") as handle:
            known[file.name] = {
                (row["itemid (omop_source_code)"].strip(), f"{row['omop_vocabulary_id']}/{row['omop_concept_code']}")
                for row in csv.DictReader(handle)
                if "omop_vocabulary_id" in row and "itemid (omop_source_code)" in row
            }
    cited = [line for line in LINES if line["source"].startswith("MIT-LCP/mimic-code concept map, ")]
    assert len(cited) > 1500
    for line in cited:
        assert (line["item"], line["parent"]) in known[line["source"].rpartition(", ")[2]], line
