"""Turn failed writes of a dataset into errors that explain what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.paths import error_of_path


@contextmanager
def explained_failures(output: Path) -> Iterator[None]:
    """Turn an OSError or a failed allocation into an error that explains what to do.

    Args:
        output: folder that receives the dataset.

    Raises:
        OutputError: instead of an OSError or a failed allocation.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk that contains {output} is full. Free some space and run the same command again: it resumes "
                "where it stopped"
            ) from error
        # An error of pyarrow without a file name is a failed write: code that reads the release raises other errors.
        if error.filename is not None and (explained := error_of_path(error, output)) is not None:
            raise explained from error
        raise OutputError(
            f"cannot work in {output}: {error}. Check the disk, then run the same command again: it resumes where it "
            "stopped"
        ) from error
    except pa.ArrowMemoryError as error:
        raise OutputError(
            f"memory ran out ({error}): choose a smaller --max-cpus and run the same command again"
        ) from error
