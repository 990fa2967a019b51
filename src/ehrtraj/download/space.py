"""Whether the disks have room for what is to come."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ehrtraj.download.errors import DiskSpaceError
from ehrtraj.download.part import part_path


def check_room(files: Iterable[tuple[Path, int]]) -> None:
    """Compare what files still need with what is free, before anything is written.

    A module's folder may be a link to another disk, so each disk is checked for its own files.

    Args:
        files: path of each complete file, and its size.

    Raises:
        DiskSpaceError: if a disk has no room for them.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for path, size in files:
        folder = _existing(path.parent)
        disk = folder.stat().st_dev
        folders.setdefault(disk, folder)
        needed[disk] = needed.get(disk, 0) + max(0, size - _on_disk(path))
    for disk, folder in folders.items():
        need, free = needed[disk], shutil.disk_usage(folder).free
        if need > free:
            raise DiskSpaceError(
                f"the disk that holds {folder} has {free:,} bytes free ({free / 1e9:.2f} GB), and {need:,} bytes "
                f"({need / 1e9:.2f} GB) are needed: make room, or choose another folder with --to, or fewer --tables. "
                "Nothing was fetched"
            )


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _on_disk(path: Path) -> int:
    """Bytes that the disk holds of a file already. A part has gaps, which take no room yet."""
    there = 0
    for place in (path, part_path(path)):
        if place.is_file():
            status = place.stat()
            blocks = getattr(status, "st_blocks", None)
            # Windows counts no blocks, and leaves no gaps.
            there = max(there, status.st_size if blocks is None else min(status.st_size, blocks * 512))
    return there
