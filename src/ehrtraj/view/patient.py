"""The page of one patient, and the data that it draws.

Everything about the patient comes from `patient_of`, which hides what was not known at `as_of` before anything else
happens. The rows of the release, which `as_of` cannot cut, are not shown then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ehrtraj import timeline
from ehrtraj.dataset.explain import source_file
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.errors import SettingsError
from ehrtraj.timeline.static import scripts, styles
from ehrtraj.view.pages import page
from ehrtraj.view.search import Filters
from ehrtraj.view.source_rows import explanation
from ehrtraj.view.viewer import as_of, patient_of, viewer_of

_MOST_EVENTS = 1000
_MOST_PIXELS = 10_000
_MOST_CODES = 50


def _page(request: Request) -> Response:
    viewer, cut = viewer_of(request), as_of(request)
    subject_id = request.path_params["subject_id"]
    filters = Filters.read(request.query_params)
    before, after = viewer.search.neighbours(filters, subject_id)
    return page(
        "patient",
        dataset=viewer.dataset,
        header=_header(request),
        as_of=cut,
        filters=filters,
        before=before,
        after=after,
        scripts=scripts(),
        styles=styles(),
    )


def _header(request: Request) -> dict[str, Any]:
    """Return the facts at the top of the page; without a cut, no events need to be read for them."""
    viewer, cut = viewer_of(request), as_of(request)
    subject_id = request.path_params["subject_id"]
    if cut is None and subject_id in viewer.dataset:
        subject = viewer.dataset.subjects.row(by_predicate=pl.col("subject_id") == subject_id, named=True)
        n_events, last, death = subject["n_events"], subject["last_time"], subject["death_time"]
        sex, birth_year, top_coded = subject["sex"], subject["birth_year"], subject["age_top_coded"]
        age = None if birth_year is None or last is None else last.year - birth_year
    else:
        trajectory = patient_of(request)
        n_events, last, death = len(trajectory), cut, trajectory.death_time
        sex, top_coded = trajectory.sex, False
        age = None if cut is None else trajectory.age(cut)
    return {
        "subject_id": subject_id,
        "sex": sex,
        "age": age,
        "age_top_coded": top_coded,
        "n_events": n_events,
        "last": last,
        "death": death,
    }


def _json(answer: Callable[[Request], Any]) -> Callable[[Request], Response]:
    def endpoint(request: Request) -> Response:
        return JSONResponse(answer(request))

    return endpoint


def _whole(request: Request, name: str, default: int, most: int) -> int:
    """Return a parameter that is a number from 0 to `most`."""
    given = request.query_params.get(name, str(default))
    if not given.isascii() or not given.isdigit() or len(given) > 12:
        raise SettingsError(f"{name} is '{given}', but must be a number of 0 or more")
    return min(int(given), most)


def _seconds(request: Request, name: str) -> int:
    """Return a parameter that is a time in seconds since 1970; the shifted times are after it or before it."""
    given = request.query_params.get(name, "")
    if not given.removeprefix("-").isascii() or not given.removeprefix("-").isdigit() or len(given) > 13:
        raise SettingsError(f"{name} is '{given}', but must be a time in seconds since 1970")
    return int(given)


def _outline(request: Request) -> Any:  # noqa: ANN401  # JSON
    return timeline.outline(patient_of(request))


def _series(request: Request) -> Any:  # noqa: ANN401  # JSON
    codes = request.query_params.getlist("code")
    width = max(1, _whole(request, "width", 1000, _MOST_PIXELS))
    return timeline.series(patient_of(request), codes, _seconds(request, "start"), _seconds(request, "end"), width)


def _items(request: Request) -> Any:  # noqa: ANN401  # JSON
    width = max(1, _whole(request, "width", 1000, _MOST_PIXELS))
    return timeline.items(patient_of(request), _seconds(request, "start"), _seconds(request, "end"), width)


def _events(request: Request) -> Any:  # noqa: ANN401  # JSON
    codes = request.query_params.getlist("code") or None
    offset = _whole(request, "offset", 0, 1 << 40)
    limit = _whole(request, "limit", 200, _MOST_EVENTS)
    start, end = _seconds(request, "start"), _seconds(request, "end")
    return timeline.events(patient_of(request), start, end, codes, offset, limit)


def _event(request: Request, trajectory: Trajectory) -> pl.DataFrame:
    """Return the event at the requested position among the events that are known."""
    position = _whole(request, "position", 0, 1 << 40)
    if position >= len(trajectory):
        raise SettingsError(f"there is no event {position}: {len(trajectory):,} events are known")
    return trajectory.events.slice(position, 1)


def _explain(request: Request) -> Any:  # noqa: ANN401  # JSON
    viewer, trajectory = viewer_of(request), patient_of(request)
    event = _event(request, trajectory)
    hidden = trajectory.known_until is not None
    # A row is written over time: that of an admission contains the discharge, so as_of cannot cut it.
    path = None if hidden else source_file(viewer.dataset, event["source_table"][0], viewer.release)
    search = "rows" in request.query_params
    found = viewer.explain(event, path if search else None)
    return explanation(found, path=path, hidden=hidden, searched=search)


def _note(request: Request) -> Any:  # noqa: ANN401  # JSON
    return timeline.text_of(patient_of(request), _whole(request, "position", 0, 1 << 40))


def _codes(request: Request) -> Any:  # noqa: ANN401  # JSON
    """Return the codes of this patient that contain all words of `q`, the most frequent first."""
    trajectory = patient_of(request)
    counts = trajectory.events.group_by("code").agg(n=pl.len(), numbers=pl.col("numeric_value").count())
    counts = counts.with_columns(description=pl.col("code").replace_strict(trajectory.descriptions, default=""))
    text = pl.concat_str("code", "description", separator=" ").str.to_lowercase()
    for word in request.query_params.get("q", "").lower().split():
        counts = counts.filter(text.str.contains(word, literal=True))
    return {"codes": counts.sort("n", "code", descending=[True, False]).head(_MOST_CODES).to_dicts()}


_DATA = {
    "outline": _outline,
    "series": _series,
    "items": _items,
    "events": _events,
    "explain": _explain,
    "note": _note,
    "codes": _codes,
}
ROUTES: list[BaseRoute] = [
    Route("/patients/{subject_id:int}", _page),
    *(Route(f"/api/patients/{{subject_id:int}}/{name}", _json(answer)) for name, answer in _DATA.items()),
]
