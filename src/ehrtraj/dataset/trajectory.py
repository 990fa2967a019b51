"""One patient's events in order, and views derived from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from ehrtraj.arguments import Texts, checked, listed
from ehrtraj.dataset import intervals as _intervals
from ehrtraj.dataset.columns import all_true
from ehrtraj.dataset.condensed import GroupBy, TextForm, condense, text_budget
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.dataset.moments import Moment, moment
from ehrtraj.dataset.patterns import is_exact, matches
from ehrtraj.dataset.wide import Clock, to_wide
from ehrtraj.format.source import SourceFacts

if TYPE_CHECKING:
    from ehrtraj.timeline.choices import Choices
    from ehrtraj.timeline.plot import TimelinePlot

ConceptClock = Literal["event", "available"]


class Trajectory:
    """One patient: all events in order of time, or those that remain after a cut.

    Cuts (`between`, `as_of`, `codes`, `filter`) return another trajectory with fewer `events` and change nothing. Stays
    and death always refer to all events of the patient, except after `as_of`, which hides what was not known.

    Attributes:
        subject_id: the patient.
        events: a polars frame with a row for each event, static facts (null time) first; its columns are in
            docs/reference/dataset-files.md.
        split: `train`, `tuning` or `held_out`.
        known_until: time of the `as_of` cut; None if nothing is hidden.
        known: all events of the patient, cut only by `as_of`.
    """

    def __init__(
        self,
        subject: Mapping[str, Any],
        events: pl.DataFrame,
        layout: DatasetLayout,
        known_until: datetime | None = None,
        known: pl.DataFrame | None = None,
    ) -> None:
        """Create a trajectory; `Dataset` does this.

        Args:
            subject: the patient's row of metadata/subjects.parquet.
            events: events in order.
            layout: files of the dataset.
            known_until: hide what could not be known by this time.
            known: all known events of the patient, if `events` contains only some of them.
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

    def _repr_html_(self) -> str:
        from ehrtraj.dataset.cards import trajectory_card

        return trajectory_card(self, self._layout).html()

    @property
    def sex(self) -> str | None:
        """`F` or `M`; None if the release does not contain it."""
        return self._subject["sex"]  # type: ignore[no-any-return]

    @property
    def birth_year(self) -> int | None:
        """Year of birth, shifted like all of the patient's dates; for ages above 89, the latest possible year."""
        return self._subject["birth_year"]  # type: ignore[no-any-return]

    @property
    def death_time(self) -> datetime | None:
        """Time of death (23:59:59 if only the day is known); None if there is no death or it is not known yet."""
        death: datetime | None = self._subject["death_time"]
        hidden = death is not None and self.known_until is not None and death > self.known_until
        return None if hidden else death

    @checked
    def age(self, at: Moment) -> int | None:
        """Return the age in completed years as defined by MIMIC-IV: anchor_age + year - anchor_year (mimic-code#1231).

        MIMIC-IV gives 91 for every age above 89 at the anchor (flag `age_top_coded` on MEDS_BIRTH): such a patient can
        be a year younger than the result, or many years older.

        Args:
            at: time on the patient's shifted calendar: a datetime, a date, or a text such as `2180-07-23`.

        Returns:
            Years, negative before birth; None if the year of birth is unknown.

        Raises:
            SettingsError: if `at` is not a time, or has a time zone.
        """
        return None if self.birth_year is None else moment(at).year - self.birth_year

    @cached_property
    def admissions(self) -> pl.DataFrame:
        """A row for each hospital admission.

        `subject_id`, `hadm_id`, `stay_id` (null), `start`, `end`, `admission_type`, `discharge_location`,
        `source_table`, `end_before_start`. After `as_of`, an end that was not known yet is null. So is an end that the
        source places before the start: `end_before_start` is true then, and `intervals` returns the recorded time.
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

    @checked
    def between(self, start: Moment | None = None, end: Moment | None = None, *, static: bool = True) -> Trajectory:
        """Return the events from `start` (inclusive) to `end` (exclusive), by the column time.

        Args:
            start: start of the period (a datetime, a date, or a text such as `2180-07-23 14:00`); None for the first
                event.
            end: end of the period; None to keep everything to the last event.
            static: keep facts without a time (sex), which are true at any time.

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

    @checked
    def as_of(self, time: Moment) -> Trajectory:
        """Return only what was known at a time: events whose available_time is not after it, and static facts.

        It uses available_time whatever the dataset's clock. The properties of the result do not show a later death or
        discharge either.

        Raises:
            SettingsError: if `time` is not a time, or has a time zone.
        """
        until = moment(time)
        known = pl.col("available_time").is_null() | (pl.col("available_time") <= until)
        if self.known_until is not None:
            until = min(until, self.known_until)
        remaining = self.events.filter(known)
        return Trajectory(self._subject, remaining, self._layout, until, self.known.filter(known))

    @checked
    def codes(self, *patterns: Texts) -> Trajectory:
        """Return the events whose code matches any of the patterns.

        Args:
            patterns: codes (`LAB//50912`), or codes with `*` for any text (`LAB//*`, `DIAGNOSIS//*//A41*`), one by one
                or in lists. Patterns that begin with `CONCEPT//` also return concepts that are stored in the dataset
                (`CONCEPT//sofa//*`), as events: one for each value of a row.

        Raises:
            SettingsError: if a pattern matches no code of the dataset, or names a concept that is not stored. A code
                that this patient does not have is valid.
        """
        wanted = [pattern for one in patterns for pattern in listed("patterns", one)]
        included = self._layout.includes_concepts
        concepts = [pattern for pattern in wanted if pattern.startswith("CONCEPT//") and not included]
        self._layout.known_codes.check([pattern for pattern in wanted if pattern not in concepts])
        return (self._with_concepts(concepts) if concepts else self)._cut(matches(wanted))

    def _with_concepts(self, patterns: Sequence[str]) -> Trajectory:
        """Return the trajectory with the events of stored concepts, as far as they were known."""
        from ehrtraj.dataset.concepts import matching_events

        found = matching_events(self._layout, patterns, self._subject, self.events.schema, self.known_until)
        merged = pl.concat([self.events, found]).sort("time", maintain_order=True)
        return Trajectory(self._subject, merged, self._layout, self.known_until, self.known)

    @checked
    def concept(self, name: str, *, clock: ConceptClock = "event", as_mimic_code: bool = False) -> pl.DataFrame:
        """Return the rows of a concept for this patient, such as the hourly SOFA: `t.concept("sofa")`.

        A concept that is stored in the dataset is read; any other one is computed. After `as_of`, only rows that were
        known by then are returned. `between`, `codes` and `filter` have no effect on concepts.

        Args:
            name: name of the concept; `ehrtraj concepts --list` shows all.
            clock: `event` computes it from when things happened, `available` from when they became known.
            as_mimic_code: compute it as mimic-code does, where it differs.

        Raises:
            SettingsError: if there is no such concept, or mimic-code's way is requested after `as_of`.
        """
        from ehrtraj.concepts.session import ConceptMode
        from ehrtraj.dataset.concepts import concept_of_patient

        mode = ConceptMode(clock, as_mimic_code)
        return concept_of_patient(self._layout, name, mode, self._subject, self.known_until)

    @checked
    def filter(self, *predicates: pl.Expr | Sequence[pl.Expr]) -> Trajectory:
        """Return the events for which all polars expressions over the columns of `events` are true.

        Raises:
            SettingsError: if a column does not exist, or a predicate is not true or false.
        """
        return self._cut(all_true("events", self.events, predicates)) if predicates else self

    def _cut(self, keep: pl.Expr | pl.Series) -> Trajectory:
        return Trajectory(self._subject, self.events.filter(keep), self._layout, self.known_until, self.known)

    def with_notes(self) -> Trajectory:
        """Return the trajectory with the texts of notes that the build stored in separate files (--notes separate).

        If the dataset has its notes in the events, or no notes, the trajectory is returned unchanged.
        """
        path = self._layout.root / "notes" / self.split / f"{self._subject['shard']}.parquet"
        if not path.is_file():
            return self
        notes = pl.scan_parquet(path, glob=False).filter(subject_id=self.subject_id)
        texts = notes.select("source_table", "source_key", note="text").collect()
        events, known = (
            frame.join(texts, on=["source_table", "source_key"], how="left", maintain_order="left")
            .with_columns(text_value=pl.coalesce("text_value", "note"))
            .drop("note")
            for frame in (self.events, self.known)
        )
        return Trajectory(self._subject, events, self._layout, self.known_until, known)

    @checked
    def intervals(self, kind: str | None = None) -> pl.DataFrame:
        """Join the start and end events among `events`: admissions, stays, infusions, orders.

        Args:
            kind: `admission`, `icu_stay`, `ed_stay`, `care_unit`, `input`, `ingredient`, `icu_procedure`, `pharmacy` or
                `drug_order` (the rule table `intervals`); all by default.

        Returns:
            A row for each interval, by start; see `ehrtraj.dataset.intervals.intervals` for the columns. The end is
            null if it is not among the events.

        Raises:
            SettingsError: if the kind does not exist.
        """
        return _intervals.intervals(self.events, self._layout.intervals, kind)

    @checked
    def to_wide(
        self,
        freq: str = "1h",
        codes: Texts = "*",
        *,
        aggregate: str | Mapping[str, str] = "mean",
        clock: Clock = "time",
    ) -> pl.DataFrame:
        """Aggregate numbers on a regular grid: one row per time span, one column per code.

        Args:
            freq: length of a span: `30m`, `1h`, `1d`. Spans begin at multiples of it, such as the full hour.
            codes: codes or patterns of codes to include. A complete code is a column even if this patient
                does not have it.
            aggregate: how to combine several numbers of one code in one span: `mean`, `median`, `min`, `max`, `sum`,
                `first`, `last`, or `count` (of events, including those without a number); or one for each pattern
                (`{"OUTPUT//*": "sum", "*": "last"}`: the first match is used, the mean if there is none).
            clock: `time` places a number at the time of measurement, `available_time` at the time it became known.

        Returns:
            `time` (start of the span, from the first to the last number, without gaps), then a float64 column for each
            code in the unit of the code: complete codes of `codes` first, in their order, then the others by name. Null
            if nothing was measured: values are not carried forward.

        Raises:
            SettingsError: if a pattern matches no code of the dataset, an aggregation, a frequency or a clock is
                invalid, or the grid would be too long.
        """
        patterns = listed("codes", codes)
        self._layout.known_codes.check(patterns)
        if not isinstance(aggregate, str):
            self._layout.known_codes.check(list(aggregate))
        return to_wide(self.events, freq, patterns, aggregate, clock)

    @checked
    def text(
        self,
        *,
        days: bool = False,
        attributes: bool = False,
        codes: bool = True,
        group_by: GroupBy | None = None,
        types: Texts | None = None,
        budget: int | None = None,
        count: Callable[[str], int] | None = None,
    ) -> str:
        """Return the trajectory as plain text for people and language models: by admission, one line per event.

        Args:
            days: write times as days since the admission (`day 0 21:20`), without any dates, not even within texts.
                Outside admissions, days count from the last admission before; without admissions, from the first event.
            attributes: add the attributes of each event (reference range, route, status).
            codes: add the code of each event.
            group_by: write one line per `minute`, `hour` or `day`, which lists its events by type. Equal events of a
                line are written once, with their number. The time within an hour or a day is not written.
            types: only events of this type or these types (`LAB`), the first part of a code.
            budget: maximum number of tokens. If the complete text is longer, it contains the most important events, and
                ends with the number of omitted ones by type. The order of importance is that of `types`; by default
                that of the source (`text_order.csv`), then the event types that are rarer in the dataset. Of one type,
                the latest events are included.
            count: returns the number of tokens of a text. By default it is estimated, usually 20 to 40 % too high for
                GPT-3; see `ehrtraj.dataset.tokens.estimate_tokens`.

        Raises:
            SettingsError: if an event type does not occur in the dataset, `group_by` is invalid, or the budget is too
                small for the headings.
        """
        form = TextForm(days, attributes, codes, group_by)
        wanted = None if types is None else listed("types", types)
        if wanted is not None:
            self._layout.known_codes.check_event_types(wanted)
        chosen = self if wanted is None else self._cut(_event_type().is_in(wanted))
        limit = None if budget is None else text_budget(budget, count, _rank_by(wanted) or self._layout.importance.rank)
        return condense(chosen, form, limit)

    @checked
    def plot(
        self,
        start: Moment | None = None,
        end: Moment | None = None,
        codes: Texts | None = None,
        *,
        height: int = 640,
    ) -> TimelinePlot:
        """Draw the timeline: stays, drugs, procedures, vital signs, labs, cultures, diagnoses, notes and concepts.

        A notebook displays the result. Its method `save("patient.html")` writes it to a file. Both contain the data and
        request nothing from a network. After `as_of`, only what was known is drawn.

        Args:
            start: start of the period that is visible at first; by default that of the most eventful stay.
            end: end of this period.
            codes: codes or patterns of codes that are tracks, instead of those that the source declares. Values of
                stored concepts can be tracks too: `CONCEPT//sofa//sofa_24hours`.
            height: height of the cell in a notebook, in pixels.

        Raises:
            SettingsError: if a time, a pattern or the height is not valid.
        """
        from ehrtraj.timeline.plot import plot

        first, last = (None if time is None else moment(time) for time in (start, end))
        return plot(self.with_notes(), first, last, None if codes is None else self._tracks(codes), height)

    def _tracks(self, patterns: Texts) -> list[str]:
        """Return the codes with numbers that match patterns: complete codes in their order, then those of patterns."""
        given = listed("codes", patterns)
        found = self.codes(*given).events.filter(pl.col("numeric_value").is_not_null())["code"]
        exact = [pattern for pattern in given if is_exact(pattern)]
        return list(dict.fromkeys([*exact, *found.unique().sort()]))

    @property
    def descriptions(self) -> dict[str, str]:
        """Descriptions of all codes of the dataset that have one."""
        return self._layout.descriptions

    @property
    def source(self) -> SourceFacts:
        """Facts about the source that are stored in the dataset, such as the meanings of event types."""
        return self._layout.source

    @property
    def choices(self) -> Choices:
        """How the events of the source are shown in the picture of a patient."""
        return self._layout.choices

    @property
    def concept_values(self) -> dict[str, str]:
        """Meaning of each value of the concepts that are stored in the dataset, by code."""
        from ehrtraj.dataset.concepts import meanings_of_values

        return meanings_of_values(self._layout)

    @property
    def flags(self) -> dict[str, int]:
        """Bit of each flag in the column `flags`, a power of two."""
        return self._layout.flags


def _event_type() -> pl.Expr:
    return pl.col("code").str.splitn("//", 2).struct.field("field_0")


def _rank_by(types: Sequence[str] | None) -> Callable[[str], int] | None:
    """Return a function that ranks codes in the order of their event types; None without event types."""
    if types is None:
        return None
    ranks = {name: rank for rank, name in reversed(list(enumerate(types)))}
    return lambda code: ranks[code.partition("//")[0]]
