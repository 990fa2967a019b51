"""File formats of exports. Each module of this package declares one format, as `FORMAT`.

A format has the name of its module, so the formats can be listed without importing their dependencies.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ehrtraj.exports.format import Format

DEFAULT = "jsonl"
DEFAULT_SINGLE = "parquet"
"""Default format of a single file with all events."""


def names() -> tuple[str, ...]:
    """Return the names of all formats, the default first."""
    others = sorted({module.name for module in pkgutil.iter_modules(__path__)} - {DEFAULT})
    return (DEFAULT, *others)


def load(name: str) -> Format:
    """Return a format by its name, one of `names()`."""
    loaded: Format = import_module(f"{__name__}.{name}").FORMAT
    return loaded


def load_all() -> dict[str, Format]:
    """Return all formats by name."""
    return {name: load(name) for name in names()}


def of_file(path: Path) -> Format | None:
    """Return the format of an exported file by its ending, or None if no format has this ending."""
    matches = (form for form in load_all().values() if path.name.endswith(f".{form.ending}"))
    # The longest match wins: `toy.csv` is more specific than `csv`.
    return max(matches, key=lambda form: len(form.ending), default=None)
