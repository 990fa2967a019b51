"""Check that the disks have enough space for a download."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ehrtraj.download.errors import DiskSpaceError
from ehrtraj.download.part import part_path


def check_room(files: Iterable[tuple[Path, int]]) -> None:
    """Compare the space that the files still need with the free space, before anything is written.

    A module's folder may be a link to another disk, so each disk is checked separately.

    Args:
        files: path of each complete file, and its size in bytes.

    Raises:
        DiskSpaceError: if a disk does not have enough space.
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
                f"not enough space on the disk of {folder}: {need:,} bytes ({need / 1e9:.2f} GB) are needed, and "
                f"{free:,} bytes ({free / 1e9:.2f} GB) are free. Free some space, choose another folder with --to, or "
                "request fewer --tables. Nothing was downloaded"
            )


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _on_disk(path: Path) -> int:
    """Return the number of bytes that a file already uses on the disk. A part has gaps, which use no space yet."""
    used = 0
    for candidate in (path, part_path(path)):
        if candidate.is_file():
            status = candidate.stat()
            blocks = getattr(status, "st_blocks", None)
            # Windows does not report blocks, and files have no gaps there.
            used = max(used, status.st_size if blocks is None else min(status.st_size, blocks * 512))
    return used
