"""Progress of a long command: a bar on a terminal, otherwise a line every 10 seconds, and such lines in a log file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, TaskID, TimeRemainingColumn

from ehrtraj import interrupt
from ehrtraj.cli.show import screen
from ehrtraj.cli.show.bars import bars, text_column
from ehrtraj.readable import rough_duration

EVERY = 10.0
"""Seconds between two lines. A command that takes less time writes none."""

# Before this share, the time that is left cannot be estimated.
_ENOUGH = 0.02


@dataclass
class _State:
    """What a command is doing.

    Attributes:
        what: the work, such as `making events`.
        share: share that is done; None if it is unknown.
        of: what it is a share of, such as `7.6 GB`.
        done: more about what is done, such as `shard 3/34`.
        begun: when the work began.
    """

    what: str
    share: float | None
    of: str
    done: str
    begun: float


class ProgressLines:
    """Writes a line about the progress at most every `EVERY` seconds."""

    def __init__(
        self,
        write: Callable[[str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without any line.

        Args:
            write: writes one line.
            monotonic: returns the seconds since any time.
        """
        self._write, self._monotonic = write, monotonic
        self._state: _State | None = None
        self._last = monotonic()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, what: str) -> None:
        """Begin some work."""
        self._state = _State(what, None, "", "", self._monotonic())

    def update(self, share: float | None, of: str = "", done: str = "") -> None:
        """Set what is done. See `_State`."""
        if self._state is not None:
            state = self._state
            self._state = _State(state.what, share, of, done, state.begun)

    def tick(self) -> None:
        """Write a line if it is time for one."""
        now = self._monotonic()
        if self._state is not None and now - self._last >= EVERY:
            self._last = now
            self._write(describe(self._state, now))

    def start(self) -> None:
        """Write lines from now on, also while the command is busy and reports nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stopped.wait(EVERY / 10):
            self.tick()

    def stop(self) -> None:
        """Write no more lines."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()


def describe(state: _State, now: float) -> str:
    """Return a line about the progress, such as `reading: 41 % of 7.6 GB, about 4 min left`."""
    parts = []
    if state.share is not None:
        parts.append(f"{int(state.share * 100)} %" + (f" of {state.of}" if state.of else ""))
    if state.done:
        parts.append(state.done)
    spent = now - state.begun
    if state.share is not None and _ENOUGH <= state.share < 1:
        parts.append(f"about {rough_duration(spent * (1 - state.share) / state.share)} left")
    elif not parts:
        parts.append(f"for {rough_duration(spent)}")
    return f"{state.what}: {', '.join(parts)}"


class Activity:
    """Shows one kind of work after another.

    Attributes:
        screen: screen on which the bar is. Other messages must be printed on it as well.
        on_terminal: whether there is a bar.
    """

    def __init__(self) -> None:
        self.screen = screen.err()
        self.on_terminal = self.screen.is_terminal and not screen.is_quiet()
        self._bars = bars(
            text_column("{task.description}"),
            BarColumn(bar_width=30),
            text_column("{task.fields[done]}"),
            TimeRemainingColumn(compact=True),
            screen=self.screen,
        )
        self._task: TaskID | None = None
        self._lines = ProgressLines(screen.progress)
        self._what, self._begun = "", 0.0

    def begin(self, what: str) -> None:
        """Begin some work, which ends the work before it."""
        self._end()
        self._what, self._begun = what, time.monotonic()
        self._lines.begin(what)
        if screen.shows_progress_lines():
            self._lines.start()
        if not self.on_terminal:
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._bars.start()
        self._task = self._bars.add_task(what, total=None, done="")

    def update(self, share: float | None, *, of: str = "", done: str = "", now: str | None = None) -> None:
        """Show how much is done.

        Args:
            share: share that is done; None if it is unknown.
            of: what it is a share of, such as `7.6 GB`.
            done: more about what is done, such as `shard 3/34`.
            now: description beside the bar; by default that of the work.
        """
        self._lines.update(share, of, done)
        if self._task is not None:
            total = None if share is None else 1.0
            shown = done or ("" if share is None else f"{int(share * 100)} %")
            self._bars.update(self._task, completed=share or 0, total=total, done=shown, description=now or self._what)

    def _end(self) -> None:
        if self._what:
            screen.detail(f"{self._what}: {time.monotonic() - self._begun:.1f} s", self.screen)
        self._what = ""

    def close(self) -> None:
        """End all work, and remove the bar."""
        self._end()
        self._lines.stop()
        if self._task is not None:
            self._bars.stop()
            self._task = None


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of one kind of work.

    Yields:
        A function that takes the amount of work done and the total.
    """
    activity = Activity()
    activity.begin(what)

    def advance(done: int, total: int) -> None:
        interrupt.check()
        activity.update(done / total if total else None)

    try:
        yield advance
    finally:
        activity.close()
