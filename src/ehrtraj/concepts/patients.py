"""Concepts of one patient at a time, in a session that stays open between patients."""

from __future__ import annotations

import atexit
import os
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from datetime import datetime
from threading import RLock
from typing import Any

import polars as pl

from ehrtraj.concepts.library import ConceptLibrary, concept_library
from ehrtraj.concepts.session import ConceptMode, ConceptSession, open_concept_session
from ehrtraj.sources.source import source_of

_lock = RLock()
_open: dict[tuple[Any, ...], ConceptSession] = {}
_cleanup = ExitStack()
atexit.register(_cleanup.close)


def library_of(manifest: Mapping[str, Any]) -> ConceptLibrary:
    """Return the concepts of the source that a dataset was built with.

    Args:
        manifest: content of the dataset's manifest.

    Raises:
        SettingsError: if it is a custom source whose folder no longer exists.
    """
    source = source_of(manifest)
    with _lock:
        if not source.is_packaged:
            return concept_library(source)
        if source.name not in _libraries:
            _libraries[source.name] = concept_library(source)
        return _libraries[source.name]


_libraries: dict[str, ConceptLibrary] = {}


def compute_for_patients(
    library: ConceptLibrary,
    names: Collection[str],
    events: pl.DataFrame,
    subjects: pl.DataFrame,
    *,
    flags: dict[str, int],
    clock: str,
    mode: ConceptMode,
    known_until: datetime | None = None,
) -> dict[str, pl.DataFrame]:
    """Compute concepts of a few patients from their events in memory.

    Args:
        library: all concepts.
        names: names of the concepts.
        events: all events of the patients, with all columns.
        subjects: their rows of subjects.parquet.
        flags: bit of each flag of the dataset.
        clock: the dataset's clock.
        mode: how the concepts are computed.
        known_until: time at which the events were cut; rows that are complete only later are left out.

    Returns:
        The rows of each concept, by name.

    Raises:
        SettingsError: if there is no such concept.
    """
    wanted = [concept.name for concept in library.find(names)]
    with _lock:
        session = _session(library, flags, mode)
        session.load(events, subjects, clock)
        found: dict[str, pl.DataFrame] = {}
        for concept, rows in session.compute(wanted, known_until):
            frame: Any = pl.from_arrow(rows)
            found[concept.name] = frame
        session.clear()
        return found


def _session(library: ConceptLibrary, flags: dict[str, int], mode: ConceptMode) -> ConceptSession:
    # A session does not survive a fork.
    key = os.getpid(), library.digest, tuple(flags.items()), mode
    if key not in _open:
        _open[key] = _cleanup.enter_context(open_concept_session(library, flags, mode, threads=1))
    return _open[key]
