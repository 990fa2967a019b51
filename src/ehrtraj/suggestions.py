"""Suggest names in error messages: the known name that is most similar to an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], similarity: float = 0.6) -> list[str]:
    """Return the most similar known name, whatever the case of letters, in a list that is empty if none is similar.

    Args:
        name: unknown name.
        known: known names.
        similarity: least similarity from 0 to 1, as difflib defines it.
    """
    by_lower: dict[str, str] = {}
    for one in known:
        by_lower.setdefault(one.lower(), one)
    return [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, 1, similarity)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean X?)` for an unknown name, or nothing if no known name is similar."""
    found = nearest(name, known)
    return f" (did you mean {found[0]}?)" if found else ""


def did_you_mean_table(name: str, tables: Iterable[str]) -> str:
    """Return the suggestion for an unknown table, which can be written with or without its module."""
    tables = list(tables)
    return did_you_mean(name, tables if "/" in name else [table.rpartition("/")[2] for table in tables])
