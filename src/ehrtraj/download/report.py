"""What a download and a check tell while they work. The command line shows it; a library call is silent."""

from __future__ import annotations


class DownloadReporter:
    """Receives the news. This one keeps silent."""

    def note(self, text: str) -> None:
        """A thing the user should know."""

    def checking(self, files: int, total_bytes: int) -> None:
        """The hashes of files that lie there are compared."""

    def checked(self, path: str, size: int) -> None:
        """A file, or some bytes of it, were compared."""

    def begin(self, files: dict[str, tuple[int, int]]) -> None:
        """Fetching begins: by path, the size of each file and the bytes of it that are there already."""

    def received(self, path: str, count: int) -> None:
        """Bytes of a file came; fewer than none where some are thrown away."""

    def whole(self, path: str) -> None:
        """A file is whole, its hash right, and under its own name."""

    def retrying(self, what: str, why: str, seconds: float) -> None:
        """Something failed in a passing way and is tried again after a while."""

    def close(self) -> None:
        """The work ended, in whatever way."""
