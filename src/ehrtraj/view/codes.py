"""The list of codes, and the page of one code."""

from __future__ import annotations

import polars as pl
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ehrtraj.dataset.summary import find_codes
from ehrtraj.view.histogram import histogram
from ehrtraj.view.pages import page
from ehrtraj.view.patients import page_number
from ehrtraj.view.viewer import viewer_of

PAGE_ROWS = 500
"""Codes on one page of the list."""
_ORDERS = {
    "events": ("n_events", True),
    "patients": ("n_subjects", True),
    "code": ("code", False),
    "description": ("description", False),
}


def _codes(request: Request) -> Response:
    dataset, number = viewer_of(request).dataset, page_number(request)
    asked = {name: request.query_params.get(name, "").strip() for name in ("q", "type", "sort")}
    found = find_codes(dataset, asked["q"] or None)
    if asked["type"]:
        found = found.filter(event_type=asked["type"])
    column, descending = _ORDERS.get(asked["sort"], _ORDERS["events"])
    found = found.sort(column, "code", descending=[descending, False], nulls_last=True)
    return page(
        "codes",
        dataset=dataset,
        asked=asked,
        sort=asked["sort"] if asked["sort"] in _ORDERS else "events",
        total=found.height,
        rows=found.slice((number - 1) * PAGE_ROWS, PAGE_ROWS).rows(named=True),
        types=dataset.codes["event_type"].unique().sort().to_list(),
        meanings=dataset.layout.source.meanings,
        number=number,
        pages=-(-found.height // PAGE_ROWS),
    )


def _code(request: Request) -> Response:
    dataset = viewer_of(request).dataset
    found = dataset.codes.filter(code=request.query_params.get("code", ""))
    if found.is_empty():
        raise HTTPException(404)
    code = found.row(0, named=True)
    parents = dataset.codes.explode("parent_codes").group_by("parent_codes").len()
    shared = dict(parents.filter(pl.col("parent_codes").is_in(code["parent_codes"] or [])).rows())
    return page(
        "code",
        dataset=dataset,
        code=code,
        meaning=dataset.layout.source.meanings.get(code["event_type"], ""),
        parents=[(parent, shared.get(parent, 1)) for parent in code["parent_codes"] or []],
        histogram=histogram(dataset.layout.numbers.filter(code=code["code"])),
        n_patients=len(dataset),
    )


ROUTES: list[BaseRoute] = [Route("/codes", _codes), Route("/code", _code)]
