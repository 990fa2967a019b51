"""Fill the templates. The result is one HTML file that needs no other file and no script."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from ehrtraj.reports.histogram import HEIGHT, WIDTH
from ehrtraj.reports.masking import FEWEST, Shown
from ehrtraj.version import __version__

GENERATOR = b'<meta name="generator" content="ehrtraj '
"""Begins the line by which a report is recognised. It is among the first lines of the file."""
FIRST_BYTES = 512
"""The line, and the digest of the dataset, are in this number of bytes at the beginning."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ehrtraj.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"short": _short, "size": _size}
    environment.globals |= {
        "version": __version__,
        "fewest": FEWEST,
        "histogram_width": WIDTH,
        "histogram_height": HEIGHT,
    }
    return environment


def fill(template: str, **content: object) -> bytes:
    """Return the page of a template.

    Args:
        template: name of the template.
        content: its variables.
    """
    text = _environment().get_template(template).render(**content)
    # A lone surrogate, which a damaged text could contain, cannot be encoded.
    return text.encode("utf-8", "replace")


def _short(count: Shown) -> str:
    """Return a count with two digits, as 570k. It follows from the shown count."""
    if count.masked or count.size < 1000:
        return count.text
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count.size >= unit:
            return f"{float(f'{count.size / unit:.1e}'):g}{name}"
    return count.text


def _size(count: int) -> str:
    """Return a number of bytes with two digits, as 1.9 MB. The exact size of a small file depends on its few rows."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{float(f'{count / unit:.1e}'):g} {name}"
    return "<1 kB"
