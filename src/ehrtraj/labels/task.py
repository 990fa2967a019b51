"""The parts of a task, with the names that ACES uses: predicates, a trigger, and windows around it."""

from __future__ import annotations

from dataclasses import dataclass, field

ANY_EVENT = "_ANY_EVENT"
RECORD_START = "_RECORD_START"
RECORD_END = "_RECORD_END"
TRIGGER = "trigger"


@dataclass(frozen=True)
class CodePredicate:
    """A predicate that matches events with certain codes and a number within bounds.

    Attributes:
        name: name of the predicate.
        line: its line in the task file.
        codes: codes, of which the event must have one.
        regex: regular expression that the code must match instead, in the syntax of Rust's regex crate (polars').
        value_min: lower bound of numeric_value, or None.
        value_max: upper bound of numeric_value, or None.
        min_inclusive: whether `value_min` itself matches.
        max_inclusive: whether `value_max` itself matches.
        other: further columns of events, with the text that each must contain.
    """

    name: str
    line: int
    codes: tuple[str, ...] = ()
    regex: str | None = None
    value_min: float | None = None
    value_max: float | None = None
    min_inclusive: bool = False
    max_inclusive: bool = False
    other: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Combination:
    """A predicate that is true at times at which all, or any, of its inputs are true: `and(a, b)`, `or(a, b)`."""

    name: str
    line: int
    inputs: tuple[str, ...]
    every: bool


Predicate = CodePredicate | Combination


@dataclass(frozen=True)
class Boundary:
    """The start or end of a window.

    Attributes:
        reference: the time to which it is relative: `trigger`, `start` or `end` of the same window, or `<window>.start`
            or `.end` of another one.
        offset: microseconds after the reference.
        event: predicate; if given, the boundary is the next (or previous) time at which it is true.
        backwards: whether to use the previous time before the reference, and not the next one after it.
    """

    reference: str
    offset: int = 0
    event: str | None = None
    backwards: bool = False


@dataclass(frozen=True)
class Window:
    """A time window relative to a trigger.

    Attributes:
        name: name of the window.
        line: its line in the task file.
        start: boundary at which it starts.
        end: boundary at which it ends.
        start_inclusive: whether events at the start belong to the window.
        end_inclusive: whether events at the end belong to the window.
        has: required number of events of each predicate: minimum and maximum, or None for no bound.
        label: the predicate whose events in this window make the label true.
        index_timestamp: `start` or `end`, if that is the prediction time.
    """

    name: str
    line: int
    start: Boundary
    end: Boundary
    start_inclusive: bool
    end_inclusive: bool
    has: dict[str, tuple[int | None, int | None]]
    label: str | None = None
    index_timestamp: str | None = None

    @property
    def root(self) -> str:
        """`start` or `end`: the side that is computed first, because it refers to a time outside of the window."""
        return "end" if self.start.reference == "end" else "start"

    @property
    def outside(self) -> str:
        """The reference of the root."""
        return self.start.reference if self.root == "start" else self.end.reference


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: name of the file, without its ending.
        description: first line of the description in the file, or an empty string.
        predicates: predicates by name, each after its inputs.
        trigger: predicate whose events each start a prediction.
        windows: windows, each after the one to which it refers.
        file: path of the file, for messages.
    """

    name: str
    description: str
    predicates: dict[str, Predicate]
    trigger: str
    windows: tuple[Window, ...]
    file: str = ""

    @property
    def label_window(self) -> Window:
        """The window in which the events of the label are counted."""
        return next(window for window in self.windows if window.label is not None)

    @property
    def index_window(self) -> Window:
        """The window whose start or end is the prediction time."""
        return next(window for window in self.windows if window.index_timestamp is not None)
