"""What a failed read or write means to whoever named the path."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrtraj.errors import DatasetError, EhrtrajError, OutputError, ReleaseError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Only writing fails with these: no name that is there is too long.
_OF_WRITING = (errno.EROFS, errno.EEXIST, errno.ENOTEMPTY, errno.EFBIG, errno.ETXTBSY, errno.EBUSY, errno.ENAMETOOLONG)
_OF_A_PATH = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE,
    errno.EIO, errno.EMFILE, errno.ENFILE, *_FULL, *_OF_WRITING,
)  # fmt: skip
# polars raises these without a number.
_OF_KIND = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, IsADirectoryError: errno.EISDIR}


def error_of_path(error: OSError, output: Path | None = None) -> EhrtrajError | None:
    """Say in plain words why a path cannot be used, and what to do.

    Args:
        error: what the system answered.
        output: folder that is written to: all that fails in it is about writing, and what fails elsewhere is not.

    Returns:
        The error to raise: of the output where something could not be written, else of the input. None if the error is
        not about files.
    """
    number = error.errno or _OF_KIND.get(type(error))
    if number not in _OF_A_PATH:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    reason = os.strerror(number)
    if number in _FULL:
        where = f" that holds {path}" if path else ""
        return OutputError(f"the disk{where} is full. Free some space and run the same command again")
    if number in (errno.EMFILE, errno.ENFILE):
        return OutputError(f"{reason}: raise the limit with `ulimit -n 4096`, or give a smaller --max-cpus")
    if path is None:
        # What pyarrow and polars raise names the file in its text alone.
        return ReleaseError(str(error).partition("\n")[0])
    # rmtree names what it could not remove without the folder.
    of_rmtree = number == errno.EIO and not os.path.dirname(path)  # noqa: PTH120  # see _is_about_writing
    if _is_about_writing(number, path) if output is None else of_rmtree or _is_in(path, output):
        return OutputError(f"cannot write {path}: {reason}. {_way_out(number, 'write')}")
    return ReleaseError(f"cannot read {path}: {reason}. {_way_out(number, 'read')}")


@contextmanager
def dataset_errors() -> Iterator[None]:
    """Say in plain words why the files of a dataset cannot be read.

    Raises:
        DatasetError: if that is so.
    """
    try:
        yield
    except OSError as error:
        if (found := error_of_path(error)) is None:
            raise
        raise DatasetError(str(found)) from None


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, before the work that it takes to fill it.

    Raises:
        OutputError: if something is there, be it a link to nowhere, or if the folder cannot be written to.
    """
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114  # see _is_about_writing
        raise OutputError(f"{path} is a link to something that is missing: give another --output, or remove it")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} is there already: give another --output, or --overwrite")
    if os.path.isdir(path):  # noqa: PTH112  # see _is_about_writing
        raise OutputError(f"{path} is a folder: give the name of a file as --output")
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):  # noqa: PTH112
        raise OutputError(f"cannot write {path}: {folder} is no folder that you may write to. Give another --output")


def real(path: Path) -> Path:
    """Return a path without links in it; one that leads back to itself stays as it is."""
    return Path(os.path.realpath(path))


def _is_in(path: str, folder: Path) -> bool:
    return real(Path(path)).is_relative_to(real(folder))


def _is_about_writing(number: int, path: str) -> bool:
    if number in _OF_WRITING:
        return True
    parent = os.path.dirname(path) or "."  # noqa: PTH120  # Path raises an error of its own where it may not look
    if not os.path.lexists(path):
        return os.access(parent, os.X_OK) and not os.access(parent, os.W_OK)
    return os.access(path, os.R_OK) and not os.access(path, os.W_OK)


def _way_out(number: int, what: str) -> str:
    if number == errno.ENAMETOOLONG:
        return "Choose a shorter name"
    if number == errno.ELOOP:
        return "It is a link that leads back to itself: replace it"
    if number in (errno.EACCES, errno.EPERM):
        return f"Check with `ls -ld` that you may {what} it and enter the folders above it"
    if number == errno.EROFS:
        return "Choose another output"
    if number == errno.EIO:
        return "The disk or the network drive reports an error: check it, then run the same command again"
    return "Check the path: it is missing, a link to something that is missing, or not of the kind that is needed"
