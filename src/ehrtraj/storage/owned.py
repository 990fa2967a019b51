"""Folders that ehrtraj may delete or replace: recognised by their content, never by their name.

A working folder carries a marker file, which is written first and removed last. A folder with results is recognised by
its own list of files, and only files on that list are deleted.
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
"""File that marks a working folder. Its content names the kind of work, such as `build`."""

_NAMED = 3


def claim(folder: Path, kind: str) -> bool:
    """Create a working folder, or take over one that ehrtraj made for the same kind of work.

    Args:
        folder: to work in; its parent exists.
        kind: of work; written into the marker.

    Returns:
        Whether the folder was there before.

    Raises:
        OutputError: if the path is something else: a link, a file, another user's folder, or one with other content.
        OSError: if it cannot be created.
    """
    there = os.path.lexists(folder)
    if there:
        refuse_foreign(folder, kind)
    else:
        folder.mkdir(mode=0o700)
    if not (folder / MARKER).is_file():
        os.close(open_private(folder / MARKER, os.O_WRONLY | os.O_CREAT))
        (folder / MARKER).write_text(f"{kind}\n", encoding="utf-8")
    return there


def refuse_foreign(folder: Path, kind: str) -> None:
    """Check that a path is free, an empty folder, or a working folder that ehrtraj made for this kind of work.

    Raises:
        OutputError: if it is something else.
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
    """Whether a path is a working folder, and no link to one, that ehrtraj made for this kind of work."""
    marker = folder / MARKER
    try:
        found = not (folder.is_symlink() or marker.is_symlink()) and marker.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return False
    # A process that was killed while it wrote the marker left none or some of the word.
    return found is not False and kind.startswith(found)


def clear_claimed(folder: Path) -> None:
    """Remove everything in a claimed working folder but its marker."""
    for path in folder.iterdir():
        if path.name != MARKER:
            remove_entry(path)


def remove_claimed(folder: Path) -> None:
    """Remove a claimed working folder, its marker last, so that what a kill leaves is still recognised."""
    if (folder / MARKER).is_file():
        clear_claimed(folder)
        (folder / MARKER).unlink()
        folder.rmdir()


def remove_entry(path: Path) -> None:
    """Remove a file, a link itself, or a folder with everything in it. The path is known to be ours."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def strangers(folder: Path, listed: Collection[str]) -> list[str]:
    """What a folder contains beside the listed files and the folders they need.

    Args:
        folder: to look through. Links in it are not followed, and count as strangers.
        listed: paths of files relative to it, with `/`.

    Returns:
        Sorted relative paths; a folder that is not needed is named once, with a `/` behind it.
    """
    needed = {parent for name in listed for parent in _parents(name)}
    found: list[str] = []
    for name, entry in _walk(folder, needed):
        if entry.is_dir(follow_symlinks=False):
            found.append(f"{name}/")
        elif entry.is_symlink() or name not in listed:
            found.append(name)
    return sorted(found)


def remove_listed(folder: Path, listed: Collection[str], last: str | None = None) -> bool:
    """Delete the listed files of a folder, then the folders that this leaves empty.

    The folder is walked, so that a list with `..` or an absolute path in it deletes nothing outside.

    Args:
        folder: with our files.
        listed: paths of files relative to it, with `/`.
        last: the file that the list comes from. It is deleted once only it is left, so that what a kill leaves is still
            recognised.

    Returns:
        Whether the folder is gone; it remains where it contains anything else.
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
    """Check that a folder of results is none that the command reads from.

    Args:
        target: folder that will be written or replaced.
        inputs: files and folders that the command reads: none of them may be in the target.
        modules: folders of input that belong to the release alone: the target may not be in one of them either.

    Raises:
        OutputError: if the target contains an input, or is one.
    """
    place = real(target)
    for path in modules:
        if place.is_relative_to(real(path)):
            where = "is" if place == real(path) else f"is in {path},"
            raise OutputError(
                f"{target} {where} a folder of the input, which is never written to: choose another output"
            )
    for path in inputs:
        if real(path).is_relative_to(place):
            raise OutputError(f"{target} contains the input {path}, and would replace it: choose another output")


def named(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _parents(name: str) -> list[str]:
    """Every folder above a file; none for a path that leaves its folder."""
    if name.startswith("/") or ".." in name.split("/"):
        return []
    parts = name.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _walk(folder: Path, needed: Collection[str], prefix: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file, and the folders that are not needed, which are not looked into."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False) and name in needed:
                yield from _walk(Path(entry.path), needed, f"{name}/")
            else:
                yield name, entry
