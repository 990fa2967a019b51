"""Format sizes, durations, releases and sexes for people."""

from __future__ import annotations

_SEXES = {"F": "female", "M": "male"}


def size(count: float) -> str:
    """Format a number of bytes, as 1.25 GB."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def duration(seconds: float) -> str:
    """Format a number of seconds, as 41.2 s or 3 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def rough_duration(seconds: float) -> str:
    """Format an estimated number of seconds, as 40 s, 4 min or 2 h 10 min."""
    if seconds < 60:
        return f"{max(round(seconds, -1), 10):.0f} s" if seconds > 10 else f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours else f"{minutes} min"


def release_name(title: str, version: str) -> str:
    """Format the name of a release.

    Args:
        title: title of its source, such as `MIMIC-IV`.
        version: such as `3.1` or `demo 2.2`.
    """
    if version == "unknown":
        return f"an unknown release of {title}"
    return (
        f"a {version.replace(' ', f' {title} ')} release" if version.startswith("synthetic") else f"{title} {version}"
    )


def sex_name(sex: str) -> str:
    """Format the code of a sex (F, M) as a word; any other text stays as it is."""
    return _SEXES.get(sex, sex)
