"""What a failed read or write means to whoever named the path."""

from __future__ import annotations

import errno
import os

from ehrtraj.errors import EhrtrajError, OutputError, ReleaseError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Only writing fails with these.
_OF_WRITING = (errno.EROFS, errno.EEXIST, errno.ENOTEMPTY, errno.EFBIG, errno.ETXTBSY, errno.EBUSY)
_OF_A_PATH = (
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ESTALE,
    errno.EIO, errno.EMFILE, errno.ENFILE, *_FULL, *_OF_WRITING,
)  # fmt: skip


def error_of_path(error: OSError) -> EhrtrajError | None:
    """Say in plain words why a path cannot be used, and what to do.

    Args:
        error: what the system answered.

    Returns:
        The error to raise: of the output where something could not be written, else of the input. None if the error is
        not about files.
    """
    if error.errno not in _OF_A_PATH:
        return None
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else None
    reason = os.strerror(error.errno)
    if error.errno in _FULL:
        where = f" that holds {path}" if path else ""
        return OutputError(f"the disk{where} is full. Free some space and run the same command again")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return OutputError(f"{reason}: raise the limit with `ulimit -n 4096`, or give a smaller --max-cpus")
    if path is None:
        # What pyarrow and polars raise names the file in its text alone.
        return ReleaseError(str(error).partition("\n")[0])
    if _is_about_writing(error.errno, path):
        return OutputError(f"cannot write {path}: {reason}. {_way_out(error.errno, 'write')}")
    return ReleaseError(f"cannot read {path}: {reason}. {_way_out(error.errno, 'read')}")


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
        return "The disk or the network drive reports an error: check it"
    return "Check the path: it is missing, a link to something that is missing, or not of the kind that is needed"
