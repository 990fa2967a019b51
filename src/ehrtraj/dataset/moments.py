"""Times as a caller may give them."""

from __future__ import annotations

from datetime import date, datetime

from ehrtraj.errors import SettingsError

Moment = datetime | date | str
"""A time without a time zone; a date stands for its first moment; a text is ISO 8601, as `2180-07-23 14:00`."""


def moment(given: Moment) -> datetime:
    """Return a time as a naive datetime.

    Raises:
        SettingsError: if a text is not a time, or a time has a time zone (a patient's dates are shifted: it has none).
    """
    time: date = given if not isinstance(given, str) else _parsed(given)
    if not isinstance(time, datetime):
        return datetime(time.year, time.month, time.day)
    if time.tzinfo is not None:
        raise SettingsError(f"{time} has a time zone: the times of a dataset have none. Leave it out")
    return time


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"'{text}' is not a time: write it as 2180-07-23 or 2180-07-23 14:00") from None
