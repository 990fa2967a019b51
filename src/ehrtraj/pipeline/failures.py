"""What a failed write means to the user of a build."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.paths import error_of_path


@contextmanager
def failures_in_words(output: Path) -> Iterator[None]:
    """Say in plain words what a failed write means.

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
                f"the disk that holds {output} is full. Free some space and run the same command again: it resumes "
                "where it stopped"
            ) from error
        # Where pyarrow fails to write, the error names no file: what reads the release has errors of its own.
        if error.filename is not None and (found := error_of_path(error, output)) is not None:
            raise found from error
        raise OutputError(
            f"cannot work in {output}: {error}. Check the disk, then run the same command again: it resumes where it "
            "stopped"
        ) from error
    except pa.ArrowMemoryError as error:
        raise OutputError(
            f"memory ran out ({error}): give a smaller --max-cpus and run the same command again"
        ) from error
