"""Draw the care of each ICU stay: its states and windows, courses of care, and the events within them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, MINUTE, NONE, Bools, Floats, Ints, minutes, repeat
from ehrtraj.synth.failures.summary import later_infections

_STATES = (
    "any", "surgical", "first_stay", "arterial_line", "ventilated", "long_ventilated", "intubated_here", "extubated",
    "pressors", "dialysis", "crrt", "hemodialysis", "catheter",
    "infection",
)  # fmt: skip
"""States that may determine the care in a stay, in addition to catalog.causes()."""
_WINDOWS = (
    "stay", "end", "intubation", "ventilated", "extubation", "after_ventilated", "pressors", "dialysis", "catheter",
    "after_catheter", "infection",
)  # fmt: skip
"""Parts of a stay that care may be limited to."""
DRIPS, DOSES, OUTPUTS, PROCEDURES = "input_drips.csv", "input_doses.csv", "outputs.csv", "icu_procedures.csv"
_SHIFT = 12 * HOUR
LONG_VENTILATED = 36 * HOUR
"""Duration of ventilation from which tube feeding is started: within 24 to 48 hours in guidelines (ASPEN/SCCM 2016)."""
LAST_HOURS = 6 * HOUR
ALMOST_ONE = 1 - 1e-12


@dataclass(frozen=True)
class Care:
    """The facts that determine the care in each ICU stay."""

    block: PatientBlock
    states: Floats
    """[stays, states]: 1 where a cause or state is present, with columns in the order of _state_names()."""
    begin: Ints
    """[stays, windows]: start in whole minutes."""
    end: Ints
    """[stays, windows]: end in whole minutes; before `begin` if a stay has no such window."""
    caregivers: Ints
    """Caregivers by shift, grouped by stay."""
    first_shift: Ints

    def caregiver(self, stay: Ints, time: Ints) -> Ints:
        """Return the caregiver who charted at each time."""
        shift = (time - self.block.icu.arrival[stay]) // _SHIFT
        caregiver: Ints = self.caregivers[self.first_shift[stay] + shift]
        return caregiver


@dataclass(frozen=True)
class CarePlan:
    """A file of the catalog as arrays with one element per kind of care, unless a shape is given."""

    table: pl.DataFrame
    number: dict[str, Floats]
    """The numeric columns, with NaN for empty cells."""
    log_untreated: Floats
    """[states, kinds]: logarithm of the probability of not getting the care in that state."""
    only: Floats
    """[states, kinds]: 1 where a kind of care requires the state."""
    never: Floats
    """[states, kinds]: 1 where the state excludes a kind of care."""
    window: Ints


@dataclass(frozen=True)
class Courses:
    """Courses of care, ordered by stay. Each is one kind of care from `start` to `end`."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints


@cache
def _state_names() -> dict[str, int]:
    return {name: number for number, name in enumerate((*catalog.causes(), *_STATES))}


@cache
def _staff() -> Ints:
    return catalog.staff()[1].to_numpy().astype(np.int64)


@cache
def read_plan(name: str) -> CarePlan:
    """Return a file of the catalog as arrays."""
    table = catalog.read(name)
    numeric = [column for column, kind in table.schema.items() if kind.is_numeric() or table[column].is_null().all()]
    return CarePlan(
        table=table,
        number={column: floats(table, column) for column in numeric},
        log_untreated=_log_untreated(name),
        only=weights_of(name, "only", 0.0),
        never=weights_of(name, "never", 0.0),
        window=np.array([_WINDOWS.index(window) for window in table["during"]], dtype=np.int64),
    )


def floats(table: pl.DataFrame, column: str) -> Floats:
    """Return a column as floats, with NaN for nulls."""
    return table[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


@cache
def weights_of(name: str, column: str, otherwise: float) -> Floats:
    """Parse cells such as `gi_bleed:0.5 any:0.1` into a matrix [states, lines]. A name without a number counts as 1."""
    cells = catalog.read(name)[column].cast(pl.String).fill_null("")
    matrix = np.full((len(_state_names()), len(cells)), otherwise)
    for line, cell in enumerate(cells):
        for entry in cell.split():
            state, _, weight = entry.partition(":")
            matrix[_state_names()[state], line] = float(weight or 1)
    return matrix


@cache
def _log_untreated(name: str) -> Floats:
    rest: Floats = np.log1p(-np.minimum(weights_of(name, "given_to", 0.0), ALMOST_ONE))
    return rest


@cache
def equals(name: str, column: str, value: str) -> Bools:
    """Return in which lines of a file a column equals `value`."""
    return (catalog.read(name)[column].fill_null("") == value).to_numpy()


def draw_care(block: PatientBlock) -> Care:
    """Draw the facts that determine the care of the block's ICU stays."""
    icu, rng = block.icu, block.streams.rng("fluids care")
    begin, end = _windows(block)
    states = np.zeros((len(icu.person), len(_state_names())))
    places = _state_names()
    states[:, : len(catalog.causes())] = _causes(block)
    ventilated = icu.ventilated_from != NONE
    states_by_name = {
        "any": np.ones(len(icu.person), dtype=bool),
        "surgical": block.admissions.surgical[icu.admission],
        "first_stay": run_starts(icu.admission),
        "arterial_line": icu.arterial_line,
        "ventilated": ventilated,
        "long_ventilated": ventilated & (_length(begin, end, "ventilated") > LONG_VENTILATED),
        "intubated_here": ventilated & (icu.ventilated_from > icu.arrival + HOUR),
        "extubated": ventilated & (icu.ventilated_until < icu.departure - HOUR) & ~_dying(block),
        "pressors": icu.pressors,
        "dialysis": icu.dialysis,
        "infection": later_infections(block) != NONE,
        # Patients with unstable circulation get continuous dialysis.
        "crrt": icu.dialysis & icu.pressors,
        "hemodialysis": icu.dialysis & ~icu.pressors,
    }
    for name, has_state in states_by_name.items():
        states[:, places[name]] = has_state
    _add_windows(rng, states, begin, end)
    shifts = (icu.departure - icu.arrival) // _SHIFT + 1
    staff = _staff()
    caregivers = staff[rng.integers(0, len(staff), int(shifts.sum()))]
    return Care(block, states, begin, end, caregivers, np.cumsum(shifts) - shifts)


def _dying(block: PatientBlock) -> Bools:
    dying: Bools = block.episodes.dying[block.icu.admission]
    return dying


def _causes(block: PatientBlock) -> Bools:
    """Return [stays, causes]: which of catalog.causes() are present in each stay."""
    icu, people = block.icu, block.people
    illness = block.episodes.illness[icu.admission][:, None] == np.arange(len(catalog.illnesses()))
    female = people.female[icu.person]
    elderly = block.age(icu.person, icu.arrival) >= 75
    traits = np.stack([female, ~female, elderly, _dying(block)], axis=1)
    return np.concatenate([people.conditions[icu.person], traits, illness], axis=1)


def _windows(block: PatientBlock) -> tuple[Ints, Ints]:
    """Return start and end of the windows that the block determines; the others are empty."""
    icu = block.icu
    first, last = minutes(icu.arrival + MINUTE - 1), minutes(icu.departure)
    ventilated = icu.ventilated_from != NONE
    on = np.where(ventilated, np.maximum(minutes(icu.ventilated_from), first), last + 1)
    off = np.where(ventilated, minutes(icu.ventilated_until), last)
    begin = np.repeat(last[:, None] + 1, len(_WINDOWS), axis=1)
    end = np.repeat(last[:, None], len(_WINDOWS), axis=1)
    edges = {
        "stay": (first, last),
        "end": (np.maximum(first, last - LAST_HOURS), last),
        "intubation": (on, on),
        "ventilated": (on, off),
        "extubation": (off, off),
        "after_ventilated": (np.where(ventilated, off, first), last),
    }
    for name, opens, closes in (
        ("pressors", icu.pressors_from, icu.pressors_until),
        ("dialysis", icu.dialysis_from, icu.dialysis_until),
        ("infection", later_infections(block), icu.departure),
    ):
        given = opens != NONE
        edges[name] = (
            np.where(given, np.maximum(minutes(opens), first), last + 1),
            np.where(given, minutes(closes), last),
        )
    for name, (opens, closes) in edges.items():
        begin[:, _WINDOWS.index(name)], end[:, _WINDOWS.index(name)] = opens, closes
    return begin, end


def _length(begin: Ints, end: Ints, window: str) -> Ints:
    place = _WINDOWS.index(window)
    length: Ints = end[:, place] - begin[:, place]
    return length


def _add_windows(rng: np.random.Generator, states: Floats, begin: Ints, end: Ints) -> None:
    """Draw the windows of input_windows.csv, which are shares of the stay, and record which stays have a catheter."""
    table = catalog.read("input_windows.csv")
    has = rng.random((len(states), table.height)) < -np.expm1(states @ _log_untreated("input_windows.csv"))
    first, length = begin[:, 0], _length(begin, end, "stay")
    for line, window in enumerate(table["window"]):
        low, high, early, late = table.row(line)[2:6]
        opens = first + (rng.uniform(low, high, len(states)) * length).astype(np.int64)
        closes = first + (np.minimum(rng.uniform(early, late, len(states)), 1.0) * length).astype(np.int64)
        place, here = _WINDOWS.index(window), has[:, line]
        begin[here, place], end[here, place] = minutes(opens)[here], minutes(closes)[here]
        if window == "catheter":
            states[:, _state_names()["catheter"]] = here
            begin[:, place + 1] = np.where(here, end[:, place], first)


def draw_courses(rng: np.random.Generator, care: Care, plan: CarePlan) -> Courses:
    """Draw the courses of care of each stay, with their start and end."""
    shape = (len(care.states), plan.table.height)
    allowed = (care.states @ plan.only == plan.only.sum(axis=0)) & (care.states @ plan.never == 0)
    assigned = allowed & (rng.random(shape) < -np.expm1(care.states @ plan.log_untreated))
    stay, kind = np.nonzero(assigned & (care.begin[:, plan.window] <= care.end[:, plan.window]))
    opens, closes = care.begin[stay, plan.window[kind]], care.end[stay, plan.window[kind]]
    wait = rng.exponential(HOUR, len(stay)) * plan.number["starts_hours"][kind]
    lasts = plan.number["lasts_hours"][kind] * HOUR * rng.lognormal(-0.1, 0.5, len(stay))
    start = minutes(opens + wait.astype(np.int64))
    end = np.where(np.isnan(lasts), closes, start + np.nan_to_num(lasts).astype(np.int64))
    end = np.minimum(minutes(end), closes)
    keep = start <= closes
    return Courses(stay[keep], kind[keep], start[keep], end[keep])


def draw_events(rng: np.random.Generator, plan: CarePlan, courses: Courses) -> tuple[Ints, Ints]:
    """Draw events that occur once, at random or regularly in each course; return the course and time of each event."""
    every, at_random = plan.number["every_hours"][courses.kind] * HOUR, plan.number["at_random"][courses.kind] == 1
    length = (courses.end - courses.start).astype(np.float64)
    expected = np.where(np.isnan(every), 0.0, length / every)
    scattered = np.maximum(rng.poisson(expected), 1)
    course, ordinal = repeat(np.where(at_random, scattered, expected.astype(np.int64) + 1))
    place = rng.random(len(course))
    late = 0.12 * (place - 0.5) * (ordinal > 0)
    regular = (ordinal + late) * np.nan_to_num(every)[course]
    offset = np.where(at_random[course] & (expected[course] > 0), place * length[course], regular)
    time = minutes(courses.start[course] + offset.astype(np.int64))
    return course, np.minimum(time, courses.end[course])


def run_starts(*columns: Ints) -> Bools:
    """Return at which rows a run of equal rows starts."""
    begins = np.zeros(len(columns[0]), dtype=bool)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins
