"""What a build tells while it works. The command line shows it; a library call is silent unless it asks."""

from __future__ import annotations


class Reporter:
    """Receives the news of a build. This one keeps silent."""

    def note(self, text: str) -> None:
        """A thing the user should know."""

    def warn(self, text: str) -> None:
        """A thing the user must know before using the result."""

    def step(self, text: str) -> None:
        """A step begins that has no progress of its own."""

    def staging(self, total_bytes: int) -> None:
        """Reading of the tables begins."""

    def staged(self, table: str, consumed: int, rows: int) -> None:
        """Some bytes of a table were read and some of its rows staged."""

    def extracting(self, shards: int, rows: int) -> None:
        """Work on the shards begins."""

    def extracted(self, rows: int, events: int) -> None:
        """One shard is done."""

    def exporting(self, what: str) -> None:
        """Files of the finished dataset are written, as `patient-jsonl`."""

    def exported(self, events: int, total: int) -> None:
        """So many of all events are in them."""

    def close(self) -> None:
        """The build ended, in whatever way."""
