"""Progress of a download or verification. The command line shows it; a library call is silent."""

from __future__ import annotations


class DownloadReporter:
    """Receives progress and notes. This base class ignores them."""

    def note(self, text: str) -> None:
        """Receive a note for the user."""

    def checking(self, files: int, total_bytes: int) -> None:
        """The hashes of existing files are about to be checked."""

    def checked(self, path: str, size: int) -> None:
        """The hash of a file of `size` bytes was checked."""

    def begin(self, files: dict[str, tuple[int, int]]) -> None:
        """Fetching begins. `files` maps each path to its size and its number of existing bytes."""

    def received(self, path: str, count: int) -> None:
        """Bytes of a file were received; `count` is negative if bytes were discarded."""

    def completed(self, path: str) -> None:
        """A file is complete, has its published hash, and has its final name."""

    def retrying(self, what: str, why: str, seconds: float) -> None:
        """A request failed with a transient error, and is retried after this number of seconds."""

    def close(self) -> None:
        """The work ended, successfully or not."""
