"""The picture of one patient as JSON-able data, and the JavaScript and CSS that draw it.

`outline`, `series`, `items`, `events` and `text_of` return what `static/timeline.js` draws. All times are integer
seconds since 1970-01-01 of the patient's shifted time, which has no time zone.
"""

from __future__ import annotations

from ehrtraj.timeline.lines import series
from ehrtraj.timeline.overview import items, outline
from ehrtraj.timeline.rows import events, text_of

__all__ = ["events", "items", "outline", "series", "text_of"]
