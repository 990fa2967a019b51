"""Administration of drugs as arrays: frequencies, schedules and charted events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import HOUR, Bools, Floats, Ints
from ehrtraj.synth.tables.orders.columns import MISSING, codes_of, floats, floats_or
from ehrtraj.synth.tables.orders.draws import share_of

CLOCK, AS_NEEDED, SINGLE, RUNNING = range(4)
WAYS = ("clock", "wanted", "single", "running")
START, MIDDLE, END, ANY = range(4)
PLACES = ("start", "middle", "end", "any")


@dataclass(frozen=True)
class Frequencies:
    """Frequencies of drug orders: the lines of drug_frequencies.csv."""

    names: pl.Series
    schedule: Ints
    doses: pl.Series
    sched: pl.Series
    """disp_sched of the frequencies, then hours 0 to 23 for orders of a single time, then null."""
    sched_number: Ints
    interval: pl.Series
    single: Bools
    limited: Floats


@cache
def read_frequencies() -> Frequencies:
    """Return the lines of drug_frequencies.csv as arrays."""
    table = catalog.read("drug_frequencies.csv")
    sched = table["disp_sched"].to_list()
    hours = [str(hour) for hour in range(24)]
    frequency_rows = np.arange(table.height)
    number = np.array([MISSING if text is None else -2 if text == "{hour}" else row for row, text in enumerate(sched)])
    return Frequencies(
        names=pl.Series([*table["frequency"], None], dtype=pl.String),
        schedule=codes_of(table["schedule"], tuple(catalog.read("drug_schedules.csv")["schedule"])),
        doses=pl.Series([*table["doses_per_24_hrs"], None], dtype=pl.Float64),
        sched=pl.Series([*sched, *hours, None], dtype=pl.String),
        sched_number=np.where(number == -2, -2, np.where(number == MISSING, MISSING, frequency_rows)),
        interval=pl.Series([*table["duration_interval"], "Days", "Hours", None], dtype=pl.String),
        single=(table["duration_interval"] == "Doses").to_numpy(),
        limited=floats_or(table["limited"], 0.0),
    )


@dataclass(frozen=True)
class Schedules:
    """Times at which doses are due: the lines of drug_schedules.csv."""

    way: Ints
    hours: Floats
    slots: Ints
    step: Ints
    daily: Floats
    every: Ints
    patch: int


@cache
def read_schedules() -> Schedules:
    """Return the lines of drug_schedules.csv as arrays."""
    table = catalog.read("drug_schedules.csv")
    hours = [[] if text is None else [float(hour) for hour in text.split()] for text in table["hours"].cast(pl.String)]
    grid = np.zeros((table.height, max(len(row) for row in hours)))
    for number, row in enumerate(hours):
        grid[number, : len(row)] = row
    return Schedules(
        way=codes_of(table["way"], WAYS),
        hours=grid,
        slots=np.array([len(row) for row in hours], dtype=np.int64),
        step=(floats_or(table["step_hours"], 6.0) * HOUR).astype(np.int64),
        daily=floats_or(table["daily"], share_of("single_dose_given")),
        every=floats_or(table["every_days"], 1.0).astype(np.int64),
        patch=table["schedule"].to_list().index("patch"),
    )


SHARES = (
    "product", "pharmacy", "dose_due", "dose_given", "dose_unit", "amount", "code", "complete", "remainder",
    "remainder_yes", "retimed",
)  # fmt: skip


@dataclass(frozen=True)
class AdministrationEvents:
    """Events charted in emar: the lines of drug_events.csv."""

    administrations: dict[str, int]
    edges: Floats
    text: pl.Series
    shares: dict[str, Floats]
    confirmed: Bools


@cache
def read_events() -> AdministrationEvents:
    """Return the lines of drug_events.csv as arrays, by administration and place."""
    table = catalog.read("drug_events.csv")
    names = table["administration"].unique(maintain_order=True).to_list()
    order = {name: number for number, name in enumerate(names)}
    group = np.array([order[name] for name in table["administration"]], dtype=np.int64) * len(PLACES)
    group += codes_of(table["place"], PLACES)
    place = np.argsort(group, kind="stable")
    table, group = table[place], group[place]
    weights = floats(table["weight"])
    # Groups without events are counted too, so that the edges of group g are between g and g + 1.
    total = np.bincount(group, weights, minlength=len(names) * len(PLACES))
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    return AdministrationEvents(
        administrations=order,
        edges=group + (np.cumsum(weights) - before[group]) / total[group],
        text=table["event_txt"],
        shares={name: floats(table[name]) for name in SHARES},
        confirmed=table["event_txt"].fill_null("").str.ends_with("Confirmed").to_numpy(),
    )
