"""Features of stays: hand-computed values, an independent computation of random values, and what must not leak."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.cohorts.features import FeatureRequest, _of_stays, _windows
from ehrtraj.cohorts.measures import Measure
from ehrtraj.cohorts.values import SCHEMA
from ehrtraj.concepts.header import Column
from ehrtraj.concepts.index import ComputedConcept, ConceptFile, index_content
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged

STAY = {"subject_id": 5, "hadm_id": 51, "stay_id": 52}
HEART_RATE, MBP, MBP_ARTERIAL, NOREPINEPHRINE = 220045, 220181, 220052, 221906
DAY = ("start", "24h")


def chart(item: int, time: str, stored: str, value: float, unit: str) -> dict[str, Any]:
    row = {"charttime": f"2150-03-{time}", "storetime": f"2150-03-{stored}", "itemid": item}
    return STAY | row | {"value": f"{value}", "valuenum": value, "valueuom": unit}


def creatinine(number: int, time: str, stored: str, value: float) -> dict[str, Any]:
    row = {"subject_id": 5, "hadm_id": 51, "labevent_id": number, "specimen_id": number, "itemid": 50912}
    times = {"charttime": f"2150-03-{time}", "storetime": f"2150-03-{stored}"}
    return row | times | {"value": f"{value}", "valuenum": value, "valueuom": "mg/dL"}


def drip(order: int, start: str, end: str, stored: str, rate: float | None) -> dict[str, Any]:
    times = {"starttime": f"2150-03-{start}", "endtime": f"2150-03-{end}", "storetime": f"2150-03-{stored}"}
    order_ids = {"orderid": order, "linkorderid": order, "itemid": NOREPINEPHRINE, "amount": 1, "amountuom": "mg"}
    return STAY | times | order_ids | {"rate": rate, "rateuom": "mcg/kg/min", "patientweight": 70}


TABLES = {
    "hosp/patients": [{"subject_id": 5, "gender": "F", "anchor_age": 40, "anchor_year": 2150}],
    "hosp/admissions": [
        {"subject_id": 5, "hadm_id": 51, "admittime": "2150-03-01 08:00", "dischtime": "2150-03-05 12:00"}
    ],
    "icu/icustays": [STAY | {"intime": "2150-03-02 10:00", "outtime": "2150-03-04 10:00"}],
    "hosp/labevents": [
        creatinine(1, "02 09:00", "02 10:30", 1.1),  # drawn before the stay, known in it
        creatinine(2, "03 08:00", "03 09:00", 2.3),
        creatinine(3, "03 09:30", "03 10:30", 4.7),  # drawn on the first day, known after it
        creatinine(4, "03 08:30", "03 08:40", 1.9),  # drawn later than the second, but known earlier
    ],
    "icu/chartevents": [
        chart(HEART_RATE, "02 10:00", "02 10:00", 80, "bpm"),
        chart(HEART_RATE, "02 10:30", "02 10:30", 100, "bpm"),
        chart(HEART_RATE, "02 12:00", "02 12:00", 90, "bpm"),
        chart(HEART_RATE, "03 10:00", "03 10:00", 70, "bpm"),
        chart(HEART_RATE, "03 10:01", "03 10:01", 10, "bpm"),
        chart(MBP, "02 11:00", "02 11:10", 65, "mmHg"),
        chart(MBP_ARTERIAL, "02 11:30", "02 11:30", 75, "mmHg"),
    ],
    "icu/inputevents": [
        drip(1, "02 09:00", "02 11:00", "02 09:00", 0.1),  # an hour before the stay and an hour in it
        drip(2, "02 11:00", "02 12:00", "02 11:05", 0.4),
        drip(3, "02 13:00", "02 14:00", "02 13:00", None),  # a push has no rate
        drip(4, "03 09:00", "03 12:00", "03 09:10", 0.2),  # runs on after the first day
        drip(5, "03 11:00", "03 12:00", "03 11:00", 0.9),  # begins after it
    ],
}


@pytest.fixture(scope="module")
def one_stay(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the rows above. Tests must not change it."""
    folder = tmp_path_factory.mktemp("one_stay")
    handmade.write_tables(folder / "rows", TABLES)
    settings = {"max_cpus": 1, "allow_incomplete": True, "standardise": True}
    return ehrtraj.build(folder / "rows", folder / "out", "rows", **settings).path


@pytest.fixture
def cohort(one_stay: Path) -> Any:
    return ehrtraj.open(one_stay).cohort("icu")


def values_of(features: pl.DataFrame, name: str) -> dict[str, float]:
    return {
        column.removeprefix(f"{name}_"): value
        for column, value in features.row(0, named=True).items()
        if column.startswith(f"{name}_")
    }


# Values computed by hand ---------------------------------------------------------------------------------------------


def test_a_value_counts_when_it_is_known(cohort: Any) -> None:
    found = values_of(cohort.features(DAY, "creatinine"), "creatinine")
    assert found == {"min": 1.1, "max": 2.3, "mean": pytest.approx((1.1 + 2.3 + 1.9) / 3), "last": 1.9, "count": 3}
    found = values_of(cohort.features(DAY, "creatinine", clock="time"), "creatinine")
    assert found == {"min": 1.9, "max": 4.7, "mean": pytest.approx((2.3 + 1.9 + 4.7) / 3), "last": 4.7, "count": 3}


def test_both_ends_of_a_window_belong_to_it(cohort: Any) -> None:
    found = values_of(cohort.features(DAY, ["heart_rate"], ["first", "last", "sum", "median", "count"]), "heart_rate")
    assert found == {"first": 80, "last": 70, "sum": 340, "median": 85, "count": 4}
    one = values_of(cohort.features(("start", "start"), "heart_rate", ["std", "max", "count"]), "heart_rate")
    assert one == {"std": None, "max": 80, "count": 1}


def test_a_concept_combines_its_items_and_has_aliases(cohort: Any) -> None:
    found = cohort.features(DAY, ["map", "mbp"], ["mean", "count"])
    assert found.row(0) == (5, 51, 52, 70, 2, 70, 2)
    assert found.columns == ["subject_id", "hadm_id", "stay_id", "map_mean", "map_count", "mbp_mean", "mbp_count"]


def test_each_alias_is_another_name_of_a_concept() -> None:
    lists = packaged("mimiciv").concept_lists
    concepts = {line["concept"] for line in lists["concept_items"]}
    aliases = [line["alias"] for line in lists["concept_aliases"]]
    assert {line["concept"] for line in lists["concept_aliases"]} <= concepts
    assert len(aliases) == len(set(aliases) - concepts) > 5
    assert all(line["source"] for line in lists["concept_aliases"])


def test_a_code_is_named_completely(cohort: Any) -> None:
    found = cohort.features(DAY, f"CHART//{MBP}", "max")
    assert found.columns[3:] == [f"CHART//{MBP}_max"]
    assert found.item(0, 3) == 65


def test_a_rate_counts_while_it_runs(cohort: Any) -> None:
    """0.1 for an hour of the window, 0.4 for an hour, 0.2 for an hour: the other two hours of it are later."""
    for clock in ("available", "time"):
        found = values_of(cohort.features(DAY, "norepinephrine_rate", clock=clock), "norepinephrine_rate")
        expected = {"min": 0.1, "max": 0.4, "mean": pytest.approx(0.7 / 3), "last": 0.2, "count": 3}
        assert found == expected, clock


def test_a_rate_that_has_ended_is_not_part_of_a_later_window(cohort: Any) -> None:
    found = values_of(cohort.features(("2h", "22h"), "norepinephrine_rate", clock="time"), "norepinephrine_rate")
    assert (found["max"], found["count"]) == (None, 0)


def test_a_rate_runs_on_until_its_end_is_known(cohort: Any) -> None:
    """At 11:03, neither the new rate nor the end of the old one were stored; the end is known when it happens."""
    found = values_of(cohort.features(("0h", "63m"), "norepinephrine_rate"), "norepinephrine_rate")
    assert (found["max"], found["mean"], found["count"]) == (0.1, 0.1, 1)
    found = values_of(cohort.features(("0h", "63m"), "norepinephrine_rate", clock="time"), "norepinephrine_rate")
    assert (found["max"], found["mean"], found["count"]) == (0.4, pytest.approx((0.1 * 60 + 0.4 * 3) / 63), 2)


def test_a_grid_has_a_row_for_each_hour(cohort: Any) -> None:
    found = cohort.features(("start", "3h"), ["heart_rate", "norepinephrine_rate"], ["max", "count"], freq="1h")
    assert found.columns[:4] == ["subject_id", "hadm_id", "stay_id", "hours"]
    assert found.drop("subject_id", "hadm_id", "stay_id").rows() == [
        (0.0, 100.0, 2.0, 0.1, 1.0),
        (1.0, None, 0.0, 0.4, 1.0),
        (2.0, 90.0, 1.0, None, 0.0),
    ]


def test_a_grid_is_filled_forward_on_request(cohort: Any) -> None:
    """A rate that has ended is not carried forward, and neither are counts."""
    of = ["heart_rate", "norepinephrine_rate"]
    found = cohort.features(("-1h", "3h"), of, ["max", "count"], freq="1h", fill="forward", keys=False)
    assert found.rows() == [
        (-1.0, None, 0.0, 0.1, 1.0),
        (0.0, 100.0, 2.0, 0.1, 1.0),
        (1.0, 100.0, 0.0, 0.4, 1.0),
        (2.0, 90.0, 1.0, None, 0.0),
    ]


def test_the_last_cell_is_as_long_as_the_window_allows(cohort: Any) -> None:
    found = cohort.features(("start", "end"), "heart_rate", "count", freq="23h")
    assert found.select("hours", "heart_rate_count").rows() == [(0.0, 3.0), (23.0, 2.0), (46.0, 0.0)]


def test_a_stay_without_a_window_has_no_values(cohort: Any) -> None:
    without = cohort.frame.with_columns(end=pl.lit(None, dtype=pl.Datetime("us")))
    ds_cohort = type(cohort)(cohort._patients, without, [])
    found = ds_cohort.features(("start", "end"), "heart_rate", ["max", "count"], keys=False)
    assert found.rows() == [(None, 0.0)]
    assert ds_cohort.features(("start", "end"), "heart_rate", freq="1h").height == 0
    assert cohort.features(("end", "start"), "heart_rate", ["max", "count"], keys=False).rows() == [(None, 0.0)]


def test_an_impossible_value_is_not_used(build_rows: Callable[..., Any]) -> None:
    rows = [
        chart(HEART_RATE, "02 11:00", "02 11:00", 99999, "bpm"),
        chart(HEART_RATE, "02 12:00", "02 12:00", 90, "bpm"),
    ]
    ds = ehrtraj.open(build_rows(TABLES | {"icu/chartevents": rows}, standardise=True).dataset)
    found = values_of(ds.cohort("icu").features(DAY, "heart_rate", ["max", "count"]), "heart_rate")
    assert found == {"max": 90, "count": 1}


def test_the_clock_of_the_dataset_does_not_matter(build_rows: Callable[..., Any]) -> None:
    of = ["creatinine", "heart_rate", "norepinephrine_rate"]
    found = []
    for clock in ("event", "available"):
        ds = ehrtraj.open(build_rows(TABLES, standardise=True, clock=clock).dataset)
        found += [ds.cohort("icu").features(DAY, of, clock=one) for one in ("available", "time")]
    assert found[0].equals(found[2])
    assert found[1].equals(found[3])


# Computed concepts ---------------------------------------------------------------------------------------------------


@pytest.fixture
def computed(one_stay: Path, tmp_path: Path) -> Any:
    """A cohort whose dataset has results of two concepts, one with single times and one with periods."""
    cohort = ehrtraj.open(shutil.copytree(one_stay, tmp_path / "rows")).cohort("icu")
    root = cohort._patients.path
    (row,) = cohort._patients.subjects.select("split", "shard").rows()
    at = [datetime(2150, 3, 2, hour) for hour in (10, 11, 12)]
    known = [datetime(2150, 3, 2, hour) for hour in (10, 11, 15)]
    sofa = {"subject_id": 5, "time": at, "available_time": known, "sofa_24hours": [3, None, 7], "unit": "x"}
    ventilation = {
        "subject_id": 5, "start": [datetime(2150, 3, 2, 9)], "end": [datetime(2150, 3, 2, 12)],
        "available_time": [datetime(2150, 3, 2, 13)], "invasive": [True],
    }  # fmt: skip
    kinds = {"sofa_24hours": "DOUBLE", "unit": "VARCHAR", "invasive": "BOOLEAN", "subject_id": "BIGINT"}
    index = {}
    for name, columns in (("sofa", sofa), ("ventilation", ventilation)):
        path = f"{row[0]}/{row[1]}.parquet"
        (root / "concepts" / name / row[0]).mkdir(parents=True)
        pl.DataFrame(columns).write_parquet(root / "concepts" / name / path)
        described = tuple(Column(column, kinds.get(column, "TIMESTAMP"), "", "x.") for column in columns)
        files = {path: ConceptFile(1, 1, "")}
        index[name] = ComputedConcept(name, "score", "x", "time", described, "", 1, files)
    (root / "concepts" / "index.json").write_text(json.dumps(index_content(root, ConceptMode(), index)))
    return cohort


def test_a_column_of_a_computed_concept_is_a_feature(computed: Any) -> None:
    found = computed.features(("start", "4h"), "sofa.sofa_24hours", ["max", "last", "count"])
    assert values_of(found, "sofa.sofa_24hours") == {"max": 3, "last": 3, "count": 1}
    found = computed.features(("start", "4h"), "sofa.sofa_24hours", ["max", "last", "count"], clock="time")
    assert values_of(found, "sofa.sofa_24hours") == {"max": 7, "last": 7, "count": 2}


def test_a_period_of_a_computed_concept_counts_while_it_lasts(computed: Any) -> None:
    for end, available, time in (("2h", 0, 1), ("3h", 1, 1)):
        for clock, expected in (("available", available), ("time", time)):
            found = computed.features(("start", end), "ventilation.invasive", ["max", "count"], clock=clock)
            assert values_of(found, "ventilation.invasive")["count"] == expected, (end, clock)


def test_a_concept_that_is_not_computed_is_refused(computed: Any) -> None:
    root = computed._patients.path
    with pytest.raises(
        SettingsError, match=rf"has no results of the concept sapsii, .*run `ehrtraj concepts {root} sapsii`"
    ):
        computed.features(DAY, "sapsii.sapsii")
    with pytest.raises(
        SettingsError, match=r"sofa has no column 'sofa_24hour': use one of .*Did you mean sofa_24hours\?"
    ):
        computed.features(DAY, "sofa.sofa_24hour")
    with pytest.raises(SettingsError, match="the concept sofa has no column 'unit'"):
        computed.features(DAY, "sofa.unit")


# Errors --------------------------------------------------------------------------------------------------------------


def test_a_concept_that_does_not_occur_has_no_values(cohort: Any) -> None:
    found = cohort.features(DAY, ["lactate", "vasopressin_rate"], ["max", "count"], keys=False)
    assert found.rows() == [(None, 0.0, None, 0.0)]
    with pytest.raises(SettingsError, match="'sum' of vasopressin_rate is not defined"):
        cohort.features(DAY, "vasopressin_rate", "sum")


def test_a_rate_without_an_end_runs_to_the_end_of_the_window(build_rows: Callable[..., Any]) -> None:
    endless = drip(1, "02 11:00", "02 12:00", "02 11:00", 0.3)
    del endless["endtime"]
    ds = ehrtraj.open(build_rows(TABLES | {"icu/inputevents": [endless]}, standardise=True).dataset)
    for clock in ("available", "time"):
        found = ds.cohort("icu").features(
            ("start", "3h"), "norepinephrine_rate", ["max", "count"], freq="1h", clock=clock, keys=False
        )
        assert found.rows() == [(0.0, None, 0.0), (1.0, 0.3, 1.0), (2.0, 0.3, 1.0)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"of": "creatinin"}, r"there is no concept 'creatinin'. Did you mean creatinine"),
        ({"of": "HR_rate"}, r"there is no concept 'HR_rate'. Did you mean heart_rate"),
        ({"of": "qqqqqq"}, r"there is no concept 'qqqqqq': find codes with `ehrtraj codes"),
        ({"of": "norepinephrine"}, "'norepinephrine' is given as an infusion: name its rate, norepinephrine_rate"),
        ({"of": "LAB//50913"}, r"the dataset has no code 'LAB//50913'. Did you mean LAB//50912\?"),
        ({"of": "LAB//*"}, "is a pattern: name complete codes"),
        ({"of": []}, "of is empty: name at least one"),
        ({"of": ["map", "map"]}, "of contains 'map' twice"),
        ({"of": 3}, "of is 3: it must be a text or a list of texts"),
        ({"stats": "maximum"}, r"there is no statistic 'maximum': use one of min, max"),
        ({"stats": "averag"}, "there is no statistic 'averag'"),
        ({"of": "norepinephrine_rate", "stats": "sum"}, "'sum' of norepinephrine_rate is not defined"),
        ({"clock": "event"}, "clock is 'event', but must be 'available' or 'time'"),
        ({"freq": "hour"}, "'hour' is not a valid duration"),
        ({"fill": "forward"}, "fill must be 'forward', and needs a freq"),
        ({"fill": "back", "freq": "1h"}, "fill is 'back', but must be 'forward' or None"),
        ({"window": ("start", "endx")}, r"'endx' is not a time of a stay: .*Did you mean end\?"),
        ({"window": "24h"}, "window is '24h': write its start and its end"),
        ({"window": ("start", "1000w"), "freq": "1s"}, "the grid has 604,800,000 rows: choose a longer freq"),
    ],
)
def test_what_cannot_be_computed_is_refused(cohort: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        cohort.features(**({"window": DAY, "of": "heart_rate"} | arguments))


def test_a_concept_whose_codes_have_several_units_is_refused(demo_built: Path) -> None:
    ds = ehrtraj.open(demo_built)
    with pytest.raises(SettingsError, match=r"calcium have several units: LAB//50893 in mg/dL; LAB//50808 in mmol/L"):
        ds.cohort("icu").features(DAY, "calcium")


# Independent computation ---------------------------------------------------------------------------------------------

MINUTE = 60_000_000
TIMES = st.integers(-200, 400)
POINT = st.tuples(st.just("point"), st.integers(0, 9), TIMES, st.integers(0, 60))
PERIOD = st.tuples(
    st.just("period"), st.integers(0, 9), TIMES, st.one_of(st.none(), st.integers(0, 120)), st.integers(0, 60),
    st.integers(0, 200),
)  # fmt: skip


def frame_of(values: list[tuple[Any, ...]]) -> pl.DataFrame:
    rows = []
    for kind, value, start, *rest in values:
        if kind == "point":
            rows.append((1, 0, value, start, start, start + rest[0], start + rest[0], False))
        else:
            length, late, end_late = rest
            end = None if length is None else start + length
            rows.append((1, 0, value, start, end, start + late, None if end is None else end + end_late, True))
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_row_index("place")
    return frame.with_columns(pl.col("start", "end", "known", "end_known") * MINUTE)


def expected_in(values: list[tuple[Any, ...]], opens: int, closes: int, includes_end: bool, clock: str) -> list[Any]:
    """Return value, start and weight of each value in a cell, one value at a time. Times are in minutes."""
    found = []
    for kind, value, start, *rest in values:
        if kind == "point":
            at = start + rest[0] if clock == "available" else start
            if opens <= at < closes or (includes_end and at == closes):
                found.append((value, start, 0))
            continue
        length, late, end_late = rest
        begin = start + late if clock == "available" else start
        end = math.inf if length is None else start + length
        end_known = end + end_late if clock == "available" else end
        if not (begin < closes or (includes_end and begin == closes)):
            continue
        is_over = end_known < closes or (includes_end and end_known == closes)
        shown = end if is_over else closes
        if is_over and not (end > opens or (start == end >= opens)):
            continue
        found.append((value, start, max(0, min(shown, closes) - max(start, opens))))
    return found


@given(
    st.lists(st.one_of(POINT, PERIOD), max_size=6),
    st.integers(-100, 100),
    st.integers(0, 300),
    st.one_of(st.none(), st.integers(7, 100)),
    st.sampled_from(["available", "time"]),
)
@settings(deadline=None, max_examples=400)
def test_features_are_those_of_an_independent_computation(
    values: list[tuple[Any, ...]], opens: int, length: int, freq: int | None, clock: Any
) -> None:
    closes = opens + length
    origin = datetime(1970, 1, 1)
    stays = pl.DataFrame(
        {"subject_id": [1], "start": [origin + timedelta(minutes=opens)], "end": [origin + timedelta(minutes=closes)]}
    )
    windows = _windows(stays, ("start", "end"), None if freq is None else freq * MINUTE)
    stats = ("min", "max", "mean", "first", "last", "count")
    request = FeatureRequest((Measure("x"),), stats, clock, None if freq is None else freq * MINUTE, None)
    found = _of_stays(frame_of(values), windows, request)
    cells = 1 if freq is None else math.ceil(length / freq)
    assert found.height == cells
    for cell in range(cells):
        begin = opens + cell * (freq or 0)
        end = closes if freq is None else min(begin + freq, closes)
        inside = expected_in(values, begin, end, end == closes, clock)
        assert rounded(found.row(cell, named=True)) == rounded(statistics_of(inside)), (cell, inside)


def statistics_of(inside: list[Any]) -> dict[str, Any]:
    if not inside:
        return {"x_min": None, "x_max": None, "x_mean": None, "x_first": None, "x_last": None, "x_count": 0}
    numbers = [value for value, *_ in inside]
    weights = [weight for *_, weight in inside]
    mean = sum(v * w for v, _, w in inside) / sum(weights) if sum(weights) else fmean(numbers)
    in_order = sorted(enumerate(inside), key=lambda pair: (pair[1][1], pair[0]))
    return {
        "x_min": min(numbers), "x_max": max(numbers), "x_mean": mean, "x_first": in_order[0][1][0],
        "x_last": in_order[-1][1][0], "x_count": len(inside),
    }  # fmt: skip


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value if value is None else round(value, 9) for name, value in row.items() if name.startswith("x_")}


# No leakage ----------------------------------------------------------------------------------------------------------

OF_DEMO = ["heart_rate", "mbp", "creatinine", "lactate", "norepinephrine_rate"]


OF_WINDOW = ["min", "max", "last", "count"]


def check_known(row: dict[str, Any], start: datetime, trajectory: Any, codes: dict[str, str]) -> int:
    """Compare features with a trajectory as of the end of their window, and return its number of infusions."""
    in_window = trajectory.events.filter(pl.col("available_time") >= start, pl.col("numeric_value").is_not_null())
    for concept in OF_DEMO[:-1]:
        wanted = [code for code, name in codes.items() if name == concept]
        numbers = in_window.filter(pl.col("code").is_in(wanted))["numeric_value"]
        expected = [numbers.min(), numbers.max(), numbers[-1] if len(numbers) else None, len(numbers)]
        assert [row[f"{concept}_{stat}"] for stat in OF_WINDOW] == pytest.approx(expected), (concept, trajectory)
    rates = trajectory.intervals("input").filter(
        pl.col("start_code") == f"INPUT_START//{NOREPINEPHRINE}", pl.col("start_value").is_not_null()
    )
    runs = rates.filter(pl.col("end").is_null() | (pl.col("end") > start))
    assert row["norepinephrine_rate_count"] == runs.height, trajectory
    assert row["norepinephrine_rate_max"] == pytest.approx(runs["start_value"].max())
    return runs.height


@pytest.fixture(scope="module")
def demo_ds(demo_built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(demo_built)


@pytest.fixture(scope="module")
def demo_stays(demo_ds: ehrtraj.Dataset) -> pl.DataFrame:
    return demo_ds.stays("icu")


@pytest.fixture(scope="module")
def demo_codes(demo_ds: ehrtraj.Dataset) -> dict[str, str]:
    """The concept of each code that the features use."""
    items = demo_ds.sql("SELECT event_type || '//' || item AS code, concept FROM concept_items")
    return dict(items.filter(pl.col("concept").is_in(OF_DEMO[:-1])).iter_rows())


@pytest.mark.parametrize("hours", [6, 24])
def test_features_of_the_demo_are_those_of_what_was_known(
    demo_ds: ehrtraj.Dataset, demo_codes: dict[str, str], hours: int
) -> None:
    """Every value comes from the trajectory as of the end of the window, and all of it that is in the window counts."""
    cohort = demo_ds.cohort("icu")
    found = cohort.features(("start", f"{hours}h"), OF_DEMO, OF_WINDOW)
    rows = zip(found.iter_rows(named=True), cohort.frame["start"], cohort.as_of(f"{hours}h"), strict=True)
    assert sum(check_known(row, start, trajectory, demo_codes) for row, start, trajectory in rows) > 0


@given(stay=st.integers(0, 139), begin=st.integers(-48 * 60, 96 * 60), length=st.integers(0, 96 * 60))
@settings(deadline=None, max_examples=60)
def test_features_of_any_window_are_those_of_what_was_known(
    demo_ds: ehrtraj.Dataset, demo_stays: pl.DataFrame, demo_codes: dict[str, str], stay: int, begin: int, length: int
) -> None:
    one = demo_stays[stay].with_columns(pl.col("start") + pl.duration(minutes=begin))
    cohort = demo_ds.cohort(one)
    found = cohort.features(("start", f"{length}m"), OF_DEMO, OF_WINDOW).row(0, named=True)
    (trajectory,) = cohort.as_of(f"{length}m")
    check_known(found, one["start"][0], trajectory, demo_codes)


def test_a_grid_of_the_demo_adds_up_to_its_window(demo_built: Path) -> None:
    cohort = ehrtraj.open(demo_built).cohort("icu")
    for clock in ("available", "time"):
        grid = cohort.features(("start", "24h"), OF_DEMO[:-1], ["count", "max"], clock=clock, freq="1h")
        total = cohort.features(("start", "24h"), OF_DEMO[:-1], ["count", "max"], clock=clock)
        assert grid.height == 24 * len(cohort)
        keys = ["subject_id", "hadm_id", "stay_id"]
        counts, most = pl.col("^.*_count$").sum(), pl.col("^.*_max$").max()
        summed = grid.group_by(keys, maintain_order=True).agg(counts, most).select(total.columns)
        assert summed.equals(total)


def test_features_do_not_depend_on_the_files(several_shards_built: Path, built: Path) -> None:
    of = ["creatinine", "heart_rate", "norepinephrine_rate"]
    parts = [ehrtraj.open(path) for path in (several_shards_built, built)]
    assert len(parts[0].files) > len(parts[1].files)
    first, second = (ds.cohort("icu").features(("-24h", "end"), of) for ds in parts)
    assert first.equals(second)
    assert first["creatinine_count"].sum() > 0
    backwards = parts[0].cohort(parts[0].stays("icu").reverse()).features(("-24h", "end"), of)
    assert backwards.equals(first.reverse())


def test_scikit_learn_takes_the_result(demo_built: Path) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble", reason="scikit-learn is in the extra [dev]")
    cohort = ehrtraj.open(demo_built).cohort("icu").first()
    features = cohort.features(DAY, OF_DEMO, keys=False)
    assert set(features.dtypes) == {pl.Float64}
    assert features.null_count().sum_horizontal().item() > 0
    model = ensemble.HistGradientBoostingClassifier(max_iter=5).fit(features, cohort.frame["hospital_died"])
    assert model.predict_proba(features).shape == (100, 2)
