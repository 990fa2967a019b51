"""Formats of an export's files: each module of this package is one, and has it as `FORMAT`.

The name of a format is that of its module, so listing them imports nothing that they need.
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
"""Of one file with all events."""


def names() -> tuple[str, ...]:
    """Names of all formats, the default first."""
    others = sorted({module.name for module in pkgutil.iter_modules(__path__)} - {DEFAULT})
    return (DEFAULT, *others)


def load(name: str) -> Format:
    """Return a format by its name, one of `names()`."""
    found: Format = import_module(f"{__name__}.{name}").FORMAT
    return found


def load_all() -> dict[str, Format]:
    """Return every format by name."""
    return {name: load(name) for name in names()}


def of_file(path: Path) -> Format | None:
    """Return the format of an exported file by its ending; None where no format has it."""
    fits = (form for form in load_all().values() if path.name.endswith(f".{form.ending}"))
    # Of `csv` and `toy.csv`, the one that says more.
    return max(fits, key=lambda form: len(form.ending), default=None)
