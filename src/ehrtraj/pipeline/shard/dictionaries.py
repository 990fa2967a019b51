"""Read staged dictionaries, which describe codes."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from ehrtraj.pipeline.stage.staged import StagedFile, read_staged
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage


def read_dictionaries(
    storage: Storage, staged: Mapping[str, tuple[StagedFile, ...]], source: Source, *, keys_only: bool = False
) -> dict[str, pa.Table]:
    """Return the dictionaries of a source by bare name; dictionaries that are not staged are empty.

    Args:
        storage: the working folder.
        staged: files of the staged dictionaries, by full name.
        source: source of the dictionaries.
        keys_only: whether to leave out the descriptions of codes, which are most of the data.

    Raises:
        OutputError: if a file is missing.
    """
    return {
        t.name: read_staged(storage, staged[name], t.schema, list(t.key_columns) if keys_only else None)
        if name in staged
        else t.schema.empty_table()
        for name, t in source.tables_of("dictionary").items()
    }
