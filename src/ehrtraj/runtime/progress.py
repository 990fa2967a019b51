"""Progress of a build. The command line shows it; library calls are silent by default."""

from __future__ import annotations


class Reporter:
    """Receives the progress of a build. This class ignores it; subclasses show it."""

    def note(self, text: str) -> None:
        """Receive a note that the user should know."""

    def warn(self, text: str) -> None:
        """Receive a warning that the user must know before using the result."""

    def step(self, text: str) -> None:
        """A step without measurable progress begins."""

    def staging(self, total_bytes: int) -> None:
        """The build begins to read the tables."""

    def staged(self, table: str, consumed: int, rows: int) -> None:
        """More bytes of a table were read and more of its rows were staged."""

    def extracting(self, shards: int) -> None:
        """The build begins to work on the shards."""

    def extracted(self, events: int) -> None:
        """A shard with this many events is finished."""

    def exporting(self, what: str) -> None:
        """An export of the finished dataset begins, such as `patient-jsonl`."""

    def exported(self, events: int, total: int) -> None:
        """The export contains this many of all events."""

    def computing(self) -> None:
        """Computing the concepts of the finished dataset begins."""

    def computed(self, events: int, total: int) -> None:
        """The concepts of this many of all events are computed."""

    def close(self) -> None:
        """The build ended, successfully or not."""
