"""A slice of a table: its record, and how to read its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ehrtraj.pipeline.layout import incomplete_error
from ehrtraj.pipeline.stage.parse import BlockParser, Parsed
from ehrtraj.release.reader import CsvBlock
from ehrtraj.release.records import UnsoundQuotesError
from ehrtraj.runtime.profile import PARSE, measured
from ehrtraj.storage.base import Storage


class CannotSliceError(Exception):
    """A table cannot be cut by shard, since its rows are not ordered by patient or its quotes cannot be counted.

    The build then stages the table.
    """

    def __init__(self, table: str) -> None:
        """Name the table.

        Args:
            table: full name of the table.
        """
        super().__init__(table)
        self.table = table


@dataclass(frozen=True)
class Block:
    """Some complete records of a slice.

    Attributes:
        bytes: length.
        lines: number of line ends.
    """

    bytes: int
    lines: int


@dataclass(frozen=True)
class Slice:
    """The records of one shard in a table's file, copied to the working folder.

    Attributes:
        table: full name of the table.
        name: name of the copy.
        first_line: line number of its first record in the table's file.
        blocks: blocks of the copy, in order.
    """

    table: str
    name: str
    first_line: int
    blocks: tuple[Block, ...]

    @property
    def bytes(self) -> int:
        """Length of the copy."""
        return sum(block.bytes for block in self.blocks)

    @property
    def lines(self) -> int:
        """Number of line ends, which is at least the number of rows."""
        return sum(block.lines for block in self.blocks)


def parse_slice(storage: Storage, piece: Slice, parser: BlockParser) -> Iterator[tuple[int, Parsed]]:
    """Yield the parsed blocks of a slice, each with the number of its first line in the table's file.

    Args:
        storage: the working folder.
        piece: the slice.
        parser: parser of the table's file.

    Raises:
        OutputError: if the copy is missing or has another size, since rows would be lost.
        CannotSliceError: if the quotes of the file cannot be counted.
    """
    if storage.size(piece.name) != piece.bytes:
        raise incomplete_error(storage, piece.name)
    line = piece.first_line
    with storage.open_stream(piece.name) as source:
        for number, block in enumerate(piece.blocks):
            with measured(PARSE, piece.table):
                data = source.read(block.bytes)
                try:
                    parsed = parser.parse(CsvBlock(number, data, lines=block.lines))
                except UnsoundQuotesError:
                    raise CannotSliceError(piece.table) from None
            yield line, parsed
            line += block.lines
