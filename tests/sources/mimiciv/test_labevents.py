"""Laboratory results whose text or time is not as usual."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}


def result(build_rows: Callable[..., Any], **row: object) -> dict[str, Any]:
    """The event of a single result."""
    times = {"charttime": "2150-03-03 12:00", "storetime": "2150-03-03 13:00"}
    labs = [{"labevent_id": 1, "subject_id": 5, "specimen_id": 7} | times | row]
    events = build_rows({"hosp/patients": [PATIENT], "hosp/labevents": labs})
    (event,) = events.of(5, "LAB//")
    return dict(event)


def test_a_comment_keeps_its_line_ends_and_quotes(build_rows: Callable[..., Any]) -> None:
    comment = 'eGFR is likely between 26 and 31.\nUsing the "CKD-EPI" equation,\nwhich takes no account of race.'
    event = result(build_rows, itemid=50912, value="2.1", valuenum=2.1, valueuom="mg/dL", comments=comment)
    assert event["attributes"]["comments"] == comment
    assert event["numeric_value"] == pytest.approx(2.1)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"itemid": 51516, "value": ">182", "valueuom": "#/hpf"},
            {"text_value": ">182", "flags": {"bound_only"}, "attributes": {"operator": ">", "bound": 182}},
        ),
        ({"itemid": 51487, "value": "POS", "valueuom": " "}, {"text_value": "POS", "flags": set(), "unit": None}),
        # The comment of a masked or empty value is the result.
        (
            {"itemid": 51463, "value": "___", "comments": "MOD."},
            {
                "text_value": "MOD",
                "flags": {"text_from_comments"},
                "attributes": {"comments": "MOD.", "value": "___"},
            },
        ),
        (
            {"itemid": 51463, "comments": "MOD."},
            {"text_value": "MOD", "flags": {"text_from_comments"}, "attributes": {"comments": "MOD."}},
        ),
    ],
)
def test_a_result_in_words_stays_in_words(
    build_rows: Callable[..., Any], row: dict[str, object], expected: dict[str, object]
) -> None:
    event = result(build_rows, **row)
    assert event["numeric_value"] is None
    assert {name: event[name] for name in expected} == expected


def test_a_result_stored_before_it_was_taken_is_known_when_taken(build_rows: Callable[..., Any]) -> None:
    event = result(build_rows, itemid=50931, value="100", valuenum=100, valueuom="mg/dL", storetime="2150-03-03 11:00")
    assert event["time"] == event["available_time"] == datetime(2150, 3, 3, 12)
    assert event["flags"] == {"available_before_time"}


@pytest.mark.filterwarnings("error")
def test_a_number_too_large_for_the_column_is_kept_as_it_was_written(build_rows: Callable[..., Any]) -> None:
    """Without limits of the item: with them it is an impossible value."""
    event = result(build_rows, itemid=59999, value="1e39", valuenum="1e39")
    assert (event["numeric_value"], event["flags"]) == (None, {"number_out_of_range"})
    assert float(event["raw_value"]) == 1e39
