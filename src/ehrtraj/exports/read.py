"""Read an exported file back, with the columns and types that the dataset has."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from ehrtraj.dataset.layout import READ_ERRORS
from ehrtraj.errors import DatasetError
from ehrtraj.exports import formats


def read_export(path: str | Path) -> pl.DataFrame:
    """Read a file that `ehrtraj export` wrote: the events as the dataset has them.

    Args:
        path: a file of an export, such as one that ends in `.jsonl` or `.parquet`.

    Returns:
        A row for each event, with the columns and types of `data/`; `event_time` where the dataset has it.

    Raises:
        DatasetError: if it cannot be read, or is no such file.
    """
    file = Path(path).expanduser()
    form = formats.of_file(file)
    if form is None:
        endings = ", ".join(f".{known.ending}" for known in formats.load_all().values())
        raise DatasetError(f"{file} is no file of an export: they end in {endings}")
    try:
        return form.read(file)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror or error}") from None
    except (*READ_ERRORS, pa.ArrowInvalid, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{file} is not as `ehrtraj export` writes it ({reason}): export again") from None
