"""A card: a title, a line of facts and small tables, as HTML for Jupyter and VS Code.

The HTML has no colours of its own, so that it suits light and dark themes. It contains no script, refers to no other
file, and all texts are escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = "card.html"


@dataclass(frozen=True)
class CardTable:
    """A table of a card.

    Attributes:
        title: what the rows are.
        columns: headings.
        rows: values by row; numbers are aligned to the right.
        omitted: number of further rows that are not shown.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]
    omitted: int = 0


@dataclass(frozen=True)
class Card:
    """What a notebook shows of an object.

    Attributes:
        title: what the object is.
        facts: names and values. A value of None is left out.
        tables: small tables.
        notes: sentences below.
    """

    title: str
    facts: tuple[tuple[str, object], ...] = ()
    tables: tuple[CardTable, ...] = ()
    notes: tuple[str, ...] = ()

    def html(self) -> str:
        """Return the card as HTML."""
        return _template().render(card=self)


@cache
def _template() -> Template:
    # Importing jinja2 takes longer than opening a dataset: only notebooks need it.
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("ehrtraj.notebook"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["written"] = _written
    environment.tests["right"] = _is_number
    environment.tests["moment"] = lambda value: isinstance(value, datetime)
    return environment.get_template(_TEMPLATE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _written(value: Any) -> str:  # noqa: ANN401  # any value of a cell
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def first_rows(title: str, columns: tuple[str, ...], rows: Sequence[tuple[object, ...]], most: int = 8) -> CardTable:
    """Return a table with the first rows and the number of others."""
    return CardTable(title, columns, rows[:most], max(0, len(rows) - most))
