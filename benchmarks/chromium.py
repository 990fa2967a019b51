"""Start the viewer and Chromium, for benchmarks, tests and pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Otherwise it starts a process for a page that may be opened next.
    "--disable-features=SpareRendererForSitePerProcess",
    # What a page requests from elsewhere is noticed, and reaches no one.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the Chromium of the system.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = shutil.which("chromium")
    if path is None:
        raise FileNotFoundError("no Chromium: `apt-get install chromium` installs it")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def viewer(dataset: Path) -> Iterator[str]:
    """Run `ehrtraj view`, and return the address with the token that it printed."""
    command = [sys.executable, "-m", "ehrtraj", "view", str(dataset), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Open ").strip()
        finally:
            process.terminate()
