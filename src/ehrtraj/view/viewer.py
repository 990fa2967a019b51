"""What the pages share: the dataset, the search, and the trajectories that were read last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import cast

import duckdb
import polars as pl
from starlette.requests import Request

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.explain import Explanation, explain_event
from ehrtraj.dataset.moments import moment
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.errors import DatasetError
from ehrtraj.view.lists import PatientList
from ehrtraj.view.search import PatientSearch

# A page asks for one patient several times. A trajectory of a million events takes some 200 MB.
_KEPT = 3
_MOST_SECONDS = 120


class Viewer:
    """The state of the server. Nothing in it changes what a page shows.

    Attributes:
        dataset: dataset that is shown.
        release: folder of the release; None for its folder when the dataset was built.
        search: search for patients.
    """

    def __init__(
        self,
        dataset: Dataset,
        cohorts: Mapping[str, PatientList],
        labels: Mapping[str, PatientList],
        release: Path | None = None,
    ) -> None:
        """Prepare the state.

        Args:
            dataset: dataset to show.
            cohorts: lists of patients by name.
            labels: lists of patients with labels by name.
            release: folder of the release; by default its folder when the dataset was built.
        """
        self.release = release
        self.dataset = dataset
        self.search = PatientSearch(dataset, cohorts, labels)
        self.trajectory = lru_cache(_KEPT)(self._trajectory)
        self._searching = Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def _trajectory(self, subject_id: int, as_of: datetime | None) -> Trajectory:
        if as_of is not None:
            return self.trajectory(subject_id, None).as_of(as_of)
        return self.dataset[subject_id].with_notes()

    def explain(self, event: pl.DataFrame, path: Path | None) -> Explanation:
        """Explain an event; see `explain_event`.

        Raises:
            DatasetError: if another search for a source row is running, or this one takes too long.
        """
        if path is None:
            return explain_event(self.dataset, event)
        with self._one_search():
            return explain_event(self.dataset, event, path, seconds=_MOST_SECONDS, opened=self._keep)

    @contextmanager
    def _one_search(self) -> Iterator[None]:
        if not self._searching.acquire(blocking=False):
            raise DatasetError("the viewer is still searching for another source row: try again later")
        try:
            yield
        finally:
            self._connection = None
            self._searching.release()

    def _keep(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def stop(self) -> None:
        """Interrupt a running search, so that the server can stop."""
        if self._connection is not None:
            # It may be closed already.
            with suppress(duckdb.ConnectionException):
                self._connection.interrupt()


def viewer_of(request: Request) -> Viewer:
    """Return the state of the server that received a request."""
    return cast("Viewer", request.app.state.viewer)


def as_of(request: Request) -> datetime | None:
    """Return the time of the cut in the address of a request; None if nothing is hidden.

    Raises:
        SettingsError: if it is not a time.
    """
    given = request.query_params.get("as_of", "")
    return moment(given) if given else None


def patient_of(request: Request) -> Trajectory:
    """Return the trajectory that a request asks for. What was not known at `as_of` is not in it.

    Raises:
        UnknownSubjectError: if there is no such patient.
        SettingsError: if `as_of` is not a time.
    """
    return viewer_of(request).trajectory(request.path_params["subject_id"], as_of(request))
