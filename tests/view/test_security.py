"""Who may read the pages, and what a browser may do with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from ehrtraj.view.viewer import Viewer

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


@pytest.fixture(scope="module")
def stranger(connect, built) -> TestClient:
    """A browser that has not opened the address with the token."""
    return connect(built, token=False)


@pytest.fixture(scope="module")
def friend(connect, built) -> TestClient:
    return connect(built)


def test_the_token_becomes_a_cookie_that_scripts_cannot_read(connect, built) -> None:
    client = connect(built, token=False)
    answer = client.get("/patients/10900116?as_of=2153-04-12&token=a-token-for-tests", follow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/patients/10900116?as_of=2153-04-12"
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name == "ehrtraj-8642=a-token-for-tests"
    assert {one.lower() for one in attributes} == {"httponly", "path=/", "samesite=strict"}
    assert client.get("/patients/10900116").status_code == 200
    # An old address with a token still opens, and the token disappears from it.
    again = client.get("/patients?token=an-old-one", follow_redirects=False)
    assert (again.status_code, again.headers["location"]) == (303, "/patients")
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example", "/%2F/evil.example", "/%5Cevil.example"])
def test_the_redirect_never_leads_to_another_host(stranger: TestClient, path: str) -> None:
    location = stranger.build_request("GET", f"http://127.0.0.1:8642{path}?token=a-token-for-tests")
    answer = stranger.send(location, follow_redirects=False)
    stranger.cookies.clear()
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/evil.example")


@pytest.mark.parametrize(
    "path", ["/", "/patients", "/patients/10900116", "/api/patients/10900116/outline", "/code", "/nowhere"]
)
@pytest.mark.parametrize("cookie", [None, "", "wrong", "a-token-for-test", "\u00e4"])
def test_without_the_token_a_page_explains_where_it_is(stranger: TestClient, path: str, cookie: str | None) -> None:
    headers = {} if cookie is None else {"cookie": f"ehrtraj-8642={cookie}".encode()}
    answer = stranger.get(path, params={"as_of": "2153"}, headers=headers)
    assert answer.status_code == 403
    assert "http://127.0.0.1:8642/?token=" in answer.text
    assert f'href="{path}?as_of=2153"' in answer.text
    assert "a-token-for-tests" not in answer.text


def test_a_wrong_token_is_refused(stranger: TestClient) -> None:
    answer = stranger.get("/?token=wrong")
    assert answer.status_code == 403
    assert "This token is not valid" in answer.text
    assert "set-cookie" not in answer.headers


def test_without_the_token_only_what_its_page_needs_is_served(stranger: TestClient) -> None:
    answers = {name: stranger.get(f"/static/{name}").status_code for name in ("style.css", "icon.svg", "patient.js")}
    assert answers == {"style.css": 200, "icon.svg": 200, "patient.js": 403}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1", "127.0.0.1:80", "0.0.0.0:8642", "[::1]:8642", ""]
)
def test_another_host_is_refused(friend: TestClient, host: str) -> None:
    """A name of another site that leads to this machine (DNS rebinding) shows nothing."""
    answer = friend.get("/patients", headers={"host": host})
    assert answer.status_code == 421
    assert "10900116" not in answer.text


def test_localhost_is_this_machine(friend: TestClient) -> None:
    assert friend.get("http://localhost:8642/static/style.css").status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8000", "https://127.0.0.1:8642"])
def test_another_origin_is_refused(friend: TestClient, origin: str) -> None:
    answer = friend.get("/patients", headers={"origin": origin})
    assert answer.status_code == 403
    assert "10900116" not in answer.text


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "navigate", 403),
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("same-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_requests_of_other_sites_are_refused(friend: TestClient, site: str, mode: str, status: int) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
    answer = friend.get("/patients?sex=F", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert 'href="/patients?sex=F"' in answer.text
        assert "10900116" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_only_reading_is_possible(friend: TestClient, method: str) -> None:
    answer = friend.request(method, "/patients")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/patients",
        "/patients/10900116",
        "/patients/1",
        "/patients/random",
        "/codes",
        "/nowhere",
        "/static/style.css",
        "/static/../app.py",
        "/api/patients/10900116/outline",
        "/api/patients/10900116/events?start=x",
        "/patients?token=a-token-for-tests",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_every_answer_has_all_headers(friend: TestClient, stranger: TestClient, path: str, method: str) -> None:
    for browser in (friend, stranger):
        answer = browser.request(method, path, follow_redirects=False)
        stranger.cookies.clear()
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert method != "HEAD" or answer.content == b""


@pytest.mark.parametrize("name", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "/etc/passwd", "timeline/../../app.py"])
def test_no_address_leads_out_of_the_static_files(friend: TestClient, name: str) -> None:
    assert friend.send(friend.build_request("GET", f"http://127.0.0.1:8642/static/{name}")).status_code == 404


def test_an_unexpected_error_shows_and_reports_no_data(
    connect, built: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("10900116 has SECRET")

    monkeypatch.setattr(Viewer, "_trajectory", fail)
    reported: list[str] = []
    client = connect(built, report=reported.append)
    for path in ("/patients/10900116?as_of=2153-04-12", "/api/patients/10900116/outline"):
        answer = client.get(path)
        assert answer.status_code == 500
        assert "SECRET" not in answer.text
        assert "Traceback" not in answer.text
    assert len(reported) == 2
    assert all(line.startswith("internal error: ValueError in ") for line in reported)
    assert not any("SECRET" in line or "10900116" in line for line in reported)
    assert capfd.readouterr() == ("", "")
