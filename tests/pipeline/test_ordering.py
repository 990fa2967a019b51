"""The order of events and its foundations: sorting, duplicates, shards, splits, encounters, and complete builds."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.format.splits import SPLITS, sample_subjects, split_of
from ehrtraj.pipeline.plan.shards import Entries, ShardPlan, plan_shards
from ehrtraj.pipeline.shard.duplicates import find_duplicates
from ehrtraj.pipeline.shard.encounters import Encounters
from ehrtraj.pipeline.shard.packing import pack, sort_order
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

EPOCH = datetime.datetime(2150, 1, 1)
SECOND = 1_000_000
INT64 = 2**63
quickly = settings(deadline=None, max_examples=80)


def int64s(values: list[int] | np.ndarray) -> np.ndarray:
    return np.array(values, np.int64)


# Sorting ----------------------------------------------------------------------------------------------------

VALUES = st.one_of(st.integers(0, 3), st.integers(-INT64, INT64 - 1), st.sampled_from([-INT64, INT64 - 1, -1]))


@st.composite
def columns(draw_: st.DrawFn, most: int = 4) -> list[np.ndarray]:
    rows = draw_(st.integers(0, 25))
    kinds = draw_(
        st.lists(st.sampled_from([st.integers(0, 3), st.integers(-50, 10**6), VALUES]), min_size=1, max_size=most)
    )
    return [int64s(draw_(st.lists(kind, min_size=rows, max_size=rows))) for kind in kinds]


@quickly
@given(columns())
def test_sort_order_is_the_stable_order_of_the_columns(given_: list[np.ndarray]) -> None:
    order, same = sort_order(given_)
    rows = list(zip(*(c.tolist() for c in given_), strict=True))
    assert order.tolist() == sorted(range(len(rows)), key=rows.__getitem__)
    in_order = [rows[i] for i in order]
    assert same.tolist() == [i > 0 and in_order[i] == in_order[i - 1] for i in range(len(rows))]


@quickly
@given(columns())
@example([int64s([0, 2**31 - 1]), int64s([2**32 - 1, 0])])  # 31 and 32 bits: they just fit
@example([int64s([0, 2**32 - 1]), int64s([2**32 - 1, 0])])  # 32 and 32 bits: one bit too many
@example([int64s([0, -INT64, INT64 - 1])])
def test_packed_numbers_compare_like_the_columns(given_: list[np.ndarray]) -> None:
    packed = pack(given_)
    widths = [max(1, (int(c.max()) - int(c.min())).bit_length()) for c in given_] if len(given_[0]) else []
    assert (packed is None) == (sum(widths) > 63)
    if packed is not None:
        rows = list(zip(*(c.tolist() for c in given_), strict=True))
        for (a, left), (b, right) in itertools.combinations(zip(rows, packed.tolist(), strict=True), 2):
            assert (a < b, a == b) == (left < right, left == right)


# Duplicates -------------------------------------------------------------------------------------------------

KINDS = {
    "bigint": (pa.int64(), st.one_of(st.integers(0, 2), st.integers(-(2**62), 2**62))),
    "integer": (pa.int32(), st.integers(-2, 2)),
    "double": (pa.float64(), st.sampled_from([0.0, 1.5, -2.25, 1e300, 0.1, 0.30000000000000004, 0.3])),
    "string": (pa.string(), st.sampled_from(["", "a", "A", "a ", "é", "\n"])),
    "timestamp": (
        pa.timestamp("us"),
        st.sampled_from([0, 1, 500_000, SECOND, 2 * SECOND, -1, -SECOND]).map(
            lambda us: EPOCH + datetime.timedelta(microseconds=us)
        ),
    ),
}


@st.composite
def sheets(draw_: st.DrawFn) -> tuple[pa.Table, list[str]]:
    """Generate a table in one or more pieces with repeated rows, and columns to compare first."""
    kinds = draw_(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5))
    row = st.tuples(*(st.one_of(st.none(), KINDS[kind][1]) for kind in kinds))
    rows = draw_(st.lists(row, max_size=12))
    rows = draw_(st.permutations(rows + draw_(st.lists(st.sampled_from(rows), max_size=8)))) if rows else rows
    schema = pa.schema([(f"c{i}", KINDS[kind][0]) for i, kind in enumerate(kinds)])
    cut = draw_(st.integers(0, len(rows)))
    pieces = [
        pa.Table.from_arrays(
            [pa.array([r[i] for r in part], schema.field(i).type) for i in range(len(kinds))], schema=schema
        )
        for part in (rows[:cut], rows[cut:])
    ]
    suspect = draw_(st.lists(st.sampled_from(schema.names), min_size=1, unique=True))
    return pa.concat_tables(pieces), suspect


@settings(deadline=None, max_examples=150)
@given(sheets())
def test_duplicates_are_the_rows_that_a_set_already_contains(given_: tuple[pa.Table, list[str]]) -> None:
    sheet, suspect = given_
    seen: set[tuple[object, ...]] = set()
    repeated = []
    for position, row in enumerate(sheet.to_pylist()):
        content = tuple(row.values())
        if content in seen:
            repeated.append(position)
        seen.add(content)
    assert find_duplicates(sheet, suspect).tolist() == repeated


# Shards and splits ------------------------------------------------------------------------------------------

SUBJECTS = st.lists(st.integers(1, 10**8), max_size=60)


@quickly
@given(
    patients=SUBJECTS,
    admissions=SUBJECTS,
    stays=SUBJECTS,
    target=st.integers(1, 20_000),
    others=st.lists(st.integers(0, 2**62), max_size=20),
)
def test_a_plan_covers_every_patient_in_ranges(
    patients: list[int], admissions: list[int], stays: list[int], target: int, others: list[int]
) -> None:
    plan = plan_shards(people(patients), admitted(admissions), [Entries(int64s(stays), 4_900)], None, target)
    known = sorted({*patients, *admissions, *stays})
    # Patients who occur only in a table of facts belong to a shard too.
    everyone = int64s(sorted({*known, *others}))
    shard = plan.shard_of(everyone).tolist()
    assert shard == sorted(shard), "shards must be ranges in the order of subject_id"
    assert all(0 <= s < plan.count for s in shard)
    if known:
        assert set(plan.shard_of(int64s(known)).tolist()) == set(range(plan.count)), "no shard may be empty"
    assert plan.is_selected(everyone) is None


def people(subjects: list[int] | np.ndarray) -> Entries:
    return Entries(int64s(subjects), 30)


def admitted(subjects: list[int] | np.ndarray) -> Entries:
    return Entries(int64s(subjects), 700)


@quickly
@given(patients=SUBJECTS, chosen=SUBJECTS, target=st.integers(1, 1000))
def test_a_plan_of_selected_patients_contains_only_them(patients: list[int], chosen: list[int], target: int) -> None:
    plan = plan_shards(people(patients), admitted([]), [], int64s(chosen), target)
    selected = plan.is_selected(int64s(patients))
    assert selected is not None
    assert selected.tolist() == [p in set(chosen) for p in patients]
    again = ShardPlan.from_json(plan.to_json())
    assert again.starts.tolist() == plan.starts.tolist()
    assert again.selected is not None
    assert again.selected.tolist() == sorted(set(chosen))


def test_shards_are_of_about_equal_work_except_for_two_halves_at_the_end() -> None:
    patients = np.arange(1, 2001, dtype=np.int64)
    plan = plan_shards(people(patients), admitted(patients), [], None, target=73_000)
    sizes = Counter(plan.shard_of(patients).tolist())
    assert [sizes[shard] for shard in range(plan.count)] == [100] * 19 + [50] * 2


@pytest.mark.parametrize(("target", "shards"), [(73_000, 2), (145_000, 2), (146_000, 1), (200_000, 1)])
def test_a_single_shard_with_more_than_half_of_the_rows_is_halved(target: int, shards: int) -> None:
    patients = np.arange(1, 101, dtype=np.int64)  # with 730 rows each
    plan = plan_shards(people(patients), admitted(patients), [], None, target)
    assert sorted(Counter(plan.shard_of(patients).tolist()).values()) == [100 // shards] * shards


@quickly
@given(few=SUBJECTS, more=SUBJECTS, seed=st.integers(0, 2**40))
def test_adding_patients_moves_no_patient_to_another_split(few: list[int], more: list[int], seed: int) -> None:
    before = dict(zip(few, split_of(int64s(few), seed).tolist(), strict=True))
    after = dict(zip(more + few, split_of(int64s(more + few), seed).tolist(), strict=True))
    assert before == {subject: after[subject] for subject in few}


@pytest.mark.parametrize("seed", [0, 1, 12345, 2**63])
def test_splits_have_the_expected_sizes(seed: int) -> None:
    patients = np.arange(10_000_000, 10_100_000, dtype=np.int64)
    shares = np.bincount(split_of(patients, seed), minlength=3) / len(patients)
    assert dict(zip(SPLITS, shares, strict=True)) == pytest.approx(
        {"train": 0.8, "tuning": 0.1, "held_out": 0.1}, abs=0.005
    )


def test_a_different_seed_gives_different_splits() -> None:
    patients = np.arange(10_000_000, 10_010_000, dtype=np.int64)
    same = (split_of(patients, 0) == split_of(patients, 1)).mean()
    # Two independent assignments agree for a share of 0.8² + 0.1² + 0.1².
    assert same == pytest.approx(0.66, abs=0.03)


@quickly
@given(patients=st.lists(st.integers(1, 10**8), unique=True, max_size=60), seed=st.integers(0, 99), data=st.data())
def test_a_larger_sample_contains_a_smaller_one(patients: list[int], seed: int, data: st.DataObject) -> None:
    small = data.draw(st.integers(0, len(patients)))
    large = data.draw(st.integers(small, len(patients) + 5))
    first, second = (
        sample_subjects(int64s(patients), small, seed).tolist(),
        sample_subjects(int64s(patients), large, seed).tolist(),
    )
    assert len(first) == small
    assert len(second) == min(large, len(patients))
    assert set(first) <= set(second) <= set(patients)
    assert first == sorted(first)
    # The order of the list does not matter.
    assert sample_subjects(int64s(patients[::-1]), small, seed).tolist() == first


def test_the_sample_does_not_depend_on_the_split() -> None:
    patients = np.arange(10_000_000, 10_050_000, dtype=np.int64)
    drawn = sample_subjects(patients, 5000, 0)
    assert (split_of(drawn, 0) == 0).mean() == pytest.approx(0.8, abs=0.02)


# Encounters -------------------------------------------------------------------------------------------------

HOURS = st.integers(0, 30)


@st.composite
def stays_of(draw_: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw_(st.integers(0, 6))):
        admit, length = draw_(HOURS), draw_(st.integers(-2, 12))
        found.append(
            {
                "subject_id": draw_(st.integers(1, 3)),
                "hadm_id": 20_000_000 + number,
                "admittime": hour(admit),
                "dischtime": hour(admit + length),
                "edregtime": hour(admit - draw_(st.integers(0, 3))) if draw_(st.booleans()) else None,
                "deathtime": hour(admit + length) + datetime.timedelta(minutes=30) if draw_(st.booleans()) else None,
            }
        )
    return found


def hour(number: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(hours=number)


def span(stay: dict[str, Any]) -> tuple[datetime.datetime, datetime.datetime] | None:
    """Return the first and last second of a stay. It ends at the death if this is later on the day of the discharge."""
    start = min(stay["edregtime"] or stay["admittime"], stay["admittime"])
    stop, death = stay["dischtime"], stay["deathtime"]
    if stop is None or (death is not None and death.date() == stop.date()):
        stop = max(stop or death, death)
    return (start, stop) if stop >= start else None


def microseconds(time: datetime.datetime) -> int:
    return int(pa.scalar(time, pa.timestamp("us")).cast(pa.int64()).as_py())


@pytest.fixture(scope="module")
def encounters_of() -> Callable[[list[dict[str, Any]]], Encounters]:
    """Return a function that derives encounters from admissions like a build."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute(MIMIC.helper("macros"))
    schema = MIMIC.tables["hosp/admissions"].schema
    connection.register("edstays", MIMIC.tables["ed/edstays"].schema.empty_table())
    empty = schema.empty_table()
    connection.register("admissions", empty)
    for name in ("ed_stay", "arrivals"):
        connection.execute(f"CREATE VIEW {name} AS {MIMIC.views[name]}")

    def make(stays: list[dict[str, Any]]) -> Encounters:
        connection.register("admissions", pa.Table.from_pylist(stays, schema=schema))
        return Encounters.of(connection.sql(MIMIC.helper("encounters")).to_arrow_table())

    return make


@settings(deadline=None, max_examples=60)
@given(
    stays=stays_of(),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(-6 * 60, 48 * 60)), min_size=1, max_size=30),
)
def test_an_encounter_is_found_if_exactly_one_admission_contains_the_time(
    encounters_of: Callable[[list[dict[str, Any]]], Encounters],
    stays: list[dict[str, Any]],
    asked: list[tuple[int, int]],
) -> None:
    # The times at the edges are tested too.
    times = [(subject, EPOCH + datetime.timedelta(minutes=minute)) for subject, minute in asked]
    for stay in stays:
        for edge in span(stay) or ():
            times += [(stay["subject_id"], edge + datetime.timedelta(seconds=s)) for s in (-1, 0, 1)]
    encounters = encounters_of(stays)
    found = encounters.find(int64s([s for s, _ in times]), int64s([microseconds(t) for _, t in times]))
    for (subject, time), at in zip(times, found.tolist(), strict=True):
        open_ = [
            stay["hadm_id"]
            for stay in stays
            if stay["subject_id"] == subject and (both := span(stay)) and both[0] <= time <= both[1]
        ]
        if not open_:
            assert at == -1, (subject, time)
        elif len(open_) == 1:
            assert at >= 0, (subject, time)
            assert encounters.hadm_id[at] == open_[0]
        else:
            assert at >= 0, (subject, time)
            assert encounters.hadm_id[at] == -INT64, "several admissions contain the time, so there must be no hadm_id"


@pytest.mark.parametrize("dischtime", [None, hour(0)])
def test_a_stay_ends_at_death_if_the_discharge_is_unknown_or_only_a_date(
    encounters_of: Callable[[list[dict[str, Any]]], Encounters], dischtime: datetime.datetime | None
) -> None:
    stay = {"subject_id": 1, "hadm_id": 7, "admittime": hour(3), "dischtime": dischtime, "deathtime": hour(9)}
    encounters = encounters_of([stay])
    found = encounters.find(int64s([1] * 4), int64s([microseconds(hour(h)) for h in (2, 3, 9, 10)]))
    assert (found >= 0).tolist() == [False, True, True, False]
    assert encounters.hadm_id[found[1]] == 7


def test_the_minute_in_which_one_stay_ends_and_the_next_begins_belongs_to_neither(
    encounters_of: Callable[[list[dict[str, Any]]], Encounters],
) -> None:
    stays = [
        {"subject_id": 1, "hadm_id": 7, "admittime": hour(0), "dischtime": hour(5)},
        {"subject_id": 1, "hadm_id": 8, "admittime": hour(5), "dischtime": hour(9)},
    ]
    encounters = encounters_of(stays)
    found = encounters.find(int64s([1] * 3), int64s([microseconds(hour(h)) for h in (4, 5, 6)]))
    assert encounters.hadm_id[found].tolist() == [7, -INT64, 8]


# Whole builds -----------------------------------------------------------------------------------------------


def assert_ordered(dataset: Path) -> None:
    """Check the documented order (subject, null times first, time, rank of the event type, code) of all files.

    No patient may be in two files.
    """
    ranks = {name: event_type.rank for name, event_type in MIMIC.event_types.items()}
    homes: dict[int, Path] = {}
    files = sorted((dataset / "data").rglob("*.parquet"))
    assert files
    for file in files:
        rows = pq.read_table(file, columns=["subject_id", "time", "code"]).to_pylist()
        keys = [
            (r["subject_id"], r["time"] is not None, r["time"] or EPOCH, ranks[r["code"].split("//")[0]], r["code"])
            for r in rows
        ]
        assert keys == sorted(keys), file
        for subject in {r["subject_id"] for r in rows}:
            assert subject not in homes, f"{subject} is in {file} and {homes[subject]}"
            homes[subject] = file
    splits = pq.read_table(dataset / "metadata" / "subject_splits.parquet").to_pylist()
    assert {s["subject_id"]: s["split"] for s in splits} == {s: f.parent.name for s, f in homes.items()}


def test_the_hand_made_release_is_in_order(built: Path) -> None:
    assert_ordered(built)


def minute(number: int) -> str:
    return str(EPOCH + datetime.timedelta(minutes=number))


@st.composite
def small_releases(draw_: st.DrawFn) -> dict[str, list[dict[str, object]]]:
    """Return a few patients with many events at the same times."""
    subject, time = st.integers(1, 5), st.integers(0, 4)
    fraction = st.sampled_from(["", ".5", ".25", ".000001"])
    value = st.sampled_from([None, 1, 2.5])
    labs = st.tuples(subject, st.sampled_from([50983, 50971]), time, fraction, value, st.sampled_from([None, "a", "b"]))
    chart = st.tuples(subject, st.sampled_from([220045, 220277]), time, fraction, value, st.sampled_from([None, 0, 1]))
    moves = st.tuples(subject, time, st.integers(0, 2), st.sampled_from(["Medicine", "Med/Surg"]))
    return {
        "hosp/patients": [
            {"subject_id": s, "gender": "F", "anchor_age": 40, "anchor_year": 2150, "anchor_year_group": "2008 - 2010"}
            for s in draw_(st.sets(subject, min_size=1))
        ],
        "hosp/labevents": [
            {
                "labevent_id": n // 2,
                "subject_id": s,
                "itemid": i,
                "charttime": minute(t) + f,
                "valuenum": v,
                "comments": c,
            }
            for n, (s, i, t, f, v, c) in enumerate(draw_(st.lists(labs, max_size=15)))
        ],
        "icu/chartevents": [
            {"subject_id": s, "itemid": i, "charttime": minute(t) + f, "valuenum": v, "warning": w}
            for s, i, t, f, v, w in draw_(st.lists(chart, min_size=1, max_size=15))
        ],
        "hosp/transfers": [
            {"subject_id": s, "transfer_id": n, "intime": minute(t), "outtime": minute(t + d), "careunit": unit}
            for n, (s, t, d, unit) in enumerate(draw_(st.lists(moves, max_size=6)))
        ],
    }


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=small_releases(), seed=st.integers(0, 2**32))
def test_the_order_does_not_depend_on_the_order_of_the_rows(
    handmade: ModuleType,
    read_events: Callable[[Path], pa.Table],
    tmp_path: Path,
    rows: dict[str, list[dict[str, object]]],
    seed: int,
) -> None:
    shuffled = {name: random.Random(seed).sample(lines, len(lines)) for name, lines in rows.items()}
    datasets = []
    for name, tables_ in (("first", rows), ("second", shuffled)):
        handmade.write_tables(tmp_path / name, tables_)
        datasets.append(
            ehrtraj.build(
                tmp_path / name, tmp_path / "out", name, max_cpus=1, overwrite=True, allow_incomplete=True
            ).path
        )
    for dataset in datasets:
        assert_ordered(dataset)
    first, second = map(read_events, datasets)
    assert first.num_rows > 0
    assert first.to_pylist() == second.to_pylist()


@pytest.fixture(scope="module")
def many(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with so many admissions that it is built in several shards."""
    folder = tmp_path_factory.mktemp("many")
    dice = random.Random(7)
    subjects = dice.sample(range(10_000_000, 19_999_999), 5000)
    handmade.write_tables(
        folder,
        {
            "hosp/patients": [
                {"subject_id": s, "gender": "M", "anchor_age": 50, "anchor_year": 2150} for s in subjects
            ],
            "hosp/admissions": [
                {
                    "subject_id": s,
                    "hadm_id": 20_000_000 + n,
                    "admittime": minute(dice.randrange(10**6)),
                    "dischtime": minute(10**6 + dice.randrange(10**6)),
                    "admission_type": "URGENT",
                }
                for n, s in enumerate(subjects)
            ],
            "hosp/labevents": [
                {
                    "labevent_id": n,
                    "subject_id": dice.choice(subjects),
                    "itemid": 50983,
                    "charttime": minute(dice.randrange(2 * 10**6)),
                    "valuenum": n,
                }
                for n in range(3000)
            ],
        },
        plain=True,
    )
    return folder


def test_no_patient_is_in_two_shards_and_the_number_of_cores_changes_nothing(
    many: Path, tmp_path: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    one = ehrtraj.build(many, tmp_path, "one", max_cpus=1).path
    two = ehrtraj.build(many, tmp_path, "two", max_cpus=2).path
    shards = {p.name for p in (one / "data").rglob("*.parquet")}
    assert len(shards) > 1
    assert_ordered(one)
    names = [sorted(str(p.relative_to(d)) for p in (d / "data").rglob("*.parquet")) for d in (one, two)]
    assert names[0] == names[1]
    assert read_events(one).equals(read_events(two))
    codes = Counter(c.split("//")[0] for c in read_events(one)["code"].to_pylist())
    assert codes == {"GENDER": 5000, "MEDS_BIRTH": 5000, "ADMISSION": 5000, "DISCHARGE": 5000, "LAB": 3000}


@pytest.mark.parametrize("turned", [False, True])
def test_events_that_differ_only_in_event_time_are_ordered(build_rows: Callable[..., Any], turned: bool) -> None:
    """With `--clock available`, two values charted at different times may differ in nothing else."""
    times = ["2150-01-01 08:10:00", "2150-01-01 08:00:00"]
    row = {
        "subject_id": 10_000_001,
        "storetime": "2150-01-01 09:00:00",
        "itemid": 220045,
        "value": "80",
        "valuenum": 80,
    }
    rows = [row | {"charttime": time} for time in (reversed(times) if turned else times)]
    patients = [{"subject_id": 10_000_001, "gender": "F", "anchor_age": 60, "anchor_year": 2150}]
    found = build_rows({"hosp/patients": patients, "icu/chartevents": rows}, clock="available")
    assert [str(e["event_time"]) for e in found.of(10_000_001, "CHART//")] == sorted(times)
