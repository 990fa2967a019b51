"""`ehrtraj verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, graceful_stop
from ehrtraj.cli.arguments import MODULES, TABLES

_HELP = """Compare a download with its SHA256SUMS.txt, and list missing, broken and extra files.

[bold]Examples[/bold]

  ehrtraj verify physionet.org/files/mimiciv/3.1

  ehrtraj verify physionet.org --modules hosp

[bold]Exit codes[/bold]: 0 complete (extra files are allowed); 2 invalid setting; 3 no SHA256SUMS.txt; 20 missing or
broken files; 130 Ctrl-C.
"""


def verify(
    folder: Annotated[Path, typer.Argument(help="Folder of the release, or one above it.", show_default=False)],
    tables: Annotated[str | None, TABLES] = None,
    modules: Annotated[str | None, MODULES] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Verify a download."""
    from ehrtraj.cli.show.download import ConsoleDownloadReporter, show_verify
    from ehrtraj.download.errors import IncompleteDownloadError
    from ehrtraj.download.hint import command
    from ehrtraj.download.verify import find_releases
    from ehrtraj.download.verify import verify as check

    with graceful_stop():
        results = [
            check(release, tables=tables, modules=modules, max_cpus=max_cpus, reporter=ConsoleDownloadReporter())
            for release in find_releases(folder)
        ]
    for result in results:
        show_verify(result)
    if faulty := [r for r in results if not r.is_complete]:
        commands = "\n  ".join(command(r.folder, [*r.missing, *r.broken]) for r in faulty)
        raise IncompleteDownloadError(f"this download is incomplete. To complete it, run:\n  {commands}")


COMMAND = Command(verify, place=80, writes=False, help=_HELP, long=True)
