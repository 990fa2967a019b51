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
_NARROWEST = 10
"""A column of names can become as narrow as this, and a column of text, too, if nothing else helps."""


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
        room = screen.width if screen.folds else None
        rows = [[_styled(screen, cell, style) for cell in cells] for cells, style in self._rows]
        titles = [_styled(screen, column.title, "bold") for column in self._columns]
        widths = self._widths(rows, titles, room)
        if any(column.title for column in self._columns):
            cells = [[title] if room is None else fold(title, n) for title, n in zip(titles, widths, strict=True)]
            height = max(map(len, cells))
            yield from self._joined([[Text()] * (height - len(lines)) + lines for lines in cells], widths, room)
        for row in rows:
            cells = [
                fold(cell, width) if column.folds and room is not None else [cell]
                for column, cell, width in zip(self._columns, row, widths, strict=True)
            ]
            yield from self._joined(cells, widths, room)

    def _widths(self, rows: Sequence[Sequence[Text]], titles: Sequence[Text], room: int | None) -> list[int]:
        """Return the widths of the columns. On a terminal, the table fits into `room` as far as that is possible."""
        lengths = [max((row[at].cell_len for row in rows), default=0) for at in range(len(titles))]
        widths = [max(n, title.cell_len) for n, title in zip(lengths, titles, strict=True)]
        if room is None:
            return [min(n, _WIDEST) for n in widths]
        folding = [at for at, column in enumerate(self._columns) if column.folds]
        longest = {at: max(_longest_word(row[at]) for row in (*rows, titles)) for at in folding}
        steps = [
            # First, titles are folded, then texts down to their longest words, then names get lines of their own.
            {at: max(n, _longest_word(titles[at])) for at, n in enumerate(lengths) if at not in folding},
            {at: max(self._columns[at].least, min(_LONGEST_WORD, longest[at])) for at in folding},
            {at: _NARROWEST for at, column in enumerate(self._columns) if column.hangs},
            dict.fromkeys(folding, _NARROWEST),
        ]
        excess = sum(widths) + len(_GAP) * (len(widths) - 1) - room
        for floors in steps:
            while excess > 0 and (wide := [at for at, floor in floors.items() if widths[at] > floor]):
                widths[max(wide, key=widths.__getitem__)] -= 1
                excess -= 1
        return widths

    def _joined(self, cells: Sequence[Sequence[Text]], widths: Sequence[int], room: int | None) -> Iterator[Text]:
        """Yield the lines of a row, given the lines of its cells.

        Args:
            cells: the lines of each cell.
            widths: the widths of the columns.
            room: number of columns of the terminal. After a part that is wider than its column, the line ends. A part
                that would exceed the terminal gets a line of its own. None for one line in any case.
        """
        for number in range(max(map(len, cells), default=0)):
            joined, begin = Text(), 0
            for column, lines, width in zip(self._columns, cells, widths, strict=True):
                part = lines[number] if number < len(lines) else Text()
                joined.append(" " * (begin - joined.cell_len))
                if room is not None and begin + part.cell_len > room and joined.plain.strip():
                    yield _stripped(joined)
                    joined = Text(" " * max(min(begin, room - part.cell_len), 0))
                padding = " " * (width - part.cell_len)
                joined.append(padding if column.right else "").append(part)
                begin += width + len(_GAP)
                if room is None:
                    joined.append("" if column.right else padding).append(_GAP)
                    begin = joined.cell_len
                elif joined.cell_len > begin - len(_GAP):
                    yield _stripped(joined)
                    joined = Text()
            if joined.plain.strip() or not any(lines[number : number + 1] for lines in cells):
                yield _stripped(joined)


def _stripped(content: Text) -> Text:
    content.rstrip()
    return content


def _styled(screen: Screen, cell: Piece, style: str) -> Text:
    content, of_cell = (cell, style) if isinstance(cell, str) else cell
    return screen.render_str(content, style=of_cell)


def _longest_word(content: Text) -> int:
    return max((Text(word).cell_len for word in content.plain.split()), default=0)
