"""Open, lock and replace files without following a symbolic link that somebody has placed at their path.

Only the last component of a path is checked. Links to folders are followed, since users often link their data folders.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock

from ehrtraj.errors import OutputError

# Windows has neither flag: there, the path is checked just before it is opened.
_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
# Opening a named pipe must not block.
_FLAGS: int = _NOFOLLOW | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_WRITING = os.O_WRONLY | os.O_RDWR
_MODE = 0o600


def refuse_link(path: Path) -> None:
    """Check that a path is not a symbolic link. A path that does not exist passes.

    Raises:
        OutputError: if it is a symbolic link, whether or not its target exists.
    """
    if path.is_symlink():
        raise OutputError(
            f"refusing to write to {path}: it is a symbolic link, and its target would be overwritten. Remove the link "
            "or choose another folder"
        )


def open_private(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a regular file. A new file gets mode 0600.

    Args:
        path: path to open; its folder exists.
        flags: flags of `os.open`.

    Returns:
        A file descriptor, which child processes do not inherit.

    Raises:
        OutputError: if the path is a symbolic link, a pipe, device, socket or folder; or if the file would be written
            and has a second name (a hard link), whose content would change too.
        OSError: like `os.open`.
    """
    if not _NOFOLLOW:
        refuse_link(path)
    try:
        # The file is truncated only after the check below that it has no second name.
        descriptor = os.open(path, flags & ~os.O_TRUNC | _FLAGS, _MODE)
    except OSError:
        refuse_link(path)
        _refuse_special(path)
        raise
    try:
        _refuse_shared(path, os.fstat(descriptor), is_written=bool(flags & _WRITING))
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_atomically(path: Path, data: bytes, *, sync: bool = False, is_locked: bool = False) -> None:
    """Write a file so that its path always has either the old content or the complete new content. Its mode is 0600.

    Args:
        path: path of the file; its folder exists.
        data: content of the file.
        sync: whether to wait until content and name are on the disk.
        is_locked: whether the caller holds a lock on the path. The temporary file then has a fixed name, so that the
            next write replaces the temporary file of a killed process.

    Raises:
        OutputError: if the path is a symbolic link.
        OSError: if the file cannot be written.
    """
    refuse_link(path)
    temporary = path.with_name(f".{path.name}.new" if is_locked else f".{path.name}.{secrets.token_hex(4)}.new")
    if is_locked:
        temporary.unlink(missing_ok=True)
    descriptor = open_private(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            if sync:
                handle.flush()
                os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_path(path.parent)


def sync_path(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Windows cannot sync folders."""
    is_windows = os.name == "nt"
    if is_windows and path.is_dir():
        return
    # Windows syncs only files that are open for writing.
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path, timeout: float = 0) -> Iterator[None]:
    """Hold a lock on a file, which is created if needed, and is removed when the lock is released.

    The file is removed while the lock is held. Another process may have opened it before, and would then hold a lock on
    a file that no longer has a name. So a lock counts only if the path is still the same file once it is locked. The
    system releases the lock when the process ends, however it ends; after a kill, the next holder removes the file.

    Args:
        path: path of the lock file; its folder exists.
        timeout: seconds to wait for the lock; a negative number waits without limit.

    Raises:
        filelock.Timeout: if another process holds it.
        OutputError: if the path is a symbolic link or not a regular file.
        OSError: if the file cannot be opened.
    """
    refuse_link(path)
    _refuse_special(path)
    lock = FileLock(path, timeout=timeout, mode=_MODE)
    try:
        lock.acquire()
        while not _is_locked(path, lock):
            lock.release()
            lock.acquire()
    except OSError:
        # filelock opens the file with O_NOFOLLOW, so that a link created after the check is refused too.
        refuse_link(path)
        raise
    try:
        yield
    finally:
        _remove_lock_file(path, lock)
        lock.release()


def _is_locked(path: Path, lock: BaseFileLock) -> bool:
    """Whether a path is the name of the file that is locked."""
    if (descriptor := _descriptor_of(lock)) is None:
        return True
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_lock_file(path: Path, lock: BaseFileLock) -> None:
    """Remove the file of a lock that is held. A file with content is not ours, and a file that stays does no harm."""
    descriptor = _descriptor_of(lock)
    with suppress(OSError):
        if descriptor is not None and os.fstat(descriptor).st_size == 0 and _is_locked(path, lock):
            path.unlink()


def _descriptor_of(lock: BaseFileLock) -> int | None:
    """Return the descriptor of the locked file; None where filelock itself removes the file.

    It does so on Windows, and on file systems without locks, where the file exists only while the lock is held.
    """
    if os.name == "nt" or isinstance(lock, SoftFileLock):
        return None
    return lock._context.lock_file_fd  # only newer versions of filelock pass it to a function of ours


def _refuse_special(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError:
        return
    _refuse_shared(path, status, is_written=False)


def _refuse_shared(path: Path, status: os.stat_result, *, is_written: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OutputError(f"refusing to use {path}: it is not a regular file. Move it away or choose another folder")
    if is_written and status.st_nlink > 1:
        raise OutputError(
            f"refusing to write to {path}: the file has a second name (a hard link), and its content would change "
            "there too. Remove this name or choose another folder"
        )
