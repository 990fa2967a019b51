"""Open the user's browser, where there is a screen."""

from __future__ import annotations

import os
import sys
import webbrowser

_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY")


def open_browser(address: str) -> None:
    """Open an address in the browser. Without a screen, nothing happens: the address was printed."""
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in _SCREENS):
        # webbrowser would start a browser for text, which takes over the terminal.
        return
    try:
        webbrowser.open(address)
    except webbrowser.Error:
        return
