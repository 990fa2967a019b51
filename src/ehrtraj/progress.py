"""One bar for work whose size is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

from ehrtraj import interrupt
from ehrtraj.cli.show.bars import bars, text_column
from ehrtraj.cli.show.screen import err


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal's stderr; elsewhere nothing.

    Yields:
        A function that takes how much is done and how much there is.
    """
    screen = err()
    if not screen.is_terminal:
        yield lambda _done, _total: interrupt.check()
        return
    columns = (text_column(what), BarColumn(bar_width=30), TaskProgressColumn(), TimeRemainingColumn(compact=True))
    with bars(*columns, screen=screen) as shown:
        task = shown.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            interrupt.check()
            shown.update(task, completed=done, total=total)

        yield advance
