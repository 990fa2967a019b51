"""The timeline of a patient as one HTML page that contains all its data, for notebooks and files."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from ehrtraj.arguments import checked
from ehrtraj.errors import SettingsError
from ehrtraj.paths import check_target, error_of_path
from ehrtraj.readable import sex_name
from ehrtraj.storage.safe import write_atomically
from ehrtraj.timeline.lines import series_of
from ehrtraj.timeline.overview import frame_of, outline
from ehrtraj.timeline.patient import Patient, seconds
from ehrtraj.timeline.rows import text_of
from ehrtraj.timeline.static import read_static, scripts, styles
from ehrtraj.timeline.thin import Scale

_WIDTH = 2000
_FEWEST_PIXELS = 40
# Tracks that can be added are included up to this size of their points in the page, and notes up to that of texts.
_MOST_POINTS = 700_000
_MOST_TEXTS = 200_000
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_PAGE_STYLE = """
:root { color-scheme: light dark; }
body { margin: 12px 16px; background: #ffffff; }
@media (prefers-color-scheme: dark) { body { background: #14181e; } }
#facts { display: flex; flex-wrap: wrap; gap: 4px 14px; align-items: center; }
#facts h1 { font-size: 15px; margin: 0; }
caption { text-align: left; padding: 4px 0; }
"""


class TimelinePlot:
    """The picture of one patient. A notebook displays it; `save` writes it to a file.

    Attributes:
        html: the page: JavaScript, CSS and data are in it, and it requests nothing.
        height: height of the cell in a notebook, in pixels.
    """

    def __init__(self, page: str, title: str, height: int) -> None:
        """Create the picture; `Trajectory.plot` does this."""
        self.html = page
        self.height = height
        self._title = title

    def __repr__(self) -> str:
        return f"TimelinePlot({self._title}, {len(self.html.encode()) / 1e6:.1f} MB)"

    def _repr_html_(self) -> str:
        # A sandbox without allow-same-origin: the page can reach neither the notebook nor its other outputs. In single
        # quotes, the many double quotes of the data need not be escaped.
        page = html.escape(self.html, quote=False).replace("'", "&#39;")
        title = html.escape(self._title)
        return (
            f'<iframe title="{title}" sandbox="allow-scripts" width="100%" height="{self.height}" frameborder="0" '
            f"srcdoc='{page}'></iframe>"
        )

    @checked
    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the page to a file that only you can read. It contains data of the patient: do not share it.

        Args:
            path: the file, such as `patient.html`.
            overwrite: replace an existing file.

        Raises:
            OutputError: if the file exists or cannot be written.
        """
        target = Path(path).expanduser()
        check_target(target, overwrite=overwrite)
        try:
            write_atomically(target, self.html.encode())
        except OSError as error:
            raise error_of_path(error, target.parent) or error from None
        return target


def plot(
    patient: Patient,
    start: datetime | None = None,
    end: datetime | None = None,
    codes: Sequence[str] | None = None,
    height: int = 640,
) -> TimelinePlot:
    """Draw the timeline of a patient; see `Trajectory.plot`.

    Args:
        patient: a trajectory. `start` and `end` choose what is visible at first, not what the page contains.
        start: start of the visible period; None for that of the most eventful stay.
        end: end of the visible period.
        codes: tracks in their order; by default those that the source declares.
        height: height of the cell in a notebook, in pixels.

    Raises:
        SettingsError: if the period or the height is not valid.
    """
    if height < 1:
        raise SettingsError(f"height is {height}, but must be 1 or more pixels")
    if start is not None and end is not None and start >= end:
        raise SettingsError(f"start {start} is not before end {end}")
    found = outline(patient)
    data: dict[str, Any] = {"outline": found, "series": {}, "notes": {}}
    listed = [*(column for concept in found["concepts"] for column in concept["columns"]), *found["series"]]
    if found["extent"] is not None:
        shown = found["view"]
        data["start"] = shown["start"] if start is None else seconds(start)
        data["end"] = shown["end"] if end is None else seconds(end)
        at_first = sorted((one for one in listed if one["default"]), key=lambda one: one["order"])
        data["tracks"] = [one["code"] for one in at_first] if codes is None else list(codes)
        others = [one["code"] for one in listed if one["code"] not in data["tracks"]]
        data["series"] = _points(patient, found, data["tracks"], others)
        data["notes"] = _texts(patient, found["notes"])
    title = _title(patient, found)
    return TimelinePlot(_page(title, data), title, height)


def _points(
    patient: Patient, found: dict[str, Any], tracks: Sequence[str], others: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the points of the tracks, and of as many others as fit into the page."""
    points: dict[str, dict[str, Any]] = {}
    size = 0
    for code, one in series_of(patient, frame_of(patient), [*tracks, *others], _scale(found)).items():
        times = one.pop("t")
        # Times as differences, which are short.
        one["dt"] = [t - before for t, before in zip(times, [0, *times], strict=False)]
        size += len(_json(one))
        if code in tracks or size <= _MOST_POINTS:
            points[code] = one
    return points


def _scale(found: dict[str, Any]) -> Scale:
    """Return a time axis on which the stays share the width, since the page cannot request more detail of them.

    There can be years between stays: each gap has a few pixels.
    """
    start, end = found["extent"]["start"], found["extent"]["end"]
    gaps = found["gaps"]
    if not gaps:
        return Scale.plain(start, end, _WIDTH)
    edges = sorted({start, end, *(edge for gap in gaps for edge in gap)})
    begins = {gap[0] for gap in gaps}
    in_stays = sum(to - at for at, to in pairwise(edges) if at not in begins) or 1
    pixels = [0]
    for at, to in pairwise(edges):
        share = 0 if at in begins else _WIDTH * (to - at) // in_stays
        pixels.append(pixels[-1] + max(_FEWEST_PIXELS, share))
    return Scale(tuple(edges), tuple(pixels))


def _texts(patient: Patient, notes: list[dict[str, Any]]) -> dict[int, str]:
    """Return the texts of notes by position, as many as fit into the page."""
    texts: dict[int, str] = {}
    size = 0
    for note in notes:
        text = text_of(patient, note["position"])["text"] or ""
        size += len(text)
        if size > _MOST_TEXTS:
            break
        texts[note["position"]] = text
    return texts


def _title(patient: Patient, found: dict[str, Any]) -> str:
    header = found["patient"]
    parts = [f"Patient {header['subject_id']}"]
    if header["sex"] is not None:
        parts.append(sex_name(header["sex"]))
    if header["age"]:
        first, last = header["age"]
        parts.append(f"age {first}" if first == last else f"age {first} to {last}")
    parts.append(f"{header['n_events']:,} events")
    if patient.known_until is not None:
        parts.append(f"as known by {patient.known_until:%Y-%m-%d %H:%M}")
    return ", ".join(parts)


def _json(data: object) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _page(title: str, data: dict[str, Any]) -> str:
    # A "<" in a text of the patient could end the script element.
    embedded = _json(data).replace("<", "\\u003c")
    css = "\n".join([_PAGE_STYLE, *map(read_static, styles())])
    javascript = "".join(f"<script>{read_static(name)}</script>\n" for name in [*scripts(), "notebook.js"])
    name = html.escape(title)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{name}</title>
<style>{css}</style>
</head>
<body>
<header id="facts" class="tl"><h1>{name}</h1></header>
<main id="timeline"></main>
<script type="application/json" id="data">{embedded}</script>
{javascript}</body>
</html>
"""
