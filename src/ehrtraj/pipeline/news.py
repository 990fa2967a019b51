"""Notes and warnings of a build: reported immediately, and collected for the manifest and the result."""

from __future__ import annotations

from ehrtraj.runtime.progress import Reporter


class News:
    """Notes and warnings of one build.

    Attributes:
        notes: what the user should know.
        warnings: what the user must know before using the result.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, *texts: str) -> None:
        """Report notes."""
        for text in texts:
            self.notes.append(text)
            self._reporter.note(text)

    def warn(self, *texts: str) -> None:
        """Report warnings. A warning that was already reported is ignored."""
        for text in texts:
            if text not in self.warnings:
                self.warnings.append(text)
                self._reporter.warn(text)
