"""The list of patients, and a random one of it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ehrtraj.errors import SettingsError
from ehrtraj.view.pages import address, page
from ehrtraj.view.search import Filters
from ehrtraj.view.viewer import viewer_of

PAGE_ROWS = 1000
"""Patients on one page of the list."""
FIRST_ROWS = 60
"""Patients that are painted first: more than a screen shows. Painting 1,000 of them takes 0.1 s longer."""


def page_number(request: Request) -> int:
    """Return the number of the requested page of a list, from 1."""
    given = request.query_params.get("page", "1")
    return int(given) if given.isascii() and given.isdigit() and 0 < len(given) < 10 and int(given) else 1


def _patients(request: Request) -> Response:
    viewer = viewer_of(request)
    filters = Filters.read(request.query_params)
    number = page_number(request)
    problem = ""
    try:
        found = viewer.search.find(filters)
    except SettingsError as error:
        # The page stays, so that the search can be corrected.
        found, problem = viewer.dataset.subjects.clear(), str(error)
    rows = found.slice((number - 1) * PAGE_ROWS, PAGE_ROWS)
    return page(
        "patients",
        dataset=viewer.dataset,
        filters=filters,
        problem=problem,
        total=found.height,
        rows=rows.rows(named=True),
        first_rows=FIRST_ROWS,
        labelled=bool(filters.labels) and not problem,
        first=(number - 1) * PAGE_ROWS,
        number=number,
        pages=-(-found.height // PAGE_ROWS),
        sexes=viewer.dataset.subjects["sex"].drop_nulls().unique().sort().to_list(),
        concepts=viewer.dataset.concepts.sort("concept")["concept"].to_list(),
        cohorts=list(viewer.search.cohorts),
        labels=list(viewer.search.labels),
    )


def _random(request: Request) -> Response:
    filters = Filters.read(request.query_params)
    shown = request.query_params.get("other_than", "")
    chosen = viewer_of(request).search.any_of(filters, int(shown) if shown.isascii() and shown.isdigit() else None)
    return RedirectResponse(address(f"/patients/{chosen}", filters.given), 303)


def _home(_request: Request) -> Response:
    return RedirectResponse("/patients", 303)


ROUTES: list[BaseRoute] = [
    Route("/", _home),
    Route("/patients", _patients),
    Route("/patients/random", _random),
]
