"""Plant defects into one table, and collect the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from ehrtraj.synth.defects.kinds import Change, DefectKind
from ehrtraj.synth.defects.rows import Columns, TableRows
from ehrtraj.synth.defects.texts import Cells, as_json, as_written, to_series, to_texts
from ehrtraj.synth.defects.world import World
from ehrtraj.synth.draw import Ints

ANSWERS: dict[str, type[pl.DataType]] = {
    "table": pl.String,
    "subject_id": pl.Int64,
    "key": pl.String,
    "defect": pl.String,
    "column": pl.String,
    "written": pl.String,
    "original": pl.String,
    "right": pl.String,
}
"""Columns of answers.parquet."""

KEYS: dict[str, tuple[str, ...]] = {
    "hosp/patients": ("subject_id",),
    "hosp/admissions": ("hadm_id",),
    "hosp/labevents": ("labevent_id",),
    "hosp/microbiologyevents": ("microevent_id",),
    "hosp/omr": ("subject_id", "chartdate", "seq_num", "result_name", "result_value"),
    "hosp/prescriptions": ("subject_id", "pharmacy_id", "drug_type", "drug", "formulary_drug_cd"),
    "hosp/pharmacy": ("pharmacy_id",),
    "hosp/emar": ("emar_id",),
    "hosp/emar_detail": ("emar_id", "parent_field_ordinal"),
    "hosp/diagnoses_icd": ("hadm_id", "seq_num"),
    "hosp/procedures_icd": ("hadm_id", "seq_num"),
    "hosp/drgcodes": ("hadm_id", "drg_type", "drg_code"),
    "icu/icustays": ("stay_id",),
    "icu/chartevents": ("stay_id", "charttime", "storetime", "itemid", "value"),
    "icu/datetimeevents": ("stay_id", "charttime", "storetime", "itemid", "value"),
    "icu/outputevents": ("stay_id", "charttime", "itemid", "value"),
    "icu/inputevents": ("orderid", "itemid"),
    "icu/ingredientevents": ("orderid", "itemid"),
    "icu/procedureevents": ("orderid", "itemid"),
    "ed/edstays": ("stay_id",),
    "ed/medrecon": ("stay_id", "charttime", "name", "etc_rn"),
    "ed/pyxis": ("stay_id", "charttime", "med_rn", "gsn_rn"),
    "ed/triage": ("stay_id",),
    "ed/vitalsign": ("stay_id", "charttime"),
    "ed/diagnosis": ("stay_id", "seq_num"),
    "note/discharge": ("note_id",),
    "note/radiology": ("note_id",),
    "note/discharge_detail": ("note_id", "field_name", "field_ordinal"),
    "note/radiology_detail": ("note_id", "field_name", "field_ordinal"),
}
"""Columns that together identify a row of each table."""


class TablePlanter:
    """Plants defects into one table. Each row gets at most one defect."""

    def __init__(self, table: str, frame: pl.DataFrame) -> None:
        self._table = table
        self._frame = frame
        self._columns = Columns(frame)
        self._affected = np.zeros(frame.height, dtype=bool)
        self._new_cells: dict[str, list[tuple[Ints, pl.Series]]] = {}
        self._copied_rows: list[Ints] = []
        self._copy_cells: dict[str, list[tuple[Ints, pl.Series]]] = {}
        self.answers: dict[str, list[str | int | None]] = {name: [] for name in ANSWERS}

    def plant(self, kind: DefectKind, rng: np.random.Generator, rate: float, world: World) -> None:
        """Plant one kind of defect in a share `rate` of its eligible rows."""
        candidates = self._draw_candidates(kind, rng, rate)
        rows = TableRows(self._columns, candidates[~self._affected[candidates]], rng, world)
        if len(rows):
            rows = rows.keep(kind.where(rows))
        if not len(rows):
            return
        change = kind.change(rows)
        self._affected[rows.at] = True
        self._add_answers(kind, rows, change)
        at, cells = rows.at, self._new_cells
        if kind.added:
            at, cells = np.arange(len(rows)) + sum(map(len, self._copied_rows)), self._copy_cells
            self._copied_rows.append(rows.at)
        for name, new in change.write.items():
            cells.setdefault(name, []).append((at, to_series(new, len(rows), self._columns.kinds[name])))

    def finish(self) -> pl.DataFrame:
        """Return the table with all its defects."""
        frame = _with_cells(self._frame, self._new_cells)
        if not self._copied_rows:
            return frame
        copied = np.concatenate(self._copied_rows)
        order = np.insert(np.arange(frame.height), copied + 1, copied)
        # polars uses a column of 32 bits without checks. It checks the numbers of an array, which doubles the time.
        frame = frame[pl.Series(order, dtype=pl.UInt32)]
        # Each copy follows its row, which all earlier copies have moved.
        place = copied + 1 + np.argsort(np.argsort(copied))
        cells = {name: [(place[at], new) for at, new in parts] for name, parts in self._copy_cells.items()}
        return _with_cells(frame, cells)

    def _add_answers(self, kind: DefectKind, rows: TableRows, change: Change) -> None:
        count, kinds = len(rows), self._columns.kinds
        column = next(iter(change.write), None)
        empty: list[str | None] = [None] * count
        subject = to_texts(change.write.get("subject_id", rows.ints("subject_id")), count, pl.Int64())
        key = {name: change.write.get(name, rows.cells(name)) for name in KEYS[self._table]}
        parts: dict[str, Sequence[str | int | None]] = {
            "table": [self._table] * count,
            "subject_id": [None if text is None else int(text) for text in subject],
            "key": as_json({name: _json_field(cells, kinds[name]) for name, cells in key.items()}, count),
            "defect": [kind.defect] * count,
            "column": [column] * count,
            "written": empty if column is None else to_texts(change.write[column], count, kinds[column]),
            "original": empty if column is None or kind.added else to_texts(rows.cells(column), count, kinds[column]),
            "right": as_json(change.right, count),
        }
        for name, part in parts.items():
            self.answers[name] += part

    def _draw_candidates(self, kind: DefectKind, rng: np.random.Generator, rate: float) -> Ints:
        """Draw the rows that get the defect if they are eligible."""
        height = self._frame.height
        if kind.one_per is None and kind.together is None:
            return _sample(rng, height, rate)
        if kind.together is not None:
            groups = self._columns.array(kind.together)
            distinct = np.unique(groups)
            return np.flatnonzero(np.isin(groups, distinct[_sample(rng, len(distinct), rate)]))
        runs = self._columns.array(str(kind.one_per))
        first = np.concatenate([[0], np.flatnonzero(runs[1:] != runs[:-1]) + 1])
        length = np.diff(np.append(first, height))
        chosen = _sample(rng, len(first), rate)
        return first[chosen] + (rng.random(len(chosen)) * length[chosen]).astype(np.int64)


def _with_cells(frame: pl.DataFrame, cells: dict[str, list[tuple[Ints, pl.Series]]]) -> pl.DataFrame:
    """Return a frame with new cells. A column becomes text if a new cell does not fit its type."""
    changed = []
    for name, parts in cells.items():
        column, new = frame[name], [values for _, values in parts]
        if any(values.dtype != column.dtype for values in new):
            column, new = as_written(column), [as_written(values) for values in new]
        changed.append(column.clone().scatter(np.concatenate([at for at, _ in parts]), pl.concat(new)))
    return frame.with_columns(changed)


def _json_field(cells: Cells, kind: pl.DataType) -> object:
    """Return cells of a key for JSON, with times written as in the files."""
    return to_texts(cells, 0, kind) if kind.is_temporal() and isinstance(cells, np.ndarray) else cells


def _sample(rng: np.random.Generator, count: int, rate: float) -> Ints:
    """Draw positions out of `count`, each with probability `rate`."""
    chosen: Ints = np.sort(rng.choice(count, rng.binomial(count, rate), replace=False, shuffle=False))
    return chosen


__all__ = ["ANSWERS", "KEYS", "TablePlanter"]
