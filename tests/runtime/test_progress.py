"""The progress of tasks of which some run twice, fail, or report late."""

from __future__ import annotations

import random

import pytest

from ehrtraj.runtime.progress import TaskTally


def test_tasks_count_by_their_size() -> None:
    tally = TaskTally({"small": 1, "large": 3})
    assert tally.share == 0
    tally.reach("large", 0.5)
    assert (tally.share, tally.done_of(1000)) == (0.375, 375)
    tally.finish("large")
    assert tally.share == 0.75
    tally.finish("small")
    assert tally.share == 1


def test_the_later_attempt_of_a_failed_task_does_not_move_the_progress_back() -> None:
    tally = TaskTally({"a": 1, "b": 1})
    tally.reach("a", 0.8)
    tally.reach("a", 0.1)
    assert tally.share == 0.4
    tally.reach("a", 0.9)
    assert tally.share == 0.45


def test_late_and_unknown_reports_are_ignored() -> None:
    tally = TaskTally({"a": 1, "b": 1})
    tally.finish("a")
    tally.finish("a")
    tally.reach("a", 0.9)
    tally.reach("other", 0.9)
    tally.finish("other")
    assert tally.share == 0.5


@pytest.mark.parametrize(("reported", "wanted"), [(-1.0, 0.0), (7.0, 1.0), (float("nan"), 0.0)])
def test_a_wrong_share_is_limited(reported: float, wanted: float) -> None:
    tally = TaskTally({"a": 1})
    tally.reach("a", reported)
    assert tally.share == wanted


def test_tasks_can_be_added_later() -> None:
    tally = TaskTally({}, total=4)
    tally.add("a", 1)
    tally.reach("a", 1.0)
    assert tally.share == 0.25
    tally.add("b", 3)
    tally.finish("b")
    assert tally.share == 1


def test_without_tasks_everything_is_done() -> None:
    assert TaskTally({}).share == 1


def test_any_order_of_reports_only_moves_forward_and_ends_at_the_end() -> None:
    dice = random.Random(5)
    sizes = {number: dice.randint(1, 9) for number in range(6)}
    for _ in range(50):
        tally, before = TaskTally(sizes), 0.0
        reports = [(task, dice.random() * 1.2, dice.random() < 0.2) for task in sizes for _ in range(9)]
        for task, share, ends in dice.sample(reports, len(reports)):
            if ends:
                tally.finish(task)
            tally.reach(task, share)
            assert before <= tally.share <= 1
            before = tally.share
        for task in sizes:
            tally.finish(task)
        assert tally.share == 1
