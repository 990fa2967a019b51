"""Folders that ehrtraj may delete or replace. They are recognised by their content, never by their name.

A working folder contains a marker file, which is written first and removed last. A folder with results is recognised by
a list of its files, and only files on that list are deleted.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ehrtraj.errors import OutputError
from ehrtraj.paths import real
from ehrtraj.storage.safe import open_private, refuse_link

MARKER = ".ehrtraj"
"""Name of the file that marks a working folder. It contains the kind of work, such as `build`."""

_MAX_NAMES = 3


def claim(folder: Path, kind: str) -> bool:
    """Create a working folder, or reuse one that ehrtraj created for the same kind of work.

    Args:
        folder: folder to work in; its parent exists.
        kind: kind of work; written into the marker.

    Returns:
        Whether the folder already existed.

    Raises:
        OutputError: if the path is something else: a link, a file, another user's folder, or one with other content.
        OSError: if the folder cannot be created.
    """
    existed = os.path.lexists(folder)
    if existed:
        refuse_foreign(folder, kind)
    else:
        folder.mkdir(mode=0o700)
    if not (folder / MARKER).is_file():
        os.close(open_private(folder / MARKER, os.O_WRONLY | os.O_CREAT))
        (folder / MARKER).write_text(f"{kind}\n", encoding="utf-8")
    return existed


def refuse_foreign(folder: Path, kind: str) -> None:
    """Check that a path does not exist, or is an empty folder or a working folder of ehrtraj for this kind of work.

    Raises:
        OutputError: if the path is something else.
    """
    refuse_link(folder)
    if not folder.exists():
        return
    advice = "Move it away, or choose another output"
    if not folder.is_dir():
        raise OutputError(f"{folder} is needed as a working folder, but it is a file. {advice}")
    if hasattr(os, "geteuid") and folder.stat().st_uid != os.geteuid():
        raise OutputError(f"{folder} is needed as a working folder, but it belongs to another user. {advice}")
    if not is_claimed(folder, kind) and any(folder.iterdir()):
        raise OutputError(f"{folder} is needed as a working folder, but ehrtraj did not create it. {advice}")


def is_claimed(folder: Path, kind: str) -> bool:
    """Return whether a path is a working folder of ehrtraj for this kind of work, and not a link to one."""
    marker = folder / MARKER
    try:
        content = not (folder.is_symlink() or marker.is_symlink()) and marker.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return False
    # If the process was killed while it wrote the marker, the marker is empty or contains part of the word.
    return content is not False and kind.startswith(content)


def clear_claimed(folder: Path) -> None:
    """Remove everything in a claimed working folder except its marker."""
    for path in folder.iterdir():
        if path.name != MARKER:
            remove_entry(path)


def remove_claimed(folder: Path) -> None:
    """Remove a claimed working folder. The marker is removed last, so that the rest is recognised after a kill."""
    if (folder / MARKER).is_file():
        clear_claimed(folder)
        (folder / MARKER).unlink()
        folder.rmdir()


def remove_entry(path: Path) -> None:
    """Remove a file, a link (not its target), or a folder with its content.

    The caller must know that ehrtraj created it.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def unlisted_entries(folder: Path, listed: Collection[str]) -> list[str]:
    """Return the entries of a folder other than the listed files and the folders above them.

    Args:
        folder: folder to search. Links in it are not followed, and are always returned.
        listed: paths of files relative to the folder, with `/`.

    Returns:
        Sorted relative paths. A folder without listed files is returned once, followed by `/`, without its content.
    """
    needed = {parent for name in listed for parent in _parents(name)}
    unlisted: list[str] = []
    for name, entry in _walk(folder, needed):
        if entry.is_dir(follow_symlinks=False):
            unlisted.append(f"{name}/")
        elif entry.is_symlink() or name not in listed:
            unlisted.append(name)
    return sorted(unlisted)


def remove_listed(folder: Path, listed: Collection[str], last: str | None = None) -> bool:
    """Delete the listed files of a folder, then the folders that become empty.

    The function walks the folder instead of the list: a list that contains `..` or an absolute path cannot delete
    anything outside the folder.

    Args:
        folder: folder with files of ehrtraj.
        listed: paths of files relative to the folder, with `/`.
        last: the file that the list comes from. It is deleted only when no other file remains, so that the folder is
            still recognised after a kill.

    Returns:
        Whether the folder was removed; it remains if it contains anything else.
    """
    needed = {parent for name in listed for parent in _parents(name)}
    for name, entry in list(_walk(folder, needed)):
        if name in listed and name != last and not entry.is_dir(follow_symlinks=False):
            Path(entry.path).unlink(missing_ok=True)
    for parent in sorted(needed, key=lambda parent: parent.count("/"), reverse=True):
        _remove_if_empty(folder / parent)
    if last is not None and [path.name for path in folder.iterdir()] == [last]:
        (folder / last).unlink()
    _remove_if_empty(folder)
    return not folder.exists()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def refuse_replacing(target: Path, inputs: Iterable[Path], modules: Iterable[Path] = ()) -> None:
    """Check that a folder of results does not overlap with the input of the command.

    Args:
        target: folder that will be written or replaced.
        inputs: files and folders that the command reads: none of them may be in the target.
        modules: folders that contain only the input: the target may not be in one of them either.

    Raises:
        OutputError: if the target contains an input, or is in a folder of the input.
    """
    resolved = real(target)
    for path in modules:
        if resolved.is_relative_to(real(path)):
            relation = "is" if resolved == real(path) else f"is in {path},"
            raise OutputError(
                f"{target} {relation} a folder of the input, which is never written to: choose another output"
            )
    for path in inputs:
        if real(path).is_relative_to(resolved):
            raise OutputError(f"{target} contains the input {path}, and would replace it: choose another output")


def first_names(names: list[str]) -> str:
    """Return the first few names, followed by the number of the others."""
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _parents(name: str) -> list[str]:
    """Return every folder above a file; none for a path that leaves its folder."""
    if name.startswith("/") or ".." in name.split("/"):
        return []
    parts = name.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _walk(folder: Path, needed: Collection[str], prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield every file, and the folders that are not needed. The content of these folders is not visited."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False) and name in needed:
                yield from _walk(Path(entry.path), needed, f"{name}/")
            else:
                yield name, entry
