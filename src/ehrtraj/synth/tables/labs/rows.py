"""Rows of hosp/labevents."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import MINUTE, Floats, Ints, choose, decimals, pick, pick_rows, times
from ehrtraj.synth.tables.labs.items import Items, read_items, read_worded_results
from ehrtraj.synth.tables.labs.occasions import Occasions
from ehrtraj.synth.tables.labs.panels import CLINIC, ED_AGAIN, OCCASIONS, read_panels
from ehrtraj.synth.tables.labs.specimens import Specimens

IDS_OF_BLOCK = 380_000
_DELAY_SPREAD = 0.42
"""Spread, in natural logarithms, of the time from taking a specimen to storing its results."""


def lab_frame(
    block: PatientBlock,
    rng: np.random.Generator,
    occasions: Occasions,
    specimens: Specimens,
    specimen: Ints,
    item: Ints,
    value: Floats,
) -> pl.DataFrame:
    """Return hosp/labevents with a row for each result, from its specimen, item and value."""
    items, worded = read_items(), read_worded_results()
    occasion = specimens.occasion[specimen]
    sex = block.people.female[occasions.person[occasion]].astype(np.int64)
    first = worded.first[item]
    in_words = first >= 0
    choice = np.where(in_words, first + value.astype(np.int64), 0)
    number, written = decimals(value, _places(items, specimens, specimen, item, value))
    low, high = items.ref_low[sex, item], items.ref_high[sex, item]
    abnormal = np.where(in_words, worded.abnormal[choice], (number < low) | (number > high))
    common = _of_specimens(block, rng, occasions, specimens, _stored(rng, specimens, specimen, item))
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
            "value": written.zip_with(pl.Series(~in_words), worded.text.gather(choice)),
            "valuenum": pl.Series(np.where(in_words, worded.number[choice], number)).fill_nan(None),
            "valueuom": items.table["unit"].gather(item),
            "ref_range_lower": pl.Series(low).fill_nan(None),
            "ref_range_upper": pl.Series(high).fill_nan(None),
            "flag": pl.Series(["abnormal", None]).gather(np.where(abnormal, 0, 1)),
            "priority": rows["priority"],
            "comments": items.remarks.gather(_remark(rng, items, item)),
        }
    )


def _places(items: Items, specimens: Specimens, specimen: Ints, item: Ints, value: Floats) -> Ints:
    """Return the decimal places of each result: none in a differential count that includes a manual count."""
    places = items.places[item]
    for group in items.groups:
        if items.places[group].min() == items.places[group].max():
            continue
        of_group = np.flatnonzero(np.isin(item, group))
        without_decimals = np.zeros(len(specimens.occasion), dtype=bool)
        without_decimals[specimen[of_group[places[of_group] == 0]]] = True
        places[of_group[without_decimals[specimen[of_group]]]] = 0
    return places


def _stored(rng: np.random.Generator, specimens: Specimens, specimen: Ints, item: Ints) -> Ints:
    """Return the delay in seconds until the results of each specimen are stored, given by its slowest panel."""
    typical = np.zeros(len(specimens.occasion))
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
    block: PatientBlock, rng: np.random.Generator, occasions: Occasions, specimens: Specimens, delay: Ints
) -> pl.DataFrame:
    """Return the columns that all results of a specimen share."""
    occasion = specimens.occasion
    person, time = occasions.person[occasion], occasions.time[occasion]
    priorities, _ = catalog.choices("labs_priority_ed")
    gas = read_panels().tubes.to_list().index("blood gas")
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(person),
            "hadm_id": block.hadm_id(_registered(block, rng, occasions)[occasion]),
            "specimen_id": specimens.specimen_id,
            "order_provider_id": _ordering(rng, occasions)[pl.Series(occasion)],
            "charttime": times(time),
            "storetime": times(time + delay),
            "priority": choose(priorities, np.where(specimens.tube == gas, -1, _priority(rng, occasions)[occasion])),
        }
    )


def _registered(block: PatientBlock, rng: np.random.Generator, occasions: Occasions) -> Ints:
    """Return the admission that the laboratory records on each occasion, or -1.

    Before admission the laboratory mostly records none. The shares are those of MIMIC-IV demo 2.2: 20% in the ED, and
    1% of specimens taken during a stay have none.
    """
    stays = block.admissions
    if not len(stays.person):
        return occasions.admission
    early = rng.random(len(stays.person)) < 0.2
    before = occasions.time < stays.admit[occasions.admission]
    unknown = rng.random(len(occasions.time)) < np.select(
        [occasions.kind == CLINIC, before & (occasions.kind <= ED_AGAIN)],
        [0.9, np.where(early[occasions.admission], 0.0, 1.0)],
        0.01,
    )
    return np.where(unknown, -1, occasions.admission)


def _priority(rng: np.random.Generator, occasions: Occasions) -> Ints:
    """Return the position of the priority on each occasion. All kinds of occasions list the same priorities."""
    weights = np.stack([catalog.choices(f"labs_priority_{kind}")[1] for kind in OCCASIONS])
    return pick_rows(rng, weights[occasions.kind])


def _ordering(rng: np.random.Generator, occasions: Occasions) -> pl.Series:
    """Return the provider who ordered on each occasion, recorded only for outpatients (MIMIC-IV demo 2.2).

    A patient often has the same provider.
    """
    providers = _providers()
    usual = rng.integers(0, len(providers), occasions.person.max(initial=0) + 1)[occasions.person]
    total = len(occasions.time)
    provider = np.where(rng.random(total) < 0.6, usual, rng.integers(0, len(providers), total))
    named = (occasions.kind == CLINIC) & (rng.random(total) < 0.93)
    return choose(providers, np.where(named, provider, -1))


@cache
def _providers() -> pl.Series:
    return catalog.staff()[0]
