"""`ehrtraj view`: show the patients of a dataset in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command, graceful_stop
from ehrtraj.cli.arguments import DATASET

_HELP = """Show the patients of a dataset in your browser. Ctrl-C stops it.

Only this machine and only you can open the pages: the printed address contains a token, which is new each time.

[bold]Examples[/bold]

  ehrtraj view trajectories/v1

  ehrtraj view trajectories/v1 --labels labels/in_hospital_mortality.parquet --cohort cohort.csv

  ehrtraj view trajectories/v1 --no-browser --port 9000

On a server without a screen: run `ssh -L 8642:127.0.0.1:8642 USER@SERVER` on your own machine, start the viewer on the
server, and open the address that it prints in your own browser.

[bold]Exit codes[/bold]: 2 invalid option, the port is in use, or the extra [view] is not installed; 7 the dataset
cannot be read; 130 Ctrl-C.
"""
# The same as in `view/server.py`, which is not imported for --help: the extra may not be installed.
_DEFAULT_PORT = 8642


def view(
    dataset: DATASET,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the address; 0 for any.")] = _DEFAULT_PORT,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the browser or not.")] = True,
    cohort: Annotated[
        list[Path] | None,
        typer.Option("--cohort", help="CSV or Parquet file with the subject_ids of a cohort; repeatable."),
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option("--labels", help="File that `ehrtraj label` wrote; repeatable.")
    ] = None,
    release: Annotated[
        Path | None, typer.Option(help="Folder of the release. (default its location when the dataset was built)")
    ] = None,
    host: Annotated[str, typer.Option(help="Only 127.0.0.1, this machine, is possible.")] = "127.0.0.1",
) -> None:
    """Show the patients of a dataset in the browser."""
    import secrets

    import ehrtraj
    from ehrtraj.cli.show import screen
    from ehrtraj.view.app import make_app
    from ehrtraj.view.browser import open_browser
    from ehrtraj.view.lists import read_lists
    from ehrtraj.view.server import HOST, check_host, open_socket, serve

    check_host(host, port)
    opened = ehrtraj.open(dataset)
    cohorts, labelled = read_lists(cohort or [], labels=False), read_lists(labels or [], labels=True)
    token = secrets.token_urlsafe(32)
    with graceful_stop(), open_socket(port) as listening:
        port = listening.getsockname()[1]
        address = f"http://{HOST}:{port}/?token={token}"
        app = make_app(opened, token, port, cohorts=cohorts, labels=labelled, release=release, report=screen.write_err)
        screen.write_lines([f"Open {address}", "Ctrl-C stops the viewer."])
        screen.flush()
        if browser:
            open_browser(address)
        serve(app, listening)


COMMAND = Command(view, place=35, writes=False, help=_HELP)
