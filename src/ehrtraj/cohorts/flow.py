"""The flow of a cohort: how many stays and patients each step kept, as a CONSORT diagram shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from ehrtraj.notebook.card import Card, CardTable

Kind = Literal["start", "include", "exclude", "first"]
_SCHEMA: dict[str, Any] = {
    "step": pl.String,
    "kind": pl.String,
    "stays": pl.Int64,
    "subjects": pl.Int64,
    "excluded": pl.Int64,
}


@dataclass(frozen=True)
class Step:
    """One step of the flow.

    Attributes:
        name: what the step does, for people.
        kind: `start`, `include`, `exclude` or `first`.
        stays: number of stays that remain.
        subjects: number of patients that remain.
        excluded: number of stays that the step removed.
    """

    name: str
    kind: Kind
    stays: int
    subjects: int
    excluded: int = 0


def step_to(frame: pl.DataFrame, name: str, kind: Kind, before: int | None = None) -> Step:
    """Return the step that leads to a frame of stays.

    Args:
        frame: stays that remain.
        name: what the step does.
        kind: kind of the step.
        before: number of stays before the step; None for the first step.
    """
    excluded = 0 if before is None else before - frame.height
    return Step(name, kind, frame.height, frame["subject_id"].n_unique(), excluded)


class Flow(pl.DataFrame):
    """A polars frame with a row for each step, which is printed as text.

    The columns are `step`, `kind`, `stays` and `subjects` (that remain), and `excluded` (stays).
    """

    def __repr__(self) -> str:
        if self.columns != list(_SCHEMA):
            return super().__repr__()
        return "\n".join(_lines(self.rows()))

    __str__ = __repr__


def flow_of(steps: Sequence[Step]) -> Flow:
    """Return the flow with these steps."""
    rows = [(step.name, step.kind, step.stays, step.subjects, step.excluded) for step in steps]
    return Flow(rows, schema=_SCHEMA, orient="row")


def card_of(steps: Sequence[Step]) -> Card:
    """Return what a notebook shows of a cohort: how each step changed it, and what remains."""
    kinds = {"start": "all", "include": "include", "exclude": "exclude", "first": "keep"}
    rows = [(kinds[one.kind], one.name, one.excluded, one.stays, one.subjects) for one in steps]
    columns = ("", "step", "excluded", "stays", "patients")
    last = steps[-1]
    return Card(
        f"Cohort of {counted(last.stays, 'stay')} of {counted(last.subjects, 'patient')}",
        tables=(CardTable("stays that each step excluded, and that remained", columns, rows),),
    )


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, such as `1 stay` or `2 stays`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _lines(rows: Sequence[tuple[str, Kind, int, int, int]]) -> list[str]:
    """Return the steps as text: what each excluded, and what remained."""
    texts = [
        (_text(name, kind, excluded), f"{counted(stays, 'stay')} of {counted(subjects, 'patient')}")
        for name, kind, stays, subjects, excluded in rows
    ]
    width = max((len(text) for text, _ in texts), default=0)
    return [f"{text:<{width}}  {remaining}" for text, remaining in texts]


def _text(name: str, kind: Kind, excluded: int) -> str:
    if kind == "start":
        return name
    reason = {"exclude": name, "first": f"not the {name}"}.get(kind, f"not {name}")
    return f"  {excluded:,} excluded: {reason}"
