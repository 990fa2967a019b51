"""The only module that writes to stdout and stderr: safe text for terminals, and exact output for programs."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ehrtraj.cli.show.escape import encodable, visible
from ehrtraj.cli.show.log_file import LogFile
from ehrtraj.errors import EhrtrajError, OutputError, SettingsError
from ehrtraj.version import __version__

_WIDTH = 120
"""Width in columns if there is no terminal."""


class ClosedOutputError(EhrtrajError):
    """The reader of the output closed it, as in `ehrtraj codes DATASET | head`."""

    # The code that shells report for a program ended by SIGPIPE, such as `cat` in `cat big | head -1`.
    exit_code = 141


Piece = str | tuple[str, str]
"""Text, or text and its style."""


def line(*pieces: Piece, keep: str = "") -> Text:
    """Build a styled line. Markup is not interpreted, and control characters are shown as escapes.

    Args:
        *pieces: texts, or texts with their styles.
        keep: characters to keep because they are structure, such as a line end.
    """
    parts = ((piece, "") if isinstance(piece, str) else piece for piece in pieces)
    return Text.assemble(*((visible(text, keep=keep), style) for text, style in parts))


def fold(content: Text, width: int) -> list[Text]:
    """Return the lines of a text, folded between words. A longer word is not broken: it exceeds the width.

    Further lines of an indented line are indented more.
    """
    folded: list[Text] = []
    for whole in content.split("\n", allow_blank=True):
        indent = len(whole.plain) - len(whole.plain.lstrip())
        hanging = indent + 2 if indent else 0
        first, *rest = whole.divide(_breaks(whole.plain, width, hanging))
        folded += [first, *(Text(" " * hanging).append(part) for part in rest)]
    for part in folded:
        part.rstrip()
    return folded


def _folded_command(command: str, width: int) -> list[str]:
    indent = " " * (len(command) - len(command.lstrip()))
    lines: list[str] = []
    # A word is what the shell takes for one.
    for word in re.findall(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""", command):
        if lines and cell_len(f"{lines[-1]} {word} \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(f"{indent}{'    ' if lines else ''}{word}")
    return [f"{part} \\" for part in lines[:-1]] + lines[-1:]


def _breaks(plain: str, width: int, hanging: int) -> list[int]:
    """Return the positions of the words that begin a new line."""
    positions: list[int] = []
    begin = 0
    for word in re.finditer(r"\S+", plain):
        used = cell_len(plain[begin : word.end()]) + (hanging if positions else 0)
        if used > width and plain[begin : word.start()].strip():
            begin = word.start()
            positions.append(begin)
    return positions


class Screen(Console):
    """A console that shows control characters as escapes and replaces characters that its encoding lacks.

    Strings are printed unchanged: there is no markup. A string is one line, or one cell of a table; line ends in it
    are data. Use `line` for styles, and call `print` once for each line.
    """

    def __init__(self, *, file: IO[str], width: int | None = None, folds: bool = False, **options: Any) -> None:  # noqa: ANN401  # rich's own
        """Set up the console.

        Args:
            file: stream to write to.
            width: number of columns; None for that of the terminal.
            folds: whether a person reads it on a terminal: long lines then fold between words. Otherwise each line
                remains one line.
            **options: options of rich.
        """
        super().__init__(file=file, width=width, markup=False, emoji=False, highlight=False, soft_wrap=True, **options)
        self.folds = folds

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401  # rich's own
        """Print a line or something that rich renders. On a terminal, a line folds between words."""
        if self.folds and len(objects) == 1 and isinstance(objects[0], str | Text):
            content = objects[0] if isinstance(objects[0], Text) else self.render_str(objects[0])
            objects = (Text("\n").join(fold(content, self.width)),)
        super().print(*objects, **options)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  # rich's own
        """Convert a string to text. It is made safe here, before its width is measured."""
        return super().render_str(encodable(visible(text), self.encoding), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, and check every piece again, because a `Text` does not pass through `render_str`."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                text = encodable(visible(segment.text, keep="\n"), self.encoding)
                yield segment if text == segment.text else Segment(text, segment.style)

    def print_line(self, *pieces: Piece) -> None:
        """Print one line, neither folded nor cropped, without white space at its end."""
        if self.quiet:
            return
        if self.color_system is None:
            # Styles are not shown, and writing the text directly takes a tenth of the time.
            text = "".join(visible(piece if isinstance(piece, str) else piece[0]) for piece in pieces)
            self.file.write(encodable(text.rstrip(), self.encoding) + "\n")
            return
        self.print_exact(line(*pieces))

    def print_exact(self, content: Text) -> None:
        """Print a line as it is, without white space at its end."""
        content.rstrip()
        super().print(content)

    def print_command(self, command: str, style: str = "") -> None:
        """Print a command. If it is folded on a terminal, each line ends with a backslash, so that it can be copied."""
        lines = _folded_command(command, self.width) if self.folds else [command]
        for part in lines:
            self.print_exact(line((part, style)))

    def on_broken_pipe(self) -> None:
        """Let the caller handle it: rich would end the program."""
        raise BrokenPipeError


class _Stream:
    """Standard output or standard error, looked up each time it is used, since it can be replaced."""

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def _now(self) -> TextIO | None:
        stream = getattr(sys, self._name)
        # rich replaces the stream while a bar is shown.
        return cast("TextIO | None", getattr(stream, "rich_proxied_file", stream))

    @property
    def encoding(self) -> str:
        return getattr(self._now, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._now is not None and self._now.isatty()

    def fileno(self) -> int:
        if self._now is None:
            raise OSError(f"there is no {self._name}")
        return self._now.fileno()

    def write(self, text: str) -> int:
        self._do(lambda stream: stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._do(lambda stream: stream.flush())

    def write_bytes(self, content: bytes) -> None:
        """Write bytes unchanged, regardless of the encoding of the stream."""

        def write(stream: TextIO) -> None:
            stream.flush()
            stream.buffer.write(content)
            stream.buffer.flush()

        self._do(write)

    def _do(self, action: Callable[[TextIO], object]) -> None:
        if self._now is None:
            return
        try:
            action(self._now)
        except OSError as error:
            # A closed stderr must not stop the work.
            if self._name == "stderr":
                return
            if isinstance(error, BrokenPipeError):
                raise ClosedOutputError from None
            raise OutputError(f"cannot write to the standard output: {error.strerror or error}") from None


_OUT, _ERR = _Stream("stdout"), _Stream("stderr")


@dataclass(frozen=True)
class _Amount:
    """How much to print.

    Attributes:
        quiet: whether to print only errors, warnings, results and output for programs.
        verbose: whether to print details.
        log: log file that also receives what stderr gets.
    """

    quiet: bool = False
    verbose: bool = False
    log: LogFile | None = None


_amount = _Amount()


def configure(command: str, *, quiet: bool = False, verbose: bool = False, log_file: Path | None = None) -> None:
    """Set how much the command prints, and where else.

    Args:
        command: name of the command, for the log file.
        quiet: print only errors, warnings, the line with the result, and output for programs.
        verbose: print details.
        log_file: file to which everything is appended that stderr gets, or would get without `quiet`.

    Raises:
        SettingsError: if the options contradict each other.
        OutputError: if the log file cannot be written.
    """
    global _amount  # one process runs one command
    if quiet and verbose:
        raise SettingsError("--quiet and --verbose contradict each other: use only one of them")
    log = None if log_file is None else LogFile(log_file, f"ehrtraj {__version__} {command}")
    _amount = _Amount(quiet, verbose, log)
    if verbose:
        libraries = ", ".join(f"{name} {version(name)}" for name in ("duckdb", "polars", "pyarrow", "numpy"))
        python = f"Python {platform.python_version()} on {platform.platform()}"
        detail(f"ehrtraj {__version__}, {python}, {os.cpu_count()} CPU cores, {libraries}")


def is_quiet() -> bool:
    """Return whether to print only errors, warnings and results."""
    return _amount.quiet


def is_verbose() -> bool:
    """Return whether to print details."""
    return _amount.verbose


def shows_progress_lines() -> bool:
    """Return whether lines about the progress go anywhere: to stderr without a terminal, or to a log file."""
    return _amount.log is not None or not (_amount.quiet or _ERR.isatty())


def out() -> Screen:
    """Open a screen on stdout, as wide as the terminal.

    With --quiet, it prints nothing: use `result` for the line that remains.
    """
    return _stdout(quiet=_amount.quiet)


def _stdout(*, quiet: bool = False) -> Screen:
    is_terminal = _OUT.isatty()
    width = None if is_terminal else _WIDTH
    return Screen(file=cast("IO[str]", _OUT), width=width, folds=is_terminal, quiet=quiet)


def result(*pieces: Piece) -> None:
    """Print the line with the result to stdout, also with --quiet."""
    _stdout().print(line(*pieces))


def err() -> Screen:
    """Open a screen on stderr."""
    return Screen(file=cast("IO[str]", _ERR), stderr=True, folds=_ERR.isatty())


def write_lines(lines: Iterable[str]) -> None:
    """Print lines unchanged, neither folded nor styled."""
    screen = _stdout()
    for text in lines:
        screen.print_line(text)


def write_exact(text: str) -> None:
    """Print output for programs as exact UTF-8, or escaped if stdout is a terminal."""
    if _OUT.isatty():
        write_lines(text.removesuffix("\n").split("\n"))
    else:
        _OUT.write_bytes(text.encode("utf-8", "surrogateescape"))


def write_json(content: object, *, indent: int, default: Callable[[object], object] | None = None) -> None:
    """Print JSON in ASCII, which every console can show and every program can read back without loss."""
    text = json.dumps(content, indent=indent, default=default).replace("\x7f", "\\u007f")
    write_exact(text + "\n")


def _message(screen: Screen | None, *pieces: Piece, always: bool = False) -> None:
    """Print a line to stderr, unless --quiet is given, and to the log file."""
    _log("".join(piece if isinstance(piece, str) else piece[0] for piece in pieces))
    if always or not _amount.quiet:
        (screen or err()).print(line(*pieces))


def _log(text: str) -> None:
    if _amount.log is not None:
        _amount.log.write(visible(text, keep="\n"))


def message(text: str, screen: Screen | None = None) -> None:
    """Print a line to stderr, such as what a download fetches."""
    _message(screen, text)


def detail(text: str, screen: Screen | None = None) -> None:
    """Print a line to stderr if --verbose is given."""
    if _amount.verbose:
        _message(screen, text)


def progress(text: str) -> None:
    """Print a line about the progress, with the time, to stderr, unless it shows a bar, and to the log file."""
    _log(text)
    if not (_amount.quiet or _ERR.isatty()):
        err().print(line(f"{time.strftime('%H:%M:%S')} {text}"))


def note(text: str, screen: Screen | None = None) -> None:
    """Print a note to stderr."""
    _message(screen, ("note: ", "yellow"), text)


def note_rest(rest: int, what: str, total: int) -> None:
    """Print to stderr how many more there are than the shown ones, if any."""
    if rest > 0:
        note(f"{rest:,} more {what}: --limit {total} shows all")


def warning(text: str, screen: Screen | None = None) -> None:
    """Print a warning to stderr, also with --quiet."""
    _message(screen, ("WARNING: ", "bold red"), (text, "bold"), always=True)


def error(text: str) -> None:
    """Print an error to stderr. All lines after the first are indented, so that none looks like another message."""
    _log(f"error: {text}")
    first, *rest = text.split("\n")
    screen = err()
    screen.print(line(("error: ", "bold red"), first))
    for further in rest:
        # An indented line is a command to copy.
        screen.print_line(further if further.startswith(" ") or not further else f"  {further}")


def write_err(text: str) -> None:
    """Print lines to stderr, such as a traceback."""
    _log(text.removesuffix("\n"))
    for text_line in text.removesuffix("\n").split("\n"):
        err().print_line(text_line)


def print_after_interrupt(text: str) -> None:
    """Print a line to stderr, below the `^C` that a terminal shows."""
    if _ERR.isatty():
        err().print()
    write_err(text)


def flush() -> None:
    """Write the buffered output to stdout.

    Raises:
        ClosedOutputError: if its reader closed it.
        OutputError: if it cannot be written.
    """
    _OUT.flush()
