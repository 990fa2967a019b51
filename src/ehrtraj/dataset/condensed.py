"""A trajectory as text for models: grouped by time, without codes, within a budget of tokens."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Literal

from ehrtraj.dataset.narrative import Heading, Line, Patient, narrate
from ehrtraj.dataset.tokens import estimate_tokens
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean

GroupBy = Literal["minute", "hour", "day"]
_GROUPS = ("minute", "hour", "day")
# Event types that are listed with the number of their omitted events.
_MOST_NAMED = 12
_TIME = re.compile(r"(.*?) ?((\d\d):\d\d)?")


@dataclass(frozen=True)
class TextForm:
    """The form of a text; see `Trajectory.text`."""

    days: bool = False
    attributes: bool = False
    codes: bool = True
    group_by: GroupBy | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingsError: if there is no such group.
        """
        if self.group_by is not None and self.group_by not in _GROUPS:
            near = did_you_mean(str(self.group_by), _GROUPS)
            raise SettingsError(f"group_by is '{self.group_by}'{near}: it must be one of {', '.join(_GROUPS)}, or None")


@dataclass(frozen=True)
class Budget:
    """The maximum length of a text.

    Attributes:
        tokens: maximum number of tokens.
        count: returns the number of tokens of a text.
        rank: returns the rank of a code; events with a lower rank are more important.
    """

    tokens: int
    count: Callable[[str], int]
    rank: Callable[[str], int]


@dataclass(frozen=True)
class _Entry:
    """One event.

    Attributes:
        section: number of its heading.
        date: what is written before the time of day; without groups, the complete time.
        clock: time of day; empty if it is not known or not shown.
        event_type: first part of the code.
        text: what is written about it.
        code: its code.
    """

    section: int
    date: str
    clock: str
    event_type: str
    text: str
    code: str


class _Text:
    """The headings and entries of a trajectory, which are written completely or in part."""

    def __init__(self, patient: Patient, form: TextForm) -> None:
        self._form = form
        self.headings: list[str] = []
        self.entries: list[_Entry] = []
        meanings = patient.source.meanings
        for part in narrate(patient, days=form.days, attributes=form.attributes):
            if isinstance(part, Heading):
                self.headings.append(part.text)
            else:
                self.entries.append(self._entry(part, meanings))

    def _entry(self, line: Line, meanings: Mapping[str, str]) -> _Entry:
        event_type = line.code.partition("//")[0]
        what = line.what if self._form.group_by is None else _short(line, meanings.get(event_type, ""))
        text = ": ".join(filter(None, (what, line.value)))
        more = f"({line.attributes})" if line.attributes else ""
        code = f"[{line.code}]" if self._form.codes else ""
        date, clock = self._when(line.when)
        written = " ".join(filter(None, (text, more, code)))
        return _Entry(len(self.headings) - 1, date, clock, event_type, written, line.code)

    def _when(self, when: str) -> tuple[str, str]:
        """Return date and time of day as they are written; a line that is not grouped needs no division."""
        if self._form.group_by is None:
            return when, ""
        found = _TIME.fullmatch(when)
        date, clock, hour = found.groups() if found else (when, None, None)
        if clock is None or self._form.group_by == "day":
            return date, ""
        return date, f"{hour}:00" if self._form.group_by == "hour" else clock

    def write(self, entries: Iterable[_Entry]) -> str:
        """Return the text of some entries, with the headings that they need."""
        lines = self.headings[:1]
        write = _lines if self._form.group_by is None else _groups
        for section, of_section in groupby(entries, key=lambda entry: entry.section):
            if section:
                lines += ["", self.headings[section]]
            lines += write(of_section)
        return "\n".join(lines)

    def parts(self, entry: _Entry) -> list[tuple[tuple[object, ...], str]]:
        """Return the texts that an entry adds: those that it may share with others, by a key, then its own."""
        heading = self.headings[entry.section] if entry.section else ""
        section: tuple[object, ...] = (entry.section,)
        if self._form.group_by is None:
            return [(section, f"\n\n{heading}"), ((), f"\n{next(_lines([entry]))}")]
        group = (*section, entry.date, entry.clock)
        label = (*group, entry.event_type)
        when = f"\n{entry.date} {entry.clock}"
        return [
            (section, f"\n\n{heading}"),
            (group, when),
            (label, f". {_label(entry.event_type)}:"),
            ((), f" {entry.text};"),
        ]


def _short(line: Line, meaning: str) -> str:
    """Return the description of a code without the meaning of its event type, and without a unit that follows."""
    if line.what == meaning:
        return ""
    what = line.what.removeprefix(f"{meaning}: ")
    first, separator, last = what.rpartition("//")
    if separator and line.value.endswith(f" {last}"):
        what = first
    return what.replace("//", ", ")


def _lines(entries: Iterable[_Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"  {entry.date}  {entry.text}"


def _groups(entries: Iterable[_Entry]) -> Iterator[str]:
    """Yield a line for each time. It begins with the date if that is not the date of the line before."""
    before = None
    for (date, clock), same in groupby(entries, key=lambda entry: (entry.date, entry.clock)):
        texts: dict[str, Counter[str]] = {}
        for entry in same:
            texts.setdefault(entry.event_type, Counter())[entry.text] += 1
        when = clock if clock and date == before else f"{date} {clock}".strip()
        yield f"{when} {'. '.join(_of_type(name, counts) for name, counts in texts.items())}"
        before = date


def _of_type(event_type: str, counts: Counter[str]) -> str:
    texts = [text if number == 1 else f"{text} (x{number})".strip() for text, number in counts.items()]
    return f"{_label(event_type)}: {'; '.join(texts)}".removesuffix(": ")


def _label(event_type: str) -> str:
    return event_type.lower().replace("_", " ")


def condense(patient: Patient, form: TextForm, budget: Budget | None = None) -> str:
    """Return the trajectory as text.

    Raises:
        SettingsError: if not even the headings fit into the budget.
    """
    text = _Text(patient, form)
    complete = text.write(text.entries)
    if budget is None or budget.count(complete) <= budget.tokens:
        return complete
    return _fitted(text, budget)


def _fitted(text: _Text, budget: Budget) -> str:
    """Return the text of the most important entries that fit, and of the number of others."""
    chosen = _choose(text, budget)
    drop = 0
    while True:
        # The count of a text can be a little larger than the sum of the counts of its parts.
        kept = sorted(chosen[: len(chosen) - drop])
        written = f"{text.write(text.entries[at] for at in kept)}\n\n{_omitted(text.entries, kept)}"
        if (tokens := budget.count(written)) <= budget.tokens:
            return written
        if not kept:
            raise SettingsError(f"budget is {budget.tokens}: the text needs at least {tokens} tokens")
        drop = min(max(1, 2 * drop), len(chosen))


def _choose(text: _Text, budget: Budget) -> list[int]:
    """Return the positions of the entries that fit, in the order of importance.

    Within a rank, the latest come first, until one does not fit. Then the next rank follows.
    """
    count = cache(budget.count)
    rank = cache(budget.rank)
    left = budget.tokens - count(text.headings[0]) - count(f"\n\n{_omitted(text.entries, ())}")
    ranks = [rank(entry.code) for entry in text.entries]
    written: set[tuple[object, ...]] = {(0,)}
    chosen: list[int] = []
    full: set[int] = set()
    for at in sorted(range(len(ranks)), key=lambda at: (ranks[at], -at)):
        if ranks[at] in full:
            continue
        needed = [(key, part) for key, part in text.parts(text.entries[at]) if key not in written]
        cost = sum(count(part) for _, part in needed)
        if cost > left:
            full.add(ranks[at])
            continue
        left -= cost
        written.update(key for key, _ in needed if key)
        chosen.append(at)
    return chosen


def _omitted(entries: Sequence[_Entry], kept: Sequence[int]) -> str:
    """Return a line with the numbers of entries that are not kept, by event type; `7 of 348` if some are kept."""
    total = Counter(entry.event_type for entry in entries)
    missing = (total - Counter(entries[at].event_type for at in kept)).most_common()
    listed = [
        f"{number:,}{'' if number == total[name] else f' of {total[name]:,}'} {_label(name)}"
        for name, number in missing[:_MOST_NAMED]
    ]
    if others := missing[_MOST_NAMED:]:
        listed.append(f"{sum(number for _, number in others):,} events of {len(others)} other types")
    return f"Omitted for length: {', '.join(listed)}"


def text_budget(tokens: int, count: Callable[[str], int] | None, rank: Callable[[str], int]) -> Budget:
    """Return a budget. Without `count`, tokens are estimated.

    Raises:
        SettingsError: if the number is not positive.
    """
    if tokens < 1:
        raise SettingsError(f"budget is {tokens}: it must be at least 1")
    return Budget(tokens, count or estimate_tokens, rank)
