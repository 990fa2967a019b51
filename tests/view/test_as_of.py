"""What was not known at a time is in no byte of any answer: not in texts, scales, counts or lengths of axes.

The same patient has two futures in two datasets. With as_of, all answers are equal to the byte.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

import ehrtraj

AS_OF = "2139-11-06 12:00"
FUTURE = ("98765.4", "PLANTED-TEXT", "PLANTED-DRUG", "PLANTED-NOTE", "2139-11-07")
PERIOD = "start=5000000000&end=5500000000"

# Requests for each route of the application, about one patient. A new route must be added here, or to the routes below.
PATIENT = {
    "/patients/{subject_id:int}": [""],
    "/api/patients/{subject_id:int}/outline": [""],
    "/api/patients/{subject_id:int}/series": [
        f"{PERIOD}&code=LAB//51003&code=CHART//220045",
        f"{PERIOD}&code=LAB//51003&width=1",
        "start=5359600000&end=5359900000&code=LAB//51003",
    ],
    "/api/patients/{subject_id:int}/items": [PERIOD, "start=5359600000&end=5359900000&width=3"],
    "/api/patients/{subject_id:int}/events": [PERIOD, f"{PERIOD}&code=LAB//51003", f"{PERIOD}&offset=10&limit=1000"],
    "/api/patients/{subject_id:int}/explain": [f"position={n}" for n in (0, 4, 9)]
    + ["position=4&rows=1", "position=18", "position=19"],
    "/api/patients/{subject_id:int}/note": [f"position={n}" for n in (0, 9, 18, 19, 9999)],
    "/api/patients/{subject_id:int}/codes": ["", "q=planted", "q=lab"],
}
# Routes that do not know as_of: it belongs to the calendar of one patient, and these are about all patients.
WITHOUT_AS_OF = {"/", "/patients", "/patients/random", "/codes", "/code", "/static/{name:path}"}


@pytest.fixture(scope="module")
def other(connect, other_future: Path) -> TestClient:
    return connect(other_future)


def requests(handmade: ModuleType, route: str, cut: str | None) -> list[str]:
    path = route.replace("{subject_id:int}", str(handmade.DIED))
    more = "" if cut is None else f"&as_of={cut}"
    return [f"{path}?{query}{more}" for query in PATIENT[route]]


def test_every_route_is_tested(client: TestClient) -> None:
    routes = {route.path for route in client.app.routes if isinstance(route, Route)}
    assert len(client.app.routes) == len(routes)
    assert set(PATIENT) | WITHOUT_AS_OF == routes


@pytest.mark.parametrize("route", PATIENT)
def test_two_futures_give_the_same_bytes(
    client: TestClient, other: TestClient, handmade: ModuleType, route: str
) -> None:
    for request in requests(handmade, route, AS_OF):
        one, another = client.get(request), other.get(request)
        # The names of the folders differ.
        assert one.status_code == another.status_code
        assert one.content == another.content, request
        assert not [text for text in FUTURE if text in one.text], request


def test_without_a_cut_the_future_is_there(client: TestClient, other: TestClient, handmade: ModuleType) -> None:
    """Otherwise the tests above would compare nothing."""
    answers = [client.get(request) for route in PATIENT for request in requests(handmade, route, None)]
    number = client.get(f"/api/patients/{handmade.DIED}/events?start=5359000000&end=5400000000&code=LAB//51003").json()
    position = number["rows"][-1]["position"]
    answers.append(client.get(f"/api/patients/{handmade.DIED}/explain?position={position}&rows=1"))
    assert ["value", "98765.4"] in answers[-1].json()["source"]["rows"][0]
    everything = "".join(answer.text for answer in answers)
    assert [text for text in FUTURE if text not in everything] == []
    for route in PATIENT:
        if not route.endswith(("explain", "note")):
            pairs = [(client.get(request), other.get(request)) for request in requests(handmade, route, None)]
            assert any(one.content != another.content for one, another in pairs), route


def test_every_event_is_explained_as_it_was_known(
    client: TestClient, other: TestClient, shown: Path, other_future: Path, handmade: ModuleType
) -> None:
    known = [ehrtraj.open(path)[handmade.DIED].as_of(AS_OF) for path in (shown, other_future)]
    assert known[0].events.equals(known[1].events)
    assert len(known[0]) == 19
    path = f"/api/patients/{handmade.DIED}/explain?as_of={AS_OF}&position="
    assert client.get(f"{path}19").json()["error"] == "there is no event 19: 19 events are known"
    assert client.get(f"{path}3&rows=1").json()["source"] == {"state": "hidden"}


def test_no_time_after_the_cut_is_in_any_answer(client: TestClient, handmade: ModuleType) -> None:
    """The scale of the slider is made in the page, from the outline: neither it nor any other time may be later."""
    cut = int(datetime(2139, 11, 6, 12, tzinfo=UTC).timestamp())
    for route in PATIENT:
        for request in requests(handmade, route, AS_OF):
            # What is in view at first has a margin at both ends.
            text = re.sub(r'"view":\{[^}]*\}', "", client.get(request).text)
            assert [time for time in re.findall(r"\b53\d{8}\b", text) if int(time) > cut] == [], request
            assert [day for day in re.findall(r"21\d\d-\d\d-\d\d", text) if day > "2139-11-06"] == [], request


@pytest.mark.parametrize("route", sorted(WITHOUT_AS_OF - {"/patients/random", "/static/{name:path}", "/code"}))
def test_lists_do_not_depend_on_the_cut(client: TestClient, route: str) -> None:
    assert client.get(f"{route}?as_of={AS_OF}").content == client.get(route).content


def test_before_the_first_event_nothing_is_known(client: TestClient, handmade: ModuleType) -> None:
    path = f"/api/patients/{handmade.DIED}"
    outline = client.get(f"{path}/outline?as_of=2000-01-01")
    assert outline.status_code == 200
    assert "2139" not in outline.text
    page = client.get(f"/patients/{handmade.DIED}?as_of=2000-01-01").text
    assert "2 events" in page
    assert "2139" not in page


@pytest.mark.parametrize("cut", ["yesterday", "2139-13-01", "2139-11-06T12:00Z", "5360000000000000000000"])
def test_a_wrong_time_is_an_error(client: TestClient, handmade: ModuleType, cut: str) -> None:
    for path in (f"/patients/{handmade.DIED}", f"/api/patients/{handmade.DIED}/outline"):
        answer = client.get(path, params={"as_of": cut})
        assert answer.status_code == 400
        assert "time" in answer.text
