"""The pages: lists, searches, one patient, one code, and texts that look like HTML."""

from __future__ import annotations

import gzip
import json
import re
import threading
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from starlette.testclient import TestClient

import ehrtraj
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.view.histogram import histogram
from ehrtraj.view.lists import read_lists

EVERYTHING = "start=0&end=9999999999"


class Page(HTMLParser):
    """Elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "

    def values(self, tag: str, attribute: str) -> list[str]:
        return [value for name, has in self.elements if name == tag and (value := has.get(attribute)) is not None]


def listed(client: TestClient, query: str = "") -> list[int]:
    """Return the patients in a list."""
    answer = client.get(f"/patients{query}")
    assert answer.status_code == 200
    links = Page(answer.text).values("a", "href")
    return list(dict.fromkeys(int(found[1]) for link in links if (found := re.match(r"/patients/(\d+)", link))))


@pytest.fixture(scope="module")
def with_lists(connect, shown: Path, handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A browser for a viewer that was started with a cohort and with labels."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "cohort.csv").write_text(
        f"subject_id,x\n{handmade.DIED},1\n{handmade.DIED},2\n{handmade.OLDEST},3\n99,4\n"
    )
    rows = {
        "subject_id": [handmade.DIED, handmade.DIED, handmade.SEPSIS],
        "prediction_time": ["2139-11-06T06:20:00", "2139-11-05T06:20:00", "2153-04-12T23:58:00"],
        "boolean_value": [True, False, False],
    }
    pl.DataFrame(rows).with_columns(pl.col("prediction_time").str.to_datetime()).write_parquet(folder / "died.parquet")
    lists = {
        "cohorts": read_lists([folder / "cohort.csv"], labels=False),
        "labels": read_lists([folder / "died.parquet"], labels=True),
    }
    return connect(shown, lists=lists)


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("", lambda s: pl.lit(True)),
        ("?id=109004", lambda s: pl.col("subject_id") == 10900471),
        ("?sex=F", lambda s: pl.col("sex") == "F"),
        ("?age_from=70", lambda s: pl.col("last_time").dt.year() - pl.col("birth_year") >= 70),
        ("?age_from=60&age_to=70", lambda s: (pl.col("last_time").dt.year() - pl.col("birth_year")).is_between(60, 70)),
        ("?sex=M&id=1&age_to=", lambda s: pl.col("sex") == "M"),
        ("?id=7", lambda s: pl.lit(False)),
    ],
)
def test_patients_are_found_by_what_subjects_contains(client: TestClient, shown: Path, query: str, chosen) -> None:
    subjects = ehrtraj.open(shown).subjects
    assert listed(client, query) == subjects.filter(chosen(subjects))["subject_id"].to_list()


def test_patients_are_found_by_code(client: TestClient, handmade: ModuleType, shown: Path) -> None:
    assert listed(client, "?code=DRUG_ORDER_END//PLANTED-DRUG") == [handmade.DIED]
    assert listed(client, "?code=*//PLANTED*") == [handmade.DIED]
    women = ehrtraj.open(shown).filter(pl.col("sex") == "F", having="LAB//50912")
    assert listed(client, "?code=LAB//50912&sex=F") == list(women)


def test_patients_are_found_by_cohort_and_labels(with_lists: TestClient, handmade: ModuleType) -> None:
    assert listed(with_lists, "?cohort=cohort") == [handmade.DIED, handmade.OLDEST]
    assert listed(with_lists, "?labels=died") == [handmade.SEPSIS, handmade.DIED]
    assert listed(with_lists, "?labels=died&value=true") == [handmade.DIED]
    assert listed(with_lists, "?labels=died&cohort=cohort&value=false") == [handmade.DIED]
    page = Page(with_lists.get("/patients?labels=died").text)
    # The first prediction of each patient leads to what was known then.
    assert f"/patients/{handmade.DIED}?as_of=2139-11-05T06:20:00" in page.values("a", "href")


@pytest.fixture(scope="module")
def with_concept(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a concept, whose notes are in separate files."""
    folder = tmp_path_factory.mktemp("concept")
    handmade.write_release(folder / "release")
    path = ehrtraj.build(folder / "release", folder, "v1", max_cpus=1, notes="separate").path
    ehrtraj.compute_concepts(path, ["vasoactive_agent"], max_cpus=1)
    return path


def test_patients_are_found_by_concept(connect, with_concept: Path) -> None:
    client = connect(with_concept)
    assert "vasoactive_agent" in Page(client.get("/patients").text).values("option", "value")
    rows = ehrtraj.open(with_concept).concept("vasoactive_agent").collect()
    assert listed(client, "?concept=vasoactive_agent") == rows["subject_id"].unique().sort().to_list()
    assert rows.height


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("code=LAB//5091", "No code in"),
        ("age_from=old", "The lowest age is &#39;old&#39;, but must be a number."),
        ("age_to=-1", "The highest age is"),
        ("id=x", "The patient ID is"),
        ("concept=sofa", "has no computed concept"),
        ("cohort=x", "There is no list &#39;x&#39;"),
    ],
)
def test_a_search_that_is_not_valid_can_be_corrected(client: TestClient, query: str, message: str) -> None:
    answer = client.get(f"/patients?{query}")
    assert answer.status_code == 200
    assert message in answer.text
    assert 'role="search"' in answer.text
    # The address of a patient in such a list is an error.
    assert client.get(f"/patients/10900116?{query}").status_code == 400


def test_a_patient_leads_to_the_neighbours_in_the_list(client: TestClient, shown: Path) -> None:
    women = listed(client, "?sex=F")
    page = Page(client.get(f"/patients/{women[1]}?sex=F").text)
    links = {has["rel"]: has["href"] for tag, has in page.elements if tag == "a" and "rel" in has}
    assert links == {"prev": f"/patients/{women[0]}?sex=F", "next": f"/patients/{women[2]}?sex=F"}
    first = Page(client.get(f"/patients/{listed(client)[0]}").text)
    assert [has["rel"] for tag, has in first.elements if tag == "a" and "rel" in has] == ["next"]


def test_a_random_patient_is_one_of_the_list(client: TestClient) -> None:
    women = listed(client, "?sex=F")
    chosen = {client.get("/patients/random?sex=F", follow_redirects=False).headers["location"] for _ in range(60)}
    assert chosen == {f"/patients/{one}?sex=F" for one in women}
    others = f"/patients/random?sex=F&other_than={women[0]}"
    assert {client.get(others, follow_redirects=False).headers["location"] for _ in range(60)} == {
        f"/patients/{one}?sex=F" for one in women[1:]
    }
    for odd in (
        f"id={women[0]}&other_than={women[0]}",
        f"id={women[0]}&other_than={'9' * 40}",
        f"id={women[0]}&other_than=x",
    ):
        assert client.get(f"/patients/random?{odd}", follow_redirects=False).status_code == 303
    assert client.get("/patients/random?id=7").status_code == 400


def test_the_page_of_a_patient(client: TestClient, shown: Path, handmade: ModuleType) -> None:
    page = Page(client.get(f"/patients/{handmade.DIED}").text)
    text = " ".join(page.text.split())
    subject = ehrtraj.open(shown).subjects.filter(subject_id=handmade.DIED).row(0, named=True)
    assert f"Patient {handmade.DIED} male, 78 years at the last event, {subject['n_events']} events" in text
    assert "died 2139-11-07 18:22" in text
    for kind, attribute in (("script", "src"), ("link", "href")):
        for address in page.values(kind, attribute):
            assert client.get(address).status_code == 200, address


@pytest.mark.parametrize(
    "path", ["/patients/1", "/patients/99999999999999999999", "/patients/x", "/code?code=LAB", "/x"]
)
def test_what_does_not_exist_is_an_error_in_plain_words(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "<h1>" in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "query",
    [
        "series?start=x&end=1", "series?start=1", "events?start=1&end=-", "events?start=1&end=2&offset=-1",
        "series?start=1&end=2&width=x", "explain?position=x", "explain?position=99999", "note?position=-1",
        "note?position=99999", "events?start=1&end=2&limit=1e3",
    ],
)  # fmt: skip
def test_errors_of_the_data_are_json(client: TestClient, handmade: ModuleType, query: str) -> None:
    answer = client.get(f"/api/patients/{handmade.DIED}/{query}")
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert client.get(f"/api/patients/1/{query}").status_code in (400, 404)


def test_codes_are_found_and_sorted(client: TestClient, shown: Path) -> None:
    codes = ehrtraj.open(shown).codes

    def found(query: str) -> list[str]:
        page = Page(client.get(f"/codes?{query}").text)
        return [
            client.build_request("GET", link).url.params["code"]
            for link in page.values("a", "href")
            if link.startswith("/code?")
        ]

    by_number = codes.sort("n_events", "code", descending=[True, False])["code"].to_list()
    assert found("") == by_number[:500]
    assert found("sort=code&type=LAB") == codes.filter(event_type="LAB").sort("code")["code"].to_list()
    assert found("q=planted-drug&sort=nonsense") == [code for code in by_number if "PLANTED-DRUG" in code]
    assert found("q=no such word") == []
    assert "LAB//50912" in found("q=LOINC/2160-0")


def test_the_page_of_a_code(client: TestClient, shown: Path) -> None:
    code = ehrtraj.open(shown).codes.filter(code="LAB//50912").row(0, named=True)
    page = Page(client.get("/code?code=LAB//50912").text)
    text = " ".join(page.text.split())
    assert f"Events {code['n_events']} Patients {code['n_subjects']} of 8" in text
    assert "Unit mg/dL" in text
    assert "/codes?q=LOINC/2160-0" in page.values("a", "href")
    assert "/patients?code=LAB//50912" in page.values("a", "href")
    assert ("svg", "img") in {(tag, has.get("role")) for tag, has in page.elements}
    assert "have no numbers" in client.get("/code?code=MEDS_DEATH").text


def test_a_histogram_counts_every_number_once() -> None:
    lows, highs = [0.0, 1.0, 1.125, 8.0, 100000.0], [1e-39, 1.125, 1.25, 9.0, 112500.0]
    counts = {"before": [300, 1000, 700, 4, 3], "after": [300, 1000, 700, 4, 0]}
    found = histogram(pl.DataFrame({"code": "x", "low": lows, "high": highs, **counts}))
    assert found is not None
    assert (found.before, found.after, found.below, found.above) == (2007, 2004, 0, 4)
    # The axis ends at 1.25, and the zeros are in its first bar.
    assert [bar.after > 0 for bar in found.bars] == [True] + [False] * 37 + [True] * 10
    assert sum(bar.after for bar in found.bars) == pytest.approx(found.bars[0].after * 2000 / 300)
    assert dict(found.quantiles)[0.5] == pytest.approx(1 + 0.125 * (1002 - 300) / 1000)
    assert histogram(pl.DataFrame({"code": "x", "low": [1.0], "high": [2.0], "before": [1], "after": [0]})) is None


def test_a_histogram_over_several_decades_is_logarithmic() -> None:
    bins = [(2.0**n, 2.0**n * 1.125, 10, 10) for n in range(12)]
    found = histogram(pl.DataFrame(bins, schema=["low", "high", "before", "after"], orient="row"))
    assert found is not None
    assert found.logarithmic
    assert [number for _, number in found.ticks] == [1, 10, 100, 1000]


def test_texts_of_the_data_are_never_markup(client: TestClient, shown: Path, handmade: ModuleType) -> None:
    """A name or a note that looks like HTML is shown as it is written."""
    codes = ehrtraj.open(shown).codes.filter(pl.col("code").str.contains("<script>"))["code"].to_list()
    assert codes
    pages = [
        "/codes?q=<script>",
        "/codes?type=<script>",
        '/patients?code=<script>alert(2)</script>&id="><script>',
        "/patients/10900116?code=<script>alert(2)</script>",
        "/<script>alert(2)</script>",
        *(client.build_request("GET", "/code", params={"code": code}).url.raw_path.decode() for code in codes),
        *(client.build_request("GET", "/patients", params={"code": code}).url.raw_path.decode() for code in codes),
    ]
    ours = {"/static/page.js"}
    for path in pages:
        answer = client.get(path)
        assert answer.status_code in (200, 400, 404), path
        page = Page(answer.text)
        assert set(page.values("script", "src")) <= ours, path
        assert sum(tag == "script" for tag, _ in page.elements) == len(page.values("script", "src")), path
        assert not [tag for tag, _ in page.elements if tag == "img"], path
        assert not [name for _, has in page.elements for name in has if name.startswith("on") or name == "style"], path
    shown_texts = Page(client.get("/codes?q=<script>").text).text
    assert "\"'><img src=x onerror=alert(1)><script>alert(2)</script>" in shown_texts


def test_notes_are_complete_and_json(client: TestClient, shown: Path, handmade: ModuleType) -> None:
    events = ehrtraj.open(shown)[handmade.SEPSIS].events.with_row_index()
    note = events.filter(pl.col("code").str.starts_with("RADIOLOGY_NOTE"))
    assert note.height
    for position, text in note.select("index", "text_value").iter_rows():
        answer = client.get(f"/api/patients/{handmade.SEPSIS}/note?position={position}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["text"] == text
        assert "<script>alert(2)</script>" in text


def test_notes_in_separate_files_are_shown(connect, with_concept: Path, handmade: ModuleType) -> None:
    trajectory = ehrtraj.open(with_concept)[handmade.SEPSIS]
    position = next(n for n, code in enumerate(trajectory.events["code"]) if code.startswith("RADIOLOGY_NOTE"))
    assert trajectory.events["text_value"][position] is None
    text = trajectory.with_notes().events["text_value"][position]
    assert text.startswith("ADDENDUM")
    path = f"/api/patients/{handmade.SEPSIS}/note?position={position}"
    assert connect(with_concept).get(path).json()["text"] == text


def test_an_event_is_explained(client: TestClient, connect, shown: Path, handmade: ModuleType, tmp_path: Path) -> None:
    events = ehrtraj.open(shown)[handmade.SEPSIS].events
    position = next(n for n, code in enumerate(events["code"]) if code == "LAB//50983")
    path = f"/api/patients/{handmade.SEPSIS}/explain?position={position}"
    found = client.get(path).json()
    assert ["code", "LAB//50983"] in found["event"]
    assert found["source"]["state"] == "small"
    assert found["source"]["file"] == "labevents.csv.gz"
    searched = client.get(f"{path}&rows=1").json()["source"]
    assert searched["state"] == "searched"
    assert ["value", "___"] in searched["rows"][0]
    assert all(flag["meaning"] and flag["source"] for flag in found["flags"])
    moved = connect(shown, release=tmp_path)
    assert moved.get(f"{path}&rows=1").json()["source"] == {"state": "missing"}


def test_the_search_for_a_row_can_be_stopped(
    client: TestClient, shown: Path, handmade: ModuleType, tmp_path: Path
) -> None:
    """A file of gigabytes takes minutes: the server stops the search when it stops, and there is only one at a time."""
    viewer = client.app.state.viewer
    event = ehrtraj.open(shown)[handmade.SEPSIS].events.slice(9, 1)
    rows = gzip.compress(b"1,a text that is not short at all\n" * 20_000, 1)
    large = tmp_path / "large.csv.gz"
    large.write_bytes(gzip.compress(b"subject_id,text\n") + rows * 150)

    def stop() -> None:
        while not done.wait(0.05):
            viewer.stop()

    done = threading.Event()
    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(DatasetError, match=r"large.csv.gz was stopped"):
        viewer.explain(event, large)
    done.set()
    stopping.join()
    with viewer._one_search():
        answer = client.get(f"/api/patients/{handmade.SEPSIS}/explain?position=9&rows=1")
    assert "still searching" in answer.json()["error"]


def test_nothing_is_written_and_nothing_is_logged(
    connect, shown: Path, handmade: ModuleType, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def content() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in shown.parent.rglob("*")}

    before, reported = content(), []
    client = connect(shown, report=reported.append)
    paths = [
        "outline",
        f"series?{EVERYTHING}&code=LAB//50912",
        f"events?{EVERYTHING}",
        "explain?position=3&rows=1",
        "codes",
    ]
    for path in ["/patients", "/patients/1", "/codes", "/code?code=LAB//50912", "/patients/random", "/nowhere"]:
        client.get(path)
    for path in paths:
        assert client.get(f"/api/patients/{handmade.DIED}/{path}").status_code == 200
        client.get(f"/api/patients/{handmade.DIED}/{path}", params={"as_of": "x"})
    assert content() == before
    assert reported == []
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "httpx"] == []


def test_a_list_of_patients_is_divided_into_pages(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, shown: Path
) -> None:
    monkeypatch.setattr("ehrtraj.view.patients.PAGE_ROWS", 3)
    ids = list(ehrtraj.open(shown))
    assert listed(client) == ids[:3]
    assert listed(client, "?page=3") == ids[6:]
    page = Page(client.get("/patients?page=2").text)
    assert {has["rel"]: has["href"] for tag, has in page.elements if "rel" in has and tag == "a"} == {
        "prev": "/patients?page=1",
        "next": "/patients?page=3",
    }
    assert listed(client, "?page=x") == listed(client, "?page=0") == ids[:3]


def test_a_long_list_has_its_first_rows_apart(client: TestClient, monkeypatch: pytest.MonkeyPatch, shown: Path) -> None:
    assert "<tbody id=" not in client.get("/patients").text
    ids = list(ehrtraj.open(shown))
    monkeypatch.setattr("ehrtraj.view.patients.FIRST_ROWS", 3)
    parts = client.get("/patients").text.split('<tbody id="rest" hidden>')
    assert [part.count('<td><a href="/patients/') for part in parts] == [3, len(ids) - 3]
    assert listed(client) == ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "subject_id"),
        ("subject_id\nx\n", "cannot be read"),
        ("subject_id,prediction_time\n1,2150-01-01\n", "boolean_value"),
        ("subject_id,prediction_time,boolean_value\n1,never,true\n", "cannot be read"),
    ],
)
def test_a_file_that_is_not_a_list_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(SettingsError, match=message):
        read_lists([tmp_path / "list.csv"], labels=True)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_lists([tmp_path / "nowhere.csv"], labels=False)


def test_lists_have_different_names(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.csv").write_text("subject_id\n1\n")
    assert list(read_lists([tmp_path / "a" / "x.csv", tmp_path / "b" / "x.csv"], labels=False)) == ["x", "x-2"]


def test_the_codes_of_a_patient_are_found_by_name(client: TestClient, shown: Path, handmade: ModuleType) -> None:
    answer = client.get(f"/api/patients/{handmade.SEPSIS}/codes?q=Creatinine lab").json()["codes"]
    events = ehrtraj.open(shown)[handmade.SEPSIS].events
    counts = dict(events["code"].value_counts().iter_rows())
    assert {row["code"]: row["n"] for row in answer} == {code: n for code, n in counts.items() if code == "LAB//50912"}
    assert json.dumps(answer)
