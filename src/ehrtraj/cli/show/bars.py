"""Progress bars on stderr, shown only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.progress import Progress, ProgressColumn, TextColumn

from ehrtraj.cli.show.screen import Screen, err, line
from ehrtraj.runtime.bar import bar as draw_bar


def text_column(template: str) -> TextColumn:
    """Return a text column, such as `{task.description}`, that does not interpret markup."""
    return TextColumn(template, markup=False)


def bars(*columns: ProgressColumn, screen: Screen | None = None, speed_estimate_period: float = 30) -> Progress:
    """Create progress bars that show nothing if stderr is not a terminal, and disappear when they are stopped."""
    screen = screen or err()
    return Progress(
        *columns,
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
        speed_estimate_period=speed_estimate_period,
    )


def bar(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Show one progress bar on stderr if that is a terminal, otherwise nothing.

    Returns:
        A context manager that yields a function, which takes the amount of work done and the total.
    """
    return draw_bar(what, err())


@contextmanager
def waiting(screen: Screen, what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that work is in progress.

    Yields:
        A function that takes a description of the current step.
    """
    # This spinner uses only characters that every console has.
    with screen.status(line(what), spinner="line") as status:
        yield lambda text: status.update(line(text))
