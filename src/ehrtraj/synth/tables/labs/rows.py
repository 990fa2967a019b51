"""The results as rows of hosp/labevents."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import MINUTE, Floats, Ints, choose, decimals, pick, pick_rows, times
from ehrtraj.synth.tables.labs.items import Items, read_items, read_words
from ehrtraj.synth.tables.labs.occasions import Draws
from ehrtraj.synth.tables.labs.panels import CLINIC, ED_AGAIN, OCCASIONS, read_panels
from ehrtraj.synth.tables.labs.specimens import Specimens

IDS_OF_BLOCK = 380_000
_DELAY_SPREAD = 0.42
"""Spread, in natural logarithms, of the time from taking a specimen to storing its results."""


def lab_frame(
    block: PatientBlock,
    rng: np.random.Generator,
    draws: Draws,
    specimens: Specimens,
    specimen: Ints,
    item: Ints,
    value: Floats,
) -> pl.DataFrame:
    """Return hosp/labevents: a row for each result, given its specimen, item and value."""
    items, words = read_items(), read_words()
    draw = specimens.draw[specimen]
    sex = block.people.female[draws.person[draw]].astype(np.int64)
    first = words.first[item]
    in_words = first >= 0
    choice = np.where(in_words, first + value.astype(np.int64), 0)
    number, written = decimals(value, _places(items, specimens, specimen, item, value))
    low, high = items.ref_low[sex, item], items.ref_high[sex, item]
    abnormal = np.where(in_words, words.abnormal[choice], (number < low) | (number > high))
    common = _of_specimens(block, rng, draws, specimens, _stored(rng, specimens, specimen, item))
    rows = common[pl.Series(specimen)]
    return pl.DataFrame(
        {
            "labevent_id": block.streams.serial_ids(IDS_OF_BLOCK, len(item)),
            "subject_id": rows["subject_id"],
            "hadm_id": rows["hadm_id"],
            "specimen_id": rows["specimen_id"],
            "itemid": items.table["itemid"].gather(item),
            "order_provider_id": rows["order_provider_id"],
            "charttime": rows["charttime"],
            "storetime": rows["storetime"],
            "value": written.zip_with(pl.Series(~in_words), words.text.gather(choice)),
            "valuenum": pl.Series(np.where(in_words, words.number[choice], number)).fill_nan(None),
            "valueuom": items.table["unit"].gather(item),
            "ref_range_lower": pl.Series(low).fill_nan(None),
            "ref_range_upper": pl.Series(high).fill_nan(None),
            "flag": pl.Series(["abnormal", None]).gather(np.where(abnormal, 0, 1)),
            "priority": rows["priority"],
            "comments": items.remarks.gather(_remark(rng, items, item)),
        }
    )


def _places(items: Items, specimens: Specimens, specimen: Ints, item: Ints, value: Floats) -> Ints:
    """Return each result's decimals: a differential count with a part counted by hand has none."""
    places = items.places[item]
    for group in items.groups:
        if items.places[group].min() == items.places[group].max():
            continue
        of_group = np.flatnonzero(np.isin(item, group))
        whole = np.zeros(len(specimens.draw), dtype=bool)
        whole[specimen[of_group[places[of_group] == 0]]] = True
        places[of_group[whole[specimen[of_group]]]] = 0
    return places


def _stored(rng: np.random.Generator, specimens: Specimens, specimen: Ints, item: Ints) -> Ints:
    """Return how long after its taking each specimen's results are stored: the slowest panel decides."""
    typical = np.zeros(len(specimens.draw))
    np.maximum.at(typical, specimen, read_panels().item_minutes[item])
    delay: Ints = np.maximum(typical * rng.lognormal(0.0, _DELAY_SPREAD, len(typical)), 1.0).astype(np.int64)
    return delay * MINUTE


def _remark(rng: np.random.Generator, items: Items, item: Ints) -> Ints:
    chance = rng.random(len(item))
    remark = np.where(chance < items.note_share[item], item, len(items.remarks) - 1)
    rare = np.flatnonzero(chance > 0.99)
    remark[rare] = len(items.note_share) + pick(rng, catalog.choices("labs_remark")[1], len(rare))
    return remark


def _of_specimens(
    block: PatientBlock, rng: np.random.Generator, draws: Draws, specimens: Specimens, delay: Ints
) -> pl.DataFrame:
    """Return the columns that all results of a specimen have in common."""
    draw = specimens.draw
    person, time = draws.person[draw], draws.time[draw]
    priorities, _ = catalog.choices("labs_priority_ed")
    gas = read_panels().tubes.to_list().index("blood gas")
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(person),
            "hadm_id": block.hadm_id(_registered(block, rng, draws)[draw]),
            "specimen_id": specimens.specimen_id,
            "order_provider_id": _ordering(rng, draws)[pl.Series(draw)],
            "charttime": times(time),
            "storetime": times(time + delay),
            "priority": choose(priorities, np.where(specimens.tube == gas, -1, _priority(rng, draws)[draw])),
        }
    )


def _registered(block: PatientBlock, rng: np.random.Generator, draws: Draws) -> Ints:
    """Return the admission whose number the laboratory gives to each draw, or -1.

    Before the patient is admitted it mostly knows none; the shares are those of MIMIC-IV demo 2.2: 20% in the ED, 1% of
    those drawn during a stay have none.
    """
    stays = block.admissions
    if not len(stays.person):
        return draws.admission
    early = rng.random(len(stays.person)) < 0.2
    before = draws.time < stays.admit[draws.admission]
    unknown = rng.random(len(draws.time)) < np.select(
        [draws.occasion == CLINIC, before & (draws.occasion <= ED_AGAIN)],
        [0.9, np.where(early[draws.admission], 0.0, 1.0)],
        0.01,
    )
    return np.where(unknown, -1, draws.admission)


def _priority(rng: np.random.Generator, draws: Draws) -> Ints:
    """Return which of the priorities each draw has; every occasion lists the same ones."""
    weights = np.stack([catalog.choices(f"labs_priority_{occasion}")[1] for occasion in OCCASIONS])
    return pick_rows(rng, weights[draws.occasion])


def _ordering(rng: np.random.Generator, draws: Draws) -> pl.Series:
    """Return who ordered each draw: known of outpatients only (MIMIC-IV demo 2.2), often the same for a patient."""
    providers = _providers()
    usual = rng.integers(0, len(providers), draws.person.max(initial=0) + 1)[draws.person]
    total = len(draws.time)
    provider = np.where(rng.random(total) < 0.6, usual, rng.integers(0, len(providers), total))
    named = (draws.occasion == CLINIC) & (rng.random(total) < 0.93)
    return choose(providers, np.where(named, provider, -1))


@cache
def _providers() -> pl.Series:
    return catalog.staff()[0]
