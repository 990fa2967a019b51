"""Output of `ehrtraj download` and `verify`: progress bars on a terminal, otherwise lines of text, and a summary."""

from __future__ import annotations

import time

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ehrtraj.cli.show.activity import ProgressLines
from ehrtraj.cli.show.bars import bars, text_column
from ehrtraj.cli.show.screen import (
    err,
    is_quiet,
    message,
    note,
    out,
    progress,
    shows_progress_lines,
)
from ehrtraj.cli.show.screen import result as print_result
from ehrtraj.cli.show.table import Column, Table
from ehrtraj.download.concept_maps import ConceptMapsResult
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.run import DownloadResult
from ehrtraj.download.verify import VerifyResult
from ehrtraj.readable import duration, size

_SPEED_OVER = 60
"""Past seconds over which rich estimates the speed."""
_MOST_LISTED = 20


class ConsoleDownloadReporter(DownloadReporter):
    """Shows a bar for each file that is being fetched and one for all; without a terminal, a line for each file."""

    def __init__(self) -> None:
        self._screen = err()
        self._live = self._screen.is_terminal and not is_quiet()
        self._lines = ProgressLines(progress)
        self._checked = self._to_check = 0
        self._bars = bars(
            text_column("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            screen=self._screen,
            speed_estimate_period=_SPEED_OVER,
        )
        self._all: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._files: dict[str, tuple[int, int]] = {}
        self._done = 0
        self._completed = 0
        self._received = 0
        self._quiet_until = 0.0
        self._begun = time.monotonic()

    def note(self, text: str) -> None:
        note(text, self._screen)

    def retrying(self, what: str, why: str, seconds: float) -> None:
        # Every long download has short waits, and all connections have the same problem: one note is enough.
        now = time.monotonic()
        if seconds >= 5 and now >= self._quiet_until:
            self._quiet_until = now + seconds
            self.note(f"{what}: {why}. Retrying in {duration(seconds)}")

    def checking(self, files: int, total_bytes: int) -> None:
        if files:
            self._checked, self._to_check = 0, total_bytes
            self._start_lines(f"checking {files} existing files")
            self._bars.start()
            self._all = self._bars.add_task(f"checking {files} existing files", total=total_bytes)

    def checked(self, path: str, size: int) -> None:
        self._checked += size
        self._lines.update(self._checked / max(self._to_check, 1))
        if self._all is not None:
            self._bars.update(self._all, advance=size)

    def _start_lines(self, what: str) -> None:
        self._lines.begin(what)
        if shows_progress_lines():
            self._lines.start()

    def begin(self, files: dict[str, tuple[int, int]]) -> None:
        if self._all is not None:
            self._bars.remove_task(self._all)
            self._all = None
        if not files:
            return
        self._files = files
        self._done = sum(done for _, done in files.values())
        self._begun = time.monotonic()
        total = sum(size for size, _ in files.values())
        existing = f", of which {size(self._done)} exist already" if self._done else ""
        message(f"fetching {len(files)} files, {size(total)}{existing}", self._screen)
        self._start_lines("fetching")
        self._bars.start()
        self._all = self._bars.add_task("all files", total=total, completed=self._done)

    def received(self, path: str, count: int) -> None:
        self._done += count
        self._received += max(count, 0)
        total = self._total
        self._lines.update(self._done / total if total else None, size(total), self._counts())
        if self._live:
            self._advance(path, count)

    def _advance(self, path: str, count: int) -> None:
        if path not in self._tasks:
            total, done = self._files[path]
            self._tasks[path] = self._bars.add_task(path, total=total, completed=done)
        self._bars.update(self._tasks[path], advance=count)
        if self._all is not None:
            self._bars.update(self._all, advance=count)

    def completed(self, path: str) -> None:
        self._completed += 1
        if (task := self._tasks.pop(path, None)) is not None:
            self._bars.remove_task(task)
        if not self._live:
            message(f"{path} is complete. {self._counts()}, {size(self._done)} of {size(self._total)}", self._screen)

    @property
    def _total(self) -> int:
        return sum(total for total, _ in self._files.values())

    def _counts(self) -> str:
        seconds = time.monotonic() - self._begun
        speed = self._received / seconds if seconds else 0.0
        return f"{self._completed} of {len(self._files)} files, {size(speed)}/s"

    def close(self) -> None:
        self._lines.stop()
        self._bars.stop()


def show_download(result: DownloadResult) -> None:
    """Print the summary of a download to stdout."""
    screen = out()
    speed = f" ({size(result.received / result.seconds)}/s)" if result.received else ""
    files = len(result.fetched) + len(result.existing)
    status, more = f"{result.name} is complete", f": {files} files"
    if result.not_requested:
        status = f"all {files} requested files of {result.name} are complete"
        more = f" ({len(result.not_requested)} others were not requested)"
    rest = (
        f", {size(result.bytes)}, each with its published SHA-256. Fetched {len(result.fetched)} files, "
        f"{size(result.received)} in {duration(result.seconds)}{speed}; {len(result.existing)} existed already"
    )
    print_result((status, "bold"), more, rest)
    screen.print(f"release: {result.folder}")


def show_concept_maps(result: ConceptMapsResult) -> None:
    """Print where the maps are, and their licence, to stdout."""
    screen = out()
    files = (
        f": fetched {len(result.fetched)} files, {len(result.existing)} existed already, each with its pinned SHA-256. "
        "Their licence:"
    )
    print_result(("concept maps of MIT-LCP/mimic-code v2.4.0", "bold"), files)
    screen.print()
    for text in result.licence.strip().splitlines():
        screen.print(text, style="dim")
    screen.print()
    screen.print(f"to use them in a build: --concept-maps {result.folder}")


def show_verify(result: VerifyResult) -> None:
    """Print the result of a verification to stdout."""
    screen = out()
    table = Table(Column(), Column(hangs=True))
    for kind, style, paths in (
        ("broken", "bold red", result.broken),
        ("missing", "bold red", result.missing),
        ("extra", "yellow", result.extra),
    ):
        for path in paths[:_MOST_LISTED]:
            more = " (partly downloaded)" if path in result.unfinished else _unpacked_note(result, path)
            table.add((kind, style), path + more)
        if len(paths) > _MOST_LISTED:
            table.add((kind, style), f"and {len(paths) - _MOST_LISTED} more")
    if table:
        screen.print(table)
        screen.print()
    expected = len(result.verified) + len(result.missing) + len(result.broken)
    counts = (
        f" have their published SHA-256: {len(result.missing)} missing, {len(result.broken)} broken, "
        f"{len(result.extra)} extra ({size(result.bytes)} in {duration(result.seconds)})"
    )
    print_result((f"{len(result.verified)} of {expected} files", "bold"), counts)
    screen.print(f"release: {result.folder}")


def _unpacked_note(result: VerifyResult, path: str) -> str:
    plain = result.folder / path.removesuffix(".gz")
    if path in result.missing and path.endswith(".csv.gz") and plain.is_file():
        return " (an unpacked copy exists, for which no hash is published)"
    return ""
