"""`t.plot()`: one page that contains everything and requests nothing."""

from __future__ import annotations

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest

import ehrtraj
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.timeline.static import FOLDER, read_static, scripts, styles

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(1)> ' \" & \u2028 ]]> \\u003c"


class Page(HTMLParser):
    """Elements of a page with their attributes, and the content of its data."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self._inside, []).append(data)

    @property
    def data(self) -> dict[str, object]:
        return json.loads("".join(self.texts["data"]))


@pytest.fixture(scope="module")
def longest(built: Path) -> Trajectory:
    return ehrtraj.open(built)[10900116]


def hostile(patient: Trajectory) -> Trajectory:
    """A patient all of whose texts are hostile, also as codes and units."""
    note = pl.col("code").str.starts_with("RADIOLOGY_NOTE")
    mark = pl.col("code").str.starts_with("MICRO_SPECIMEN")
    events = patient.events.with_columns(
        text_value=pl.when(note).then(pl.lit(HOSTILE)).otherwise("text_value"),
        code=pl.when(mark).then(pl.lit("MICRO_SPECIMEN//" + HOSTILE)).otherwise("code"),
        unit=pl.when(pl.col("unit").is_not_null()).then(pl.lit(HOSTILE)),
    )
    return Trajectory(patient._subject, events, patient._layout)


def test_the_page_requests_nothing(longest: Trajectory) -> None:
    page = longest.plot().html
    for tag, attributes in Page(page).elements:
        assert not {"src", "href", "srcset", "action", "style"} & attributes.keys(), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "default-src 'none'" in page
    for request in ('fetch("', "fetch('", "XMLHttpRequest", "WebSocket", "import(", "@import", "url(", "sendBeacon"):
        assert request not in page


def test_the_page_contains_the_timeline(longest: Trajectory) -> None:
    page = Page(longest.plot().html)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == len(scripts()) + 2
    data = page.data
    assert data["outline"]["patient"]["subject_id"] == longest.subject_id
    assert set(data["tracks"]) <= data["series"].keys()
    assert all(len(one["dt"]) == len(one["v"]) for one in data["series"].values())


def test_hostile_texts_stay_texts(longest: Trajectory) -> None:
    plot = hostile(longest).plot()
    page, harmless = Page(plot.html), Page(longest.plot().html)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in harmless.elements]
    data = page.data
    assert HOSTILE in data["notes"].values()
    assert any(mark["label"] == HOSTILE for mark in data["outline"]["marks"])
    [(tag, attributes)] = Page(plot._repr_html_()).elements
    assert tag == "iframe"
    assert attributes["srcdoc"] == plot.html
    assert attributes["sandbox"] == "allow-scripts"


def test_period_tracks_and_height_are_chosen(longest: Trajectory) -> None:
    plot = longest.plot("2153-04-13", "2153-04-14 12:00", codes=["LAB//50912", "CHART//22004*"], height=300)
    data = Page(plot.html).data
    assert data["end"] - data["start"] == 36 * 3600
    assert data["tracks"][0] == "LAB//50912"
    assert {code.split("//")[0] for code in data["tracks"][1:]} == {"CHART"}
    assert 'height="300"' in plot._repr_html_()
    assert Page(longest.plot(codes="LAB//50912").html).data["tracks"] == ["LAB//50912"]


@pytest.mark.parametrize(
    "arguments",
    [{"start": "2153-04-14", "end": "2153-04-13"}, {"start": "soon"}, {"codes": "LABB//1"}, {"height": 0}],
)
def test_invalid_arguments_are_errors(longest: Trajectory, arguments: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        longest.plot(**arguments)


def test_the_file_is_private_and_not_replaced(longest: Trajectory, tmp_path: Path) -> None:
    plot = longest.plot()
    path = plot.save(tmp_path / "patient.html")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text(encoding="utf-8") == plot.html
    with pytest.raises(OutputError):
        plot.save(path)
    assert plot.save(str(path), overwrite=True) == path
    with pytest.raises(OutputError):
        plot.save(tmp_path / "missing" / "patient.html")
    assert [file.name for file in tmp_path.iterdir()] == ["patient.html"]


def test_notes_in_separate_files_are_read(longest: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trajectory, "with_notes", hostile)
    assert HOSTILE in Page(longest.plot().html).data["notes"].values()


def test_every_file_is_used_and_contains_no_unsafe_code() -> None:
    """Texts become elements only as text; styles only through the CSSOM, as the security policy requires."""
    ours = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".js", ".css"))
    assert ours == sorted([name for name in [*scripts(), *styles()] if "/" not in name] + ["notebook.js"])
    for name in ours:
        text = re.sub(r"//[^\n]*", "", read_static(name))
        for unsafe in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            'setAttribute("style"',
        ):
            assert unsafe not in text, (name, unsafe)
