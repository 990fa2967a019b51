"""Draws procedureevents: processes from beginning to end, and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, Bools, Floats, Ints, minutes, pick, times
from ehrtraj.synth.tables.fluids.care import PROCEDURES, Care, draw_courses, draw_events, equals, read_plan
from ehrtraj.synth.tables.fluids.rows import FINISHED, STATUSES, drawn_status, in_order, nullable, stored_times, who


@dataclass(frozen=True)
class Processes:
    """Procedures, in order of subject, time and itemid."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints


def draw_processes(care: Care) -> Processes:
    """Draw the procedures of the block's stays."""
    rng, plan = care.block.streams.rng("fluids procedures"), read_plan(PROCEDURES)
    courses = draw_courses(rng, care, plan)
    course, start = draw_events(rng, plan, courses)
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
    place = in_order(care, stay, start, plan.table["itemid"].to_numpy()[kind], np.arange(len(kept)))
    return Processes(stay[place], kind[place], start[place], end[place])


def procedure_frame(care: Care, done: Processes, ids: Ints) -> pl.DataFrame:
    """Return procedureevents; `ids` are the procedures' orderids."""
    rng, plan = care.block.streams.rng("fluids procedure rows"), read_plan(PROCEDURES)
    kind, total, table = done.kind, len(done.kind), plan.table
    task = plan.number["process"][kind] == 0
    in_days = rng.random(total) < plan.number["in_days"][kind]
    in_hours = equals(PROCEDURES, "unit", "hour")[kind]
    ran = (done.end - done.start).astype(np.float64)
    unit = np.select([task, in_days, in_hours], [1.0, float(DAY), float(HOUR)], float(MINUTE))
    value = np.where(task, 1.0, ran / unit)
    located = rng.random(total) < plan.number["location_share"][kind]
    unsigned = ~located & (rng.random(total) < plan.number["unsigned"][kind])
    status = np.where(in_days, drawn_status(rng, "fluids_process_in_days", total), FINISHED)
    stored = stored_times(rng, np.where(task | in_days, done.start, done.end))
    nurse = care.caregiver(done.stay, done.start)
    plain = ~(task | in_days | in_hours)
    return pl.DataFrame(
        {
            **who(care, done.stay),
            "caregiver_id": nullable(np.where(unsigned, np.nan, nurse)).cast(pl.Int64),
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
            "statusdescription": pl.Series(STATUSES)[status],
            "ORIGINALAMOUNT": np.where(in_days, np.ceil(value), value),
            "ORIGINALRATE": (~task).astype(np.float64),
        }
    )


@cache
def _line_places() -> pl.Series:
    return pl.concat([pl.Series([None], dtype=pl.String), catalog.read(PROCEDURES)["locationcategory"]])


@cache
def _places() -> tuple[Ints, pl.Series, list[tuple[int, Floats]]]:
    """Return each procedure's list of places, all lists in one behind a null, and where each begins, with weights."""
    used = catalog.read(PROCEDURES)["location"]
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
