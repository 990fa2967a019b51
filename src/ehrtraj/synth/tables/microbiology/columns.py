"""Columns of specimens, tests and growth."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, Ints, blank, choose, minutes, times
from ehrtraj.synth.tables.microbiology.facts import INTERPRETATIONS, read_facts
from ehrtraj.synth.tables.microbiology.results import Tests
from ehrtraj.synth.tables.microbiology.specimens import MicroSpecimens

TIMELESS = 0.25
"""Share of outpatient specimens without a time (MIMIC-IV demo 2.2: 45 of 182)."""
ORDERED_BY = 0.85
"""Share of outpatient specimens with an ordering provider. No other specimens have one in MIMIC-IV demo 2.2."""
UNASSIGNED = 0.03
"""Share of specimens taken in an admission that have no hadm_id (MIMIC-IV demo 2.2: 31 of 944)."""


def specimen_columns(rng: np.random.Generator, block: PatientBlock, specimens: MicroSpecimens) -> pl.DataFrame:
    """Return the columns that all rows of a specimen share, with a row for each specimen."""
    stays, total = block.admissions, len(specimens.person)
    charted = minutes(specimens.time)
    admission = np.where(specimens.episode < len(stays.person), specimens.episode, -1)
    inside = (admission >= 0) & (charted >= minutes(stays.admit)[admission]) & (charted <= stays.discharge[admission])
    admission = np.where(inside & (rng.random(total) >= UNASSIGNED), admission, -1)
    providers, _ = catalog.staff()
    provider = np.where(specimens.clinic & (rng.random(total) < ORDERED_BY), rng.integers(0, len(providers), total), -1)
    timeless = specimens.clinic & (rng.random(total) < TIMELESS)
    columns = pl.DataFrame(
        {
            "subject_id": block.subject_id(specimens.person),
            "hadm_id": block.hadm_id(admission),
            "micro_specimen_id": block.streams.unique_ids("micro_specimen", total),
            "order_provider_id": choose(providers, provider),
            "chartdate": times(charted - charted % DAY),
            "charttime": blank(times(charted), timeless),
        }
    )
    return pl.concat(
        [columns, rows_at(read_facts().specimens.select("spec_itemid", "spec_type_desc"), specimens.kind)],
        how="horizontal",
    )


def test_columns(rng: np.random.Generator, specimens: MicroSpecimens, tests: Tests) -> pl.DataFrame:
    """Return the columns that all rows of a test share, with a row for each test."""
    facts = read_facts()
    hours_negative, hours_grown, spread = (
        facts.tests[name].cast(pl.Float64).to_numpy()[tests.line] for name in ("hours", "growth_hours", "spread")
    )
    hours = np.where(tests.grown, hours_grown, hours_negative)
    waits = np.maximum(hours * np.exp(spread * rng.standard_normal(len(hours))), 0.4)
    stored = minutes(minutes(specimens.time)[tests.specimen] + (waits * HOUR).astype(np.int64))
    first = np.searchsorted(tests.specimen, tests.specimen, side="left")
    columns = pl.DataFrame(
        {
            "test_seq": np.arange(len(first)) - first + 1,
            "storedate": times(stored - stored % DAY),
            "storetime": times(stored),
            "comments": choose(facts.phrases, tests.remark),
        }
    )
    return pl.concat([columns, rows_at(facts.tests.select("test_itemid", "test_name"), tests.line)], how="horizontal")


def growth_columns(
    rng: np.random.Generator, organism: Ints, line: Ints, interpretation: Ints
) -> tuple[pl.DataFrame, ...]:
    """Return the columns of organisms, antibiotics, dilutions and interpretations, row by row."""
    facts = read_facts()
    group = np.where(line >= 0, facts.dilution_group[line, interpretation], -1)
    dilution = facts.dilution_groups.pick(group, rng.random(len(line)))
    # MIMIC-IV demo 2.2 contains no quantities.
    names = facts.organisms.select("org_itemid", pl.col("organism").alias("org_name"), quantity=pl.lit(None, pl.String))
    letters = pl.DataFrame({"interpretation": INTERPRETATIONS})
    return (
        rows_at(names, organism),
        rows_at(facts.antibiotics.select("ab_itemid", "ab_name"), line),
        rows_at(facts.dilutions, dilution),
        rows_at(letters, interpretation),
    )


def rows_at(frame: pl.DataFrame, index: Ints) -> pl.DataFrame:
    """Return rows of a frame by their positions; -1 gives a row of nulls."""
    return frame.select(pl.all().gather(blank(pl.Series(index), index < 0)))
