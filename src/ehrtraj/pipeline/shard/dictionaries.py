"""Staged dictionaries, which describe codes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from ehrtraj.pipeline.stage.staged import StagedFile, read_staged
from ehrtraj.release.schema import tables
from ehrtraj.storage.base import Storage


def read_dictionaries(
    storage: Storage,
    staged: Mapping[str, tuple[StagedFile, ...]],
    source: str,
    extra: Path | None = None,
    *,
    keys_only: bool = False,
) -> dict[str, pa.Table]:
    """Read the staged dictionaries, by bare name; those that are not staged are empty.

    Args:
        storage: the working folder.
        staged: files of those that are staged, by full name.
        source: whose dictionaries.
        extra: folder with a user's own tables.
        keys_only: leave out the descriptions of codes, which are most of them.

    Raises:
        OutputError: if a file is missing.
    """
    known = {name: table for name, table in tables(source, extra).items() if table.kind == "dictionary"}
    return {
        t.name: read_staged(storage, staged[name], t.schema, list(t.key_columns) if keys_only else None)
        if name in staged
        else t.schema.empty_table()
        for name, t in known.items()
    }
