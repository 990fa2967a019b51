"""Tables that are complete at any width: no cell is cut, and no word is broken.

Without a terminal, each row is one line, so that `grep` and `less` work as expected. On a terminal that is too narrow,
texts fold between words. A name that is still too long gets a line of its own, above the rest of its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from rich.console import Console, ConsoleOptions
from rich.text import Text

from ehrtraj.cli.show.screen import Piece, Screen, fold

_GAP = "  "
_WIDEST = 60
"""Without a terminal, the other cells of a column are not padded to more than this for the sake of a longer one."""
_LEAST_WIDTH, _LONGEST_WORD = 20, 40
"""A column of text can become as narrow as the first, or its longest word, if that is no longer than the second."""
_NAME_WIDTH = 10
"""A column of names can become as narrow as this."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: text of the header.
        right: whether its cells are aligned to the right, as numbers are.
        folds: whether it contains texts, which can be folded between words.
        least: least width of a column that folds.
        hangs: whether it contains names that can be long. A name that does not fit is followed by a line end.
    """

    title: str = ""
    right: bool = False
    folds: bool = False
    least: int = _LEAST_WIDTH
    hangs: bool = False


def name_column(title: str) -> Column:
    """Return a column of names, such as codes, which are never folded."""
    return Column(title, hangs=True)


def number_column(title: str) -> Column:
    """Return a column of numbers."""
    return Column(title, right=True)


def prose_column(title: str) -> Column:
    """Return a column of texts."""
    return Column(title, folds=True)


class Table:
    """A table to print with `Screen.print`."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._rows: list[tuple[Sequence[Piece], str]] = []

    def add(self, *cells: Piece, style: str = "") -> None:
        """Add a row."""
        self._rows.append((cells, style))

    def __len__(self) -> int:
        return len(self._rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        screen = cast("Screen", console)
        rows = [[_styled(screen, cell, style) for cell in cells] for cells, style in self._rows]
        titles = [_styled(screen, column.title, "bold") for column in self._columns]
        lengths = [max((row[at].cell_len for row in rows), default=0) for at in range(len(titles))]
        if screen.folds:
            widths = self._fitting([*rows, titles], lengths, titles, screen.width)
        else:
            widths = [min(max(n, title.cell_len), _WIDEST) for n, title in zip(lengths, titles, strict=True)]
        if any(column.title for column in self._columns):
            yield from self._header(titles, widths, folds=screen.folds)
        for row in rows:
            yield from self._lines(row, widths, folds=screen.folds)

    def _fitting(
        self, rows: Sequence[Sequence[Text]], lengths: Sequence[int], titles: Sequence[Text], width: int
    ) -> list[int]:
        """Return the widths of the columns at which the table fits into `width`, as far as that is possible."""
        widths = [max(n, title.cell_len) for n, title in zip(lengths, titles, strict=True)]

        def excess() -> int:
            return sum(widths) + len(_GAP) * (len(widths) - 1) - width

        if excess() > 0:
            widths = [max(n, _longest_word(title)) for n, title in zip(lengths, titles, strict=True)]
        floors = {
            at: max(column.least, min(_LONGEST_WORD, max(_longest_word(row[at]) for row in rows)))
            for at, column in enumerate(self._columns)
            if column.folds
        }
        while excess() > 0 and (wide := [at for at, floor in floors.items() if widths[at] > floor]):
            widths[max(wide, key=lambda at: widths[at])] -= 1
        for at, column in enumerate(self._columns):
            if column.hangs and excess() > 0:
                widths[at] = max(widths[at] - excess(), min(widths[at], _NAME_WIDTH))
        return widths

    def _header(self, titles: Sequence[Text], widths: Sequence[int], *, folds: bool) -> Iterator[Text]:
        cells = [fold(title, width) if folds else [title] for title, width in zip(titles, widths, strict=True)]
        height = max(map(len, cells))
        yield from self._joined([[Text()] * (height - len(lines)) + lines for lines in cells], widths)

    def _lines(self, row: Sequence[Text], widths: Sequence[int], *, folds: bool) -> Iterator[Text]:
        cells = [
            fold(cell, width) if folds and column.folds else [cell]
            for column, cell, width in zip(self._columns, row, widths, strict=True)
        ]
        if folds:
            for at, column in enumerate(self._columns):
                if column.hangs and row[at].cell_len > widths[at]:
                    upper = [lines if number <= at else [] for number, lines in enumerate(cells)]
                    yield from self._joined(upper, widths)
                    cells = [[] if number <= at else lines for number, lines in enumerate(cells)]
        yield from self._joined(cells, widths)

    def _joined(self, cells: Sequence[Sequence[Text]], widths: Sequence[int]) -> Iterator[Text]:
        """Yield the lines of a row, given the lines of its cells."""
        for number in range(max(map(len, cells), default=0)):
            joined = Text()
            for column, lines, width in zip(self._columns, cells, widths, strict=True):
                part = lines[number] if number < len(lines) else Text()
                padding = " " * (width - part.cell_len)
                joined.append(padding if column.right else "").append(part).append("" if column.right else padding)
                joined.append(_GAP)
            joined.rstrip()
            yield joined


def _styled(screen: Screen, cell: Piece, style: str) -> Text:
    content, of_cell = (cell, style) if isinstance(cell, str) else cell
    return screen.render_str(content, style=of_cell)


def _longest_word(content: Text) -> int:
    return max((Text(word).cell_len for word in content.plain.split()), default=0)
