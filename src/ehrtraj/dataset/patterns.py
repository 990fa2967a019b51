"""Codes by pattern: `LAB//50912`, `LAB//*`, `DIAGNOSIS//*//A41*`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl


def matches(patterns: Sequence[str], column: str = "code") -> pl.Expr:
    """Expression that is true where a code matches any of the patterns.

    Args:
        patterns: a code as it stands, or with `*` for any text; every other character means itself.
        column: that holds the codes.
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
    """Whether a pattern is one code."""
    return "*" not in pattern
