"""Every concept has a cited definition, rows in the demo and tests; every line of the lists has a source."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehrtraj.concepts.library import ConceptLibrary, concept_library
from ehrtraj.sources.source import packaged

Compute = Callable[..., pl.DataFrame]
NAMES = list(concept_library(packaged("mimiciv")).concepts)
TESTS = {path: path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py")}


@pytest.mark.parametrize("name", NAMES)
def test_a_concept_has_rows_in_the_demo_or_a_reason_why_not(
    demo_concept: Compute, library: ConceptLibrary, name: str
) -> None:
    empty = library.concepts[name].header.empty
    assert demo_concept(name).is_empty() is bool(empty), empty


@pytest.mark.parametrize("name", NAMES)
def test_a_concept_has_tests(name: str) -> None:
    mentions = sum(text.count(f'"{name}"') for path, text in TESTS.items() if path.name != "test_mimic_code.py")
    assert mentions > 0


def test_every_line_of_the_lists_has_a_source(library: ConceptLibrary) -> None:
    assert len(library.lists) >= 5
    for name, lines in library.lists.items():
        for line in lines:
            assert len(line["source"].strip()) > 5, (name, line)


def test_sql_contains_no_items(library: ConceptLibrary) -> None:
    """Items are in the lists, with their source."""
    for concept in library.concepts.values():
        sql = re.sub(r"--[^\n]*", "", concept.sql)
        assert re.findall(r"\b(?:22\d{4}|5[01]\d{3})\b", sql) == [], concept.name


def test_no_line_of_the_lists_is_unused(library: ConceptLibrary) -> None:
    """Limits and points are used by a concept, and so is each concept of the list of texts."""
    sql = " ".join(concept.sql for concept in library.concepts.values())
    for line in library.lists["concept_points"]:
        assert f"{line['score']}_{line['component']}_points" in sql, line
    for line in library.lists["concept_limits"]:
        assert f"plausible_{line['use']}" in sql, line
    for line in library.lists["concept_texts"]:
        assert f"'{line['concept']}'" in sql, line
