"""Sizes of the batches in which a build, a check and an export work."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Batch sizes of a build, a check or an export. No event depends on them.

    They are not settings: the defaults are measured and suit any machine. With small sizes, a small dataset runs
    through the same code as a large one.

    Attributes:
        shard_rows: rows of work in a shard, as the plan estimates them. Determines the number of data files.
        span_rows: rows of a shard above which its patients are divided into spans, which are built one after another.
            A patient is never divided.
        block_bytes: bytes of a table's file to read at a time when it is staged.
        slice_block_bytes: bytes of a table's file to read at a time when it is cut into slices.
        sliced_bytes: minimum size of a file that is cut into slices. Smaller ones are staged.
        large_rows: rows of the large tables from which the patients of a shard are divided into parts.
        round_bytes: maximum number of bytes of rows in memory before they are written by shard.
        checked_rows: events to check at a time.
        counted_rows: maximum number of distinct rows of a check's counts in memory; more are written to disk.
        exported_events: events that an export reads at a time, unless a patient has more.
        placed_rows: maximum number of row positions of an export in memory, unless one unit has more.
        formatted_events: events that an export formats at a time.
    """

    # Enough rows that the fixed cost of a shard (0.2 s) is small.
    shard_rows: int = 1_500_000
    # Twice the rows of a shard, since the plan only estimates them.
    span_rows: int = 3_000_000
    block_bytes: int = 8 << 20
    # More than 20 tables are read at the same time, each with up to four blocks in memory. Small blocks stay in the
    # cache: cutting takes a third less than with 8 MiB.
    slice_block_bytes: int = 512 << 10
    sliced_bytes: int = 1 << 20
    # A part takes 50 ms whatever its rows, and 50,000 rows take 20 MB in each worker.
    large_rows: int = 200_000
    round_bytes: int = 128 << 20
    # The rows of a row group of ehrtraj's files.
    checked_rows: int = 1 << 17
    counted_rows: int = 1 << 18
    exported_events: int = 1 << 16
    placed_rows: int = 1 << 20
    # Their text stays far below the 2 GB limit of an Arrow array of strings.
    formatted_events: int = 1 << 16


DEFAULT = Sizes()
