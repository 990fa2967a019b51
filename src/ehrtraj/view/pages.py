"""Write pages from templates, which escape every text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

_TEMPLATES = Path(__file__).parent / "templates"


def address(path: str, parameters: Mapping[str, object] | None = None, **more: object) -> str:
    """Return the address of a page, without parameters that are empty or None."""
    given = {**(parameters or {}), **more}
    query = urlencode({name: value for name, value in given.items() if value not in (None, "")}, safe="/:,*")
    return quote(path) + (f"?{query}" if query else "")


def _count(number: int) -> str:
    return f"{number:,}"


def _when(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M}"


def _day(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d}"


def _number(number: float) -> str:
    return f"{number:.4g}"


def _rough(number: float) -> str:
    """Format a number that is exact to an eighth, as 1,200 or 0.29."""
    return f"{float(f'{number:.2g}'):,g}"


def _sentence(message: str) -> str:
    """Return a message of an error as a sentence."""
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "?", "`", ")")) else ".")


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(_TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "count": _count,
    "when": _when,
    "day": _day,
    "number": _number,
    "rough": _rough,
    "sentence": _sentence,
}
_ENVIRONMENT.globals |= {"address": address}


def compile_templates() -> None:
    """Compile all templates, so that the first page is as quick as the others."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def page(template: str, status: int = 200, **context: Any) -> Response:  # noqa: ANN401  # what the template needs
    """Return the response with a page.

    Args:
        template: name of the template without its ending.
        status: status of the response.
        context: variables of the template.
    """
    return HTMLResponse(_ENVIRONMENT.get_template(f"{template}.html").render(context), status)


def error_page(status: int, title: str, message: str) -> Response:
    """Return the response with an error in plain words."""
    return page("error", status, title=title, message=message)
