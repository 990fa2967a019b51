"""Events written by hand for scores and organ failure, and figures of a concept in the demo."""

from __future__ import annotations

import math
from datetime import datetime
from itertools import count
from typing import Any

import polars as pl

Event = dict[str, Any]
_NUMBERS = count(1)
CHARTED = {
    "heart_rate": "220045", "sbp": "220179", "mbp": "220181", "resp_rate": "220210", "temperature": "223762",
    "spo2": "220277", "gcs_eyes": "220739", "gcs_verbal": "223900", "gcs_motor": "223901", "weight": "226512",
    "fio2": "223835", "device": "226732", "mode": "223849", "temperature_site": "224642",
}  # fmt: skip
TESTED = {
    "creatinine": "50912", "bilirubin": "50885", "platelet": "51265", "wbc": "51301", "bun": "51006",
    "sodium": "50983", "inr": "51237", "po2": "50821", "pco2": "50818", "ph": "50820", "fio2": "50816",
    "specimen": "52033", "aado2": "50801",
}  # fmt: skip
_UNITS = {"temperature": "Cel", "weight": "kg"}


def on(day: str, time: str) -> str:
    return f"2150-01-{day} {time}"


def moment(time: str, day: str = "01") -> datetime:
    return datetime.fromisoformat(on(day, time))


def chart(what: str, time: str, value: float | str, **also: Any) -> Event:
    """Return a charted value of 1 January 2150, or of the day in a time such as `02 08:00`."""
    number = {"text_value": value} if isinstance(value, str) else {"value": value}
    return {"code": f"CHART//{CHARTED[what]}", "time": _full(time), "unit": _UNITS.get(what)} | number | also


def lab(what: str, time: str, value: float | str, **also: Any) -> Event:
    """Return a result of a specimen of its own, or of `link_id`."""
    number = {"text_value": value} if isinstance(value, str) else {"value": value}
    source = {"link_id": next(_NUMBERS), "stay_id": None}
    return {"code": f"LAB//{TESTED[what]}", "time": _full(time)} | source | number | also


def gas(time: str, **values: float) -> list[Event]:
    """Return an arterial blood gas: `gas("08:00", po2=80, fio2=40)`."""
    link = {"link_id": next(_NUMBERS)}
    return [lab("specimen", time, "ART.", **link), *(lab(what, time, value, **link) for what, value in values.items())]


def urine(time: str, value: float, **also: Any) -> Event:
    return {"code": "OUTPUT//226559", "time": _full(time), "value": value, "unit": "mL"} | also


def infusion(item: str, start: str, end: str | None, rate: float, **ends: Any) -> list[Event]:
    """Return an infusion at a constant rate; without an end it is still running."""
    key = {"source_key": next(_NUMBERS)}
    begin = {"code": f"INPUT_START//{item}", "time": _full(start), "value": rate, "unit": "ug/kg/min"} | key
    if end is None:
        return [begin]
    return [begin, {"code": f"INPUT_END//{item}", "time": _full(end), "value": 1.0, "unit": "mg"} | key | ends]


def heart_rates(first: int, last: int) -> list[Event]:
    """Return a heart rate at half past each hour of 1 January, so that hour 0 ends after the first one."""
    return [chart("heart_rate", f"{hour:02}:30", 80.0) for hour in range(first, last + 1)]


def _full(time: str) -> str:
    day, _, clock = time.rpartition(" ")
    return on(day or "01", clock)


def figures(rows: pl.DataFrame, column: str) -> tuple[int, float]:
    """Return the number of rows and the sum of a column, which does not depend on the order of the rows."""
    return rows.height, round(math.fsum(rows[column].cast(pl.Float64).drop_nulls().to_list()), 3)
