"""`ehrtraj download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, graceful_stop
from ehrtraj.cli.arguments import MODULES, TABLES
from ehrtraj.errors import SettingsError

_HELP = """Download a release of MIMIC-IV from PhysioNet, and verify every file.

[bold]Examples[/bold]

  ehrtraj download mimiciv --release 3.1 --user NAME

  ehrtraj download mimic-iv-demo --to data

  ehrtraj download mimiciv --user NAME --modules hosp

  ehrtraj download mimiciv --user NAME --tables labevents,icu/chartevents

  ehrtraj download --concept-maps --to data

PROJECT is mimiciv, mimic-iv-ed or mimic-iv-note (these need a PhysioNet account and a signed data use agreement), or
mimic-iv-demo or mimic-iv-ed-demo (open access). Files are stored where wget would store them, in
physionet.org/files/PROJECT/RELEASE below --to. To resume an interrupted download, run the same command again. It also
resumes downloads that were begun with wget.

The password is read from PHYSIONET_PASSWORD or ~/.netrc, or you are asked for it. It is never read from the command
line.

[bold]Exit codes[/bold]: 0 done; 2 invalid setting; 4 the folder cannot be written; 10 the server cannot be reached or
sends an unexpected answer; 11 wrong user name or password; 12 the data use agreement is not signed; 13 no such release;
14 not enough disk space; 15 the server's certificate cannot be verified; 16 the server ignores byte ranges; 17 a file
changed on the server during the download; 18 a file has the wrong SHA-256 after a second attempt; 19 the server is
busy; 130 Ctrl-C.
"""


def download(
    project: Annotated[str | None, typer.Argument(help="Name of the project.", show_default=False)] = None,
    release: Annotated[
        str | None, typer.Option("--release", "-r", help="Release, such as 3.1. (default the newest known)")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="PhysioNet account. (default PHYSIONET_USERNAME, or ~/.netrc)"),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder in which to create physionet.org/, or a folder in it.")] = (
        Path()
    ),
    tables: Annotated[str | None, TABLES] = None,
    modules: Annotated[str | None, MODULES] = None,
    connections: Annotated[
        int, typer.Option("--connections", "-n", help="Number of parallel connections, 1 to 16.")
    ] = 8,
    base_url: Annotated[
        str | None, typer.Option(help="URL of a mirror. (default https://physionet.org/files)", show_default=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds without data after which a connection is considered dead.")
    ] = 60.0,
    retries: Annotated[int, typer.Option(help="Retries without progress before the download fails.")] = 12,
    complete_files: Annotated[
        bool,
        typer.Option("--whole-files", help="Fetch each file in one piece, for a server that ignores byte ranges."),
    ] = False,
    concept_maps: Annotated[
        bool, typer.Option("--concept-maps", help="Also fetch mimic-code's maps to LOINC, SNOMED and RxNorm.")
    ] = False,
    maps_url: Annotated[str | None, typer.Option(help="URL of a mirror of mimic-code v2.4.0. (default GitHub)")] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Fetch a release."""
    from ehrtraj.cli.show.download import ConsoleDownloadReporter, show_concept_maps, show_download
    from ehrtraj.download.concept_maps import fetch_concept_maps
    from ehrtraj.download.run import download as fetch

    if project is None and not concept_maps:
        raise SettingsError("nothing to download: give a project, such as mimiciv, or --concept-maps")
    with graceful_stop(". Downloaded data is kept: run the same command again to resume"):
        if concept_maps:
            show_concept_maps(
                fetch_concept_maps(
                    to, url=maps_url, timeout=timeout, retries=retries, reporter=ConsoleDownloadReporter()
                )
            )
        if project is not None:
            result = fetch(
                project,
                release=release,
                user=user,
                to=to,
                tables=tables,
                modules=modules,
                connections=connections,
                base_url=base_url,
                timeout=timeout,
                retries=retries,
                complete_files=complete_files,
                max_cpus=max_cpus,
                reporter=ConsoleDownloadReporter(),
            )
            show_download(result)


COMMAND = Command(download, place=70, writes=True, help=_HELP, long=True)
