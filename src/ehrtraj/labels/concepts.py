"""Events of concepts that predicates name (`CONCEPT//kdigo_aki//creatinine`), computed while a task is evaluated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.arguments import Texts, checked, listed
from ehrtraj.concepts.events import codes_of, concept_events
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.patients import library_of
from ehrtraj.concepts.session import ConceptMode, open_concept_session
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DataFile
from ehrtraj.errors import SettingsError
from ehrtraj.format.event_types import CONCEPT
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.task import CodePredicate, Task
from ehrtraj.suggestions import did_you_mean

PREFIX = f"{CONCEPT}//"
_SCHEMA: dict[str, pl.DataType] = {
    "subject_id": pl.Int64(),
    "time": pl.Datetime("us"),
    "code": pl.String(),
    "numeric_value": pl.Float32(),
    "text_value": pl.String(),
    "hadm_id": pl.Int64(),
    "stay_id": pl.Int64(),
}


@dataclass(frozen=True)
class Computable:
    """The concepts that can be computed from the events of a dataset.

    Attributes:
        library: all concepts.
        flags: bit of each flag of the dataset.
        clock: the dataset's clock.
    """

    library: ConceptLibrary
    flags: Mapping[str, int]
    clock: str

    def codes(self) -> list[str]:
        """Return the codes of all concepts."""
        return [code for concept in self.library.concepts.values() for code in codes_of(concept)]

    def events(
        self,
        files: Sequence[DataFile],
        patients: pl.DataFrame,
        codes: Collection[str],
        schema: Mapping[str, Any],
        *,
        threads: int | None = None,
        spill: Path | None = None,
    ) -> pl.DataFrame:
        """Compute the events of patients of some data files.

        The time of an event is that of its row by the dataset's clock. Not every row is known at its time: a stay that
        does not overlap another one is known as such at its end.

        Args:
            files: files that contain the patients.
            patients: their rows of subjects.parquet.
            codes: codes of the events.
            schema: columns and types of the result.
            threads: maximum number of DuckDB's threads; all usable cores by default.
            spill: private folder for data that does not fit in memory; by default one in the system's temporary folder.
        """
        mode, paths = ConceptMode(self.clock), [file.path for file in files]
        names = {code.split("//")[1] for code in codes}
        parts = [pl.DataFrame(schema=schema).lazy()]
        with open_concept_session(
            self.library, dict(self.flags), mode, files=paths, threads=threads, spill=spill
        ) as session:
            session.load(paths, patients, self.clock)
            for concept, rows in session.compute(names, inline=True):
                frame: Any = pl.from_arrow(rows)
                parts += concept_events(concept, frame.lazy(), schema, "event")
        return pl.concat(parts).filter(pl.col("code").is_in(list(codes))).sort("subject_id", "time", "code").collect()


def computable(dataset: Dataset) -> Computable | None:
    """Return the concepts that can be computed from the events of a dataset.

    There are none if it was built with a custom source whose folder no longer exists.
    """
    try:
        return Computable(library_of(dataset.layout.manifest), dataset.flags, dataset.layout.clock)
    except SettingsError:
        return None


def names_concepts(task: Task) -> bool:
    """Return whether a predicate of a task names values of concepts."""
    plain = (one for one in task.predicates.values() if isinstance(one, CodePredicate))
    return any(PREFIX in text for one in plain for text in (*one.codes, one.regex or ""))


def check_concepts(place: str, codes: Iterable[str], known: Collection[str]) -> None:
    """Check that codes of concepts exist.

    Args:
        place: the predicate, for messages.
        codes: codes of a predicate.
        known: codes of concepts, and of the dataset.

    Raises:
        TaskError: if there is no such concept, or it has no such column.
    """
    for code in codes:
        if code.startswith(PREFIX) and code not in known:
            near = did_you_mean(code, known) or ". `ehrtraj concepts --list` shows all concepts"
            raise TaskError(f"{place}: no value of a concept has the code {code}{near}")


@checked
def concept_values(dataset: Dataset, codes: Texts) -> pl.DataFrame:
    """Compute the events of concepts for all patients of a dataset, as tasks use them.

    To evaluate a task that names concepts with ACES itself, add these events to its file of events, or write a dataset
    that includes them with `ehrtraj concepts DATASET --events --output NEW`.

    Args:
        dataset: dataset from whose events they are computed.
        codes: code or codes such as `CONCEPT//kdigo_aki//creatinine`.

    Returns:
        Frame with `subject_id`, `time`, `code`, `numeric_value` (float32), `text_value`, `hadm_id` and `stay_id`,
        sorted by patient and time.

    Raises:
        TaskError: if there is no such code.
    """
    concepts = computable(dataset)
    wanted = listed("codes", codes)
    check_concepts("concept_values", wanted, concepts.codes() if concepts else ())
    if concepts is None:
        return pl.DataFrame(schema=_SCHEMA)
    parts = (concepts.events([file], patients, wanted, _SCHEMA) for file, patients in dataset.patients_by_file())
    return pl.concat([pl.DataFrame(schema=_SCHEMA), *parts])
