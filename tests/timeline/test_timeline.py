"""The outline, series and events of a patient."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ehrtraj
from ehrtraj import timeline
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged
from ehrtraj.timeline.choices import Choice, Choices
from ehrtraj.timeline.patient import timed
from ehrtraj.timeline.stays import runs_of

MIMIC = packaged("mimiciv")
LONGEST = 10900116
EPOCH = datetime(1970, 1, 1)
TEXT, NUMBER = "PLANTED TEXT", 424242.0


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


@pytest.fixture(scope="module")
def longest(ds: ehrtraj.Dataset) -> Trajectory:
    return ds[LONGEST]


def with_events(patient: Trajectory, events: pl.DataFrame) -> Trajectory:
    return Trajectory(patient._subject, events, patient._layout)


@pytest.fixture(scope="module")
def million(longest: Trajectory) -> Trajectory:
    """A patient with a million events, all distinct, over some years."""
    repeats = 1_000_000 // len(longest) + 1
    number = pl.Series("copy", np.repeat(np.arange(repeats), len(longest)))
    apart = pl.duration(seconds=number * 1801)
    events = pl.concat([longest.events] * repeats).with_columns(
        pl.col("time", "available_time") + apart,
        pl.col("source_key", "link_id") + number * 10**9,
        (pl.col("numeric_value") + number * 0.001).cast(pl.Float32),
    )
    return with_events(longest, events.sort("time", maintain_order=True).head(1_000_000))


@pytest.fixture(scope="module")
def outline_of_million(million: Trajectory) -> dict[str, Any]:
    return timeline.outline(million)


def everything(patient: Trajectory) -> dict[str, Any]:
    """All results that a page can request."""
    found = timeline.outline(patient)
    extent = found["extent"] or {"start": 0, "end": 1}
    codes = [one["code"] for one in found["series"]]
    period = (extent["start"], extent["end"])
    return {
        "outline": found,
        "series": timeline.series(patient, codes, *period, 500),
        "items": timeline.items(patient, *period, 500),
        "events": timeline.events(patient, limit=1000),
        "texts": [timeline.text_of(patient, note["position"]) for note in found["notes"]],
    }


def _of_types(events: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    return events.filter(pl.col("code").str.splitn("//", 2).struct.field("field_0").is_in(list(names)))


def seconds(time: datetime) -> int:
    return int((time - EPOCH).total_seconds())


# ---- What is there --------------------------------------------------------------------------------------------------


def test_every_event_is_a_row_of_the_table(ds: ehrtraj.Dataset) -> None:
    for subject_id in ds:
        patient = ds[subject_id]
        pages = [timeline.events(patient, offset=offset, limit=50) for offset in range(0, len(patient) + 50, 50)]
        assert {page["total"] for page in pages} == {len(patient)}
        rows = [row for page in pages for row in page["rows"]]
        assert [row["position"] for row in rows] == list(range(len(patient)))
        assert [row["code"] for row in rows] == patient.events["code"].to_list()


def test_every_event_with_a_day_is_in_the_extent(ds: ehrtraj.Dataset) -> None:
    for subject_id in ds:
        patient = ds[subject_id]
        extent = timeline.outline(patient)["extent"]
        total = timeline.events(patient, extent["start"], extent["end"], limit=0)["total"]
        dated = patient.events.filter(pl.col("time").is_not_null(), pl.col("time_precision") != "year")
        assert total == dated.height > 0


def test_every_number_is_a_point_of_a_series(ds: ehrtraj.Dataset) -> None:
    for subject_id in ds:
        patient = ds[subject_id]
        numbers = patient.events.filter(pl.col("numeric_value").is_not_null(), pl.col("time").is_not_null())
        found = timeline.outline(patient)
        assert {one["code"]: one["n"] for one in found["series"]} == Counter(numbers["code"])
        drawn = timeline.series(patient, [one["code"] for one in found["series"]], width=10_000)
        for code, one in drawn.items():
            values = numbers.filter(code=code)["numeric_value"].to_list()
            assert np.float32([v for v in one["v"] if v is not None]).tolist() == values, code


def test_every_event_of_a_chosen_type_is_drawn(ds: ehrtraj.Dataset) -> None:
    marked = {choice.name for choice in ds.layout.choices.of("mark")}
    notes = {choice.name for choice in ds.layout.choices.of("note")}
    kinds = {choice.name for choice in ds.layout.choices.of("bar")}
    not_a_dose = ds.flags["not_a_dose"]
    for subject_id in ds:
        patient = ds[subject_id]
        found = timeline.outline(patient)
        of = partial(_of_types, patient.events)
        assert sorted(one["code"] for one in found["marks"]) == sorted(of(marked)["code"])
        assert [note["code"] for note in found["notes"]] == of(notes)["code"].to_list()
        doses = of(["EMAR", "DISPENSE"]).filter((pl.col("flags") & not_a_dose) == 0).height
        intervals = patient.intervals().filter(pl.col("interval").is_in(kinds)).height
        assert sum(len(lane["start"]) for lane in found["bars"]) == intervals + doses


def test_the_extremes_of_every_series_in_every_window_are_drawn(million: Trajectory) -> None:
    code = "LAB//50912"
    events = timed(million.events).filter(pl.col("code") == code, pl.col("numeric_value").is_not_null())
    times, values = events["seconds"].to_numpy(), events["numeric_value"].to_numpy()
    assert len(times) > 4000
    random = np.random.default_rng(5)
    for width in (40, 300):
        start, end = sorted(random.integers(times[0], times[-1], 2).tolist())
        one = timeline.series(million, [code], start, end, width)[code]
        inside = (times >= start) & (times <= end)
        drawn = [(t, v) for t, v in zip(one["t"], one["v"], strict=True) if v is not None and start <= t <= end]
        assert one["n"] == inside.sum()
        assert len(drawn) <= 4 * width
        assert one["t"] == sorted(one["t"])
        numbers = np.float32([v for _, v in drawn])
        assert (numbers.min(), numbers.max()) == (values[inside].min(), values[inside].max())
        assert (drawn[0][0], drawn[-1][0]) == (times[inside][0], times[inside][-1])


def test_numbers_are_those_of_the_source(longest: Trajectory) -> None:
    """1.1 in 32 bits is 1.10000002384 in 64 bits."""
    found = timeline.series(longest, ["LAB//50912"])["LAB//50912"]
    assert all(len(str(value)) < 6 for value in found["v"] if value is not None)


def test_the_points_next_to_a_window_are_included(longest: Trajectory) -> None:
    start = longest.admissions["start"][0]
    hours = pl.Series([start + timedelta(hours=hour) for hour in range(10)])
    model = longest.events.filter(code="LAB//50912").head(1)
    events = pl.concat([model] * 10).with_columns(time=hours)
    found = timeline.series(with_events(longest, events), ["LAB//50912"], seconds(hours[3]) + 1, seconds(hours[6]))
    one = found["LAB//50912"]
    times = [t for t, v in zip(one["t"], one["v"], strict=True) if v is not None]
    assert one["n"] == 3
    assert times == [seconds(hour) for hour in hours[3:8]]


def test_a_line_breaks_between_stays_and_outside_of_them() -> None:
    runs = runs_of([{"start": 0, "end": 100}, {"start": 90, "end": 200}, {"start": 9000, "end": None}], 9100)
    assert (runs.starts.tolist(), runs.ends.tolist()) == ([0, 9000], [200, 9100])
    times = np.array([0, 150, 200, 400, 500, 9000, 9050])
    assert runs.breaks(times).tolist() == [False, False, True, True, True, False]
    assert runs.gaps((-50, 9100)) == [[-50, 0], [200, 9000]]
    assert not runs_of([], 5).breaks(times).any()


def test_breaks_are_nulls_between_points(million: Trajectory) -> None:
    found = timeline.series(million, ["CHART//220045", "LAB//50912"])
    for one in found.values():
        assert one["v"][0] is not None
        assert one["v"][-1] is not None
        assert all(v is not None or one["v"][at - 1] is not None for at, v in enumerate(one["v"]))


def test_reference_ranges_are_those_last_recorded(longest: Trajectory) -> None:
    ranges = {one["code"]: (one["low"], one["high"]) for one in timeline.outline(longest)["series"]}
    for code, part in timed(longest.events).group_by("code"):
        recorded = [json.loads(text) for text in part.sort("position")["attributes"].drop_nulls()]
        recorded = [one for one in recorded if "ref_range_lower" in one or "ref_range_upper" in one]
        if recorded and code[0] in ranges:
            assert ranges[code[0]] == (recorded[-1].get("ref_range_lower"), recorded[-1].get("ref_range_upper"))
    assert any(low is not None for low, _ in ranges.values())


def test_the_view_is_the_stay_with_the_most_events(longest: Trajectory) -> None:
    found = timeline.outline(longest)
    counts = [
        timeline.events(longest, stay["start"], stay["end"], limit=0)["total"]
        for stay in found["stays"]
        if stay["end"] is not None
    ]
    inside = timeline.events(longest, found["view"]["start"], found["view"]["end"], limit=0)["total"]
    assert inside >= max(counts) > 0


def test_flags_of_points_are_at_their_points(longest: Trajectory) -> None:
    """A flag of all points of a series is not listed."""
    points = 0
    for code, one in timeline.series(longest, longest.events["code"].unique().to_list()).items():
        for name, places in one["flags"].items():
            flagged = longest.events.filter(pl.col("code") == code, (pl.col("flags") & longest.flags[name]) != 0)
            values = flagged["numeric_value"].drop_nulls().to_list()
            assert np.float32([one["v"][place] for place in places]).tolist() == values
            points += len(places)
    assert points > 0


def test_after_a_cut_the_view_is_the_last_stay(ds: ehrtraj.Dataset, longest: Trajectory) -> None:
    several = next(ds[one] for one in ds if ds[one].admissions.height + ds[one].ed_stays.height > 1)
    for patient in (several, longest):
        last = max(stay["end"] for stay in timeline.outline(patient)["stays"] if stay["end"] is not None)
        view = timeline.outline(patient.as_of("2200-01-01"))["view"]
        assert view["start"] < last <= view["end"]


# ---- As of ----------------------------------------------------------------------------------------------------------


def test_the_future_has_no_influence(ds: ehrtraj.Dataset) -> None:
    """Every result of a cut trajectory equals that of a patient whose later events never happened."""
    checked = 0
    for subject_id in ds:
        patient = ds[subject_id]
        times = patient.events["available_time"].drop_nulls().unique().sort()
        for time in times.gather_every(max(1, len(times) // 3)):
            known = patient.events.filter(pl.col("available_time").is_null() | (pl.col("available_time") <= time))
            cut = patient.as_of(time)
            assert everything(cut) == everything(with_events(patient, known).as_of(time))
            checked += cut.events.height < patient.events.height
    assert checked > 10


def test_planted_values_of_the_future_are_in_no_result(longest: Trajectory) -> None:
    cut = longest.events["available_time"].drop_nulls().sort()[len(longest) // 2]
    names = ["LAB//PLANT", "CHART//220045", "DIAGNOSIS//PLANT", "RADIOLOGY_NOTE//PLANT", "EMAR//Administered//PLANT"]
    model = longest.events.filter(code="LAB//50912").head(1)
    plants = pl.concat([model] * len(names)).with_columns(
        code=pl.Series(names),
        numeric_value=pl.lit(NUMBER, pl.Float32),
        text_value=pl.lit(TEXT),
        attributes=pl.lit('{"ref_range_lower": 424242, "ref_range_upper": 424242}'),
        # They happened before the cut, and became known a second after it.
        time=pl.lit(cut - timedelta(minutes=1)),
        available_time=pl.lit(cut + timedelta(seconds=1)),
    )
    events = pl.concat([longest.events, plants]).sort("time", maintain_order=True)
    patient = with_events(longest, events)
    for until, planted in ((cut, False), (cut + timedelta(seconds=1), True)):
        page = patient.as_of(until).plot().html
        for mark in (TEXT, "424242", "PLANT"):
            assert (mark in json.dumps(everything(patient.as_of(until)))) is planted
            assert (mark in page) is planted


def test_a_stay_that_is_not_over_has_no_end(longest: Trajectory) -> None:
    stay = longest.admissions.row(0, named=True)
    found = timeline.outline(longest.as_of(stay["start"] + timedelta(hours=1)))
    [first] = [one for one in found["stays"] if one["hadm_id"] == stay["hadm_id"] and one["kind"] == "admission"]
    assert (first["start"], first["end"]) == (seconds(stay["start"]), None)
    assert stay["discharge_location"] not in json.dumps(found)
    assert found["known_until"] == seconds(stay["start"]) + 3600


# ---- Many events and few --------------------------------------------------------------------------------------------


def test_a_million_events_have_a_bounded_outline(million: Trajectory, outline_of_million: dict[str, Any]) -> None:
    found = outline_of_million
    assert len(json.dumps(found)) < 1_000_000
    assert found["clustered"]
    bars = sum(sum(lane.get("count", [1] * len(lane["start"]))) for lane in found["bars"])
    kinds = {choice.name for choice in million.choices.of("bar")}
    emar = million.events.filter(
        pl.col("code").str.contains("^(EMAR|DISPENSE)(//|$)"), (pl.col("flags") & million.flags["not_a_dose"]) == 0
    )
    assert bars == million.intervals().filter(pl.col("interval").is_in(kinds)).height + emar.height
    codes = {choice.name for choice in million.choices.of("mark")}
    marks = sum(one["more"] + 1 for one in found["marks"])
    assert (
        marks == million.events.filter(pl.col("code").str.splitn("//", 2).struct.field("field_0").is_in(codes)).height
    )


def test_items_of_a_short_period_are_not_joined(million: Trajectory, outline_of_million: dict[str, Any]) -> None:
    view = outline_of_million["view"]
    middle = (view["start"] + view["end"]) // 2
    found = timeline.items(million, middle, middle + 3600)
    assert found["marks"]
    assert all(stay["hadm_id"] for stay in found["stays"])
    assert {one["more"] for one in found["marks"]} == {0}
    assert all("count" not in lane for lane in found["bars"])
    assert {middle <= one["t"] <= middle + 3600 for one in found["marks"]} == {True}


def test_a_patient_without_times_has_no_extent(longest: Trajectory) -> None:
    static = with_events(longest, longest.events.filter(pl.col("time").is_null()))
    found = everything(static)
    assert (found["outline"]["extent"], found["outline"]["view"], found["outline"]["bars"]) == (None, None, [])
    assert found["events"]["total"] == len(static) > 0
    assert "No events" not in static.plot().html.split("<script")[0]


def test_a_source_without_choices_shows_what_is_most_frequent(
    longest: Trajectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(longest._layout.__dict__, "choices", Choices())
    found = timeline.outline(longest)
    counts = [one["n"] for one in found["series"]]
    assert counts == sorted(counts, reverse=True)
    assert [one["default"] for one in found["series"]] == [True] * min(14, len(counts)) + [False] * (len(counts) - 14)
    assert {lane["group"] for lane in found["bars"]} <= {
        name.replace("_", " ").capitalize() for name in longest._layout.intervals["interval"]
    }
    assert found["bars"]


@pytest.mark.parametrize(("offset", "limit"), [(-1, 5), (0, -1), (0, 100_000)])
def test_an_invalid_page_of_the_table_is_an_error(longest: Trajectory, offset: int, limit: int) -> None:
    with pytest.raises(SettingsError):
        timeline.events(longest, offset=offset, limit=limit)


@pytest.mark.parametrize("width", [0, -5, 1_000_000])
def test_an_invalid_width_is_an_error(longest: Trajectory, width: int) -> None:
    with pytest.raises(SettingsError):
        timeline.series(longest, ["LAB//50912"], width=width)


@pytest.mark.parametrize("position", [-1, 1_000_000])
def test_an_event_that_does_not_exist_is_an_error(longest: Trajectory, position: int) -> None:
    with pytest.raises(SettingsError):
        timeline.text_of(longest, position)


def test_a_code_that_the_patient_does_not_have_is_an_empty_series(longest: Trajectory) -> None:
    found = timeline.series(longest, ["LAB//0"])["LAB//0"]
    assert (found["t"], found["v"], found["n"]) == ([], [], 0)


def test_texts_are_complete_only_when_they_are_requested(longest: Trajectory) -> None:
    long = "x" * 5000
    events = longest.events.with_columns(
        text_value=pl.when(pl.col("code").str.starts_with("RADIOLOGY_NOTE")).then(pl.lit(long)).otherwise("text_value")
    )
    patient = with_events(longest, events)
    found = timeline.outline(patient)
    assert long not in json.dumps(found) + json.dumps(timeline.events(patient, limit=1000))
    assert timeline.text_of(patient, found["notes"][0]["position"])["text"] == long


# ---- The table of choices -------------------------------------------------------------------------------------------


def test_the_choices_of_mimic_refer_to_what_exists() -> None:
    kinds = {line["interval"] for line in MIMIC.rules("intervals")}
    concepts = {(line["event_type"], line["concept"]) for line in MIMIC.concept_lists["concept_items"]}
    flags = {line["flag"] for line in csv.DictReader(_text("rules/flags.csv"))}
    for line in MIMIC.timeline:
        assert line["source"], line
        assert line["without_flag"] in flags | {""}, line
        if line["shown_as"] == "range":
            assert line["items"] in ("low", "high"), line
            continue
        assert line["group"], line
        assert line["name"] in MIMIC.event_types.keys() | kinds | {"CONCEPT"}, line
        if line["shown_as"] == "series" and line["items"] and line["name"] != "CONCEPT":
            assert (line["name"], line["items"]) in concepts, line


def _text(name: str) -> list[str]:
    return (Path(ehrtraj.__file__).parent / name).read_text(encoding="utf-8").splitlines()


def test_the_first_line_that_applies_is_used() -> None:
    lines = (
        Choice("series", "LAB", "creatinine", "", "Kidney", at_first=True),
        Choice("series", "LAB", "", "", "Laboratory", at_first=False),
        Choice("series", "CONCEPT", "sofa//sofa_24hours", "", "Scores", at_first=True),
    )
    found = Choices(lines, {("LAB", "50912"): frozenset({"creatinine"})})
    places = [found.place_of(code) for code in ("LAB//50912", "LAB//50912//mg", "LAB//1", "CHART//1")]
    assert places == [0, 0, 1, None]
    assert found.place_of("CONCEPT//sofa//sofa_24hours") == 2
    assert found.place_of("CONCEPT//sofa//renal") is None
