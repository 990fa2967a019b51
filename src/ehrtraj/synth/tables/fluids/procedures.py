"""Draw procedureevents: processes from start to end, and tasks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, Bools, Floats, Ints, minutes, pick, times
from ehrtraj.synth.tables.fluids.care import PROCEDURES, Care, draw_courses, draw_events, equals, read_plan
from ehrtraj.synth.tables.fluids.rows import (
    FINISHED,
    STATUSES,
    draw_status,
    in_order,
    nullable,
    patient_columns,
    stored_times,
)


@dataclass(frozen=True)
class Processes:
    """Procedures (processes and tasks), in order of subject_id, time and itemid."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints


def draw_processes(care: Care) -> Processes:
    """Draw the procedures of the ICU stays of the block."""
    rng, plan = care.block.streams.rng("fluids procedures"), read_plan(PROCEDURES)
    courses = draw_courses(rng, care, plan)
    course, start = draw_events(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    each = plan.number["each_hours"][kind] * HOUR * rng.lognormal(-0.1, 0.4, len(kind))
    ends = np.where(np.isnan(each), courses.end[course], minutes(start + np.nan_to_num(each).astype(np.int64)))
    task = plan.number["process"][kind] == 0
    end = np.where(task, start + MINUTE, np.minimum(ends, courses.end[course]))
    # Lines are not charted for less than 10 minutes. Procedures with times from the block keep their duration.
    times_from_block = np.isnan(each) & (plan.number["starts_hours"][kind] == 0)
    least = np.where(task | times_from_block, MINUTE, 10 * MINUTE)
    keep = np.flatnonzero((end - start >= least) & (end <= care.end[stay, 0]))
    stay, kind, start, end = (column[keep] for column in (stay, kind, start, end))
    place = in_order(care, stay, start, plan.table["itemid"].to_numpy()[kind], np.arange(len(keep)))
    return Processes(stay[place], kind[place], start[place], end[place])


def procedure_frame(care: Care, processes: Processes, ids: Ints) -> pl.DataFrame:
    """Return procedureevents; `ids` are the orderids of the procedures."""
    rng, plan = care.block.streams.rng("fluids procedure rows"), read_plan(PROCEDURES)
    kind, total, table = processes.kind, len(processes.kind), plan.table
    task = plan.number["process"][kind] == 0
    in_days = rng.random(total) < plan.number["in_days"][kind]
    in_hours = equals(PROCEDURES, "unit", "hour")[kind]
    ran = (processes.end - processes.start).astype(np.float64)
    unit = np.select([task, in_days, in_hours], [1.0, float(DAY), float(HOUR)], float(MINUTE))
    value = np.where(task, 1.0, ran / unit)
    has_location = rng.random(total) < plan.number["location_share"][kind]
    unsigned = ~has_location & (rng.random(total) < plan.number["unsigned"][kind])
    status = np.where(in_days, draw_status(rng, "fluids_process_in_days", total), FINISHED)
    stored = stored_times(rng, np.where(task | in_days, processes.start, processes.end))
    nurse = care.caregiver(processes.stay, processes.start)
    plain = ~(task | in_days | in_hours)
    return pl.DataFrame(
        {
            **patient_columns(care, processes.stay),
            "caregiver_id": nullable(np.where(unsigned, np.nan, nurse)).cast(pl.Int64),
            "starttime": times(processes.start),
            "endtime": times(processes.end),
            # Rows that the system closes automatically are stored with seconds.
            "storetime": times(stored + np.where(unsigned, rng.integers(1, MINUTE, total), 0)),
            "itemid": table["itemid"][kind],
            "value": value,
            "valueuom": pl.Series(["None", "day", "hour", "min"])[np.select([task, in_days, in_hours], [0, 1, 2], 3)],
            "location": _draw_locations(rng, kind, has_location),
            "locationcategory": _location_categories()[np.where(has_location, kind + 1, 0)],
            "orderid": ids,
            "linkorderid": ids,
            "ordercategoryname": table["ordercategoryname"][kind],
            "ordercategorydescription": pl.Series(["ContinuousProcess", "Task"])[task.astype(np.int64)],
            "patientweight": care.block.icu.weight[processes.stay],
            "isopenbag": plain.astype(np.int64),
            "continueinnextdept": np.zeros(total, dtype=np.int64),
            "statusdescription": pl.Series(STATUSES)[status],
            "ORIGINALAMOUNT": np.where(in_days, np.ceil(value), value),
            "ORIGINALRATE": (~task).astype(np.float64),
        }
    )


@cache
def _location_categories() -> pl.Series:
    return pl.concat([pl.Series([None], dtype=pl.String), catalog.read(PROCEDURES)["locationcategory"]])


@cache
def _location_lists() -> tuple[Ints, pl.Series, list[tuple[int, Floats]]]:
    """Return the list number of each procedure, a null followed by the values of all lists, and each list's start.

    The last part has, for each list, the position of its first value and its weights.
    """
    used = catalog.read(PROCEDURES)["location"]
    fields = used.drop_nulls().unique(maintain_order=True).to_list()
    lists = [catalog.choices(f"fluids_location_{field}") for field in fields]
    begins = np.cumsum([1, *(len(values) for values, _ in lists)])
    number = np.array([fields.index(name) if name else -1 for name in used], dtype=np.int64)
    values = pl.concat([pl.Series([None], dtype=pl.String), *(values for values, _ in lists)])
    return number, values, [(int(begin), weights) for begin, (_, weights) in zip(begins, lists, strict=False)]


def _draw_locations(rng: np.random.Generator, kind: Ints, has_location: Bools) -> pl.Series:
    """Draw the locations of lines. Each kind of line has its own list of locations."""
    number, values, lists = _location_lists()
    list_number = np.where(has_location, number[kind], -1)
    index = np.zeros(len(kind), dtype=np.int64)
    for place, (begin, weights) in enumerate(lists):
        rows = np.flatnonzero(list_number == place)
        index[rows] = begin + pick(rng, weights, len(rows))
    return values[index]
