"""Bars on a terminal's stderr, for work that takes a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.progress import Progress, ProgressColumn, TextColumn

from ehrtraj.cli.show.screen import Screen, err, line
from ehrtraj.runtime.bar import bar as draw_bar


def text_column(template: str) -> TextColumn:
    """Return a column of text, such as `{task.description}`, in which nothing is taken for markup."""
    return TextColumn(template, markup=False)


def bars(*columns: ProgressColumn, screen: Screen | None = None, speed_estimate_period: float = 30) -> Progress:
    """Make bars that show nothing where stderr is no terminal, and vanish when they are stopped."""
    screen = screen or err()
    return Progress(
        *columns,
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        speed_estimate_period=speed_estimate_period,
    )


def bar(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Show one bar on a terminal's stderr; elsewhere nothing.

    Returns:
        A context that gives a function, which takes how much is done and how much there is.
    """
    return draw_bar(what, err())


@contextmanager
def waiting(screen: Screen, what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something is being done.

    Yields:
        A function that takes what is being done now.
    """
    # This spinner is of characters that every console has.
    with screen.status(line(what), spinner="line") as status:
        yield lambda text: status.update(line(text))
