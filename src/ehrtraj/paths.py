"""Turn failed reads and writes into errors that explain what to do about the path."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ehrtraj.errors import DatasetError, EhrtrajError, OutputError, ReleaseError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Only writing fails with these: the name of an existing file is never too long.
_WRITE_ERRORS = (
    errno.EROFS, errno.EEXIST, errno.ENOTEMPTY, errno.EFBIG, errno.ETXTBSY, errno.EBUSY, errno.ENAMETOOLONG,
)  # fmt: skip
_PATH_ERRORS = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ESTALE,
    errno.EIO, errno.EMFILE, errno.ENFILE, *_FULL, *_WRITE_ERRORS,
)  # fmt: skip
# polars raises these without an errno.
_ERRNO_OF_CLASS = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, IsADirectoryError: errno.EISDIR}


def error_of_path(error: OSError, output: Path | None = None) -> EhrtrajError | None:
    """Return an error that explains why a path cannot be used and what to do.

    Args:
        error: raised by the operating system.
        output: folder that is written to. Every failure in it is about writing, every other failure is about reading.

    Returns:
        The error to raise: OutputError for a failed write, ReleaseError for a failed read. None if the error is not
        about files.
    """
    number = error.errno or _ERRNO_OF_CLASS.get(type(error))
    if number not in _PATH_ERRORS:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    reason = os.strerror(number)
    if number in _FULL:
        which = f" that contains {path}" if path else ""
        return OutputError(f"the disk{which} is full. Free some space and run the same command again")
    if number in (errno.EMFILE, errno.ENFILE):
        return OutputError(f"{reason}: raise the limit with `ulimit -n 4096`, or use a smaller --max-cpus")
    if path is None:
        # Errors of pyarrow and polars name the file only in their message.
        return ReleaseError(str(error).partition("\n")[0])
    # Errors of rmtree name the entry without its folder.
    has_folder = bool(os.path.dirname(path))  # noqa: PTH120  # see _is_about_writing
    of_rmtree = number in (errno.EIO, errno.ENOTEMPTY) and not has_folder
    if _is_about_writing(number, path) if output is None else of_rmtree or _is_in(path, output):
        return OutputError(f"cannot write {path}: {reason}. {_advice(number, 'write')}")
    return ReleaseError(f"cannot read {path}: {reason}. {_advice(number, 'read')}")


@contextmanager
def dataset_errors() -> Iterator[None]:
    """Turn errors of reading a dataset's files into errors that explain what to do.

    Raises:
        DatasetError: if a file of the dataset cannot be read.
    """
    try:
        yield
    except OSError as error:
        if (explained := error_of_path(error)) is None:
            raise
        raise DatasetError(str(explained)) from None


def check_target(path: Path, *, overwrite: bool) -> None:
    """Check that a file can be written, before its content is computed.

    Raises:
        OutputError: if the path exists, even as a dangling link, or if its folder is not writable.
    """
    if os.path.islink(path) and not os.path.exists(path):  # noqa: PTH110, PTH114  # see _is_about_writing
        raise OutputError(f"{path} is a link to a missing file: choose another --output, or remove the link")
    if os.path.lexists(path) and not overwrite:
        raise OutputError(f"{path} already exists: choose another --output, or pass --overwrite")
    if os.path.isdir(path):  # noqa: PTH112  # see _is_about_writing
        raise OutputError(f"{path} is a folder: pass the name of a file as --output")
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):  # noqa: PTH112
        raise OutputError(f"cannot write {path}: {folder} is not a writable folder. Choose another --output")


def real(path: Path) -> Path:
    """Return a path with its links resolved; a link that leads back to itself stays as it is."""
    return Path(os.path.realpath(path))


def _is_in(path: str, folder: Path) -> bool:
    return real(Path(path)).is_relative_to(real(folder))


def _is_about_writing(number: int, path: str) -> bool:
    if number in _WRITE_ERRORS:
        return True
    parent = os.path.dirname(path) or "."  # noqa: PTH120  # Path raises PermissionError in a folder without access
    if not os.path.lexists(path):
        return os.access(parent, os.X_OK) and not os.access(parent, os.W_OK)
    return os.access(path, os.R_OK) and not os.access(path, os.W_OK)


def _advice(number: int, action: str) -> str:
    if number == errno.ENAMETOOLONG:
        return "Choose a shorter name"
    if number == errno.ELOOP:
        return "It is a link that leads back to itself: replace it"
    if number in (errno.EACCES, errno.EPERM):
        return f"Check with `ls -ld` that you have permission to {action} it and to enter the folders above it"
    if number == errno.EROFS:
        return "Choose another output"
    if number == errno.ENOTEMPTY:
        return "Another process writes to this folder: end it, then run the same command again"
    if number == errno.EIO:
        return "The disk or the network drive reports an error: check it, then run the same command again"
    return "Check the path: it is missing, a link to a missing file, or a file where a folder is needed or vice versa"
