"""Views of a trajectory: intervals, a regular grid, text; and SQL over a dataset."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean, median
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.dataset.intervals import intervals, stays
from ehrtraj.dataset.layout import numbered
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.dataset.wide import to_wide
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")
PAIRS = numbered(MIMIC.rules("intervals"))


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


def event_type(code: str) -> str:
    return code.split("//")[0]


def item(event: dict[str, Any]) -> str:
    rest = event["code"].partition("//")[2]
    return rest.removesuffix(f"//{event['unit']}") if event["unit"] else rest


def joined_by_hand(events: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    """Return kind, start, end and code of every interval, computed event by event for each pair of event types."""
    found: Counter[tuple[Any, ...]] = Counter()
    for line in MIMIC.rules("intervals"):
        open_ones = defaultdict(list)
        for event in events:
            if event_type(event["code"]) == line["start"] and not (
                line["opens_nothing"] and item(event) == line["opens_nothing"]
            ):
                open_ones[_key(event, line)].append(event)
        for event in events:
            if event_type(event["code"]) == line["end"]:
                waiting = open_ones[_key(event, line)]
                start = waiting.pop(0) if waiting else None
                found[line["interval"], start and start["time"], event["time"], start and start["code"]] += 1
        for waiting in open_ones.values():
            for start in waiting:
                found[line["interval"], start["time"], None, start["code"]] += 1
    return found


def _key(event: dict[str, Any], line: dict[str, str]) -> tuple[Any, ...]:
    same = item(event) if line["same_item"] == "yes" else None
    return event["subject_id"], event["link_id"], event["source_key"], same


def as_counted(table: pl.DataFrame) -> Counter[tuple[Any, ...]]:
    return Counter(table.select("interval", "start", "end", "start_code").rows())


def test_intervals_agree_with_a_simple_computation(ds: ehrtraj.Dataset) -> None:
    kinds = set()
    for trajectory in ds.trajectories():
        table = trajectory.intervals()
        assert as_counted(table) == joined_by_hand(trajectory.events.to_dicts())
        kinds |= set(table["interval"])
    assert kinds == set(PAIRS["interval"]), "the hand-made release contains every kind"
    of_all = intervals(ds.scan().collect(), PAIRS)
    assert as_counted(of_all) == joined_by_hand(ds.scan().collect().to_dicts()), "many patients at once"


def test_intervals_of_the_demo_lose_no_event(demo_built: Path) -> None:
    """Every start and end is in exactly one interval, and every end has a start."""
    ds = ehrtraj.open(demo_built)
    events = ds.scan().collect()
    counts = Counter(map(event_type, events["code"].to_list()))
    departures = events.filter(code="TRANSFER//DISCHARGE").height
    table = intervals(events, PAIRS)
    for line in PAIRS.iter_rows(named=True):
        rows = table.filter(line=line["line"])
        starts, ends = (rows[f"{side}_code"].drop_nulls() for side in ("start", "end"))
        expected = counts[line["start"]] - (departures if line["opens_nothing"] else 0)
        assert (len(starts), len(ends)) == (expected, counts[line["end"]]), line["interval"]
        assert rows["start"].null_count() == 0, line["interval"]
        if line["same_item"] == "yes":
            assert rows.height == expected


@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_intervals_of_any_part_of_a_trajectory(ds: ehrtraj.Dataset, data: st.DataObject) -> None:
    """Starts and ends that lose their counterpart in a cut are kept, with null on the other side."""
    trajectory = ds[data.draw(st.sampled_from(list(ds)))]
    rows = data.draw(st.lists(st.booleans(), min_size=len(trajectory), max_size=len(trajectory)))
    part = trajectory.events.filter(pl.Series(rows, dtype=pl.Boolean))
    assert as_counted(intervals(part, PAIRS)) == joined_by_hand(part.to_dicts())


def test_the_rule_table_of_intervals_is_consistent() -> None:
    """Event types are known, ends rank after starts, and each event type starts or ends only one interval."""
    lines = MIMIC.rules("intervals")
    for line in lines:
        start, end = (MIMIC.event_types[line[side]] for side in ("start", "end"))
        assert start.rank < end.rank, line
        assert line["same_item"] in ("yes", "no"), line
        assert line["interval"], line
    for side in ("start", "end"):
        assert len({line[side] for line in lines}) == len(lines), side


def test_an_infusion_has_the_values_of_its_start_and_its_end(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    row = trajectory.intervals("input").row(0, named=True)
    start = trajectory.events.filter(code=row["start_code"], source_key=row["source_key"]).row(0, named=True)
    end = trajectory.events.filter(code=row["end_code"], source_key=row["source_key"]).row(0, named=True)
    for side, event in (("start", start), ("end", end)):
        for suffix, column in (("value", "numeric_value"), ("unit", "unit"), ("available", "available_time")):
            assert row[f"{side}_{suffix}"] == event[column]
    assert (row["stay_id"], row["hadm_id"]) == (handmade.SEPSIS_STAY, handmade.SEPSIS_HADM)
    with pytest.raises(SettingsError, match=r"'infusion'.*use one of admission, icu_stay"):
        trajectory.intervals("infusion")


def test_a_stay_in_two_tables_is_one_stay(ds: ehrtraj.Dataset) -> None:
    """Lines of one kind are in order of preference: an admission's stay comes from the first line that has one."""
    preferred = {"start": "TRANSFER", "end": "TRANSFER_OUT", "interval": "ed_stay", "same_item": "no"}
    table = pl.DataFrame([preferred | {"opens_nothing": "DISCHARGE", "start_item": "unit", "end_item": ""}])
    second = PAIRS.filter(start="ED_REGISTRATION").drop("line")
    both = pl.concat([table.select(second.columns), second]).with_row_index("line")
    events = ds.scan().filter(pl.col("code").str.contains("^(ED_|TRANSFER)")).collect()
    before, after = (stays(events, table, "ed_stay") for table in (PAIRS, both))
    with_transfers = set(events.filter(pl.col("code").str.starts_with("TRANSFER_OUT"))["hadm_id"].drop_nulls())
    for row in before.drop_nulls("hadm_id").iter_rows(named=True):
        tables = set(after.filter(hadm_id=row["hadm_id"])["source_table"])
        assert tables == {"hosp/transfers" if row["hadm_id"] in with_transfers else "hosp/admissions"}
    assert with_transfers & set(before["hadm_id"]), "the case must occur"


def test_a_stay_that_ends_before_it_starts_is_shown(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    patient = ds[handmade.SEPSIS]
    start = patient.admissions["start"].item()
    is_end = pl.col("code").str.starts_with("DISCHARGE//")
    earlier = pl.when(is_end).then(start - timedelta(hours=12)).otherwise("time")
    events = patient.events.with_columns(time=earlier)
    reversed_stay = Trajectory(
        {"subject_id": 1, "split": "train", "birth_year": None, "sex": None, "death_time": None}, events, ds.layout
    )
    stay = reversed_stay.admissions.row(0, named=True)
    assert (stay["start"], stay["end"], stay["end_before_start"]) == (start, None, True)
    assert reversed_stay.intervals("admission")["end"].to_list() == [start - timedelta(hours=12)]
    for days in (False, True):
        heading = next(line for line in reversed_stay.text(days=days).splitlines() if line.startswith("Admission"))
        assert "its recorded end is before its start" in heading, heading
        assert "not discharged" not in heading and "..." not in heading, heading
    assert patient.admissions["end_before_start"].to_list() == [False]


AGGREGATES: dict[str, Any] = {
    "mean": fmean, "median": median, "min": min, "max": max, "sum": sum,
    "first": lambda v: v[0], "last": lambda v: v[-1],
}  # fmt: skip
START = datetime(2150, 3, 1, 7, 40)


@st.composite
def numbers(draw: st.DrawFn) -> pl.DataFrame:
    minutes = st.integers(0, 600)
    value = st.one_of(st.none(), st.integers(-1000, 1000).map(float))
    rows = draw(st.lists(st.tuples(minutes, st.integers(0, 90), st.sampled_from("ABC"), value), max_size=25))
    events = [
        {"time": START + timedelta(minutes=m), "available_time": START + timedelta(minutes=m + later),
         "code": f"LAB//{c}", "numeric_value": v}
        for m, later, c, v in sorted(rows, key=lambda r: r[0])
    ]  # fmt: skip
    schema = {"time": pl.Datetime("us"), "available_time": pl.Datetime("us"), "code": pl.String}
    return pl.DataFrame(events, schema=schema | {"numeric_value": pl.Float32})


@settings(deadline=None, max_examples=60)
@given(
    events=numbers(),
    hours=st.sampled_from([1, 2, 4]),
    how=st.sampled_from([*AGGREGATES, "count"]),
    clock=st.sampled_from(["time", "available_time"]),
)
def test_a_grid_agrees_with_a_simple_grouping(events: pl.DataFrame, hours: int, how: str, clock: str) -> None:
    grouped = defaultdict(list)
    for event in events.sort(clock, maintain_order=True).iter_rows(named=True):
        at = event[clock]
        begin = at.replace(minute=0) - timedelta(hours=at.hour % hours)
        if event["code"] != "LAB//C" and (how == "count" or event["numeric_value"] is not None):
            grouped[begin, event["code"]].append(event["numeric_value"])
    wide = to_wide(events, f"{hours}h", ["LAB//B", "LAB//A", "LAB//D"], how, clock)  # type: ignore[arg-type]
    assert wide.columns == ["time", "LAB//B", "LAB//A", "LAB//D"]
    bins = [begin for begin, _ in grouped]
    step = timedelta(hours=hours)
    expected_times = []
    if bins:
        expected_times = [min(bins) + i * step for i in range((max(bins) - min(bins)) // step + 1)]
    assert wide["time"].to_list() == expected_times
    for row in wide.iter_rows(named=True):
        for code in ("LAB//A", "LAB//B", "LAB//D"):
            values = grouped.get((row["time"], code))
            aggregate = len if how == "count" else AGGREGATES[how]
            assert row[code] == (None if values is None else pytest.approx(aggregate(values))), (row["time"], code)


def test_each_code_can_have_a_different_aggregation() -> None:
    events = pl.DataFrame(
        {
            "time": [START, START + timedelta(minutes=5), START, START + timedelta(minutes=5), START],
            "code": ["OUTPUT//1", "OUTPUT//1", "LAB//1", "LAB//1", "CHART//1"],
            "numeric_value": pl.Series([10.0, 20.0, 10.0, 20.0, 7.0], dtype=pl.Float32),
        },
        schema_overrides={"time": pl.Datetime("us")},
    )
    wide = to_wide(events, "1h", "*", {"OUTPUT//*": "sum", "LAB//*": "last"}, "time")
    assert wide.row(0) == (datetime(2150, 3, 1, 7), 7.0, 20.0, 30.0)
    assert wide.columns == ["time", "CHART//1", "LAB//1", "OUTPUT//1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aggregate": "mode"}, "'mode'.*mean, median"),
        ({"aggregate": {"LAB//*": "mode"}}, "'mode'"),
        ({"clock": "storetime"}, "'time' or 'available_time'"),
        ({"freq": "an hour"}, "'an hour'.*such as 1h"),
        ({"freq": "0h"}, "'0h'.*such as 1h"),
        ({"freq": "-1h"}, "'-1h'.*such as 1h"),
        ({"freq": "1us"}, "rows: choose a longer duration"),
    ],
    ids=str,
)
def test_invalid_options_of_a_grid_are_refused(
    ds: ehrtraj.Dataset, handmade: ModuleType, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        ds[handmade.SEPSIS].to_wide(**options)


def test_the_text_has_a_line_for_each_event_under_its_admission(ds: ehrtraj.Dataset) -> None:
    for trajectory in ds.trajectories():
        sections = re.split(r"\n\n", trajectory.text())
        lines_by_code: Counter[tuple[str, str]] = Counter()
        for section in sections[1:]:
            heading, *lines = section.strip("\n").split("\n")
            number = re.match(r"Admission (\d+)", heading)
            lines_by_code.update((number[1] if number else "", line.rsplit(" [", 1)[1][:-1]) for line in lines)
        timed = trajectory.events.filter(pl.col("time").is_not_null())
        assert Counter(code for _, code in lines_by_code.elements()) == Counter(timed["code"])
        for hadm_id, code in timed.select("hadm_id", "code").unique().iter_rows():
            if hadm_id is not None:
                assert lines_by_code[str(hadm_id), code], (hadm_id, code)


def test_the_text_contains_values_units_and_attributes(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    text = trajectory.text(attributes=True)
    assert text.startswith(f"Patient {handmade.SEPSIS}, female, born 2086: {len(trajectory)} events\n  always  Sex")
    heading = f"Admission {handmade.SEPSIS_HADM}, EW EMER., 2153-04-11 23:58 to 2153-04-18 13:45, to HOME HEALTH CARE"
    assert f"\n\n{heading}, age 67\n" in text
    creatinine = next(line for line in text.splitlines() if line.endswith("[LAB//50912]"))
    for words in ("2153-04-11 21:20  ", ": 1.9 mg/dL", "ref_range_upper 1.1", 'the "CKD-EPI" equation, which'):
        assert words in creatinine
    assert "  2086  Birth" in text, "only the year is known"


def test_the_text_in_days_contains_no_date(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    """Neither event times nor texts and attributes contain a date."""
    dates = 0
    for trajectory in ds.trajectories():
        kept = trajectory.filter(~pl.col("code").str.starts_with("ANCHOR_YEAR_GROUP"))
        text = kept.text(days=True, attributes=True)
        assert not re.search(r"\d{4}-\d\d-\d\d|born", text), trajectory
        dates += len(re.findall(r"\d{4}-\d\d-\d\d", trajectory.text(attributes=True)))
    assert dates > 300
    days = ds[handmade.SEPSIS].text(days=True)
    assert "\n  day 0 21:20  " in days
    assert "\n  day 6 08:02" in days or "\n  day 6 06:20" in days
    assert "discharged on day 7" in days
    overlap = ds[handmade.OVERLAP].text(days=True)
    assert re.search(r"Admission 29000614, .* \d+ days after the first, ", overlap)


def test_days_without_any_admission_count_from_the_first_event(release: Path, tmp_path: Path) -> None:
    path = ehrtraj.build(release, tmp_path, "labs", tables="labevents", max_cpus=1).path
    for trajectory in ehrtraj.open(path).trajectories():
        assert trajectory.admissions.is_empty()
        times = trajectory.events["time"].to_list()
        days = re.findall(r"^  day (-?\d+) ", trajectory.text(days=True), re.M)
        assert [int(day) for day in days] == [(time.date() - times[0].date()).days for time in times]


def test_text_as_known_at_a_time(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    died = ds[handmade.DIED]
    start = died.admissions["start"].item()
    text = died.as_of(start).text()
    assert f"as known by {start:%Y-%m-%d %H:%M}" in text
    assert f"{start:%Y-%m-%d %H:%M} to ..." in text
    assert "died" not in text
    assert "not discharged yet" in died.as_of(start).text(days=True)
    assert ", died " in died.text()


def test_events_without_hadm_id_are_shown_under_the_current_admission(
    ds: ehrtraj.Dataset, handmade: ModuleType
) -> None:
    complete = ds[handmade.SEPSIS]
    labs = pl.col("code").str.starts_with("LAB//")
    unlinked = complete.events.with_columns(hadm_id=pl.when(~labs).then("hadm_id"))
    row = ds.subjects.row(by_predicate=pl.col("subject_id") == handmade.SEPSIS, named=True)
    trajectory = ehrtraj.Trajectory(row, unlinked, ds.layout)
    start, end = complete.admissions.select("start", "end").row(0)
    for cut in (trajectory, trajectory.as_of(end - timedelta(days=3))):
        sections = cut.between(start, static=False).text().split("\n\n")
        assert len(sections) == 2
        assert sections[1].startswith(f"Admission {handmade.SEPSIS_HADM}")
        assert "[LAB//" in sections[1]


def test_sql_over_events_codes_and_subjects(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    events = ds.scan().collect()
    counted = ds.sql("SELECT code, count(*) AS n FROM events GROUP BY code")
    assert dict(counted.rows()) == Counter(events["code"])
    assert ds.sql("FROM subjects ORDER BY subject_id")["subject_id"].to_list() == list(ds)
    assert ds.sql("SELECT count(*) FROM codes").item() == ds.codes.height
    joined = ds.sql(
        "SELECT DISTINCT sex FROM events JOIN subjects USING (subject_id) WHERE subject_id = $who",
        {"who": handmade.SEPSIS},
    )
    assert joined.rows() == [("F",)]
    assert ds.sql("SELECT code FROM events LIMIT 0").columns == ["code"]


def test_sql_over_chosen_patients(ds: ehrtraj.Dataset) -> None:
    chosen = ds.sample(3, seed=2)
    found = ds.sample(3, seed=2).sql("SELECT DISTINCT subject_id FROM events ORDER BY 1")
    assert found["subject_id"].to_list() == list(chosen)
    assert ds.sample(0).sql("SELECT count(*) FROM events").item() == 0


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("DROP VIEW events", "a single SELECT"),
        ("SELECT 1; SELECT 2", "a single SELECT"),
        ("COPY events TO 'events.csv'", "a single SELECT"),
        ("EXPLAIN ANALYZE COPY events TO 'events.csv'", "a single SELECT"),
        ("ATTACH 'other.db'", "a single SELECT"),
        ("SET enable_external_access = true", "a single SELECT"),
        ("INSTALL httpfs", "a single SELECT"),
        ("", "a single SELECT"),
        ("SELEC 1", "cannot be parsed"),
        ("SELECT eye FROM events", "DuckDB rejected the query"),
        ("FROM read_text('{file}')", "disabled by configuration"),
        ("FROM '{file}'", "disabled by configuration"),
        ("FROM 'https://example.org/x.parquet'", "disabled by configuration"),
        ("FROM glob('/*')", "disabled by configuration"),
    ],
)
def test_sql_reads_only_the_dataset(
    ds: ehrtraj.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, query: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(SettingsError, match=words):
        ds.sql(query.format(file=file))
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"]
