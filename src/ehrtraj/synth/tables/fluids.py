"""Draws what goes into and out of patients in intensive care, and what is done to them there.

inputevents, ingredientevents, outputevents and procedureevents have one pattern: a line of the catalog is a kind of
care, with who needs it and during what part of a stay. A stay that needs it gets a course of it, and a course becomes
rows: a drip's changes of rate and bags, doses, measured volumes, or one process from beginning to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import Block
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, minutes, pick, repeat, times

_STATES = (
    "any", "surgical", "first_stay", "arterial_line", "ventilated", "long_ventilated", "intubated_here", "extubated",
    "pressors", "dialysis", "crrt", "hemodialysis", "catheter",
)  # fmt: skip
"""What may decide on care in a stay, besides catalog.causes()."""
_WINDOWS = (
    "stay", "end", "intubation", "ventilated", "extubation", "after_ventilated", "pressors", "dialysis", "catheter",
    "after_catheter",
)  # fmt: skip
"""Parts of a stay that care may be limited to."""
_DRIPS, _DOSES, _OUTPUTS, _PROCEDURES = "input_drips.csv", "input_doses.csv", "outputs.csv", "icu_procedures.csv"
_SHIFT = 12 * HOUR
LONG_VENTILATED = 36 * HOUR
"""Ventilated for so long that feeding by tube is begun: within 24 to 48 hours in guidelines (ASPEN/SCCM 2016)."""
LAST_HOURS = 6 * HOUR
MOST_CHANGES = 400
ALMOST_ONE = 1 - 1e-12
# MIMIC-IV demo 2.2, inputevents: of 2,859 rows of a drip that went on later 213 were paused; 6 were a bolus.
PAUSED = 0.07
PAUSE = 90 * MINUTE
PUMP_BOLUS = 4 * MINUTE
PUMPED = 0.08
# MIMIC-IV demo 2.2, outputevents: 92% of the urine of a catheter is charted on the hour, 96% in steps of 5 ml.
OFF_THE_HOUR = 0.08
EXACT_VOLUME = 0.04
# Between 100 and 300 ml mostly in steps of 25 ml, else of 10.
FINER_VOLUME = 0.35


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return the rows of inputevents, ingredientevents, outputevents and procedureevents of a block."""
    care = _care(block)
    orders = _inputs(care)
    processes = _processes(care)
    count = len(orders.stay) + len(processes.stay)
    # Shuffled, since neighbours of a space lie a constant apart.
    ids = block.streams.rng("fluids orders").permutation(block.streams.unique_ids("order", count))
    lines = _input_lines(care, orders, ids[: len(orders.stay)])
    return {
        "icu/inputevents": _input_frame(care, lines),
        "icu/ingredientevents": _ingredient_frame(care, lines),
        "icu/outputevents": _output_frame(care),
        "icu/procedureevents": _procedure_frame(care, processes, ids[len(orders.stay) :]),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return the lines of d_items that the four tables refer to, in order of itemid."""
    columns = ["itemid", "label", "abbreviation", "linksto", "category", "unitname", "param_type"]
    items = pl.concat(
        [
            catalog.read("inputs.csv").select(columns),
            catalog.read(_OUTPUTS).with_columns(linksto=pl.lit("outputevents")).select(columns),
            catalog.read(_PROCEDURES).with_columns(linksto=pl.lit("procedureevents")).select(columns),
        ]
    )
    nothing = pl.lit(None, dtype=pl.Float64)
    return {"icu/d_items": items.sort("itemid").with_columns(lownormalvalue=nothing, highnormalvalue=nothing)}


# Who needs what, and when.


@dataclass(frozen=True)
class _Care:
    """What decides on the care of each ICU stay."""

    block: Block
    states: Floats
    """[stays, states]: 1 where a cause or state holds, columns as _state_names()."""
    begin: Ints
    """[stays, windows]: whole minutes."""
    end: Ints
    """[stays, windows]: before `begin` where a stay has no such window."""
    nurses: Ints
    """Caregivers by shift; those of a stay stand together."""
    first_shift: Ints

    def caregiver(self, stay: Ints, time: Ints) -> Ints:
        """Return who charted at each time."""
        shift = (time - self.block.icu.arrival[stay]) // _SHIFT
        found: Ints = self.nurses[self.first_shift[stay] + shift]
        return found


@dataclass(frozen=True)
class _Plan:
    """A file of the catalog, read: arrays by kind of care."""

    table: pl.DataFrame
    number: dict[str, Floats]
    """The columns that hold numbers, NaN where they are empty."""
    log_rest: Floats
    """[states, kinds]: logarithm of the chance not to get it although the state holds."""
    only: Floats
    """[states, kinds]: 1 where a kind needs the state."""
    never: Floats
    window: Ints


@dataclass(frozen=True)
class _Courses:
    """One kind of care of one stay from `start` to `end`, ordered by stay."""

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
def _plan(name: str) -> _Plan:
    table = catalog.read(name)
    numeric = [column for column, kind in table.schema.items() if kind.is_numeric() or table[column].is_null().all()]
    return _Plan(
        table=table,
        number={column: _floats(table, column) for column in numeric},
        log_rest=_log_rest(name),
        only=_weights(name, "only", 0.0),
        never=_weights(name, "never", 0.0),
        window=np.array([_WINDOWS.index(window) for window in table["during"]], dtype=np.int64),
    )


def _floats(table: pl.DataFrame, column: str) -> Floats:
    return table[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()


@cache
def _weights(name: str, column: str, otherwise: float) -> Floats:
    """Read cells like `gi_bleed:0.5 any:0.1`, or bare names for 1, into a matrix [states, lines]."""
    cells = catalog.read(name)[column].cast(pl.String).fill_null("")
    matrix = np.full((len(_state_names()), len(cells)), otherwise)
    for line, cell in enumerate(cells):
        for entry in cell.split():
            state, _, weight = entry.partition(":")
            matrix[_state_names()[state], line] = float(weight or 1)
    return matrix


@cache
def _log_rest(name: str) -> Floats:
    rest: Floats = np.log1p(-np.minimum(_weights(name, "given_to", 0.0), ALMOST_ONE))
    return rest


@cache
def _equals(name: str, column: str, value: str) -> Bools:
    """Say in which lines of a file a text is what is asked for."""
    return (catalog.read(name)[column].fill_null("") == value).to_numpy()


def _care(block: Block) -> _Care:
    icu, rng = block.icu, block.streams.rng("fluids care")
    begin, end = _windows(block)
    states = np.zeros((len(icu.person), len(_state_names())))
    places = _state_names()
    states[:, : len(catalog.causes())] = _causes(block)
    ventilated = icu.ventilated_from != NONE
    known = {
        "any": np.ones(len(icu.person), dtype=bool),
        "surgical": block.admissions.surgical[icu.admission],
        "first_stay": _begins(icu.admission),
        "arterial_line": icu.arterial_line,
        "ventilated": ventilated,
        "long_ventilated": ventilated & (_length(begin, end, "ventilated") > LONG_VENTILATED),
        "intubated_here": ventilated & (icu.ventilated_from > icu.arrival + HOUR),
        "extubated": ventilated & (icu.ventilated_until < icu.departure - HOUR) & ~_dying(block),
        "pressors": icu.pressors,
        "dialysis": icu.dialysis,
        # Continuous dialysis is for those whose circulation is unstable.
        "crrt": icu.dialysis & icu.pressors,
        "hemodialysis": icu.dialysis & ~icu.pressors,
    }
    for name, holds in known.items():
        states[:, places[name]] = holds
    _add_windows(rng, states, begin, end)
    shifts = (icu.departure - icu.arrival) // _SHIFT + 1
    staff = _staff()
    nurses = staff[rng.integers(0, len(staff), int(shifts.sum()))]
    return _Care(block, states, begin, end, nurses, np.cumsum(shifts) - shifts)


def _dying(block: Block) -> Bools:
    dying: Bools = block.episodes.dying[block.icu.admission]
    return dying


def _causes(block: Block) -> Bools:
    """Return which of catalog.causes() hold in each stay."""
    icu, people = block.icu, block.people
    illness = block.episodes.illness[icu.admission][:, None] == np.arange(len(catalog.illnesses()))
    female = people.female[icu.person]
    elderly = block.age(icu.person, icu.arrival) >= 75
    traits = np.stack([female, ~female, elderly, _dying(block)], axis=1)
    return np.concatenate([people.conditions[icu.person], traits, illness], axis=1)


def _windows(block: Block) -> tuple[Ints, Ints]:
    """Return begin and end of the windows that the block decides; the others are empty."""
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
    for name, (opens, closes) in edges.items():
        begin[:, _WINDOWS.index(name)], end[:, _WINDOWS.index(name)] = opens, closes
    return begin, end


def _length(begin: Ints, end: Ints, window: str) -> Ints:
    place = _WINDOWS.index(window)
    length: Ints = end[:, place] - begin[:, place]
    return length


def _add_windows(rng: np.random.Generator, states: Floats, begin: Ints, end: Ints) -> None:
    """Draw the windows of input_windows.csv, shares of the stay, and note who has a catheter."""
    table = catalog.read("input_windows.csv")
    has = rng.random((len(states), table.height)) < -np.expm1(states @ _log_rest("input_windows.csv"))
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


def _courses(rng: np.random.Generator, care: _Care, plan: _Plan) -> _Courses:
    """Draw what each stay gets, and from when to when."""
    shape = (len(care.states), plan.table.height)
    allowed = (care.states @ plan.only == plan.only.sum(axis=0)) & (care.states @ plan.never == 0)
    given = allowed & (rng.random(shape) < -np.expm1(care.states @ plan.log_rest))
    stay, kind = np.nonzero(given & (care.begin[:, plan.window] <= care.end[:, plan.window]))
    opens, closes = care.begin[stay, plan.window[kind]], care.end[stay, plan.window[kind]]
    wait = rng.exponential(HOUR, len(stay)) * plan.number["starts_hours"][kind]
    lasts = plan.number["lasts_hours"][kind] * HOUR * rng.lognormal(-0.1, 0.5, len(stay))
    start = minutes(opens + wait.astype(np.int64))
    end = np.where(np.isnan(lasts), closes, start + np.nan_to_num(lasts).astype(np.int64))
    end = np.minimum(minutes(end), closes)
    kept = start <= closes
    return _Courses(stay[kept], kind[kept], start[kept], end[kept])


def _events(rng: np.random.Generator, plan: _Plan, courses: _Courses) -> tuple[Ints, Ints]:
    """Return the course and the time of what happens once, at random, or again and again within each course."""
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


def _begins(*columns: Ints) -> Bools:
    """Say where a run of equal rows begins."""
    begins = np.zeros(len(columns[0]), dtype=bool)
    begins[:1] = True
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return begins


def _next(column: Ints, at_end: int) -> Ints:
    """Return the value of the row below, `at_end` in the last row."""
    below: Ints = np.full(len(column), at_end, dtype=column.dtype)
    below[:-1] = column[1:]
    return below


# Inputs.


@dataclass(frozen=True)
class _Orders:
    """One order each: a stretch of a drip or a dose. `kind` counts the drips first, then the doses."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints
    amount: Floats
    rate: Floats
    left: Floats
    """originalamount: what was in the bag."""
    ordered: Floats
    """originalrate"""
    other: Floats
    """The same four of the solution or the additive; NaN where there is none."""
    other_rate: Floats
    other_left: Floats
    other_ordered: Floats
    total: Floats
    status: Ints
    first: Ints
    """Number of the first order of its chain."""


_STATUS = ("FinishedRunning", "ChangeDose/Rate", "Stopped", "Paused", "Bolus")
_FINISHED, _CHANGED, _PAUSED, _BOLUS = 0, 1, 3, 4


@cache
def _pump() -> dict[str, Floats]:
    """Return what drips are reckoned with: columns of input_drips.csv, and volume a minute by rate."""
    plan = _plan(_DRIPS)
    numbers = ("companion_per_ml", "bag_ml", "strength", "rate", "spread", "follows", "step", "low", "high")
    pump = {name: plan.number[name] for name in numbers}
    pump["change"] = plan.number["change_hours"] * HOUR
    units = plan.table.join(
        catalog.read("input_units.csv"), on=["amountuom", "rateuom"], how="left", maintain_order="left"
    )
    pump["per_minute"] = _floats(units, "per_minute")
    pump["by_weight"] = _floats(units, "by_weight")
    pump["mixed"] = _equals(_DRIPS, "role", "mixed").astype(np.float64)
    return pump


@dataclass(frozen=True)
class _Segments:
    """Times at one rate, of one course after the other."""

    course: Ints
    start: Ints
    end: Ints
    rate: Floats
    status: Ints


def _inputs(care: _Care) -> _Orders:
    rng = care.block.streams.rng("fluids inputs")
    drips, doses = _drips(rng, care), _doses(rng, care)
    both = {name: np.concatenate([column, getattr(doses, name)]) for name, column in vars(drips).items()}
    both["first"][len(drips.stay) :] += len(drips.stay)
    return _Orders(**both)


def _segments(rng: np.random.Generator, care: _Care, courses: _Courses) -> _Segments:
    """Cut each drip where its rate was changed; pauses lie before a new rate."""
    length = (courses.end - courses.start).astype(np.float64)
    changes = np.minimum(rng.poisson(length / _pump()["change"][courses.kind]), MOST_CHANGES)
    course, ordinal = repeat(changes + 1)
    # More changes early, when the right rate is being found.
    passed = np.where(ordinal == 0, 0.0, rng.random(len(course)) ** 1.3)
    passed = passed[np.lexsort((passed, course))]
    start = minutes(courses.start[course] + (passed * length[course]).astype(np.int64))
    rate = _rates(rng, care.block, courses, course, start, passed)
    kept = _begins(course)
    kept[1:] |= (rate[1:] != rate[:-1]) & (start[1:] > start[:-1])
    course, start, rate = course[kept], start[kept], rate[kept]
    first = _begins(course)
    last = _next(course, -1) != course
    end = np.where(last, courses.end[course], _next(start, 0))
    paused = ~first & (rng.random(len(course)) < PAUSED)
    pause = np.minimum(rng.exponential(PAUSE, len(course)), 0.8 * (end - start)).astype(np.int64)
    start = np.where(paused, minutes(start + pause), start)
    before_pause = _next(paused.astype(np.int64), 0) == 1
    status = np.where(before_pause, _PAUSED, _CHANGED)
    status = np.where(last, _drawn_status(rng, "fluids_drip_end", len(course)), status)
    return _Segments(course, start, end, rate, status)


def _drawn_status(rng: np.random.Generator, field: str, count: int) -> Ints:
    values, weights = catalog.choices(field)
    numbers = np.array([_STATUS.index(value) for value in values], dtype=np.int64)
    return numbers[pick(rng, weights, count)]


def _rates(
    rng: np.random.Generator, block: Block, courses: _Courses, course: Ints, time: Ints, passed: Floats
) -> Floats:
    """Return ordered rates: they rise at first, follow the severity, and wane at the end but for the dying."""
    pump, kind = _pump(), courses.kind[course]
    admission = block.icu.admission[courses.stay[course]]
    relative = block.severity(admission, time) / block.episodes.severity[admission]
    waning = np.where(block.episodes.dying[admission], 1.0, 1.0 - 1.3 * np.maximum(passed - 0.5, 0.0))
    course_by_course = np.minimum(0.6 + 4.0 * passed, 1.0) * waning * np.clip(relative, 0.2, 1.4)
    own = 0.8 * rng.standard_normal(len(courses.stay))[course] + 0.5 * rng.standard_normal(len(course))
    rate = pump["rate"][kind] * np.exp(pump["spread"][kind] * own) * course_by_course ** pump["follows"][kind]
    step = pump["step"][kind]
    return np.clip(np.rint(rate / step) * step, pump["low"][kind], pump["high"][kind])


def _drips(rng: np.random.Generator, care: _Care) -> _Orders:
    """Turn volumes that ran into orders. The rate is what really ran: with the times it gives the amount."""
    pump = _pump()
    courses = _courses(rng, care, _plan(_DRIPS))
    parts = _segments(rng, care, courses)
    run = _pieces(rng, care, courses, parts)
    stay, kind = courses.stay[parts.course[run.part]], courses.kind[parts.course[run.part]]
    strength, companion = pump["strength"][kind], pump["companion_per_ml"][kind]
    per_minute = pump["per_minute"][kind] * np.where(pump["by_weight"][kind] > 0, care.block.icu.weight[stay], 1.0)
    ordered, mixed = parts.rate[run.part], pump["mixed"][kind] > 0
    ran = ((run.end - run.start) // MINUTE).astype(np.float64)
    return _Orders(
        stay=stay,
        kind=kind,
        start=run.start,
        end=run.end,
        amount=run.volume * strength,
        rate=run.volume * strength / ran / per_minute,
        left=_single(run.left * strength),
        ordered=_single(ordered),
        other=run.volume * companion,
        other_rate=np.where(mixed, run.volume / ran * 60, np.nan),
        other_left=_single(run.left * companion),
        other_ordered=np.where(mixed, _single(ordered * per_minute / strength * 60), 0.0),
        total=pump["bag_ml"][kind],
        status=run.status,
        first=run.first,
    )


@dataclass(frozen=True)
class _Pieces:
    """Parts of segments that came from one bag: volumes in ml, and what was left in the bag before."""

    part: Ints
    start: Ints
    end: Ints
    volume: Floats
    left: Floats
    status: Ints
    first: Ints


def _pieces(rng: np.random.Generator, care: _Care, courses: _Courses, parts: _Segments) -> _Pieces:
    """Run the drips bag by bag: a row ends where the rate changes or the bag is empty."""
    flow, since, until = _volumes_run(care, courses, parts)
    bag = _pump()["bag_ml"][courses.kind[parts.course]]
    # A bag that is empty to a thousandth of a drop is empty.
    first_bag = np.floor(since / bag + 1e-9).astype(np.int64)
    count = np.maximum(np.ceil(until / bag - 1e-9).astype(np.int64) - first_bag, 1)
    part, ordinal = repeat(count)
    number = first_bag[part] + ordinal
    low = np.maximum(since[part], number * bag[part])
    high = np.minimum(until[part], (number + 1) * bag[part])
    emptied = ordinal < count[part] - 1
    start = parts.start[part] + np.rint((low - since[part]) / flow[part]).astype(np.int64) * MINUTE
    end = parts.start[part] + np.rint((high - since[part]) / flow[part]).astype(np.int64) * MINUTE
    end = np.where(emptied, end, parts.end[part])
    status = np.where(emptied, _FINISHED, parts.status[part])
    short = (status == _CHANGED) & (end - start <= PUMP_BOLUS) & (rng.random(len(part)) < PUMPED)
    status = np.where(short, _BOLUS, status)
    kept = np.flatnonzero(end > start)
    chain = _begins(parts.course[part[kept]], number[kept])
    return _Pieces(
        part=part[kept],
        start=start[kept],
        end=end[kept],
        volume=(high - low)[kept],
        left=((number + 1) * bag[part] - low)[kept],
        status=status[kept],
        first=np.flatnonzero(chain)[np.cumsum(chain) - 1],
    )


def _volumes_run(care: _Care, courses: _Courses, parts: _Segments) -> tuple[Floats, Floats, Floats]:
    """Return ml a minute in each segment, and ml since the course began before and after it."""
    pump, kind = _pump(), courses.kind[parts.course]
    weight = np.where(pump["by_weight"][kind] > 0, care.block.icu.weight[courses.stay[parts.course]], 1.0)
    flow = parts.rate * pump["per_minute"][kind] * weight / pump["strength"][kind]
    volume = flow * ((parts.end - parts.start) // MINUTE)
    run = np.cumsum(volume)
    first = np.flatnonzero(_begins(parts.course))
    base = np.repeat((run - volume)[first], np.diff(np.append(first, len(run))))
    since = np.maximum(run - volume - base, 0.0)
    return flow, since, since + volume


def _single(values: Floats) -> Floats:
    """Return values as single precision holds them, as the real tables do for what was ordered."""
    return values.astype(np.float32).astype(np.float64)


def _doses(rng: np.random.Generator, care: _Care) -> _Orders:
    """Draw pushes, antibiotics, boluses, blood, and what is eaten: one order each, with its own times."""
    plan = _plan(_DOSES)
    courses = _courses(rng, care, plan)
    course, start = _events(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    low, high, step = (plan.number[name][kind] for name in ("low", "high", "step"))
    # Mostly the same dose again.
    size = np.where(rng.random(len(course)) < 0.4, rng.random(len(course)), rng.random(len(courses.stay))[course])
    amount: Floats = np.clip(np.rint(low * np.exp(size * np.log(high / low)) / step) * step, low, high)
    shortest, longest = (plan.number[name][kind] for name in ("minutes_low", "minutes_high"))
    ran = np.rint(shortest + rng.random(len(course)) * (longest - shortest))
    end = start + ran.astype(np.int64) * MINUTE
    kept = np.flatnonzero(end <= care.end[stay, 0])
    stay, kind, start, end = (column[kept] for column in (stay, kind, start, end))
    amount, ran = amount[kept], ran[kept]
    companion = plan.number["companion_amount"][kind]
    additive = _equals(_DOSES, "role", "additive")[kind]
    in_ml = _equals(_DOSES, "amountuom", "ml")[kind]
    pushed = longest[kept] <= 1
    rate = np.where(pushed, np.nan, amount / ran * 60)
    return _Orders(
        stay=stay,
        kind=kind + _plan(_DRIPS).table.height,
        start=start,
        end=end,
        amount=amount,
        rate=rate,
        left=amount,
        ordered=np.where(pushed, amount, rate),
        other=companion,
        other_rate=np.full(len(stay), np.nan),
        other_left=companion,
        other_ordered=np.where(additive, _single(companion / ran), 0.0),
        total=np.where(in_ml, amount, companion),
        status=np.full(len(stay), _FINISHED),
        first=np.arange(len(stay)),
    )


@cache
def _line_kinds() -> pl.DataFrame:
    """Return the texts of rows: two lines for each kind of input, the main item's and the companion's."""
    drips = catalog.read(_DRIPS).with_columns(hourly=pl.col("role") == "mixed")
    doses = catalog.read(_DOSES).with_columns(
        rateuom=pl.when(pl.col("minutes_high") > 1).then(pl.lit("mL/hour")), hourly=pl.lit(value=False)
    )
    shared = ["itemid", "amountuom", "rateuom", "companion", "companion_uom", "role", "ordercategoryname", "hourly"]
    kinds = pl.concat([drips.select(shared), doses.select(shared)]).with_row_index("kind")
    main = kinds.select("kind", "itemid", "amountuom", "rateuom", "ordercategoryname", role=pl.lit("main"), second=0)
    other = kinds.select(
        "kind",
        pl.col("companion").alias("itemid"),
        pl.col("companion_uom").alias("amountuom"),
        pl.when("hourly").then(pl.lit("mL/hour")).alias("rateuom"),
        "ordercategoryname",
        "role",
        second=1,
    )
    lines = pl.concat([main, other]).sort("kind", "second")
    for name, key in (("input_roles.csv", "role"), ("input_categories.csv", "ordercategoryname")):
        lines = lines.join(catalog.read(name).drop("source"), on=key, how="left", maintain_order="left")
    return lines.with_columns(total_uom=pl.when(pl.col("has_total") == 1).then(pl.lit("ml")))


@dataclass(frozen=True)
class _Lines:
    """Rows of inputevents in their order; `order` is the number of the order, `line` that in _line_kinds()."""

    orders: _Orders
    order: Ints
    line: Ints
    stay: Ints
    itemid: Ints
    start: Ints
    end: Ints
    stored: Ints
    caregiver: Ints
    amount: Floats
    rate: Floats
    left: Floats
    ordered: Floats
    orderid: Ints
    linkorderid: Ints


def _input_lines(care: _Care, orders: _Orders, ids: Ints) -> _Lines:
    rng = care.block.streams.rng("fluids input rows")
    companions = np.flatnonzero(~np.isnan(orders.other))
    stored = _stored(rng, orders.start)
    order = np.concatenate([np.arange(len(orders.stay)), companions])
    second = np.arange(len(order)) >= len(orders.stay)
    line = orders.kind[order] * 2 + second
    items = _line_kinds()["itemid"].fill_null(0).to_numpy()[line]
    place = _in_order(care, orders.stay[order], orders.start[order], items, ids[order])
    order, line, second = order[place], line[place], second[place]

    def either(main: Floats, other: Floats) -> Floats:
        chosen: Floats = np.where(second, other[order], main[order])
        return chosen

    return _Lines(
        orders=orders,
        order=order,
        line=line,
        stay=orders.stay[order],
        itemid=items[place],
        start=orders.start[order],
        end=orders.end[order],
        stored=stored[order],
        caregiver=care.caregiver(orders.stay[order], orders.start[order]),
        amount=either(orders.amount, orders.other),
        rate=either(orders.rate, orders.other_rate),
        left=either(orders.left, orders.other_left),
        ordered=either(orders.ordered, orders.other_ordered),
        orderid=ids[order],
        linkorderid=ids[orders.first[order]],
    )


def _stored(rng: np.random.Generator, time: Ints, field: str = "fluids_input_delay") -> Ints:
    """Return when something charted for a time was stored: at once, or some minutes to hours later."""
    values, weights = catalog.choices(field)
    delay = values.cast(pl.Int64).to_numpy()[pick(rng, weights, len(time))]
    stored: Ints = time + delay * MINUTE
    return stored


def _in_order(care: _Care, stay: Ints, time: Ints, item: Ints, orderid: Ints) -> Ints:
    """Return the places of rows in order of subject_id, time, itemid and orderid."""
    return np.lexsort((orderid, item, time, care.block.icu.person[stay])).astype(np.int64)


def _who(care: _Care, stay: Ints) -> dict[str, pl.Series]:
    """Return the columns that say whose a row is."""
    icu = care.block.icu
    return {
        "subject_id": care.block.subject_id(icu.person[stay]),
        "hadm_id": pl.Series(care.block.admissions.hadm_id[icu.admission[stay]]),
        "stay_id": pl.Series(icu.stay_id[stay]),
    }


def _numbers(values: Floats) -> pl.Series:
    return pl.Series(values, nan_to_null=True)


def _input_frame(care: _Care, lines: _Lines) -> pl.DataFrame:
    texts = _line_kinds()[lines.line]
    total = np.where(texts["has_total"].to_numpy() == 1, lines.orders.total[lines.order], np.nan)
    nothing = np.zeros(len(lines.line), dtype=np.int64)
    return pl.DataFrame(
        {
            **_who(care, lines.stay),
            "caregiver_id": lines.caregiver,
            "starttime": times(lines.start),
            "endtime": times(lines.end),
            "storetime": times(lines.stored),
            "itemid": lines.itemid,
            "amount": lines.amount,
            "amountuom": texts["amountuom"],
            "rate": _numbers(lines.rate),
            "rateuom": texts["rateuom"],
            "orderid": lines.orderid,
            "linkorderid": lines.linkorderid,
            "ordercategoryname": texts["ordercategoryname"],
            "secondaryordercategoryname": texts["secondaryordercategoryname"],
            "ordercomponenttypedescription": texts["ordercomponenttypedescription"],
            "ordercategorydescription": texts["ordercategorydescription"],
            "patientweight": care.block.icu.weight[lines.stay],
            "totalamount": _numbers(total),
            "totalamountuom": texts["total_uom"],
            "isopenbag": nothing,
            "continueinnextdept": nothing,
            "statusdescription": pl.Series(_STATUS)[lines.orders.status[lines.order]],
            "originalamount": lines.left,
            "originalrate": lines.ordered,
        }
    )


@cache
def _ingredients() -> tuple[pl.DataFrame, Ints, Ints]:
    """Return ingredients.csv by input item, and where those of each line of _line_kinds() begin, and how many."""
    table = catalog.read("ingredients.csv").sort("itemid", "ingredient", maintain_order=True)
    lines = _line_kinds()["itemid"].fill_null(0).to_numpy()
    items = table["itemid"].to_numpy()
    first = np.searchsorted(items, lines, side="left")
    return table, first, np.searchsorted(items, lines, side="right") - first


def _ingredient_frame(care: _Care, lines: _Lines) -> pl.DataFrame:
    """Return what the inputs consist of: amounts follow theirs, and so do times, orders and units of the rate."""
    table, first, count = _ingredients()
    row, ordinal = repeat(count[lines.line])
    part = first[lines.line[row]] + ordinal
    item = table["ingredient"].to_numpy()[part]
    place = _in_order(care, lines.stay[row], lines.start[row], item, lines.orderid[row])
    row, part, item = row[place], part[place], item[place]
    share = table["amount"].to_numpy()[part]
    amount = lines.amount[row] * share
    hours = (lines.end[row] - lines.start[row]) / HOUR
    factor = table["rate_factor"].to_numpy()[part]
    factor = np.where(
        table["rate_by_weight"].to_numpy()[part] == 1, factor / care.block.icu.weight[lines.stay[row]], factor
    )
    return pl.DataFrame(
        {
            **_who(care, lines.stay[row]),
            "caregiver_id": lines.caregiver[row],
            "starttime": times(lines.start[row]),
            "endtime": times(lines.end[row]),
            "storetime": times(lines.stored[row]),
            "itemid": item,
            "amount": amount,
            "amountuom": table["amountuom"][part],
            "rate": _numbers(np.where(np.isnan(lines.rate[row]), np.nan, amount / hours * factor)),
            "rateuom": _line_kinds()["rateuom"][lines.line[row]],
            "orderid": lines.orderid[row],
            "linkorderid": lines.linkorderid[row],
            "statusdescription": pl.Series(_STATUS)[lines.orders.status[lines.order[row]]],
            "originalamount": np.zeros(len(row)),
            # What was in the bag: the real table has it in this column, and 0 in the other.
            "originalrate": _single(lines.left[row] * share),
        }
    )


# Outputs.


def _output_frame(care: _Care) -> pl.DataFrame:
    rng, plan = care.block.streams.rng("fluids outputs"), _plan(_OUTPUTS)
    courses = _courses(rng, care, plan)
    course, time = _measured(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    value = _volumes(rng, care, plan, courses, course, time)
    # What is washed in comes out again, and the urine with it.
    partner = plan.number["partner"][kind]
    paired = np.flatnonzero(~np.isnan(partner))
    urine = plan.number["partner_volume"][kind[paired]] * rng.lognormal(0.0, 0.4, len(paired))
    item = np.append(plan.table["itemid"].to_numpy()[kind], partner[paired].astype(np.int64))
    value = np.append(value, value[paired] + np.rint(urine / 50) * 50)
    stay, time, kind = (np.append(column, column[paired]) for column in (stay, time, kind))
    place = _in_order(care, stay, time, item, np.arange(len(item)))
    stay, time, item, kind = (column[place] for column in (stay, time, item, kind))
    return pl.DataFrame(
        {
            **_who(care, stay),
            "caregiver_id": care.caregiver(stay, time),
            "charttime": times(time),
            "storetime": times(_stored(rng, time, "fluids_output_delay")),
            "itemid": item,
            "value": value[place],
            "valueuom": plan.table["valueuom"][kind],
        }
    )


def _measured(rng: np.random.Generator, plan: _Plan, courses: _Courses) -> tuple[Ints, Ints]:
    """Return the course and the time of each measured volume: mostly on the hour, some hours left out."""
    course, time = _events(rng, plan, courses)
    again = ~np.isnan(plan.number["every_hours"][courses.kind[course]])
    nearest = time + HOUR // 2 - (time + HOUR // 2) % HOUR
    inside = (nearest >= courses.start[course]) & (nearest <= courses.end[course])
    on_the_hour = again & inside & (rng.random(len(time)) >= OFF_THE_HOUR)
    time = np.where(on_the_hour, nearest, time)
    kept = rng.random(len(time)) < plan.number["kept"][courses.kind[course]]
    course, time = course[kept], time[kept]
    place = np.lexsort((time, course))
    course, time = course[place], time[place]
    fresh = _begins(course, time)
    return course[fresh], time[fresh]


def _volumes(rng: np.random.Generator, care: _Care, plan: _Plan, courses: _Courses, course: Ints, time: Ints) -> Floats:
    """Return volumes in ml: urine of a catheter by weight and the hours since it was last measured."""
    kind, stay = courses.kind[course], courses.stay[course]
    passed = np.where(_begins(course), HOUR, np.diff(time, prepend=time[:1]))
    hours = np.clip(passed / HOUR, 0.1, 6.0)
    spread = plan.number["spread"]
    typical = plan.number["volume"] * np.exp(-0.25 * spread**2)
    scaled = np.exp(care.states @ np.log(_weights(_OUTPUTS, "scaled_by", 1.0)))
    own = spread[courses.kind] * 0.6 * rng.standard_normal(len(courses.stay))
    wander = own[course] + 0.7 * spread[kind] * rng.standard_normal(len(kind))
    volume = typical[kind] * scaled[stay, kind] * np.exp(wander)
    volume = volume * np.where(plan.number["per_hour"][kind] > 0, hours, 1.0)
    volume = volume * np.where(plan.number["per_kg"][kind] > 0, care.block.icu.weight[stay], 1.0)
    step = np.select([volume < 10, volume < 100, volume < 500], [1.0, 5.0, 25.0], 50.0)
    chance = rng.random(len(kind))
    step = np.where((step == 25.0) & (chance < FINER_VOLUME), 10.0, step)
    step = np.where(chance < EXACT_VOLUME, 1.0, step)
    zero = rng.random(len(kind)) < plan.number["zero_share"][kind]
    return np.where(zero, 0.0, np.maximum(np.rint(volume / step) * step, 1.0))


# Procedures.


@dataclass(frozen=True)
class _Processes:
    """Procedures, in order of subject, time and itemid."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints


def _processes(care: _Care) -> _Processes:
    rng, plan = care.block.streams.rng("fluids procedures"), _plan(_PROCEDURES)
    courses = _courses(rng, care, plan)
    course, start = _events(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    each = plan.number["each_hours"][kind] * HOUR * rng.lognormal(-0.1, 0.4, len(kind))
    ends = np.where(np.isnan(each), courses.end[course], minutes(start + np.nan_to_num(each).astype(np.int64)))
    task = plan.number["process"][kind] == 0
    end = np.where(task, start + MINUTE, np.minimum(ends, courses.end[course]))
    # Nobody charts a line for less than some minutes; what has its times from the block is as long as it is.
    given = np.isnan(each) & (plan.number["starts_hours"][kind] == 0)
    least = np.where(task | given, MINUTE, 10 * MINUTE)
    kept = np.flatnonzero((end - start >= least) & (end <= care.end[stay, 0]))
    stay, kind, start, end = (column[kept] for column in (stay, kind, start, end))
    place = _in_order(care, stay, start, plan.table["itemid"].to_numpy()[kind], np.arange(len(kept)))
    return _Processes(stay[place], kind[place], start[place], end[place])


def _procedure_frame(care: _Care, done: _Processes, ids: Ints) -> pl.DataFrame:
    rng, plan = care.block.streams.rng("fluids procedure rows"), _plan(_PROCEDURES)
    kind, total, table = done.kind, len(done.kind), plan.table
    task = plan.number["process"][kind] == 0
    in_days = rng.random(total) < plan.number["in_days"][kind]
    in_hours = _equals(_PROCEDURES, "unit", "hour")[kind]
    ran = (done.end - done.start).astype(np.float64)
    unit = np.select([task, in_days, in_hours], [1.0, float(DAY), float(HOUR)], float(MINUTE))
    value = np.where(task, 1.0, ran / unit)
    located = rng.random(total) < plan.number["location_share"][kind]
    unsigned = ~located & (rng.random(total) < plan.number["unsigned"][kind])
    status = np.where(in_days, _drawn_status(rng, "fluids_process_in_days", total), _FINISHED)
    stored = _stored(rng, np.where(task | in_days, done.start, done.end))
    nurse = care.caregiver(done.stay, done.start)
    plain = ~(task | in_days | in_hours)
    return pl.DataFrame(
        {
            **_who(care, done.stay),
            "caregiver_id": _numbers(np.where(unsigned, np.nan, nurse)).cast(pl.Int64),
            "starttime": times(done.start),
            "endtime": times(done.end),
            # What the system closes by itself is stored with seconds.
            "storetime": times(stored + np.where(unsigned, rng.integers(1, MINUTE, total), 0)),
            "itemid": table["itemid"][kind],
            "value": value,
            "valueuom": pl.Series(["None", "day", "hour", "min"])[np.select([task, in_days, in_hours], [0, 1, 2], 3)],
            "location": _locations(rng, kind, located),
            "locationcategory": _line_places()[np.where(located, kind + 1, 0)],
            "orderid": ids,
            "linkorderid": ids,
            "ordercategoryname": table["ordercategoryname"][kind],
            "ordercategorydescription": pl.Series(["ContinuousProcess", "Task"])[task.astype(np.int64)],
            "patientweight": care.block.icu.weight[done.stay],
            "isopenbag": plain.astype(np.int64),
            "continueinnextdept": np.zeros(total, dtype=np.int64),
            "statusdescription": pl.Series(_STATUS)[status],
            "ORIGINALAMOUNT": np.where(in_days, np.ceil(value), value),
            "ORIGINALRATE": (~task).astype(np.float64),
        }
    )


@cache
def _line_places() -> pl.Series:
    return pl.concat([pl.Series([None], dtype=pl.String), catalog.read(_PROCEDURES)["locationcategory"]])


@cache
def _places() -> tuple[Ints, pl.Series, list[tuple[int, Floats]]]:
    """Return each procedure's list of places, all lists in one behind a null, and where each begins, with weights."""
    used = catalog.read(_PROCEDURES)["location"]
    fields = used.drop_nulls().unique(maintain_order=True).to_list()
    lists = [catalog.choices(f"fluids_location_{field}") for field in fields]
    begins = np.cumsum([1, *(len(values) for values, _ in lists)])
    number = np.array([fields.index(name) if name else -1 for name in used], dtype=np.int64)
    values = pl.concat([pl.Series([None], dtype=pl.String), *(values for values, _ in lists)])
    return number, values, [(int(begin), weights) for begin, (_, weights) in zip(begins, lists, strict=False)]


def _locations(rng: np.random.Generator, kind: Ints, located: Bools) -> pl.Series:
    """Return where lines lie, each kind of line at places of its own."""
    number, values, lists = _places()
    wanted = np.where(located, number[kind], -1)
    found = np.zeros(len(kind), dtype=np.int64)
    for place, (begin, weights) in enumerate(lists):
        rows = np.flatnonzero(wanted == place)
        found[rows] = begin + pick(rng, weights, len(rows))
    return values[found]
