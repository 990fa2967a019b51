"""Write the pictures of the viewer and of a report that the documentation uses: `make screenshots`.

The synthetic patients, the one that is shown and the period are always the same, so pictures change only if the pages
do. Chromium must be installed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import ehrtraj
from ehrtraj.synth.run import synth

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
IMAGES = ROOT / "docs" / "images"

from chromium import chromium, viewer  # noqa: E402

# The patients of `ehrtraj demo`.
PATIENTS, SEED, DEFECTS = 200, 7, 0.002
# A myocardial infarction with shock: the pressure falls, creatinine and SOFA rise, and vasopressors run for days.
PATIENT = 10000711
TRACKS = "CHART//220045,CHART//220052,LAB//50912,CONCEPT//sofa//sofa_24hours"
PERIOD = "from=2146-03-01T22:00:00&to=2146-03-07T19:00:00"
POINTED_AT = 0.42  # Share of the width at which the cursor is.
LAST = "Infusions"  # Group of bars at which the picture ends.
WIDTH, REPORT_HEIGHT = 1280, 1400
LARGEST = 250_000


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ehrtraj-screenshots-") as folder:
        release = Path(folder) / "release"
        synth(release, patients=PATIENTS, seed=SEED, defects=DEFECTS)
        built = ehrtraj.build(release, folder, "synthetic", concepts=["sofa"], report=True)
        with viewer(built.path) as address, chromium() as browser:
            for name, colors in (("viewer", "light"), ("viewer-dark", "dark")):
                # Everything is visible at once in a window this high, so that everything is drawn.
                page = browser.new_page(viewport={"width": WIDTH, "height": 4000}, color_scheme=colors)
                page.goto(address)
                site = page.url.rpartition("/")[0]
                page.goto(f"{site}/patients/{PATIENT}?{PERIOD}&tracks={TRACKS}")
                write(page, f"{name}.png", end_of_patient(page))
                page.close()
            page = browser.new_page(viewport={"width": WIDTH, "height": REPORT_HEIGHT})
            page.goto(built.report.as_uri())
            write(page, "report.png", REPORT_HEIGHT)


def end_of_patient(page: Any) -> float:
    """Wait until the page of a patient is drawn, point at a time, and return the end of the last group of bars."""
    page.wait_for_function("n => document.querySelectorAll('.tl-plot canvas').length === n", arg=TRACKS.count(",") + 1)
    page.wait_for_load_state("networkidle")
    box = page.locator(".u-over").first.bounding_box()
    page.mouse.move(box["x"] + POINTED_AT * box["width"], box["y"] + box["height"] / 2)
    page.wait_for_function("() => document.querySelector('.tl-value').textContent")
    last = page.locator(".tl-group", has_text=LAST).bounding_box()
    return last["y"] + last["height"] + 8


def write(page: Any, name: str, height: float) -> None:
    """Write the upper part of a page."""
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": height}
    size = len(page.screenshot(path=IMAGES / name, clip=clip))
    print(f"docs/images/{name}: {size / 1000:.0f} kB")
    if size > LARGEST:
        raise SystemExit(f"larger than {LARGEST / 1000:.0f} kB")


if __name__ == "__main__":
    main()
