"""The explanation of an event as JSON: its columns, flags and rules, and the rows of the release that it came from."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from ehrtraj.dataset.explain import Explanation

# Below this size, the page searches for the row without being asked. DuckDB reads about 50 MB of gzip in a second.
_SMALL = 100_000_000


def explanation(found: Explanation, *, path: Path | None, hidden: bool, searched: bool) -> dict[str, Any]:
    """Return an explanation for the page.

    Args:
        found: the explanation.
        path: file that contains the row; None if it no longer exists.
        hidden: whether rows are not shown because the future is hidden.
        searched: whether `path` was searched.
    """
    return {
        "event": _pairs({name: value for name, value in found.event.items() if name != "flags"}),
        "description": found.description,
        "flags": [{"flag": mark.flag, "meaning": mark.meaning, "source": mark.source} for mark in found.marks],
        "rules": [{"table": table.name, "lines": [_pairs(line) for line in table.lines]} for table in found.rules],
        "source": _source(found, path, hidden=hidden, searched=searched),
    }


def _source(found: Explanation, path: Path | None, *, hidden: bool, searched: bool) -> dict[str, Any]:
    if hidden:
        return {"state": "hidden"}
    if path is None:
        return {"state": "missing"}
    size = path.stat().st_size
    about = {"file": path.name, "size": _size(size)}
    if not searched:
        return {"state": "small" if size <= _SMALL else "large", **about}
    return {"state": "searched", **about, "rows": [_pairs(row) for row in found.rows]}


def _pairs(columns: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, _text(value)) for name, value in columns.items() if value not in (None, "")]


def _text(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
