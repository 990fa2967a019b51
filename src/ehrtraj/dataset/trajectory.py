"""One patient's events in order, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import polars as pl

from ehrtraj.dataset import intervals as _intervals
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.dataset.moments import Moment, moment
from ehrtraj.dataset.narrative import as_text
from ehrtraj.dataset.patterns import matches
from ehrtraj.dataset.wide import Clock, to_wide
from ehrtraj.format.source import SourceFacts


class Trajectory:
    """One patient: the events in order of time, or those that a cut has left of them.

    Cuts (`between`, `as_of`, `codes`, `filter`) return another trajectory and change nothing. They narrow `events`.
    Stays and death are the whole patient's all the same, but for `as_of`, which hides what was not known.

    Attributes:
        subject_id: the patient.
        events: a polars frame with a row for each event, static facts (null time) first; its columns are in
            docs/reference/dataset-files.md.
        split: `train`, `tuning` or `held_out`.
        known_until: the time that `as_of` has cut at; None where nothing is hidden.
        known: all events of the patient, cut by `as_of` alone.
    """

    def __init__(
        self,
        subject: Mapping[str, Any],
        events: pl.DataFrame,
        layout: DatasetLayout,
        known_until: datetime | None = None,
        known: pl.DataFrame | None = None,
    ) -> None:
        """Put a trajectory together; `Dataset` does this.

        Args:
            subject: the patient's row of metadata/subjects.parquet.
            events: in their order.
            layout: of the dataset they come from.
            known_until: hides what could not be known by then.
            known: all events of the patient that are known, where `events` are only some of them.
        """
        self._subject = subject
        self._layout = layout
        self.subject_id = int(subject["subject_id"])
        self.split = str(subject["split"])
        self.events = events
        self.known_until = known_until
        self.known = events if known is None else known

    def __len__(self) -> int:
        return self.events.height

    def __repr__(self) -> str:
        until = "" if self.known_until is None else f", as of {self.known_until}"
        return f"Trajectory({self.subject_id}, {self.events.height:,} events{until})"

    @property
    def sex(self) -> str | None:
        """`F` or `M`; None where the release does not say."""
        return self._subject["sex"]  # type: ignore[no-any-return]

    @property
    def birth_year(self) -> int | None:
        """Year of birth, shifted as all of the patient's dates are; the latest possible one for ages above 89."""
        return self._subject["birth_year"]  # type: ignore[no-any-return]

    @property
    def death_time(self) -> datetime | None:
        """When the patient died (23:59:59 where only the day is known); None if not, or not known yet."""
        death: datetime | None = self._subject["death_time"]
        hidden = death is not None and self.known_until is not None and death > self.known_until
        return None if hidden else death

    def age(self, at: Moment) -> int | None:
        """Age in whole years, as MIMIC-IV reckons it: anchor_age + year - anchor_year (mimic-code#1231).

        MIMIC-IV gives 91 for every age above 89 at the anchor: such patients are at least as old as this says
        (flag `age_top_coded` on MEDS_BIRTH).

        Args:
            at: any time on the patient's own shifted calendar: a datetime, a date, or a text such as `2180-07-23`.

        Returns:
            Years, negative before birth; None where the year of birth is not known.

        Raises:
            SettingsError: if `at` is not a time, or has a time zone.
        """
        return None if self.birth_year is None else moment(at).year - self.birth_year

    @cached_property
    def admissions(self) -> pl.DataFrame:
        """A row for each hospital admission.

        `subject_id`, `hadm_id`, `stay_id` (null), `start`, `end`, `admission_type`, `discharge_location`,
        `source_table`. After `as_of`, an end that was not known yet is null.
        """
        return _intervals.stays(self.known, self._layout.intervals, "admission")

    @cached_property
    def icu_stays(self) -> pl.DataFrame:
        """A row for each ICU stay; columns as `admissions`, with `first_careunit` and `last_careunit`."""
        return _intervals.stays(self.known, self._layout.intervals, "icu_stay")

    @cached_property
    def ed_stays(self) -> pl.DataFrame:
        """A row for each stay in the emergency department; columns as `admissions`."""
        return _intervals.stays(self.known, self._layout.intervals, "ed_stay")

    def between(self, start: Moment | None = None, end: Moment | None = None, *, static: bool = True) -> Trajectory:
        """Return what happened from `start` on and before `end`, by the column time.

        Args:
            start: the first moment within (a datetime, a date, or a text such as `2180-07-23 14:00`); None for the
                beginning.
            end: the first moment that is not; None to keep everything to the last event.
            static: keep facts without a time (sex), which hold at any time.

        Raises:
            SettingsError: if a bound is not a time, or has a time zone.
        """
        time = pl.col("time")
        within = pl.lit(value=True)
        if start is not None:
            within &= time >= moment(start)
        if end is not None:
            within &= time < moment(end)
        return self._cut(pl.when(time.is_null()).then(pl.lit(static)).otherwise(within))

    def as_of(self, time: Moment) -> Trajectory:
        """Return only what could be known at a time: events whose available_time is not after it, and static facts.

        It goes by available_time whatever the dataset's clock. A death or a discharge that lies after it is not told
        by any property of the result either.

        Raises:
            SettingsError: if it is not a time, or has a time zone.
        """
        until = moment(time)
        known = pl.col("available_time").is_null() | (pl.col("available_time") <= until)
        if self.known_until is not None:
            until = min(until, self.known_until)
        left = self.events.filter(known)
        return Trajectory(self._subject, left, self._layout, until, self.known.filter(known))

    def codes(self, *patterns: str) -> Trajectory:
        """Return the events whose code matches any of the patterns.

        Args:
            patterns: a code (`LAB//50912`), or with `*` for any text (`LAB//*`, `DIAGNOSIS//*//A41*`).
        """
        return self.filter(matches(patterns))

    def filter(self, *predicates: pl.Expr) -> Trajectory:
        """Return the events for which all polars expressions over the columns of `events` are true."""
        return self._cut(pl.all_horizontal(*predicates) if predicates else pl.lit(value=True))

    def _cut(self, keep: pl.Expr) -> Trajectory:
        return Trajectory(self._subject, self.events.filter(keep), self._layout, self.known_until, self.known)

    def with_notes(self) -> Trajectory:
        """Return the same with the texts of notes, where the build has laid them beside the events (--notes separate).

        A dataset that has its notes in the events, or none, is returned as it is.
        """
        path = self._layout.root / "notes" / self.split / f"{self._subject['shard']}.parquet"
        if not path.is_file():
            return self
        mine = pl.scan_parquet(path, glob=False).filter(subject_id=self.subject_id)
        texts = mine.select("source_table", "source_key", note="text").collect()
        whole, known = (
            events.join(texts, on=["source_table", "source_key"], how="left", maintain_order="left")
            .with_columns(text_value=pl.coalesce("text_value", "note"))
            .drop("note")
            for events in (self.events, self.known)
        )
        return Trajectory(self._subject, whole, self._layout, self.known_until, known)

    def intervals(self, kind: str | None = None) -> pl.DataFrame:
        """Join the start and end events among `events`: admissions, stays, infusions, orders.

        Args:
            kind: `admission`, `icu_stay`, `ed_stay`, `care_unit`, `input`, `ingredient`, `icu_procedure`, `pharmacy` or
                `drug_order` (the rule table `intervals`); all by default.

        Returns:
            A row for each interval, by start; see `ehrtraj.dataset.intervals.intervals` for the columns. An end that is
            not among the events is null.

        Raises:
            SettingsError: if there is no such kind.
        """
        return _intervals.intervals(self.events, self._layout.intervals, kind)

    def to_wide(
        self,
        freq: str = "1h",
        codes: str | Sequence[str] = "*",
        *,
        aggregate: str | Mapping[str, str] = "mean",
        clock: Clock = "time",
    ) -> pl.DataFrame:
        """Bring numbers onto a regular grid: a row for each span of time, a column for each code.

        Args:
            freq: length of a span: `30m`, `1h`, `1d`. Spans begin at whole multiples of it, as at the full hour.
            codes: which codes, or patterns of codes. One that is named in full is a column even if it does
                not occur.
            aggregate: what becomes of several numbers of one code in one span: `mean`, `median`, `min`, `max`, `sum`,
                `first`, `last`, or `count` (of events, also those without a number); or one for each pattern
                (`{"OUTPUT//*": "sum", "*": "last"}`: the first that matches counts, the mean where none does).
            clock: `time` puts a number where it was measured, `available_time` where it was known.

        Returns:
            `time` (start of the span, from the first to the last number, without gaps), then a float64 column for each
            code in the unit of the code: those named in full first, in their order, the others by name. Null where
            nothing was measured: nothing is carried forward.

        Raises:
            SettingsError: if an aggregation, a frequency or a clock is not known, or the grid would be too long.
        """
        return to_wide(self.events, freq, codes, aggregate, clock)

    def text(self, *, days: bool = False, attributes: bool = False) -> str:
        """Tell the trajectory in plain text, for people and language models: by admission, a line for each event.

        Args:
            days: write times as days from the admission (`day 0 21:20`) and no dates, not even within texts. Outside of
                admissions, days count from the last one before; without any admission, from the first event.
            attributes: add what qualifies each event (reference range, route, status).
        """
        return as_text(self, days=days, attributes=attributes)

    @property
    def descriptions(self) -> dict[str, str]:
        """What codes mean, in words; of all codes of the dataset that have a description."""
        return self._layout.descriptions

    @property
    def source(self) -> SourceFacts:
        """What the dataset keeps of its source, such as the meanings of event types."""
        return self._layout.source

    @property
    def flags(self) -> dict[str, int]:
        """The bit of each flag in the column `flags`, a power of two."""
        return self._layout.flags
