"""Progress bars on stderr, shown only on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress, ProgressColumn, TextColumn

from ehrtraj.cli.show.screen import Screen, err, is_quiet, line


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
        disable=is_quiet() or not screen.is_terminal,
        speed_estimate_period=speed_estimate_period,
    )


@contextmanager
def waiting(screen: Screen, what: str) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that work is in progress.

    Yields:
        A function that takes a description of the current step.
    """
    # This spinner uses only characters that every console has.
    with screen.status(line(what), spinner="line") as status:
        yield lambda text: status.update(line(text))
