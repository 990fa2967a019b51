"""A progress bar for work of known size, such as a library call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from ehrtraj import interrupt


@contextmanager
def bar(what: str, console: Console | None = None) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if the console is a terminal.

    Args:
        what: title of the bar.
        console: console to write to; stderr by default.

    Yields:
        A function that updates the bar. Its arguments are the amount done and the total amount.
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
