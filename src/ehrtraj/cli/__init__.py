"""The command line, a thin layer over the library. Each command has one file in `commands/`.

Importing this package imports almost nothing, so that Ctrl-C is handled before the commands and their dependencies are
loaded.
"""

from __future__ import annotations

import gc
import os

from ehrtraj import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    import typer

    from ehrtraj.runtime.sizes import Sizes

    app: typer.Typer

__all__ = ["app", "console", "main"]


def main(sizes: Sizes | None = None) -> NoReturn:
    """Run the command line, and raise SystemExit.

    Errors are printed to stderr as plain text; `--help` of a command lists its exit codes.

    Args:
        sizes: batch sizes of a build; None for the default ones.
    """
    interrupt.install()
    # numpy's OpenBLAS starts a thread for each core, which wait actively at first: 60 ms of CPU time on two cores. No
    # command uses BLAS.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # An import creates hardly any garbage, and looking for it takes a twentieth of the start.
    gc.disable()
    from ehrtraj.cli.run import run
    from ehrtraj.runtime.without_pandas import keep_pandas_out

    gc.enable()
    keep_pandas_out()
    run(sizes)


def console() -> NoReturn:
    """Run the command line as the program `ehrtraj`, and end the process quickly."""
    try:
        main()
    except SystemExit as ended:
        interrupt.end_process(ended.code if isinstance(ended.code, int) else 1)


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ehrtraj.cli.registry import application

    return application()
