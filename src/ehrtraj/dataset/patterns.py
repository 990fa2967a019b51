"""Patterns of codes: `LAB//50912`, `LAB//*`, `DIAGNOSIS//*//A41*`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl


def matches(patterns: Sequence[str], column: str = "code") -> pl.Expr:
    """Return an expression that is true where a code matches any of the patterns.

    Args:
        patterns: complete codes, or codes with `*` for any text; all other characters match literally.
        column: column of the codes.
    """
    return pl.any_horizontal(pl.lit(value=False), *(_one(pattern, pl.col(column)) for pattern in patterns))


def _one(pattern: str, code: pl.Expr) -> pl.Expr:
    if "*" not in pattern:
        return code == pattern
    parts = pattern.split("*")
    if len(parts) == 2 and not parts[1]:
        return code.str.starts_with(parts[0])
    return code.str.contains(f"(?s)^{'.*'.join(map(re.escape, parts))}$")


def is_exact(pattern: str) -> bool:
    """Return whether a pattern is a single code."""
    return "*" not in pattern
