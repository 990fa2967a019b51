"""Read an exported file, with the columns and types of the dataset."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from ehrtraj.arguments import checked
from ehrtraj.dataset.layout import READ_ERRORS
from ehrtraj.errors import DatasetError
from ehrtraj.exports import formats


@checked
def read_export(path: str | Path) -> pl.DataFrame:
    """Read a file that `ehrtraj export` wrote. The events are the same as in the dataset.

    Args:
        path: a file of an export, such as one that ends in `.jsonl` or `.parquet`.

    Returns:
        One row per event, with the columns and types of `data/`, including `event_time` if the dataset has it.

    Raises:
        DatasetError: if the file cannot be read, or is not a file of an export.
    """
    file = Path(path).expanduser()
    form = formats.of_file(file)
    if form is None:
        endings = ", ".join(f".{known.ending}" for known in formats.load_all().values())
        raise DatasetError(f"{file} is not a file of an export: their names end in {endings}")
    try:
        return form.read(file)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror or error}") from None
    except (*READ_ERRORS, pa.ArrowInvalid, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(
            f"{file} is damaged, or was not written by `ehrtraj export` ({reason}): export the dataset again"
        ) from None
