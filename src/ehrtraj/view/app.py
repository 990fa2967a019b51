"""The application: all pages behind the guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.view import codes, files, patient, patients
from ehrtraj.view.lists import PatientList
from ehrtraj.view.pages import compile_templates
from ehrtraj.view.security import Guard, http_error
from ehrtraj.view.viewer import Viewer

_NONE: Mapping[str, PatientList] = {}


def make_app(
    dataset: Dataset,
    token: str,
    port: int,
    *,
    cohorts: Mapping[str, PatientList] = _NONE,
    labels: Mapping[str, PatientList] = _NONE,
    release: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Starlette:
    """Return the application that shows a dataset.

    Args:
        dataset: dataset to show.
        token: token that the first address contains.
        port: port of the server.
        cohorts: lists of patients by name.
        labels: lists of patients with labels by name.
        release: folder of the release; by default its folder when the dataset was built.
        report: prints a line about an error that nobody expected. It contains no patient data.
    """
    app = Starlette(
        routes=[*patients.ROUTES, *patient.ROUTES, *codes.ROUTES, *files.ROUTES],
        middleware=[Middleware(Guard, token=token, port=port, report=report)],
        exception_handlers={HTTPException: http_error},
    )
    compile_templates()
    app.state.viewer = Viewer(dataset, cohorts, labels, release)
    return app
