"""A picture of one patient: bands, bars, curves and marks over time, for the viewer and for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import polars as pl

from ehrtraj.errors import SettingsError


class _Patient(Protocol):
    subject_id: int
    events: pl.DataFrame

    @property
    def sex(self) -> str | None: ...

    @property
    def descriptions(self) -> dict[str, str]: ...


def _seconds(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("s")


def outline(trajectory: _Patient) -> dict[str, Any]:
    """Return what there is of a patient."""
    events = trajectory.events.filter(pl.col("time_precision") != "year")
    series = (
        trajectory.events.filter(pl.col("numeric_value").is_not_null())
        .group_by("code")
        .agg(n=pl.len())
        .sort("n", "code", descending=True)
    )
    return {
        "patient": {"subject_id": trajectory.subject_id, "sex": trajectory.sex},
        "extent": dict(
            zip(("start", "end"), events.select(s=_seconds("time").min(), e=_seconds("time").max()).row(0), strict=True)
        ),
        "series": series.to_dicts(),
        "concepts": [],
    }


def series(trajectory: _Patient, codes: Sequence[str], start: int, end: int, width: int) -> dict[str, Any]:
    """Return the numbers of some codes."""
    events = trajectory.events.filter(pl.col("code").is_in(list(codes)))
    rows = events.select("code", t=_seconds("time"), v="numeric_value").filter(pl.col("t").is_between(start, end))
    return {code: rows.filter(code=code).select("t", "v").to_dict(as_series=False) for code in codes}


def events(
    trajectory: _Patient, start: int, end: int, codes: Sequence[str] | None = None, offset: int = 0, limit: int = 200
) -> dict[str, Any]:
    """Return some events."""
    rows = trajectory.events.with_row_index("position").filter(_seconds("time").is_between(start, end))
    if codes:
        rows = rows.filter(pl.col("code").is_in(codes))
    value = pl.concat_str(
        pl.col("numeric_value").cast(pl.String), pl.col("unit"), pl.col("text_value"), separator=" ", ignore_nulls=True
    )
    shown = rows.slice(offset, limit).select(
        "position",
        "code",
        "source_table",
        "source_key",
        value=value,
        time=_seconds("time"),
        available_time=_seconds("available_time"),
    )
    found = [row | {"flags": [], "description": trajectory.descriptions.get(row["code"])} for row in shown.to_dicts()]
    return {"rows": found, "total": rows.height}


def items(trajectory: _Patient, start: int, end: int, width: int) -> dict[str, Any]:
    """Return bars, marks and notes of a period."""
    rows = trajectory.events.filter(_seconds("time").is_between(start, end))
    return {"bars": [], "marks": rows.select("code", t=_seconds("time")).to_dicts(), "notes": []}


def text_of(trajectory: _Patient, position: int) -> dict[str, Any]:
    """Return the text of an event."""
    if not 0 <= position < trajectory.events.height:
        raise SettingsError(f"there is no event {position}: the trajectory has {trajectory.events.height:,}")
    event = trajectory.events.row(position, named=True)
    return {"code": event["code"], "title": event["code"], "text": event["text_value"]}
