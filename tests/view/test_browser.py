"""The viewer in a real browser: each page, the slider, the mouse and the keys, and texts that look like HTML.

All tests fail on an error in the console, a request to another host, a violation of the policy of a page, or a dialog
that a text from the data opens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pytest

import ehrtraj
from ehrtraj.reports.run import report

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: `make check` installs it")
axe = pytest.importorskip("axe_playwright_python.base", reason="no axe-core: `make check` installs it")

expect = playwright.expect
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 800}
SETTINGS = {"viewport": WIDE, "reduced_motion": "reduce", "color_scheme": "light"}
SLOWEST = 20_000  # Milliseconds, for machines that do something else too.
HEART_RATE = "CHART//220045"
# Two days with the stay in intensive care of the patient with sepsis.
START, END = datetime(2153, 4, 12, 8), datetime(2153, 4, 14, 8)
PERIOD = f"from={START.isoformat()}&to={END.isoformat()}"
# Few events: axe-core examines each row of a table.
HOURS = "from=2153-04-12T09:00:00&to=2153-04-12T14:00:00"

# Runs before the scripts of a page. It keeps the charts, so that a test can read their points, and reports what the
# policy of a page forbade.
OBSERVER = """
globalThis.charts = [];
let made;
// A page inside of another one runs this twice.
if (!Object.hasOwn(globalThis, "uPlot")) Object.defineProperty(globalThis, "uPlot", {
  get: () => made,
  set: (plain) => {
    made = new Proxy(plain, {
      construct(target, given) {
        const chart = Reflect.construct(target, given);
        charts.push(chart);
        return chart;
      },
    });
  },
});
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Tab:
    """A page of the browser, and everything that is wrong with it.

    Attributes:
        page: the page, as playwright controls it.
        wrong: errors, requests to other hosts, violations of the policy, and dialogs.
        answers: responses of the server.
    """

    def __init__(self, context: Any, site: str) -> None:
        self.site = site
        self.wrong: list[str] = []
        self.answers: list[Any] = []
        context.set_default_timeout(SLOWEST)
        context.add_init_script(OBSERVER)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))
        context.on("request", self._request)
        context.on("response", lambda answer: self.answers.append(answer))
        context.on("dialog", self._dialog)
        self.page = context.new_page()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.site}/", "data:", "file:", "about:")):
            self.wrong.append(f"request: {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, path: str, status: int = 200) -> Any:
        """Open an address of the viewer, and return the page."""
        self.answers.clear()
        answer = self.page.goto(f"{self.site}{path}")
        assert answer.status == status
        if status != 200:
            # Chromium reports the status of the page itself as an error.
            [report] = [text for text in self.wrong if f"status of {status}" in text]
            self.wrong.remove(report)
        return self.page

    def patient(self, subject: int, query: str = "") -> Any:
        """Open the page of a patient, wait until it is drawn, and return the page."""
        page = self.open(f"/patients/{subject}?{query}")
        self.drawn()
        return page

    def drawn(self) -> None:
        """Wait for the timeline and for the table of events, which is the last."""
        expect(self.page.locator(".tl-axis canvas, canvas.tl-axis").first).to_be_visible(timeout=SLOWEST)
        expect(self.page.locator("#events tbody tr").first).to_be_attached(timeout=SLOWEST)

    def asked(self, name: str) -> str | None:
        """Return a parameter of the address."""
        found = parse_qs(urlsplit(self.page.url).query).get(name)
        return found[0] if found else None

    def bodies(self) -> str:
        """Return everything that the server has sent for this page."""
        self.page.wait_for_load_state("networkidle")
        return "\n".join(answer.body().decode() for answer in self.answers if answer.status == 200)

    def view(self) -> tuple[datetime, datetime]:
        """Return the period in view, from the address."""
        start, end = self.asked("from"), self.asked("to")
        assert start is not None
        assert end is not None
        return datetime.fromisoformat(start), datetime.fromisoformat(end)

    @contextmanager
    def changes_view(self) -> Iterator[None]:
        """Wait until what happens inside has changed the address."""
        before = self.page.url
        yield
        self.page.wait_for_function("before => location.href !== before", arg=before)

    def plot(self, code: str = HEART_RATE) -> dict[str, float]:
        """Return the place of the points of a track on the screen, after scrolling to it."""
        track = self.page.locator(".tl-track", has=self.page.locator(f".tl-title[title*='({code})']"))
        over = track.locator(".u-over")
        over.scroll_into_view_if_needed()
        return over.bounding_box()

    def at(self, share: float, code: str = HEART_RATE) -> tuple[float, float]:
        """Return the point of a track at a share of its width."""
        box = self.plot(code)
        return box["x"] + share * box["width"], box["y"] + box["height"] / 2

    def drag(self, start: float, end: float) -> None:
        """Drag over the heart rate, from one share of the width to another."""
        mouse = self.page.mouse
        (x, y), (to, _) = self.at(start), self.at(end)
        mouse.move(x, y)
        mouse.down()
        mouse.move(to, y, steps=3)
        mouse.up()


@pytest.fixture(scope="module")
def browser(chromium: ModuleType) -> Iterator[Any]:
    try:
        with chromium.chromium() as started:
            yield started
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def address(chromium: ModuleType, browsed: Path) -> Iterator[str]:
    """The address that a running server printed."""
    with chromium.viewer(browsed) as printed:
        yield printed


@pytest.fixture(scope="module")
def site(address: str) -> str:
    return address.partition("/?")[0]


@pytest.fixture(scope="module")
def cookies(browser: Any, address: str) -> Any:
    """What a browser keeps after it has opened the address."""
    context = browser.new_context()
    context.new_page().goto(address)
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture(scope="module")
def shared_tab(browser: Any, site: str) -> Iterator[Tab]:
    context = browser.new_context(**SETTINGS)
    yield Tab(context, site)
    context.close()


@pytest.fixture
def tab(shared_tab: Tab, cookies: Any) -> Iterator[Tab]:
    """A tab of a browser that has opened the address with the token. Nothing may be wrong with it after the test."""
    page = shared_tab.page
    page.context.add_cookies(cookies["cookies"])
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    yield shared_tab
    page.goto("about:blank")
    wrong = shared_tab.wrong[:]
    shared_tab.wrong.clear()
    assert wrong == []


@pytest.fixture
def new_tab(browser: Any, site: str) -> Iterator[Callable[..., Tab]]:
    """Function that opens a tab of another browser, with more options of playwright if given."""
    opened: list[tuple[Any, Tab]] = []

    def make(**options: Any) -> Tab:
        context = browser.new_context(**SETTINGS, **options)
        opened.append((context, Tab(context, site)))
        return opened[-1][1]

    yield make
    wrong = [text for _, tab in opened for text in tab.wrong]
    for context, _ in opened:
        context.close()
    assert wrong == []


# ---- What all tests rely on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "notice"),
    [
        ("() => console.error('planted')", "planted"),
        ("() => { setTimeout(() => { throw new Error('planted') }) }", "error: planted"),
        ("() => { fetch('http://example.org/x').catch(() => 0) }", "policy: connect-src"),
        ("() => { new Image().src = 'http://example.org/x' }", "policy: img-src"),
        ("() => { document.body.setAttribute('style', 'color: red') }", "policy: style-src"),
        (
            "() => { document.body.append(Object.assign(document.createElement('script'), {text: '1'})) }",
            "policy: script-src",
        ),
        ("() => { setTimeout(() => alert('planted')) }", "dialog: planted"),
    ],
)
def test_nothing_wrong_stays_unnoticed(tab: Tab, script: str, notice: str) -> None:
    page = tab.open("/codes?q=nothing+like+this")
    page.evaluate(script)
    for _ in range(100):
        if any(notice in text for text in tab.wrong):
            break
        page.wait_for_timeout(20)
    assert [text for text in tab.wrong if notice in text]
    tab.wrong.clear()


def test_a_request_to_another_host_is_noticed(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<img src='http://example.org/x.png'>")
    tab.page.goto(f"file://{tmp_path}/page.html")
    tab.page.wait_for_load_state("networkidle")
    assert "request: http://example.org/x.png" in tab.wrong
    tab.wrong.clear()


# ---- Every page ------------------------------------------------------------------------------------------------------


def _patient(tab: Tab, handmade: ModuleType) -> None:
    tab.patient(handmade.SEPSIS, HOURS)
    expect(tab.page.locator(".tl-plot canvas").first).to_be_visible()


def _as_of(tab: Tab, handmade: ModuleType) -> None:
    tab.patient(handmade.DIED, "as_of=2139-11-06T12:00:00")
    expect(tab.page.locator(".as-of.active")).to_be_visible()


def _explain(tab: Tab, handmade: ModuleType) -> None:
    tab.patient(handmade.SEPSIS, HOURS)
    tab.page.locator("#events tbody button").first.click()
    expect(tab.page.locator("#panel h3", has_text="Row of the source")).to_be_visible()
    expect(tab.page.locator("#panel dt", has_text="subject_id").last).to_be_visible()


def _note(tab: Tab, handmade: ModuleType) -> None:
    tab.patient(handmade.SEPSIS, "from=2153-04-12T04:00:00&to=2153-04-12T04:20:00")
    _open_note(tab)


def _keys(tab: Tab, handmade: ModuleType) -> None:
    tab.open("/codes?q=rate").keyboard.press("?")
    expect(tab.page.locator("#help")).to_be_visible()


def _choices(tab: Tab, handmade: ModuleType) -> None:
    tab.patient(handmade.SEPSIS, HOURS)
    tab.page.locator("#track-search").fill("rate")
    expect(tab.page.locator("#track-choices li").first).to_be_visible()


def _without_token(tab: Tab, handmade: ModuleType) -> None:
    tab.page.context.clear_cookies()
    tab.open(f"/patients/{handmade.SEPSIS}", 403)


PAGES: dict[str, Callable[[Tab, ModuleType], object]] = {
    "patients": lambda tab, _: tab.open("/patients?sex=F"),
    "no patients": lambda tab, _: tab.open("/patients?code=NO//SUCH//CODE"),
    "codes": lambda tab, _: tab.open("/codes?q=blood"),
    "code": lambda tab, _: tab.open(f"/code?code={HEART_RATE}"),
    "patient": _patient,
    "as of": _as_of,
    "explain": _explain,
    "note": _note,
    "choices": _choices,
    "keys": _keys,
    "error": lambda tab, _: tab.open("/patients/7", 404),
    "token": _without_token,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_readable_for_all(tab: Tab, handmade: ModuleType, name: str) -> None:
    """No rule of axe-core is broken, with either colours, and on a telephone nothing is beside the screen."""
    PAGES[name](tab, handmade)
    assert _violations(tab.page) == []
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]


def _violations(page: Any, sizes: Sequence[dict[str, int]] = (WIDE, NARROW)) -> list[Any]:
    """Return the rules of axe-core that a page breaks in both colours. Afterwards it has the last of the sizes."""
    page.evaluate(axe.AXE_SCRIPT)
    found = []
    for size in sizes:
        page.set_viewport_size(size)
        for colors in ("dark", "light"):
            page.emulate_media(color_scheme=colors)
            # Of the rules, only that of contrast depends on colours.
            some = {"runOnly": {"type": "rule", "values": ["color-contrast"]}} if colors == "dark" else {}
            found += [(size["width"], colors, *one) for one in page.evaluate(RUN_AXE, some)]
    return found


RUN_AXE = """async (options) => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"], ...options });
  return violations.map(({ id, help, nodes }) => [id, help, nodes.map((node) => node.html.slice(0, 200))]);
}"""


# ---- The token -------------------------------------------------------------------------------------------------------


def test_the_token_becomes_a_cookie_and_leaves_the_address(
    new_tab: Callable[..., Tab], address: str, handmade: ModuleType
) -> None:
    tab = new_tab()
    bookmark = f"/patients/{handmade.SEPSIS}?tracks={HEART_RATE}"
    page = tab.open(bookmark, 403)
    expect(page.get_by_role("heading", name="The token is missing")).to_be_visible()
    page.goto(address)
    assert page.url == f"{tab.site}/patients"
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] == address.partition("token=")[2]
    assert page.evaluate("document.cookie") == ""
    assert page.evaluate("performance.getEntriesByType('navigation')[0].name") == page.url
    tab.patient(handmade.SEPSIS, f"tracks={HEART_RATE}")
    expect(page.locator(".tl-track")).to_have_count(1)
    # Neither the page that was open before nor anything else has the token.
    page.go_back()
    assert page.url == f"{tab.site}/patients"
    page.go_back()
    assert page.url == f"{tab.site}{bookmark}"


# ---- As of -----------------------------------------------------------------------------------------------------------


def test_the_slider_hides_the_future(tab: Tab, handmade: ModuleType) -> None:
    future = ("98765.4", "PLANTED", "2139-11-07")
    page = tab.patient(handmade.DIED)
    sent = tab.bodies()
    assert [text for text in future if text not in sent] == []
    slider = page.locator("#as-of-slider")
    expect(slider).to_be_enabled()
    low, high = (float(slider.get_attribute(name)) for name in ("min", "max"))
    cut = _seconds(datetime(2139, 11, 6, 6))
    box = slider.bounding_box()
    tab.answers.clear()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (cut - low) / (high - low), box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    page.wait_for_url("**as_of=**")
    tab.drawn()
    given = tab.asked("as_of")
    assert abs(_seconds(datetime.fromisoformat(given)) - cut) < 0.03 * (high - low)
    sent = tab.bodies()
    assert len(sent) > 1000
    assert [text for text in future if text in sent or text in page.content()] == []
    # The page itself does not know where the record ends.
    until = _seconds(datetime.fromisoformat(given))
    assert float(slider.get_attribute("max")) == until
    assert [time for time in re.findall(r"\b53\d{8}\b", _without_view(sent)) if int(time) > until] == []
    expect(page.locator(".death")).to_have_count(0)

    page.get_by_role("button", name="+1 h").click()
    later = datetime.fromisoformat(given) + timedelta(hours=1)
    page.wait_for_url(f"**as_of={later.isoformat()}**")
    tab.drawn()
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("later => !location.search.includes(later)", arg=later.isoformat())
    tab.drawn()
    assert datetime.fromisoformat(tab.asked("as_of")) < later
    expect(slider).to_be_focused()
    page.get_by_role("link", name="Show everything").click()
    page.wait_for_url(lambda url: "as_of" not in url)
    expect(page.locator(".death")).to_have_count(1)


def _seconds(time: datetime) -> float:
    return (time - datetime(1970, 1, 1)).total_seconds()


def _without_view(text: str) -> str:
    """What is in view at first has a margin at both ends."""
    return re.sub(r'"view":\{[^}]*\}', "", text)


# ---- Mouse and keys --------------------------------------------------------------------------------------------------


def test_the_mouse_zooms_and_moves(tab: Tab, handmade: ModuleType) -> None:
    page = tab.patient(handmade.SEPSIS, PERIOD)
    hours = timedelta(hours=1)
    with tab.changes_view():
        tab.drag(0.25, 0.75)
    assert _near(tab.view(), (START + 12 * hours, START + 36 * hours))
    page.keyboard.down("Shift")
    with tab.changes_view():
        tab.drag(0.5, 0.25)
    page.keyboard.up("Shift")
    assert _near(tab.view(), (START + 18 * hours, START + 42 * hours))

    # The wheel scrolls the page; with Ctrl, or over the axis, it zooms around the mouse.
    before, at = tab.view(), page.evaluate("scrollY")
    page.mouse.move(*tab.at(0.5))
    page.mouse.wheel(0, 60)
    page.wait_for_function("at => scrollY !== at", arg=at)
    assert tab.view() == before
    page.mouse.move(*tab.at(0.25))
    page.keyboard.down("Control")
    with tab.changes_view():
        page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    zoomed = tab.view()
    assert _share(before, zoomed[1] - zoomed[0]) == pytest.approx(0.607, abs=0.02)
    fixed = before[0] + 0.25 * (before[1] - before[0])
    assert (fixed - zoomed[0]) / (zoomed[1] - zoomed[0]) == pytest.approx(0.25, abs=0.02)
    assert page.evaluate("visualViewport.scale") == 1
    axis = page.locator(".tl-head").bounding_box()
    page.mouse.move(axis["x"] + axis["width"] / 2, axis["y"] + 40)
    with tab.changes_view():
        page.mouse.wheel(0, 100)
    assert tab.view()[1] - tab.view()[0] > zoomed[1] - zoomed[0]

    with tab.changes_view():
        page.mouse.dblclick(*tab.at(0.5))
    complete = tab.view()
    assert complete[0] < datetime(2153, 4, 12)
    assert complete[1] > datetime(2153, 4, 17)
    for name, change in (("Zoom in", 0.5), ("Zoom out", 1.0)):
        with tab.changes_view():
            page.get_by_role("button", name=name).click()
        view = tab.view()
        assert _share(complete, view[1] - view[0]) == pytest.approx(change, abs=0.01)
    expect(page.locator(".tl-span")).to_contain_text("2153")


def _near(found: tuple[datetime, datetime], wanted: tuple[datetime, datetime]) -> bool:
    """Within a few pixels of two days."""
    return all(abs(one - other) < timedelta(minutes=12) for one, other in zip(found, wanted, strict=True))


def _share(view: tuple[datetime, datetime], part: timedelta) -> float:
    return part / (view[1] - view[0])


def test_all_keys_do_what_the_page_says(tab: Tab, handmade: ModuleType) -> None:
    page = tab.patient(handmade.SEPSIS, PERIOD)
    press = page.keyboard.press
    used: set[str] = set()

    def key(name: str) -> None:
        used.add({"ArrowLeft": "←", "ArrowRight": "→", "Escape": "Esc"}.get(name, name))
        press(name)

    six = timedelta(hours=6)
    for name, view in (
        ("+", (START + 2 * six, END - 2 * six)),
        ("-", (START, END)),
        ("ArrowLeft", (START - 1.6 * six, END - 1.6 * six)),
        ("ArrowRight", (START, END)),
    ):
        with tab.changes_view():
            key(name)
        assert _near(tab.view(), view), name
    with tab.changes_view():
        key("0")
    assert tab.view()[0] < START - 10 * timedelta(hours=1)
    key("/")
    expect(page.locator("#track-search")).to_be_focused()
    page.keyboard.type("j0?")
    expect(page.locator("#track-search")).to_have_value("j0?")
    key("Escape")
    expect(page.locator("#track-search")).not_to_be_focused()
    key("?")
    expect(page.locator("#help")).to_be_visible()
    press("j")
    listed = set(page.locator("#help kbd").all_inner_texts())
    key("Escape")
    expect(page.locator("#help")).to_be_hidden()
    assert f"/patients/{handmade.SEPSIS}" in page.url

    after = page.locator(".neighbours a[rel=next]").get_attribute("href")
    key("j")
    page.wait_for_url(f"**{after}")
    tab.drawn()
    key("k")
    page.wait_for_url(f"**/patients/{handmade.SEPSIS}")
    with page.expect_navigation():
        key("r")
    assert re.fullmatch(r"/patients/\d+", urlsplit(page.url).path)

    # In a list they move from row to row.
    tab.open("/patients")
    links = page.locator("main tbody tr a")
    for name, row in (("j", 0), ("j", 1), ("k", 0), ("k", 0)):
        press(name)
        expect(links.nth(row)).to_be_focused()
    assert used == listed


def test_the_table_shows_the_events_under_the_cursor(tab: Tab, handmade: ModuleType) -> None:
    page = tab.patient(handmade.SEPSIS, PERIOD)
    title = page.locator("#events-range")
    expect(title).to_contain_text("2153-04-12 08:00 to 2153-04-14 08:00")
    page.mouse.move(*tab.at(0.5))
    expect(title).to_contain_text("2153-04-13 07:")
    assert page.locator(".tl-cursor").get_attribute("data-time").startswith("2153-04-13")
    middle = datetime(2153, 4, 13, 8)
    for time in page.locator("#events tbody td:first-child").all_inner_texts():
        assert abs(datetime.fromisoformat(time) - middle) < timedelta(minutes=30)
    expect(page.locator(".tl-value").first).not_to_be_empty()

    # A click holds them, so that the pointer can cross other times on its way to the table. Esc releases them.
    page.mouse.click(*tab.at(0.75))
    expect(title).to_contain_text("2153-04-13 19:")
    held = title.inner_text()
    page.mouse.move(*tab.at(0.25))
    expect(page.locator(".tl-cursor")).to_have_attribute("data-time", re.compile("2153-04-12"))
    page.wait_for_timeout(200)  # longer than the table waits for the pointer to rest
    assert title.inner_text() == held
    page.keyboard.press("Escape")
    expect(title).to_contain_text("2153-04-12 08:00 to 2153-04-14 08:00")
    page.mouse.move(*tab.at(0.5))
    expect(title).to_contain_text("2153-04-13 07:")
    page.get_by_role("button", name="All in view").click()
    expect(title).to_contain_text("2153-04-12 08:00 to 2153-04-14 08:00")
    page.locator("#events-after").click()
    expect(title).to_contain_text("201 to 400 of")
    page.locator("#events-before").click()
    expect(title).to_contain_text("1 to 200 of")

    # Each event leads to its row in the source.
    event = page.locator("#events tbody tr", has_text="Heart Rate").first.get_by_role("button")
    event.click()
    panel = page.locator("#panel")
    expect(panel.locator("#panel-title")).to_be_focused()
    expect(panel.locator("#panel-title")).to_contain_text("Heart Rate")
    expect(panel.locator("dt", has_text="valuenum")).to_be_visible()
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(event).to_be_focused()


def test_tracks_are_added_and_removed_and_a_bookmark_keeps_them(
    tab: Tab, new_tab: Callable[..., Tab], cookies: Any, handmade: ModuleType
) -> None:
    page = tab.patient(handmade.SEPSIS, f"{PERIOD}&tracks={HEART_RATE}")
    titles = page.locator(".tl-title")
    expect(titles).to_have_text(["Heart Rate"])
    search = page.locator("#track-search")
    with tab.changes_view():
        search.fill("creatinine")
        expect(page.locator("#track-choices li")).not_to_have_count(0)
        search.press("Enter")
    expect(titles).to_have_count(2)
    expect(titles.nth(1)).to_contain_text("Creatinine")
    expect(search).to_have_value("")
    with tab.changes_view():
        search.fill("respiratory rate")
        page.locator("#track-choices li").first.click()
    expect(titles).to_have_count(3)
    with tab.changes_view():
        page.get_by_role("button", name="Remove Heart Rate").click()
    expect(titles).to_have_count(2)
    with tab.changes_view():
        page.keyboard.press("+")
    shown = titles.all_inner_texts()
    bookmark = page.url

    page.reload()
    tab.drawn()
    expect(titles).to_have_text(shown)
    assert page.url == bookmark
    # A colleague with the same data opens the same address.
    other = new_tab(storage_state=cookies)
    other.open(bookmark.removeprefix(tab.site))
    other.drawn()
    expect(other.page.locator(".tl-title")).to_have_text(shown)
    assert other.view() == tab.view()


def test_searches_lead_to_addresses(tab: Tab, handmade: ModuleType) -> None:
    page = tab.open("/patients")
    page.keyboard.press("/")
    page.keyboard.type(str(handmade.DIED))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/patients?id={handmade.DIED}")
    expect(page.locator("main tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/patients")
    page.get_by_label("Sex").select_option("F")
    page.wait_for_url("**/patients?sex=F")
    tab.open("/codes")
    page.get_by_label("Word, code or pattern").fill("heart rate")
    page.keyboard.press("Enter")
    page.wait_for_url("**/codes?q=heart**")
    page.get_by_role("link", name=HEART_RATE).click()
    expect(page.locator("svg.histogram rect").first).to_be_visible()
    page.get_by_role("link", name="Patients with this code").click()
    page.wait_for_url("**/patients?code=**")
    expect(page.locator("main tbody tr")).to_have_count(2)


def test_all_rows_of_a_long_list_are_shown(tab: Tab) -> None:
    def longer(route: Any) -> None:
        """Divide the list after its first row, as a list of more than 60 patients is."""
        answer = route.fetch()
        before, rows = answer.text().split("<tbody>", 1)
        first, others = rows.split("</tr>", 1)
        route.fulfill(response=answer, body=f'{before}<tbody>{first}</tr></tbody><tbody id="rest" hidden>{others}')

    tab.page.route("**/patients", longer)
    try:
        page = tab.open("/patients")
        expect(page.locator("tbody#rest")).to_be_visible()
        expect(page.locator("main tbody")).to_have_count(2)
    finally:
        tab.page.unroute("**/patients")


# ---- What is drawn ---------------------------------------------------------------------------------------------------

POINTS = """() => Object.fromEntries(charts.filter((one) => one.root.isConnected).map((one) => {
  const track = one.root.closest(".tl-track").querySelector(".tl-title").title;
  const [from, to] = [one.scales.x.min, one.scales.x.max];
  const values = one.data[1].filter((v, at) => v !== null && one.data[0][at] >= from && one.data[0][at] <= to);
  const { min: low, max: high } = one.scales.y;
  return [track.match(/\\(([A-Z]+\\/\\/[^ ]*)\\)/)[1], { values, from, to, low, high }];
}))"""


@pytest.mark.parametrize("period", ["from=2153-04-01T00:00:00&to=2153-04-30T00:00:00", PERIOD])
def test_the_extremes_of_the_raw_data_are_drawn(
    tab: Tab, browsed: Path, handmade: ModuleType, peaks: dict[int, int], period: str
) -> None:
    page = tab.patient(handmade.SEPSIS, f"{period}&tracks={HEART_RATE},LAB//50912,CHART//220210")
    page.wait_for_function(f"() => Object.keys(({POINTS})()).length === 3")
    page.wait_for_load_state("networkidle")
    events = ehrtraj.open(browsed)[handmade.SEPSIS].events.filter(pl.col("numeric_value").is_not_null())
    drawn = page.evaluate(POINTS)
    for code, chart in drawn.items():
        seconds = pl.col("time").dt.epoch("s")
        raw = events.filter(pl.col("code") == code, seconds >= chart["from"], seconds <= chart["to"])["numeric_value"]
        assert len(raw) > 0
        # The page has the shortest decimal number of each 32-bit one.
        assert (min(chart["values"]), max(chart["values"])) == pytest.approx((raw.min(), raw.max()), rel=1e-6), code
        assert chart["low"] <= raw.min()
        assert raw.max() <= chart["high"]
    heart_rates = drawn[HEART_RATE]["values"]
    assert set(peaks.values()) <= set(heart_rates)
    assert len(heart_rates) < 4000 if period == PERIOD else len(heart_rates) < 1000


def test_other_colors_redraw_the_timeline(tab: Tab, handmade: ModuleType) -> None:
    page = tab.patient(handmade.SEPSIS, f"{PERIOD}&tracks={HEART_RATE}")
    expect(page.locator(".tl-plot canvas")).to_be_visible()
    canvases = "[...document.querySelectorAll('.tl canvas')].filter((one) => one.offsetParent)"
    picture = f"() => {canvases}.map((one) => one.toDataURL())"
    light = page.evaluate(picture)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.emulate_media(color_scheme="dark")
    changed = f"(before) => {{ const now = ({picture})(); return now.every((one, at) => one !== before[at]); }}"
    page.wait_for_function(changed, arg=light)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != paper
    page.emulate_media(color_scheme="light")
    page.wait_for_function(f"(before) => JSON.stringify(({picture})()) === JSON.stringify(before)", arg=light)


# ---- Texts that look like HTML ---------------------------------------------------------------------------------------


def _open_note(tab: Tab) -> Any:
    """Click on the mark of the notes in the middle of the view, and return the dialog that opens."""
    marks = tab.page.locator(".tl-marks canvas, canvas.tl-marks").first
    expect(marks).to_be_visible()
    marks.scroll_into_view_if_needed()
    box = marks.bounding_box()
    left, right = (196, 10) if box["width"] > 640 else (40, 6)
    tab.page.mouse.click(box["x"] + left + (box["width"] - left - right) / 2, box["y"] + 11)
    reader = tab.page.locator("dialog.tl-reader")
    expect(reader.locator("pre").first).to_be_visible()
    expect(reader).not_to_contain_text("Reading …")
    return reader


def test_hostile_texts_are_only_text(tab: Tab, handmade: ModuleType, hostile: str) -> None:
    page = tab.patient(handmade.SEPSIS, "from=2153-04-12T04:00:00&to=2153-04-12T04:20:00")
    assert hostile in _open_note(tab).text_content()
    page.keyboard.press("Escape")
    tab.patient(handmade.SEPSIS, f"{PERIOD}&tracks=LAB//50912,{HEART_RATE}")
    expect(page.locator(".tl-title").first).to_contain_text(hostile)
    drug = page.locator("#events tbody button", has_text="onerror").first
    drug.click()
    expect(page.locator("#panel-title")).to_contain_text("onerror=alert(1)")
    page.locator("#track-search").fill("onerror")
    expect(page.locator("#track-choices li").first).to_contain_text("<script>alert(2)</script>")
    assert _elements(page) == (0, 0)
    tab.open("/codes?q=onerror")
    page.locator("main tbody a").first.click()
    page.wait_for_url("**/code?**")
    expect(page.locator("h1")).to_contain_text("onerror")
    assert _elements(page) == (0, 0)
    tab.open("/patients?code=%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(3)%3E&id=%3Cscript%3Ealert(4)%3C/script%3E")
    assert _elements(page) == (0, 0)


def _elements(page: Any) -> tuple[int, int]:
    """Return the number of images and of scripts with a text."""
    return page.locator("img").count(), page.evaluate("[...document.scripts].filter((one) => one.text).length")


# ---- Without a server ------------------------------------------------------------------------------------------------


def test_a_plot_in_a_file_and_in_a_notebook_needs_nothing_else(
    tab: Tab, browsed: Path, handmade: ModuleType, tmp_path: Path, hostile: str
) -> None:
    plot = ehrtraj.open(browsed)[handmade.SEPSIS].plot(start=START, end=END)
    page = tab.page
    page.goto(plot.save(tmp_path / "plot.html").as_uri())
    expect(page.locator(".tl-plot canvas").first).to_be_visible()
    page.mouse.move(*tab.at(0.5))
    expect(page.locator(".tl-value").first).not_to_be_empty()
    before = page.locator(".tl-span").inner_text()
    tab.drag(0.25, 0.5)
    expect(page.locator(".tl-span")).not_to_have_text(before)
    assert page.locator("img").count() == 0
    embedded = json.loads(page.locator("#data").text_content())
    assert hostile in "".join(embedded["notes"].values())
    assert _violations(page) == []

    # A notebook shows a cell in a page of its own.
    (tmp_path / "notebook.html").write_text(f"<!doctype html><title>Notebook</title>{plot._repr_html_()}")
    page.goto((tmp_path / "notebook.html").as_uri())
    cell = page.frame_locator("iframe")
    expect(cell.locator(".tl-plot canvas").first).to_be_visible()
    assert page.evaluate("document.querySelector('iframe').contentDocument") is None


def test_a_report_needs_nothing_else(tab: Tab, browsed: Path, tmp_path: Path) -> None:
    page = tab.page
    for with_examples in (False, True):
        path = report(browsed, tmp_path / f"{with_examples}.html", with_examples=with_examples)
        page.goto(path.as_uri())
        expect(page.locator("svg").first).to_be_visible()
        assert _elements(page) == (0, 0)
    # A report has thousands of elements, which axe-core examines one by one.
    assert _violations(page, [NARROW]) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= NARROW["width"]
