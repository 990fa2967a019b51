"""Measure the pages of the viewer in Chromium: the list of patients, and the patient with most events.

    python benchmarks/view.py DATASET [--patient ID] [--runs 10]

- list: milliseconds until a list of patients has been received, and until it is painted
- first byte: until the page of the patient begins to arrive, in a new tab without anything in its cache
- first paint: until the page of the patient shows something; first chart: until it shows the first chart, also for the
  first time, when the viewer has not read the events of the patient
- zoom: from a key until the next frame is painted, with what the page has already received
- weight: bytes that the page of the patient has received, by file, once nothing is requested any more
- memory: of the page above that of a blank page, after a garbage collection: the heap of JavaScript, and the private
  memory of the process that shows the page (its USS)

The figures are medians, except that of the first time. They are valid for one machine at one time. Chromium must be
installed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from playwright.sync_api import Browser, BrowserContext, Page

import ehrtraj
from chromium import chromium, viewer
from ehrtraj.view.patients import PAGE_ROWS

_SIZE = {"width": 1280, "height": 900}
# Runs before the scripts of the page. A chart exists once its canvas does; it is painted with the next frame.
_WATCH = """
const look = () => {
  if (document.querySelector(".tl-plot canvas")) requestAnimationFrame((now) => { globalThis.firstChart = now; });
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_PAINTS = """() => ({
  byte: performance.getEntriesByType("navigation")[0].responseStart,
  received: performance.getEntriesByType("navigation")[0].responseEnd,
  paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
  chart: globalThis.firstChart,
})"""
# A message that is sent from a frame arrives after the frame has been painted.
_ZOOM = """(key) => {
  const { port1, port2 } = new MessageChannel();
  const begun = performance.now();
  globalThis.took = null;
  port1.onmessage = () => { globalThis.took = performance.now() - begun; };
  document.querySelector(".tl").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  requestAnimationFrame(() => port2.postMessage(0));
}"""
_FILES = """() => performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
  .map((one) => [new URL(one.name).pathname, one.transferSize, one.decodedBodySize])"""


def _open(context: BrowserContext, address: str) -> Page:
    """Return a page after nothing is requested any more."""
    page = context.new_page()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    return page


def _medians(found: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: median(one[name] for one in found) for name in found[0] if found[0][name] is not None}


def _timed(context: BrowserContext, address: str, runs: int) -> dict[str, float]:
    found = []
    for _ in range(runs):
        page = _open(context, address)
        found.append(page.evaluate(_PAINTS))
        page.close()
    return _medians(found)


def _zoom(page: Page, runs: int) -> list[float]:
    """Return the milliseconds of zooms, in and out in turn, each after the one before has settled."""
    took = []
    for at in range(runs):
        page.evaluate(_ZOOM, "-" if at % 2 else "+")
        took.append(page.wait_for_function("() => globalThis.took").json_value())
        page.wait_for_timeout(200)
        page.wait_for_load_state("networkidle")
    return took


def _weights(page: Page) -> dict[str, tuple[int, int]]:
    """Return the bytes of each kind of file: those received, and those of its content."""
    weights: dict[str, tuple[int, int]] = {}
    for path, received, content in page.evaluate(_FILES):
        name = path if path.startswith("/static/") else path.rstrip("0123456789/") or path
        if path.startswith("/api/"):
            name = f".../{path.rsplit('/', 1)[1]}"
        before = weights.get(name, (0, 0))
        weights[name] = (before[0] + received, before[1] + content)
    return weights


def _memory(browser: Browser, open_page: Callable[[], Page]) -> tuple[float, float]:
    """Return the heap of JavaScript and the private memory of the process of a page, in bytes."""
    before = _renderers(browser)
    page = open_page()
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics: list[dict[str, Any]] = session.send("Performance.getMetrics")["metrics"]
    heap = next(one["value"] for one in metrics if one["name"] == "JSHeapUsedSize")
    time.sleep(1)
    private = sum(psutil.Process(pid).memory_full_info().uss for pid in _renderers(browser) - before)
    page.close()
    return heap, private


def _renderers(browser: Browser) -> set[int]:
    """Return the processes that show pages."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    session.detach()
    return {one["id"] for one in processes if one["type"] == "renderer"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--patient", type=int, help="subject_id; that with most events by default")
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    subjects = ehrtraj.open(arguments.dataset).subjects.sort("n_events")
    patient = arguments.patient or subjects["subject_id"][-1]
    events = subjects.filter(subjects["subject_id"] == patient)["n_events"][0]
    with viewer(arguments.dataset) as address, chromium() as browser:
        site = address.partition("/?")[0]
        first = browser.new_context()
        first.new_page().goto(address)
        cookies = first.storage_state()
        first.close()

        def context() -> BrowserContext:
            made = browser.new_context(viewport=_SIZE, storage_state=cookies)  # type: ignore[arg-type]
            made.add_init_script(_WATCH)
            return made

        shared = context()
        found = _timed(shared, f"{site}/patients", arguments.runs)
        print(f"list of {min(len(subjects), PAGE_ROWS):,} patients")
        for name, label in (("received", "received"), ("paint", "painted")):
            print(f"  {label:<24}{found[name]:>10.0f} ms")
        url = f"{site}/patients/{patient}"
        print(f"patient with {events:,} events")
        unread = _timed(shared, url, 1)
        print(f"  {'first chart, unread':<24}{unread['chart']:>10.0f} ms")
        found = _timed(shared, url, arguments.runs)
        for name, label in (("byte", "first byte"), ("paint", "first paint"), ("chart", "first chart")):
            print(f"  {label:<24}{found[name]:>10.0f} ms")
        page = _open(shared, url)
        zooms = _zoom(page, arguments.runs)
        print(f"  {'zoom':<24}{median(zooms):>10.0f} ms, at most {max(zooms):.0f} ms")
        page.close()
        shared.close()
        blank = _memory(browser, lambda: _open(context(), "about:blank"))
        drawn = _memory(browser, lambda: _open(context(), url))
        print(f"  {'memory, JavaScript':<24}{(drawn[0] - blank[0]) / 1e6:>10.1f} MB")
        print(f"  {'memory, private':<24}{(drawn[1] - blank[1]) / 1e6:>10.1f} MB")
        weights = _weights(_open(context(), url))
        print(f"  {'weight':<24}{sum(one for one, _ in weights.values()) / 1e3:>10.1f} kB")
        for name, (received, content) in sorted(weights.items(), key=lambda one: -one[1][0]):
            print(f"    {name:<40}{received / 1e3:>8.1f} kB, content {content / 1e3:.1f} kB")


if __name__ == "__main__":
    main()
