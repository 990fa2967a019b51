"""`ehrtraj download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, tidy_end
from ehrtraj.cli.arguments import MODULES, TABLES
from ehrtraj.errors import SettingsError

_HELP = """Fetch a release of MIMIC-IV from PhysioNet, whole and verified.

[bold]Examples[/bold]

  ehrtraj download mimiciv --release 3.1 --user NAME

  ehrtraj download mimic-iv-demo --to data

  ehrtraj download mimiciv --user NAME --modules hosp

  ehrtraj download mimiciv --user NAME --tables labevents,icu/chartevents

  ehrtraj download --concept-maps --to data

PROJECT is mimiciv, mimic-iv-ed, mimic-iv-note (they need an account and a signed agreement), mimic-iv-demo or
mimic-iv-ed-demo (open). Files lie where wget would put them, in physionet.org/files/PROJECT/RELEASE below --to, and
what wget or an earlier run left there is taken up. Cut short? Run the same command again.

The password is taken from PHYSIONET_PASSWORD, from ~/.netrc, or asked for; never from the command line.

[bold]Exit codes[/bold]: 0 done; 2 a setting; 4 the folder cannot be written; 10 the server cannot be reached or
understood; 11 name or password; 12 the data use agreement is not signed; 13 no such release; 14 no room on the disk;
15 the certificate; 16 the server ignores ranges; 17 a file changed on the server meanwhile; 18 wrong bytes, twice;
19 the server is busy; 130 Ctrl-C.
"""


def download(
    project: Annotated[str | None, typer.Argument(help="Name of the project.", show_default=False)] = None,
    release: Annotated[
        str | None, typer.Option("--release", "-r", help="Its number. (default the newest that is known)")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option("--user", "-u", help="PhysioNet account. (default PHYSIONET_USERNAME, or ~/.netrc)"),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="Folder that receives physionet.org/, or one in it.")] = Path(),
    tables: Annotated[str | None, TABLES] = None,
    modules: Annotated[str | None, MODULES] = None,
    connections: Annotated[int, typer.Option("--connections", "-n", help="Open at once, 1 to 16.")] = 8,
    base_url: Annotated[
        str | None, typer.Option(help="Of a mirror. (default https://physionet.org/files)", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds of silence after which a connection is dead.")] = 60.0,
    retries: Annotated[int, typer.Option(help="Tries after the first that may bring nothing.")] = 12,
    complete_files: Annotated[
        bool, typer.Option("--whole-files", help="Each file in one piece, for a server that ignores ranges.")
    ] = False,
    concept_maps: Annotated[
        bool, typer.Option("--concept-maps", help="Fetch mimic-code's maps to LOINC, SNOMED and RxNorm as well.")
    ] = False,
    maps_url: Annotated[str | None, typer.Option(help="Of a mirror of mimic-code v2.4.0. (default GitHub)")] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Fetch a release."""
    from ehrtraj.cli.show.download import ConsoleDownloadReporter, show_concept_maps, show_download
    from ehrtraj.download.concept_maps import fetch_concept_maps
    from ehrtraj.download.run import download as fetch

    if project is None and not concept_maps:
        raise SettingsError("name a project to fetch, such as mimiciv, or give --concept-maps")
    with tidy_end(". What was fetched is kept: run the same command again to resume"):
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


COMMAND = Command(download, place=70, writes=True, help=_HELP)
