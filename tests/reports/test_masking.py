"""Counts in a report: what is shown, and what a reader can conclude from it."""

from __future__ import annotations

import itertools
import random

import pytest

from ehrtraj.reports.masking import NOT_SHOWN, Masking, keeps_parts

MASKING = Masking()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (1, "<10"), (9, "<10"), (10, "10"), (19, "10"), (1_234_567, "1,234,560")],
)
def test_a_count_is_masked_or_rounded_down(count: int, text: str) -> None:
    assert MASKING.count(count).text == text
    assert Masking(exact=True).count(count).text == f"{count:,}"


def test_all_counts_of_a_ten_look_the_same() -> None:
    for first in range(0, 200, 10):
        assert len({MASKING.count(n) for n in range(max(first, 1), first + 10)}) == 1


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("3 of 14 rows were rejected", "<10 of 10 rows were rejected"),
        ("labevents 107,727 of 158,374,764", "labevents 107,720 of 158,374,760"),
        ("release 3.1 lacks d_items", "release 3.1 lacks d_items"),
        ("see MIT-LCP/mimic-code#918 and ICD10CM/A41.9", "see MIT-LCP/mimic-code#918 and ICD10CM/A41.9"),
        ("missing: 10000032, 10000033.", "missing: ..., ...."),
        ("/home/someone/data/chosen.csv: 12 lines", "chosen.csv: 10 lines"),
        ("in ../data/mimic and ~/mimic2: 5.", "in mimic and mimic2: <10."),
        ("hosp/labevents, line 7", "hosp/labevents, line <10"),
    ],
)
def test_counts_and_folders_in_messages_are_masked(written: str, shown: str) -> None:
    assert MASKING.text(written) == shown
    assert Masking(exact=True).text(written) == written


def test_subject_ids_in_messages_are_removed() -> None:
    assert MASKING.text("missing: Patient/ab, 77", ["77", "Patient/ab"]) == "missing: ..., ..."


def possible(total: int, parts: tuple[int, ...]) -> list[set[int]]:
    """Return the values that each masked part can have, by trying all of them."""
    tens = [range(1, 10) if p < 10 else range(p // 10 * 10, p // 10 * 10 + 10) for p in parts]
    shown = MASKING.count(total)
    fitting = [values for values in itertools.product(*tens) if MASKING.count(sum(values)) == shown]
    return [{values[n] for values in fitting} for n, part in enumerate(parts) if part < 10]


def test_a_total_is_shown_only_if_it_leaves_masked_parts_open() -> None:
    dice, outcomes = random.Random(1), set()
    cases = [tuple(dice.choice((dice.randint(1, 9), dice.randint(10, 40))) for _ in range(n)) for n in (2, 3, 4) * 60]
    for parts in [*cases, (9, 9), (1, 1), (9, 9, 9), (1, 1, 1, 1), (19, 29, 3), (19, 19, 2)]:
        fewest = min((len(values) for values in possible(sum(parts), parts)), default=9)
        outcomes.add(keeps_parts(sum(parts), parts))
        assert keeps_parts(sum(parts), parts) == (fewest >= 7), parts
    assert outcomes == {True, False}


def test_a_total_that_reveals_its_parts_is_not_shown() -> None:
    assert MASKING.total(9, [1] * 9) is NOT_SHOWN
    assert MASKING.total(90, [9] * 10) is NOT_SHOWN
    assert MASKING.total(90, [90], [9] * 10) is NOT_SHOWN
    assert MASKING.total(1_003, [1_000, 3]).text == "1,000"
    assert Masking(exact=True).total(9, [1] * 9).text == "9"
