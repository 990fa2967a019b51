"""Times as arguments of functions."""

from __future__ import annotations

from datetime import date, datetime

from ehrtraj.errors import SettingsError

Moment = datetime | date | str
"""A time without a time zone. A date means its first moment; a text is ISO 8601, such as `2180-07-23 14:00`."""


def moment(given: Moment) -> datetime:
    """Return a time as a naive datetime.

    Raises:
        SettingsError: if a text is not a time, or a time has a time zone (the shifted dates of patients have none).
    """
    time: date = given if not isinstance(given, str) else _parsed(given)
    if not isinstance(time, datetime):
        return datetime(time.year, time.month, time.day)
    if time.tzinfo is not None:
        raise SettingsError(f"{time} has a time zone, but the times of a dataset have none. Remove the time zone")
    return time


def _parsed(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"'{text}' is not a valid time: write it as 2180-07-23 or 2180-07-23 14:00") from None
