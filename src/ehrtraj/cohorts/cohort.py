"""A cohort: stays chosen step by step, with the flow of inclusions and exclusions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from ehrtraj.arguments import Texts, checked, listed
from ehrtraj.cohorts.features import KEYS, Fill, compute_features
from ehrtraj.cohorts.flow import Flow, Kind, Step, card_of, counted, flow_of, step_to
from ehrtraj.cohorts.labelled import join_labels
from ehrtraj.cohorts.nearest import did_you_mean
from ehrtraj.cohorts.patients import Patients
from ehrtraj.cohorts.splits import splits_of
from ehrtraj.cohorts.stays import kind_of, read_stays, title_of
from ehrtraj.cohorts.values import Clock
from ehrtraj.cohorts.windows import time_of
from ehrtraj.dataset.columns import all_true, conditions_in
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.errors import SettingsError
from ehrtraj.format.splits import DEFAULT_SPLITS

if TYPE_CHECKING:
    from tableone import TableOne


class Cohort:
    """Stays of a dataset that a study uses. Each step returns another cohort, and changes nothing.

    Attributes:
        frame: a row for each stay, with the columns of `Dataset.stays`, or those of the frame that was given.
    """

    def __init__(self, patients: Patients, frame: pl.DataFrame, steps: Sequence[Step]) -> None:
        """Create a cohort; `Dataset.cohort` does this.

        Args:
            patients: dataset that contains the patients.
            frame: the stays.
            steps: how they were chosen.
        """
        self.frame = frame
        self._patients = patients
        self._steps = tuple(steps)

    def __len__(self) -> int:
        return self.frame.height

    def __repr__(self) -> str:
        patients = self.frame["subject_id"].n_unique()
        return f"Cohort({counted(len(self), 'stay')} of {counted(patients, 'patient')})"

    def _repr_html_(self) -> str:
        return card_of(self._steps).html()

    @property
    def flow(self) -> Flow:
        """How the stays were chosen: a polars frame with a row for each step, printed as a CONSORT diagram.

        Its columns are `step`, `kind` (`start`, `include`, `exclude`, `first`), `stays` and `subjects` (that remain
        after the step), and `excluded` (stays).
        """
        return flow_of(self._steps)

    def _next(self, frame: pl.DataFrame, name: str, kind: Kind) -> Self:
        return type(self)(self._patients, frame, [*self._steps, step_to(frame, name, kind, len(self))])

    def include(self, name: str, *predicates: pl.Expr | Sequence[pl.Expr]) -> Self:
        """Keep the stays for which all predicates are true. A stay for which one is null is excluded.

        Args:
            name: name of the step in the flow, such as `adults`.
            predicates: polars expressions over the columns of `frame`, such as `pl.col("age") >= 18`.

        Raises:
            SettingsError: if a column does not exist, no predicate is given, or one is not true or false.
        """
        return self._next(self.frame.filter(self._all_true(name, predicates)), name, "include")

    def exclude(self, name: str, *predicates: pl.Expr | Sequence[pl.Expr]) -> Self:
        """Remove the stays for which all predicates are true. A stay for which one is null remains.

        Args:
            name: name of the step in the flow, such as `died within 24 hours`.
            predicates: polars expressions over the columns of `frame`.

        Raises:
            SettingsError: if a column does not exist, no predicate is given, or one is not true or false.
        """
        return self._next(self.frame.filter(~self._all_true(name, predicates)), name, "exclude")

    def _all_true(self, name: str, predicates: Sequence[pl.Expr | Iterable[pl.Expr]]) -> pl.Series:
        if not isinstance(name, str) or not predicates:
            raise SettingsError('a step needs a name and a condition, such as ("adults", pl.col("age") >= 18)')
        conditions = conditions_in(predicates)
        self._check_columns(*(column for condition in conditions for column in condition.meta.root_names()))
        return all_true("stays", self.frame, conditions).fill_null(value=False)

    @checked
    def first(self, by: Texts = "subject_id", name: str | None = None) -> Self:
        """Keep the first of the remaining stays of each patient, by start.

        Args:
            by: column, or columns, of which each value keeps one stay: `subject_id`, `hadm_id`.
            name: name of the step in the flow; `first of each subject_id` by default.

        Raises:
            SettingsError: if a column does not exist.
        """
        columns = listed("by", by)
        self._check_columns("start", *columns)
        rows = self.frame.with_row_index("_row").sort("start", "_row", nulls_last=True)
        chosen = rows.unique(columns, keep="first", maintain_order=True).sort("_row").drop("_row")
        return self._next(chosen, name or f"first of each {', '.join(columns)}", "first")

    def _check_columns(self, *columns: str) -> None:
        for column in columns:
            if column not in (known := self.frame.columns):
                near = did_you_mean(column, known)
                raise SettingsError(f"stays have no column '{column}': use one of {', '.join(known)}{near}")

    @checked
    def split(self, by: str | Path | Sequence[float] = DEFAULT_SPLITS, *, seed: int = 0) -> Self:
        """Assign the patients to splits anew. All stays of a patient are in one split.

        Args:
            by: shares of train, tuning and held_out (`(0.7, 0.1, 0.2)`); a CSV or Parquet file with the columns
                `subject_id` and `split`; or `temporal`: patients of the latest calendar period are held_out, those of
                the one before it tuning, and all others train.
            seed: seed of the random shares. A patient's split does not depend on the other patients.

        Raises:
            SettingsError: if the method is invalid, or does not assign a split to each patient.
            DatasetError: if a data file cannot be read.
        """
        found = splits_of(self._patients, self.frame["subject_id"], by, seed)
        others = self.frame.drop("split", strict=False)
        frame = others.join(found, on="subject_id", how="left", maintain_order="left")
        return type(self)(self._patients, frame, self._steps)

    @checked
    def with_labels(self, labels: pl.DataFrame) -> Self:
        """Add the labels of a task: the columns `prediction_time` and `boolean_value`, null for a stay without a label.

        Args:
            labels: `label(ds, task).with_stays`. They are joined on `subject_id` and the narrowest of `stay_id` and
                `hadm_id` that they contain.

        Raises:
            SettingsError: if a stay has several labels, or stays and labels have no common column.
        """
        return type(self)(self._patients, join_labels(self.frame, labels), self._steps)

    @checked
    def table_one(
        self,
        columns: Texts | None = None,
        *,
        groupby: str | None = None,
        **options: Any,  # noqa: ANN401
    ) -> TableOne:
        """Return the table of baseline characteristics, made by the package `tableone`.

        Args:
            columns: column or columns of `frame`; by default all except numbers and times of stays, and `split`.
            groupby: column by which the stays are divided, such as `hospital_died`.
            options: other arguments of `tableone.TableOne`, such as `pval=True` or `nonnormal=["los"]`.

        Raises:
            MissingExtraError: if `tableone` is not installed.
            SettingsError: if a column does not exist.
        """
        from ehrtraj.cohorts.table_one import table_one

        chosen = None if columns is None else listed("columns", columns)
        self._check_columns(*(chosen or ()), *filter(None, [groupby]))
        return table_one(self.frame, chosen, groupby, options)

    @checked
    def as_of(self, time: str = "start") -> Iterator[Trajectory]:
        """Iterate over the trajectory of each stay's patient, cut to what was known at the stay's own time.

        Args:
            time: a column (`start`, `prediction_time`), a duration after the start (`24h`), or both (`end-12h`).

        Yields:
            `dataset[subject_id].as_of(time)` for each row of `frame`, in order.

        Raises:
            SettingsError: if the column does not exist, the duration is invalid, or a row has no such time.
        """
        times = self.frame.select(time_of(time, self.frame).alias("time"))["time"]
        if missing := times.null_count():
            raise SettingsError(f"{missing:,} of {len(self):,} stays have no {time}: exclude them first")
        return self._cut(times)

    def _cut(self, times: pl.Series) -> Iterator[Trajectory]:
        read: Trajectory | None = None
        for subject_id, time in zip(self.frame["subject_id"], times, strict=True):
            if read is None or read.subject_id != subject_id:
                read = self._patients[subject_id]
            yield read.as_of(time)

    @checked
    def features(
        self,
        window: tuple[str, str],
        of: Texts,
        stats: Texts = ("min", "max", "mean", "last", "count"),
        *,
        clock: Clock = "available",
        freq: str | None = None,
        fill: Fill | None = None,
        keys: bool = True,
    ) -> pl.DataFrame:
        """Compute statistics of what was measured and given in a window of each stay.

        The files are read once, one at a time: the memory does not grow with the dataset, except for the result.

        Args:
            window: start and end, both included: a column of times (`start`, `end`), a duration after the start
                (`24h`, `-6h`), or both (`end-12h`).
            of: names of concepts (`heart_rate`, `creatinine`), of rates (`norepinephrine_rate`: while it ran), of
                complete codes (`LAB//50912`), and of columns of computed concepts (`sofa.sofa_24hours`).
            stats: `min`, `max`, `mean`, `median`, `std`, `sum`, `first`, `last` (by the time of measurement) and
                `count`. The mean of a rate is weighted by time, and its count is that of periods of constant rate.
            clock: `available` uses values that became known in the window, and of rates what was known at its end.
                `time` uses values that were measured in the window, whenever they became known.
            freq: divide each window into cells of this length (`1h`), and return a row for each. A value at the
                border of two cells belongs to the second.
            fill: `forward` carries the last statistic forward to the next cells of the same stay.
            keys: whether to include `subject_id`, `hadm_id` and `stay_id`. Without them and without `freq`, the result
                is what scikit-learn expects.

        Returns:
            A row for each stay, in the order of `frame`: `subject_id`, `hadm_id` and `stay_id`, with `freq` also
            `hours` (from the stay's start to that of the cell), and `<name>_<stat>` as 64-bit floats. A count without
            values is 0, any other statistic is null.

        Raises:
            SettingsError: if a name, a statistic, a time or a clock does not exist, a concept is not computed yet, or
                the codes of a concept have several units.
            DatasetError: if a file cannot be read.
        """
        return compute_features(self._patients, self.frame, window, of, stats, clock, freq, fill, keys=keys)


def make_cohort(patients: Patients, stays: Any) -> Cohort:  # noqa: ANN401  # see `Dataset.cohort`
    """Create a cohort from a kind of stays, or from a frame of stays; see `Dataset.cohort`.

    Raises:
        SettingsError: if there are no stays of this kind, or the frame has no or unknown patients.
    """
    if isinstance(stays, str):
        frame = read_stays(patients, stays)
        return Cohort(patients, frame, [step_to(frame, title_of(kind_of(stays)), "start")])
    frame = _polars(stays)
    _check_patients(frame, patients)
    return Cohort(patients, frame, [step_to(frame, "stays", "start")])


def _polars(stays: Any) -> pl.DataFrame:  # noqa: ANN401  # polars or pandas
    if isinstance(stays, pl.LazyFrame):
        stays = stays.collect()
    elif type(stays).__module__.partition(".")[0] == "pandas":
        stays = pl.from_pandas(stays)
    if not isinstance(stays, pl.DataFrame):
        raise SettingsError(
            f"a cohort cannot be made of {type(stays).__name__}: pass 'icu', 'admission' or 'ed', or a polars or "
            "pandas frame of stays"
        )
    return stays.with_columns(_standard(name, kind) for name, kind in stays.schema.items())


def _standard(name: str, kind: pl.DataType) -> pl.Expr:
    """Return a column in the type that it has in `Dataset.stays`: pandas has other times, and floats for integers."""
    if name in KEYS and kind.is_numeric():
        return pl.col(name).cast(pl.Int64)
    return pl.col(name).dt.cast_time_unit("us") if isinstance(kind, pl.Datetime) else pl.col(name)


def _check_patients(frame: pl.DataFrame, patients: Patients) -> None:
    if "subject_id" not in frame.columns or not frame.schema["subject_id"].is_integer():
        raise SettingsError("the frame of stays must have an integer column subject_id")
    unknown = frame.filter(~pl.col("subject_id").is_in(patients.subjects["subject_id"].implode()))["subject_id"]
    if not unknown.is_empty():
        raise SettingsError(
            f"{unknown.n_unique():,} patients of the frame are not among the {patients.subjects.height:,} of "
            f"{patients.layout.root}, such as {unknown[0]}"
        )
