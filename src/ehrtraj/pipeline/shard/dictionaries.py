"""Staged dictionaries, which describe codes."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from ehrtraj.pipeline.stage.staged import StagedFile, read_staged
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage


def read_dictionaries(
    storage: Storage, staged: Mapping[str, tuple[StagedFile, ...]], source: Source, *, keys_only: bool = False
) -> dict[str, pa.Table]:
    """Read the staged dictionaries, by bare name; those that are not staged are empty.

    Args:
        storage: the working folder.
        staged: files of those that are staged, by full name.
        source: whose dictionaries.
        keys_only: leave out the descriptions of codes, which are most of them.

    Raises:
        OutputError: if a file is missing.
    """
    return {
        t.name: read_staged(storage, staged[name], t.schema, list(t.key_columns) if keys_only else None)
        if name in staged
        else t.schema.empty_table()
        for name, t in source.tables_of("dictionary").items()
    }
