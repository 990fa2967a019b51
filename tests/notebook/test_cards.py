"""What notebooks show: Dataset, Trajectory, Cohort and BuildResult as HTML."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import ehrtraj
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.format.ledger import TableLedger
from ehrtraj.notebook.card import Card, CardTable, first_rows

HOSTILE = "<script>alert(1)</script> \"'&"
_EMPTY = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Reads HTML: tags, attributes, text, and tags that are not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.open += [] if tag in _EMPTY else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += [" ".join(data.split())] if data.strip() else []


def read(shown: object) -> Page:
    """Return the page of an object, after checking that it is complete, safe and without colours of its own."""
    html = shown._repr_html_()
    page = Page(html)
    assert page.open == []
    assert page.tags <= {"div", "span", "table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert {name for name, _ in page.attributes} <= {"style", "scope", "colspan"}
    styles = " ".join(value or "" for name, value in page.attributes if name == "style")
    assert not re.search(r"background|url\(|#[0-9a-f]{3}|rgb|position", styles)
    assert set(re.findall(r"color: (\w+)", styles)) <= {"inherit"}
    return page


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


def test_a_dataset_shows_its_patients_and_event_types(ds: ehrtraj.Dataset) -> None:
    texts = read(ds).texts
    assert texts[0] == f"Dataset {ds.layout.about['dataset_name']}"
    facts = dict(zip(texts[1:17:2], texts[2:17:2], strict=True))
    assert facts["patients"] == "8"
    assert facts["events"] == "371"
    assert facts["clock"].startswith("event")
    assert facts["folder"] == str(ds.path)
    at = texts.index("train")
    assert texts[at : at + 6] == ["train", "7", "356", "held_out", "1", "15"]
    most = ds.codes.group_by("event_type").agg(pl.col("n_events").sum()).sort("n_events", "event_type").row(-1)
    assert str(most[1]) == texts[texts.index(most[0]) + 2]


def test_a_selection_shows_of_which_dataset_it_is(ds: ehrtraj.Dataset) -> None:
    texts = read(ds.sample(2)).texts
    assert "2 of 8" in texts
    assert "most frequent event types of the complete dataset" in texts
    assert "0 of 8" in read(ds.sample(0)).texts


def test_a_dataset_is_shown_without_reading_events(ds: ehrtraj.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_keywords: object) -> None:
        raise AssertionError("events are read")

    for name in ("scan_parquet", "read_parquet"):
        monkeypatch.setattr(pl, name, refuse)
    read(ds)


def test_a_patient_shows_stays_and_events(ds: ehrtraj.Dataset) -> None:
    texts = read(ds[10900116]).texts
    assert texts[:3] == ["Patient 10900116", "sex", "female"]
    assert texts[texts.index("events") + 1] == "198"
    at = texts.index("ICU stay")
    assert texts[at : at + 3] == ["ICU stay", "2153-04-12 09:17", "2153-04-14 16:05"]
    cut = read(ds[10900116].codes("LAB//*")).texts
    labs = len(ds[10900116].codes("LAB//*"))
    assert cut[cut.index("events") + 1] == f"{labs} of 198"


def test_after_as_of_nothing_of_the_future_is_shown(ds: ehrtraj.Dataset) -> None:
    for patient in ds.trajectories():
        for time in patient.events["available_time"].drop_nulls().unique().sort().gather_every(5):
            cut = patient.as_of(time)
            later = pl.col("available_time") > time
            unknown = patient.events.filter(later)
            # The same patient in a dataset that ends at this time.
            subject = dict(patient._subject) | {"death_time": cut.death_time, "n_events": 0, "last_time": None}
            shortened = Trajectory(subject, patient.events.filter(~later.fill_null(value=False)), ds.layout, time)
            assert cut._repr_html_() == shortened._repr_html_()
            assert unknown.is_empty() or cut._repr_html_() != patient._repr_html_()


def test_a_death_is_shown_when_it_is_known(ds: ehrtraj.Dataset) -> None:
    dead = ds.filter(pl.col("death_time").is_not_null())
    patient = ds[next(iter(dead))]
    assert f"{patient.death_time:%Y-%m-%d %H:%M}" in read(patient).texts
    assert "died" not in read(patient.as_of(datetime(1900, 1, 1))).texts


def test_a_cohort_shows_its_flow(ds: ehrtraj.Dataset) -> None:
    cohort = ds.cohort("icu").include("adults & <old>", pl.col("age") >= 18).exclude("all", pl.lit(value=True)).first()
    texts = read(cohort).texts
    assert texts[0] == "Cohort of 0 stays of 0 patients"
    at = texts.index("ICU stays")
    assert texts[at - 1 : at + 4] == ["all", "ICU stays", "0", "2", "2"]
    assert texts[at + 4 : at + 9] == ["include", "adults & <old>", "0", "2", "2"]
    assert texts[at + 9 : at + 14] == ["exclude", "all", "2", "0", "0"]
    assert texts[at + 14] == "keep"


def test_a_build_shows_what_became_of_the_rows() -> None:
    ledger = {"hosp/a": TableLedger(read=10, became_events=9, events=18), "hosp/b": TableLedger(read=5)}
    ledger["hosp/b"].rejected["no_time"] = 5
    result = ehrtraj.BuildResult(
        Path(f"/data/{HOSTILE}/v1"), False, "3.1", 3, 1_234_567, ledger, 61.0, 2_000_000_000, 1_500_000,
        notes=("a note",), warnings=(HOSTILE,), source="MIMIC-IV",
    )  # fmt: skip
    texts = read(result).texts
    assert texts[0] == "Build of v1"
    facts = dict(zip(texts[1:17:2], texts[2:17:2], strict=True))
    assert facts == {
        "release": "MIMIC-IV 3.1", "patients": "3", "events": "1,234,567", "rejected rows": "5", "size": "2 MB",
        "time": "1 min 1 s", "peak memory": "2.00 GB", "folder": f"/data/{HOSTILE}/v1",
    }  # fmt: skip
    assert texts[-10:-2] == ["hosp/a", "10", "18", "0", "hosp/b", "5", "0", "5"]
    assert texts[-2:] == [f"Warning: {HOSTILE}", "a note"]


def test_a_build_that_changed_nothing_says_so() -> None:
    texts = read(ehrtraj.BuildResult(Path("out/v1"), True, "3.1", 3, 12)).texts
    assert texts[-1] == "The same dataset already existed: nothing was changed."
    assert "time" not in texts


def test_texts_are_escaped_and_long_tables_are_cut() -> None:
    table = first_rows(HOSTILE, (HOSTILE,), [(HOSTILE,)] * 1_010, 3)
    html = Card(HOSTILE, ((HOSTILE, HOSTILE),), (table, CardTable("empty", ("a",), ())), (HOSTILE,)).html()
    assert "<script" not in html
    texts = Page(html).texts
    assert texts.count(HOSTILE) == 9
    assert texts[-2] == "and 1,007 more"
    assert "empty" not in texts


def test_jinja_is_imported_only_to_show_something() -> None:
    script = "import sys, ehrtraj; ehrtraj.Dataset; ehrtraj.BuildResult; assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


# Key completion ------------------------------------------------------------------------------------------------------


def completions(text: str, ds: ehrtraj.Dataset) -> list[str]:
    """Return what IPython offers behind a text."""
    completer = IPCompleter(namespace={"ds": ds}, use_jedi=False)
    with provisionalcompleter():
        return sorted(one.text for one in completer.completions(text, len(text)))


def test_ipython_completes_patients(ds: ehrtraj.Dataset) -> None:
    ids = [str(subject_id) for subject_id in ds]
    assert completions("ds[", ds) == ids
    wanted = [one for one in ids if one.startswith("109001")]
    assert 0 < len(wanted) < len(ids)
    assert completions("ds[109001", ds) == wanted


@pytest.mark.parametrize(
    ("patients", "offered"), [(0, 0), (1, 1), (20_000, 20_000), (20_001, 10_001), (364_627, 19_191)]
)
def test_the_number_of_completions_is_bounded(ds: ehrtraj.Dataset, patients: int, offered: int) -> None:
    subjects = pl.DataFrame({"subject_id": pl.int_range(10_000_000, 10_000_000 + patients, eager=True)})
    found = ehrtraj.Dataset(ds.layout, subjects)._ipython_key_completions_()
    assert len(found) == offered
    assert len(set(found)) == offered
    assert set(found) <= set(range(10_000_000, 10_000_000 + patients))
