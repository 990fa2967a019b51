"""Where records begin and end in a table's bytes, also where a quote is not closed.

Bytes are split from a place where a record begins. As long as quotes are sound, there is one way to do that. After a
quote that is not closed, nothing in the quotes themselves shows which line ends are inside of a text. What a record of
the table looks like does: the damage ends at the next line that starts like one, or has the right number of fields.

Quotes can also be sound where a record is not. A quote that is opened in one row can meet a quote of a later row, with
the rows between taken for text. Mostly that has the wrong number of fields or values of the wrong type, and is split at
the first complete record in it. If the two quotes met at the borders of fields it looks right: then it is split if
nothing but records follows the first one in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

ColumnKind = Literal["integer", "number", "time", "text"]
Outcome = Literal["sound", "broken", "too_long"]
Span = tuple[int, int, Outcome]
"""Start and end of sound records, of a broken one, or of one that is too long, of which only the start is known."""

# A line's start is judged by this many bytes. The texts in it are codes and names, which are far shorter.
START_BYTES = 1 << 16
_LONGEST_NAME = 1000
# A record that spans several lines may have this many fields too many and still be taken for one record.
_MORE_FIELDS = 16

# So many columns at the start of a line show a record, even if its key is empty.
_TELLING = 4

_LINE_END = rb"\r?\n"
_ON_ONE_LINE = rb'(?:"[^"\n]*+(?:""[^"\n]*+)*+"|[^",\n][^,\n]*+|)'
_ON_ANY_LINES = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\n][^,\n]*+|)'
# One that is not doubled.
_CLOSING_QUOTE = re.compile(rb'(?<!")"(?=(?:"")*+(?!"))')
_BLANK_LINES = re.compile(rb"\r?\n(?:[\r\n]*\n)?")
# As CSV writers write it: a text with a quote in it is quoted.
_AS_WRITTEN = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\n][^",\n]*+|)'
_FIELD = re.compile(rb"%b(?:,|%b)" % (_ON_ANY_LINES, _LINE_END))
_NAME = rb'(?:"[^"\n]{0,%(n)d}+(?:""[^"\n]{0,%(n)d}+){0,%(n)d}+"|[^",\n][^,\n]{0,%(n)d}+|)' % {b"n": _LONGEST_NAME}
# No less than what pyarrow reads as such a value.
_VALUES: dict[ColumnKind, bytes] = {
    "integer": rb"[ \t]{0,20}+(?:0[xX][0-9a-fA-F]{1,16}+|-?[0-9]{1,40}+)[ \t]{0,20}+",
    "number": rb"[ \t]{0,20}+[-+]?(?:[0-9.][-+0-9.eE]{0,400}+|[a-zA-Z]{3,8}+(?:\(\w{0,40}+\))?)[ \t]{0,20}+",
    "time": rb"[0-9]{4}-[-0-9 T:.]{0,40}+",
}
# Skips from quote to quote, which is ten times as fast as matching every field.
_CLOSED_QUOTES = re.compile(
    rb'(?:[^"]*+(?:(?:\A|(?<=[,\n]))"[^"\n]*+(?:""[^"\n]*+)*+"(?=,|\r?\n)|(?<=[^,\n])"[^,\n]*+))*+[^"]*+'
)
_NOT_EMPTY = rb'(?!,|\r?\n|""[,\r\n])'


@dataclass(frozen=True)
class RecordShape:
    """What the records of one file look like.

    Attributes:
        kinds: what its columns hold, in the file's order.
        key: position of the column that is never empty.
        start: number of columns that show, at the start of a line, that a record starts there.
    """

    kinds: tuple[ColumnKind, ...]
    key: int
    start: int

    @classmethod
    def of(cls, kinds: Sequence[ColumnKind], keys: Sequence[int]) -> RecordShape:
        """The shape of a file's records.

        Args:
            kinds: what its columns hold.
            keys: positions of its key columns; the first is never empty.
        """
        # Up to the last key that is a number or a time, and as far as such columns go on from there: the more of them,
        # the less does a line of text look like a record.
        last = max([k for k in keys if kinds[k] != "text"] + [keys[0]])
        while last + 1 < len(kinds) and kinds[last + 1] != "text":
            last += 1
        return cls(tuple(kinds), keys[0], last + 1)


class _Patterns:
    """A shape as regular expressions, matched where a line starts. Each is compiled when it is first used."""

    def __init__(self, shape: RecordShape) -> None:
        self._shape = shape
        self._others = len(shape.kinds) - 1

    @property
    def _any_line(self) -> bytes:
        return rb"%b(?:,%b)*+%b" % (_ON_ONE_LINE, _ON_ONE_LINE, _LINE_END)

    @property
    def _right(self) -> bytes:
        return rb"%b(?:,%b){%d}+%b" % (_ON_ANY_LINES, _ON_ANY_LINES, self._others, _LINE_END)

    @property
    def _leading(self) -> bytes:
        kinds = self._shape.kinds[: self._shape.start]
        return b",".join(_typed(k, _NAME, empty=i != self._shape.key) for i, k in enumerate(kinds))

    @property
    def _start(self) -> bytes:
        return self._leading + (rb"(?=,)" if self._shape.start <= self._others else rb"(?=[,\r\n])")

    @cached_property
    def record(self) -> re.Pattern[bytes]:
        """A record of any number of fields; one that spans several lines has no more than some too many."""
        loose = rb"%b(?:,%b){0,%d}+%b" % (_ON_ANY_LINES, _ON_ANY_LINES, self._others + _MORE_FIELDS, _LINE_END)
        return re.compile(rb"(?:%b|%b)" % (self._any_line, loose))

    @cached_property
    def lines(self) -> re.Pattern[bytes]:
        """Records of one line each with the right number of fields, as many as there are."""
        return re.compile(rb"(?:%b(?:,%b){%d}+%b)*+" % (_ON_ONE_LINE, _ON_ONE_LINE, self._others, _LINE_END))

    @cached_property
    def records(self) -> re.Pattern[bytes]:
        """Records of one line each, or with the right number of fields, as many as there are."""
        return re.compile(rb"(?:%b|%b)*+" % (self._any_line, self._right))

    @cached_property
    def right(self) -> re.Pattern[bytes]:
        """A record with the right number of fields."""
        return re.compile(self._right)

    @cached_property
    def full(self) -> re.Pattern[bytes]:
        """A record with the right number of fields, all of which look like what their columns hold."""
        others = b"".join(b"," + _typed(k, _AS_WRITTEN, empty=True) for k in self._shape.kinds[self._shape.start :])
        return re.compile(self._leading + others + _LINE_END)

    @cached_property
    def start(self) -> re.Pattern[bytes]:
        """The start of a record."""
        return re.compile(self._start)

    @cached_property
    def next_start(self) -> re.Pattern[bytes]:
        """A line end before the start of a record."""
        return re.compile(rb"\n(?=%b)" % self._start)

    @cached_property
    def next_row(self) -> re.Pattern[bytes]:
        """A line end before the start of a record, with or without its key, or before a line with all fields."""
        row = rb"%b(?:,%b){%d}+%b" % (_ON_ONE_LINE, _ON_ONE_LINE, self._others, _LINE_END)
        kinds = self._shape.kinds[: self._shape.start]
        keyless = b",".join(_typed(k, _NAME, empty=True) for k in kinds) + rb"[,\r\n]"
        starts = rb"%b|%b" % (self._start, keyless) if len(kinds) >= _TELLING else self._start
        return re.compile(rb"\n(?=%b|%b)" % (starts, row))

    @cached_property
    def hint(self) -> re.Pattern[bytes]:
        """What the start of a record has in it: found faster than the start of a record."""
        kind, before = self._shape.kinds[self._shape.key], rb"\n" if self._shape.key == 0 else b","
        return re.compile(before + (b"" if kind == "text" else _typed(kind, b"", empty=False) + rb"[,\r\n]"))

    @cached_property
    def values(self) -> tuple[re.Pattern[bytes], ...]:
        """A field of each column that looks like what the column holds, or is empty."""
        return tuple(re.compile(_typed(k, _ON_ANY_LINES, empty=True) + rb"(?=[,\r\n])") for k in self._shape.kinds)


def _typed(kind: ColumnKind, text: bytes, *, empty: bool) -> bytes:
    if kind == "text":
        return text if empty else _NOT_EMPTY + text
    value = _VALUES[kind]
    return rb'(?:%b|"%b"%b)' % (value, value, rb'|""|' if empty else b"")


@lru_cache(maxsize=256)
def _patterns(shape: RecordShape) -> _Patterns:
    return _Patterns(shape)


class UnsoundQuotesError(Exception):
    """A quote is opened and not closed, so that counting quotes does not find the ends of records."""


def sound_records(
    data: bytes, shape: RecordShape, start: int = 0, stop: int | None = None, *, judge: bool = False
) -> Iterator[tuple[int, int]]:
    """Start and end of each record, empty lines left out.

    Args:
        data: ends with a line end.
        shape: of the records.
        start: where the first record begins.
        stop: where the last one ends; by default the end of `data`.
        judge: whether records may hide others, because their bytes were cut by counting quotes.

    Raises:
        UnsoundQuotesError: if it takes more than quotes to find the records.
    """
    patterns = _patterns(shape)
    at, stop = start, len(data) if stop is None else stop
    while at < stop:
        if blank := _BLANK_LINES.match(data, at, stop):
            at = blank.end()
            continue
        match = patterns.record.match(data, at, stop)
        if match is None or (judge and _may_hide(data, at, match.end(), patterns)):
            raise UnsoundQuotesError
        yield at, match.end()
        at = match.end()


def _on_one_line(data: bytes, at: int, end: int) -> bool:
    return data.find(b"\n", at, end) == end - 1


def _may_hide(data: bytes, at: int, end: int, patterns: _Patterns) -> bool:
    """Whether a record that spans several lines is none of the table, or holds a line that starts like one."""
    if _on_one_line(data, at, end):
        return False
    if not (patterns.start.match(data, at, end) or patterns.right.match(data, at, end)):
        return True
    inner = data.find(b"\n", at, end)
    return bool(patterns.hint.search(data, inner, end) and patterns.next_start.search(data, inner, end))


class _UndecidedError(Exception):
    """What follows the data decides."""


class _Splitter:
    """Splits bytes that begin with a record and may hold broken ones."""

    def __init__(self, data: bytes, shape: RecordShape, longest: int, step: int, *, more: bool) -> None:
        self._data = data
        self._is = _patterns(shape)
        self._longest = longest
        self._step = step
        self._more = more

    def spans(self) -> Iterator[Span]:
        at = 0
        try:
            while at < len(self._data):
                start, end, outcome = self._span(at)
                yield start, end, outcome
                if outcome == "too_long":
                    return
                at = end
        except _UndecidedError:
            return

    def _window(self, at: int) -> int:
        return min(len(self._data), at + self._longest)

    def _ask_for(self, at: int, length: int) -> None:
        """Give up unless this many bytes are there from `at`, or all there are."""
        if self._more and len(self._data) - at < length:
            raise _UndecidedError

    def _span(self, at: int) -> Span:
        data, window = self._data, self._window(at)
        lines = self._is.lines.match(data, at, window)
        if lines and lines.end() > at:
            return at, data.rfind(b"\n", at, min(lines.end(), at + self._step)) + 1 or lines.end(), "sound"
        match = self._is.record.match(data, at, window)
        if match is None:
            self._ask_for(at, self._longest)
            return self._debris(at)
        end = match.end()
        starts = self._is.start.match(data, at, end)
        if _on_one_line(data, at, end):
            return (at, end, "sound") if starts else self._debris(at)
        if (inner := self._hidden_record(at, end)) is not None:
            return self._broken(at, self._next_row(at, inner) or inner)
        if starts or self._is.right.match(data, at, end):
            return at, end, "sound"
        return self._debris(at)

    def _debris(self, at: int) -> Span:
        """What does not start like a record, up to the next line that does."""
        window = self._window(at)
        if (end := self._next_row(at, window)) is not None:
            return self._broken(at, end)
        self._ask_for(at, self._longest + START_BYTES)
        if len(self._data) <= window:
            return self._broken(at, len(self._data))
        records = self._is.records.match(self._data, at, window)
        return (at, records.end(), "sound") if records and records.end() > at else (at, at, "too_long")

    def _next_row(self, at: int, window: int) -> int | None:
        """The first line up to the end of the window that starts like a record, or has the right number of fields."""
        if found := self._is.next_row.search(self._data, at, window):
            return found.end()
        found = self._is.next_start.search(self._data, max(at, window - START_BYTES))
        return found.end() if found and found.end() <= window else None

    def _broken(self, at: int, end: int) -> Span:
        """The first of what lies between a place that is not the start of a sound record and one that may be."""
        data = self._data
        records = self._is.records.match(data, at, end)
        if records and records.end() == end:
            return at, end, "sound"
        # Lines without a quote may be rows with too few fields. They belong to a broken record between two of its
        # quotes, and behind the last one if it starts like a record and the next one spans several lines, as notes do.
        first = data.rfind(b"\n", at, data.find(b'"', at, end)) + 1
        if first > at:
            return at, first, "sound"
        last = data.find(b"\n", data.rfind(b'"', at, end), end) + 1
        text = last < end and self._is.start.match(data, at, end) and self._spans_lines(end)
        return at, end if text else last, "broken"

    def _spans_lines(self, at: int) -> bool:
        """Whether a sound record of several lines is here."""
        match = self._is.record.match(self._data, at, self._window(at))
        if match is None:
            self._ask_for(at, self._longest)
            return False
        return not _on_one_line(self._data, at, match.end())

    def _full(self, at: int) -> int | None:
        """The end of a complete record that begins at `at`."""
        if match := self._is.full.match(self._data, at, self._window(at)):
            return match.end()
        self._ask_for(at, self._longest)
        return None

    def _hidden_record(self, at: int, end: int) -> int | None:
        """Where the first record begins that a record of several lines has swallowed."""
        looks_right = None
        found = self._is.next_start.search(self._data, at, end)
        while found:
            inner = found.end()
            if (inner_end := self._full(inner)) is not None:
                looks_right = self._full(at) == end if looks_right is None else looks_right
                if not looks_right:
                    return inner
                return inner if inner_end != end and self._only_records(inner_end, end) else None
            found = self._is.next_start.search(self._data, inner, end)
        return None

    def _only_records(self, at: int, end: int) -> bool:
        """Whether only complete records begin before `end`, the last one but for the quote that closed the field."""
        while at < end:
            after = self._full(at)
            if after is None:
                last, quote = self._data[at:end], _CLOSING_QUOTE.search(self._data, at, end)
                cut = quote.start() - at if quote else 0
                return bool(quote and self._is.full.fullmatch(last[:cut] + last[cut + 1 :]))
            at = after
        return True


def split_records(
    data: bytes, shape: RecordShape, longest: int, *, more: bool = False, step: int = 1 << 30
) -> Iterator[Span]:
    """Split bytes into sound records and broken ones. What is found does not depend on how much is there at once.

    Args:
        data: begins with a record; ends with a line end unless more follows.
        shape: of the records.
        longest: a record of more bytes is too long; the splitting ends where one begins.
        more: whether more data may follow. Then it ends where that decides.
        step: a span of records that are a line each is no longer than this, if a line is not.

    Returns:
        Spans in their order, without a gap. A sound one holds one or more records, and empty lines. A broken one is
        what a quote without its counterpart has spoilt, up to the next line that starts like a record.
    """
    return _Splitter(data, shape, longest, step, more=more).spans()


def quotes_end_on_their_line(data: bytes) -> bool:
    """Whether each quote that opens a field is closed at the field's end, on the same line."""
    return _CLOSED_QUOTES.fullmatch(data) is not None


def count_fields(data: bytes, shape: RecordShape, start: int, end: int) -> int:
    """Number of fields of a sound record; 0 if there are as many as the table has columns."""
    if _patterns(shape).right.match(data, start, end):
        return 0
    return _count_fields(data, start, end)


def _count_fields(data: bytes, start: int, end: int) -> int:
    fields = 0
    while start < end:
        field = _FIELD.match(data, start, end)
        fields, start = fields + 1, (field.end() if field else end)
    return fields


def misfit(data: bytes, shape: RecordShape, start: int, end: int) -> tuple[int, bytes] | None:
    """Position and field of the first column, in a record of the right length, that does not hold what it should."""
    for position, value in enumerate(_patterns(shape).values):
        match = value.match(data, start, end)
        if match is None:
            field = _FIELD.match(data, start, end)
            return (position, field[0].rstrip(b",\r\n")) if field else None
        start = match.end() + 1
    return None


def next_record(data: bytes, shape: RecordShape) -> int | None:
    """Where the first line begins, after the one at the start, that starts like a record."""
    found = _patterns(shape).next_start.search(data)
    return found.end() if found else None


def scan_records(data: bytes, shape: RecordShape | None = None) -> Iterator[tuple[int, int, bool]]:
    """Start, end and soundness of each record of a table's bytes, empty lines left out.

    Args:
        data: begins with a record.
        shape: of the records; by default any values, as many as the first record has.
    """
    data = data if data.endswith(b"\n") or not data else data + b"\n"
    if shape is None:
        first = re.match(rb"%b(?:,%b)*+%b" % (_ON_ANY_LINES, _ON_ANY_LINES, _LINE_END), data)
        fields = _count_fields(data, 0, first.end()) if first else 1
        kinds: list[ColumnKind] = ["text"] * fields
        shape = RecordShape.of(kinds, [0])
    for start, end, outcome in split_records(data, shape, len(data) + 1):
        if outcome == "sound":
            yield from ((a, b, True) for a, b in sound_records(data, shape, start, end))
        else:
            yield start, end, False
