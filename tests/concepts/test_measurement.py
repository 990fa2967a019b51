"""Concepts of measurements: edge cases, computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
AVAILABLE = ConceptMode("available")


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2150-01-01 {text}")


def gcs(time: str, motor: int | None = None, verbal: Any = None, eyes: int | None = None) -> list[dict[str, Any]]:
    """Return the components that were charted at a time. A verbal response of 0 is that of an intubated patient."""
    texts = {0: "No Response-ETT"}
    items = {"223901": motor, "223900": verbal, "220739": eyes}
    return [
        {
            "code": f"CHART//{item}",
            "time": f"2150-01-01 {time}",
            "value": value or 1.0,
            "text_value": texts.get(value, "a response"),
        }
        for item, value in items.items()
        if value is not None
    ]


@pytest.mark.parametrize(
    ("charted", "expected"),
    [
        ([gcs("08:00", 6, 4, 3)], (13, 6, 4, 3, 0)),
        ([gcs("08:00", motor=4)], (13, 4, None, None, 0)),
        ([gcs("08:00", 4, 0, 2)], (15, 4, 0, 2, 1)),
        ([gcs("08:00", 4, 0, 2), gcs("10:00", motor=3)], (15, 3, 0, 2, 0)),
        ([gcs("08:00", 4, 0, 2), gcs("10:00", verbal=3)], (13, 4, 3, 2, 0)),
        ([gcs("08:00", 4, 3, 2), gcs("13:59", motor=3)], (8, 3, 3, 2, 0)),
        ([gcs("08:00", 4, 3, 2), gcs("14:00", motor=3)], (12, 3, None, None, 0)),
    ],
    ids=["sum", "missing is normal", "intubated", "still intubated", "after the tube", "carried", "too old"],
)
def test_coma_scale(concept_of: Compute, charted: list[list[dict[str, Any]]], expected: tuple[int | None, ...]) -> None:
    rows = concept_of("gcs", events_of(*icu_stay(), *(event for events in charted for event in events)))
    assert rows.drop("subject_id", "stay_id", "time", "available_time").row(-1) == expected


def test_a_component_of_the_coma_scale_is_used_once_it_is_known(concept_of: Compute) -> None:
    late = [event | {"available_time": "2150-01-01 09:00"} for event in gcs("08:00", eyes=2)]
    events = events_of(*icu_stay(), *gcs("07:00", 6, 5, 4), *gcs("08:00", 3, 2), *late)
    columns = ["time", "available_time", "gcs"]
    assert concept_of("gcs", events).select(columns).row(-1) == (at("08:00"), at("09:00"), 7)
    assert concept_of("gcs", events, AVAILABLE).select(columns).rows()[1:] == [
        (at("08:00"), at("08:00"), 9),
        (at("09:00"), at("09:00"), 7),
    ]


def weight(time: str, kg: float, item: str = "224639", **also: Any) -> dict[str, Any]:
    return {"code": f"CHART//{item}", "time": f"2150-01-{time}", "value": kg, **also}


ADMIT = "226512"


@pytest.mark.parametrize(
    ("charted", "expected"),
    [
        ([weight("01 12:00", 80, ADMIT)], [("2149-12-31 22:00", "2150-01-03 02:00", 80)]),
        (
            [weight("01 12:00", 80)],
            [("2149-12-31 22:00", "2150-01-01 12:00", 80), ("2150-01-01 12:00", "2150-01-03 02:00", 80)],
        ),
        (
            [weight("01 12:00", 80, ADMIT), weight("02 06:00", 82)],
            [("2149-12-31 22:00", "2150-01-02 06:00", 80), ("2150-01-02 06:00", "2150-01-03 02:00", 82)],
        ),
        ([weight("01 12:00", 0), weight("01 13:00", 1500)], []),
    ],
    ids=["admission", "daily alone", "both", "impossible"],
)
def test_weights_hold_until_the_next_one(
    concept_of: Compute, charted: list[dict[str, Any]], expected: list[tuple[str, str, float]]
) -> None:
    rows = concept_of("weight_durations", events_of(*icu_stay(), *charted))
    assert rows.select("start", "end", "weight").rows() == [
        (datetime.fromisoformat(start), datetime.fromisoformat(end), kg) for start, end, kg in expected
    ]


def test_a_weight_is_complete_when_its_end_is_known(concept_of: Compute) -> None:
    late = weight("02 06:00", 82, available_time="2150-01-02 08:00")
    events = events_of(*icu_stay(), weight("01 12:00", 80, ADMIT), late)
    rows = concept_of("weight_durations", events)
    assert rows["available_time"].to_list() == [datetime(2150, 1, 2, 8), datetime(2150, 1, 3, 2)]
    assert concept_of("body_weight", events)["available_time"].to_list() == [
        datetime(2150, 1, 1, 12),
        datetime(2150, 1, 2, 8),
    ]


def output(item: str, time: str, ml: float, **also: Any) -> dict[str, Any]:
    return {"code": f"OUTPUT//{item}", "time": f"2150-01-01 {time}", "value": ml, **also}


@pytest.mark.parametrize(
    ("charted", "expected"),
    [
        ([output("226559", "08:00", 100), output("226560", "08:00", 50)], [150.0]),
        ([output("227489", "08:00", 300), output("227488", "08:00", 200)], [100.0]),
        ([output("227488", "08:00", 200)], [-200.0]),
        ([output("226588", "08:00", 100)], []),
    ],
    ids=["sum", "irrigant", "irrigant alone", "a drain"],
)
def test_urine(concept_of: Compute, charted: list[dict[str, Any]], expected: list[float]) -> None:
    rows = concept_of("urine_output", events_of(*icu_stay(), *charted))
    assert rows["urineoutput"].to_list() == expected


def gas(specimen: int = 7, time: str = "08:00", **results: float) -> list[dict[str, Any]]:
    """Return the results of a blood gas, without a stay as in the laboratory."""
    items = {"po2": "50821", "pco2": "50818", "fio2": "50816", "so2": "50817", "ph": "50820"}
    also = {"time": f"2150-01-01 {time}", "link_id": specimen, "stay_id": None}
    return [{"code": f"LAB//{items[name]}", "value": value, **also} for name, value in results.items()]


def inspired(time: str, value: float, **also: Any) -> dict[str, Any]:
    return {"code": "CHART//223835", "time": f"2150-01-01 {time}", "value": value, **also}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (gas(po2=80, pco2=40, fio2=50), [(None, 50, 160, 226.5)]),
        (gas(po2=80, pco2=40, fio2=0.5), [(None, 50, 160, 226.5)]),
        (gas(po2=80, pco2=40, fio2=20), [(None, None, None, None)]),
        ([*gas(po2=80, pco2=40), inspired("04:00", 0.4)], [(40, None, 200, 155.2)]),
        ([*gas(po2=80), inspired("03:59", 40)], [(None, None, None, None)]),
        ([*gas(po2=80), inspired("06:00", 50), inspired("07:00", 10)], [(50, None, 160, None)]),
        (gas(pco2=40, ph=7.4), []),
    ],
    ids=["percent", "fraction", "too low", "charted", "too old", "implausible", "no oxygen tension"],
)
def test_blood_gas(concept_of: Compute, events: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    rows = concept_of("bg", events_of(*icu_stay(), *events))
    found = rows.select("fio2_chartevents", "fio2", "pao2fio2ratio", pl.col("aado2_calc").round(6))
    assert found.rows() == expected


def test_a_result_of_a_blood_gas_is_added_once_it_is_known(concept_of: Compute) -> None:
    late = gas(po2=80)[0] | {"available_time": "2150-01-01 08:10"}
    later = gas(pco2=40)[0] | {"available_time": "2150-01-01 08:20"}
    events = events_of(*icu_stay(), *gas(ph=7.4), late, later)
    columns = ["time", "available_time", "ph", "po2", "pco2"]
    assert concept_of("bg", events).select(columns).rows() == [(at("08:00"), at("08:20"), 7.4, 80, 40)]
    assert concept_of("bg", events, AVAILABLE).select(columns).rows() == [
        (at("08:10"), at("08:10"), 7.4, 80, None),
        (at("08:20"), at("08:20"), 7.4, 80, 40),
    ]


def lab(item: str, value: float | None, specimen: int = 7, **also: Any) -> dict[str, Any]:
    where = {"time": "2150-01-01 08:00", "link_id": specimen, "stay_id": None}
    return {"code": f"LAB//{item}", "value": value} | where | also


@pytest.mark.parametrize(
    ("concept", "column", "events", "expected"),
    [
        ("enzyme", "alt", [lab("50861", 20)], [20]),
        ("enzyme", "alt", [lab("50861", 20), lab("50861", 30)], [30]),
        ("enzyme", "alt", [lab("50861", 0)], []),
        ("enzyme", "alt", [lab("50861", None), lab("50863", 80)], [None]),
        ("coagulation", "inr", [lab("51237", 1.5), lab("51274", 15)], [1.5]),
        ("coagulation", "inr", [lab("51237", 0)], [0]),
        ("coagulation", "inr", [lab("51237", None)], []),
        ("complete_blood_count", "wbc", [lab("51300", 9)], [9]),
        ("complete_blood_count", "wbc", [lab("51301", 8), lab("51301", 9, specimen=8)], [8, 9]),
        ("complete_blood_count", "platelet", [lab("51265", -1)], []),
        ("cardiac_marker", "troponin_t", [lab("51003", 0.5)], [0.5]),
        ("cardiac_marker", "troponin_t", [lab("50911", 3)], [None]),
        ("cardiac_marker", "ntprobnp", [lab("50963", None)], []),
        ("inflammation", "crp", [lab("50889", 12, unit="mg/L")], [12]),
        ("inflammation", "crp", [lab("50889", 12, unit="mg/dL")], []),
        ("inflammation", "crp", [lab("50889", 0, unit="mg/L")], []),
    ],
)
def test_a_row_is_a_specimen(
    concept_of: Compute, concept: str, column: str, events: list[dict[str, Any]], expected: list[float | None]
) -> None:
    assert concept_of(concept, events_of(*icu_stay(), *events))[column].to_list() == expected


WBC, PERCENT, COUNT = "51301", "51244", "51133"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([lab(WBC, 8), lab(PERCENT, 25)], [(8, 2, 25)]),
        ([lab(WBC, 8), lab(PERCENT, 25), lab(COUNT, 1.9)], [(8, 1.9, 25)]),
        ([lab(WBC, 0), lab(PERCENT, 25)], [(0, None, 25)]),
        ([lab(PERCENT, 25)], [(None, None, 25)]),
        ([lab(WBC, 8), lab("51146", 0), lab(PERCENT, 0)], [(8, None, 0)]),
        ([lab("51199", 500, unit="/uL")], [(None, None, None)]),
    ],
    ids=["computed", "reported", "no white cells", "no count", "all zero", "other unit"],
)
def test_differential(concept_of: Compute, events: list[dict[str, Any]], expected: list[tuple[Any, ...]]) -> None:
    rows = concept_of("blood_differential", events_of(*icu_stay(), *events))
    assert rows.select("wbc", "lymphocytes_abs", "lymphocytes").rows() == expected


def test_a_count_per_microlitre_is_converted(concept_of: Compute) -> None:
    events = events_of(*icu_stay(), lab("51199", 500, unit="/uL"), lab("51133", 1.5, unit="10*3/uL"))
    assert concept_of("blood_differential", events).select("eosinophils_abs", "lymphocytes_abs").rows() == [(0.5, 1.5)]


def test_a_differential_is_computed_once_both_parts_are_known(concept_of: Compute) -> None:
    late = lab(PERCENT, 25, available_time="2150-01-01 09:00")
    rows = concept_of("blood_differential", events_of(*icu_stay(), lab(WBC, 8), late), AVAILABLE)
    assert rows.select("time", "lymphocytes_abs").rows() == [(at("08:00"), None), (at("09:00"), 2)]


def charted(item: str, value: float | None = None, text: str | None = None, **also: Any) -> dict[str, Any]:
    return {"code": f"CHART//{item}", "time": "2150-01-01 08:00", "value": value, "text_value": text} | also


@pytest.mark.parametrize(
    ("concept", "column", "events", "expected"),
    [
        ("ventilator_setting", "fio2", [charted("223835", 0.4)], 40),
        ("ventilator_setting", "fio2", [charted("223835", 20)], 20),
        ("ventilator_setting", "fio2", [charted("223835", 19)], None),
        ("ventilator_setting", "peep", [charted("220339", 5), charted("224700", 8)], 8),
        ("ventilator_setting", "peep", [charted("220339", 101)], None),
        ("ventilator_setting", "ventilator_mode", [charted("223849", text="CMV")], "CMV"),
        ("ventilator_setting", "respiratory_rate_total", [charted("224690", 18), charted("220210", 20)], 18),
        ("oxygen_delivery", "o2_flow", [charted("223834", 2), charted("227287", 4)], 2),
        ("oxygen_delivery", "o2_flow_additional", [charted("223834", 2), charted("227287", 4)], 4),
        (
            "oxygen_delivery",
            "o2_flow",
            [charted("223834", 6), charted("223834", 2, available_time="2150-01-01 09:00")],
            2,
        ),
        ("oxygen_delivery", "o2_delivery_device_1", [charted("226732", text="Face tent")], "Face tent"),
        (
            "oxygen_delivery",
            "o2_delivery_device_2",
            [charted("226732", text="Face tent"), charted("226732", text="Nasal cannula")],
            "Face tent",
        ),
        ("icp", "icp", [charted("220765", 12), charted("227989", 14)], 14),
        ("icp", "icp", [charted("220765", 100)], None),
        (
            "rhythm",
            "heart_rhythm",
            [charted("220048", text="V Paced"), charted("220048", text="A Paced")],
            "A Paced; V Paced",
        ),
        ("rhythm", "heart_rhythm", [charted("220048", text="V Paced")] * 2, "V Paced"),
        (
            "rhythm",
            "ectopy_type_secondary",
            [charted("224650", text="PVC's"), charted("226479", text="PAC's")],
            "PAC's",
        ),
        ("rass", "rass", [charted("228096", -5)], -5),
        ("rass", "rass", [charted("228096", 4), charted("228096", 0)], 0),
        ("height", "height", [charted("226730", 170), charted("226707", 172.72)], 170),
        ("height", "height", [charted("226707", 172.72)], 172.72),
    ],
)
def test_a_row_is_a_time_of_charting(
    concept_of: Compute, concept: str, column: str, events: list[dict[str, Any]], expected: float | str | None
) -> None:
    assert concept_of(concept, events_of(*icu_stay(), *events))[column].to_list() == [
        expected if not isinstance(expected, float) else pytest.approx(expected)
    ]


def test_mimic_code_has_no_device_without_a_flow(concept_of: Compute) -> None:
    events = events_of(*icu_stay(), charted("226732", text="Face tent"))
    assert concept_of("oxygen_delivery", events).height == 1
    assert concept_of("oxygen_delivery", events, ConceptMode(as_mimic_code=True)).is_empty()


@pytest.mark.parametrize("centimetres", [120, 230])
def test_an_implausible_height_is_not_used(concept_of: Compute, centimetres: float) -> None:
    assert concept_of("height", events_of(*icu_stay(), charted("226730", centimetres))).is_empty()


def test_a_score_that_does_not_exist_is_not_used(concept_of: Compute) -> None:
    assert concept_of("rass", events_of(*icu_stay(), charted("228096", 5))).is_empty()


def cam(**answers: str) -> list[dict[str, Any]]:
    items = {"delirium": "228332", "f1": "228337", "f2": "228336", "f3": "228334", "f4": "228335"}
    return [charted(items[name], text=answer) for name, answer in answers.items()]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"delirium": "Positive"}, (True, False)),
        ({"delirium": "UTA", "f1": "Yes"}, (None, True)),
        ({"f1": "Yes", "f2": "Yes", "f4": "Yes"}, (True, False)),
        ({"f1": "Yes", "f2": "Yes", "f3": "No", "f4": "No"}, (False, False)),
        ({"f1": "Yes", "f2": "Yes"}, (None, False)),
        ({"f1": "No"}, (False, False)),
        ({"f1": "Yes", "f2": "Unable to Assess", "f3": "Yes"}, (None, False)),
        ({"delirium": "Negative", "f1": "Yes", "f2": "Yes", "f3": "Yes"}, (False, False)),
    ],
)
def test_delirium(concept_of: Compute, answers: dict[str, str], expected: tuple[bool | None, bool]) -> None:
    rows = concept_of("cam_icu", events_of(*icu_stay(), *cam(**answers)))
    assert rows.select("delirium", "unable").rows() == [expected]


def test_features_of_delirium_are_added_once_they_are_known(concept_of: Compute) -> None:
    late = cam(f2="Yes")[0] | {"available_time": "2150-01-01 08:05"}
    events = events_of(*icu_stay(), *cam(f1="Yes", f3="Yes"), late)
    rows = concept_of("cam_icu", events, AVAILABLE)
    assert rows.select("time", "delirium").rows() == [(at("08:00"), None), (at("08:05"), True)]


@pytest.mark.parametrize(
    ("concept", "column", "rows", "total"),
    [
        ("body_weight", "weight", 570, None),
        ("inflammation", "crp", 42, None),
        ("icp", "icp", 303, None),
        ("rhythm", "heart_rhythm", 12439, None),
        ("rass", "rass", 2751, -2290),
        ("cam_icu", "delirium", 1344, 348),
        ("code_status", "fullcode", 389, 320),
        ("code_status", "dnr", 389, 67),
    ],
)
def test_concepts_of_the_demo(demo_concept: Compute, concept: str, column: str, rows: int, total: float | None) -> None:
    found = demo_concept(concept)
    assert found.height == rows
    assert total is None or found[column].sum() == total
