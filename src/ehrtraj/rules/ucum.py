"""Check units against UCUM (Unified Code for Units of Measure)."""

from __future__ import annotations

from functools import cache


@cache
def is_ucum(text: str) -> bool:
    """Return whether a text is a valid unit, such as `mg/dL`, `mm[Hg]` or `{unit}/h`.

    Args:
        text: not empty.
    """
    # These imports take a fifth of a second; only a build with an overlay needs them.
    from lark.exceptions import LarkError
    from ucumvert import get_ucum_parser

    try:
        get_ucum_parser().parse(text)
    except LarkError:
        return False
    return True
