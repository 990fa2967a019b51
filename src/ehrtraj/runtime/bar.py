"""One bar for work whose size is known, such as that of a library call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ehrtraj import interrupt


@contextmanager
def bar(what: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; elsewhere nothing.

    Args:
        what: title of the bar.
        console: where to; stderr by default.

    Yields:
        A function that takes how much is done and how much there is.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda _done, _total: interrupt.check()
        return
    title = TextColumn(what, markup=False)
    columns = (title, BarColumn(bar_width=30), TaskProgressColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=None)

        def advance(done: int, total: int) -> None:
            interrupt.check()
            shown.update(task, completed=done, total=total)

        yield advance
