"""What a task asks for: predicates, a trigger, windows around it; ACES' words for it."""

from __future__ import annotations

from dataclasses import dataclass, field

ANY_EVENT = "_ANY_EVENT"
RECORD_START = "_RECORD_START"
RECORD_END = "_RECORD_END"
TRIGGER = "trigger"


@dataclass(frozen=True)
class CodePredicate:
    """Events of some codes, with a number within bounds.

    Attributes:
        name: of the predicate.
        line: of the task file.
        codes: any of these.
        regex: or what matches this, in the syntax of Rust's regex crate (polars').
        value_min: least numeric_value; None is no bound.
        value_max: greatest numeric_value; None is no bound.
        min_inclusive: whether `value_min` itself is within.
        max_inclusive: whether `value_max` itself is within.
        other: further columns of events and the text that each must hold.
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
    """Times at which every, or any, of some predicates hold: `and(a, b)`, `or(a, b)`."""

    name: str
    line: int
    inputs: tuple[str, ...]
    every: bool


Predicate = CodePredicate | Combination


@dataclass(frozen=True)
class Boundary:
    """Where a window starts or ends.

    Attributes:
        reference: what it is reckoned from: `trigger`, `start` or `end` of its own window, or `<window>.start`.
        offset: microseconds from there.
        event: instead, the next (or last) time with this predicate.
        backwards: whether that is the last time before, not the next after.
    """

    reference: str
    offset: int = 0
    event: str | None = None
    backwards: bool = False


@dataclass(frozen=True)
class Window:
    """A span of time around a trigger.

    Attributes:
        name: of the window.
        line: of the task file.
        start: where it starts.
        end: where it ends.
        start_inclusive: whether events at the start belong to it.
        end_inclusive: whether events at the end do.
        has: for predicates, how many events there must be: least and most, None is no bound.
        label: the predicate whose events in this window make the label true.
        index_timestamp: `start` or `end`, where that is the prediction time.
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
        """`start` or `end`: the side that is settled first, from outside of the window."""
        return "end" if self.start.reference == "end" else "start"

    @property
    def outside(self) -> str:
        """What the root is reckoned from."""
        return self.start.reference if self.root == "start" else self.end.reference


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        name: of the file, without ending.
        description: first line of what the file says of itself, empty where it says nothing.
        predicates: by name, each after those it is made of.
        trigger: the predicate that starts a prediction.
        windows: each after the one it refers to.
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
        """The window that the label is counted in."""
        return next(window for window in self.windows if window.label is not None)

    @property
    def index_window(self) -> Window:
        """The window whose start or end is the prediction time."""
        return next(window for window in self.windows if window.index_timestamp is not None)
