"""Draws what admissions are paid by: hosp/drgcodes and hosp/hcpcsevents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, dates, integers
from ehrtraj.synth.tables.coding.books import DIAGNOSES, Menu, beginning_with, book_of, figure, padded, shares
from ehrtraj.synth.tables.coding.choice import (
    DECADE,
    Rows,
    Stays,
    choose_one,
    choose_some,
    in_sequence,
    joined,
    on_ventilator,
    rows_of,
    whose,
)

NEEDS = ("alive", "died", "operated", "not_operated", "ventilated_under_4_days", "ventilated_over_4_days")
"""What the column needs of drgs.csv may ask for."""


@dataclass(frozen=True)
class _Groups:
    """Lines of drgs.csv of one type."""

    frame: pl.DataFrame
    """drg_type, drg_code (three digits), description"""
    line: Ints
    """[illnesses, places]: the lines of an illness, filled up with 0."""
    weight: Floats
    """[illnesses, places]: 0 where filled up."""
    low: Floats
    high: Floats
    needs: Ints
    """The sum of 2 ** place in NEEDS."""
    for_diagnosis: Bools
    """[diagnoses, lines]"""


@cache
def _groups(drg_type: str) -> _Groups:
    table = catalog.read("drgs.csv").filter(pl.col("drg_type") == drg_type)
    lines: list[list[tuple[int, float]]] = [[] for _ in catalog.illnesses()]
    for line, (illness, weight) in enumerate(
        zip(catalog.illness_numbers(table["cause"].to_list()), table["weight"], strict=True)
    ):
        lines[illness].append((line, weight))
    menu = padded(lines)
    fits = np.zeros((book_of(DIAGNOSES).height, table.height), dtype=bool)
    for line, words in enumerate(table["diagnoses"]):
        starts = words.split() if words else [""]
        fits[[number for start in starts for _, number in beginning_with(DIAGNOSES, start)], line] = True
    needs = [sum(2 ** NEEDS.index(need) for need in (words or "").split()) for words in table["needs"]]
    return _Groups(
        frame=table.select("drg_type", pl.col("drg_code").cast(pl.String).str.zfill(3), "description"),
        line=menu.number,
        weight=menu.weight,
        low=table["severity_from"].fill_null(-np.inf).to_numpy(),
        high=table["severity_to"].fill_null(np.inf).to_numpy(),
        needs=np.array(needs, dtype=np.int64),
        for_diagnosis=fits,
    )


def drg_codes(block: PatientBlock, stays: Stays, diagnoses: Rows, operated: Bools) -> pl.DataFrame:
    """Return hosp/drgcodes: an APR DRG, an HCFA DRG, both or none, by diagnosis, severity and operation."""
    rng = block.streams.rng("drgcodes")
    total = len(stays.person)
    codes = np.bincount(diagnoses.stay, minlength=total) - figure("drg_usual_codes")
    score = stays.severity + figure("drg_per_code") * codes + rng.normal(0, figure("drg_noise"), total)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    grouped = rng.random(total) < _by_kind(block, "coding_drg_share")
    facts = _facts(block, stays, operated)
    titles, found = [], []
    for drg_type in ("APR", "HCFA"):
        groups = _groups(drg_type)
        line = groups.line[stays.illness]
        fits = groups.for_diagnosis[principal[:, None], line] & (groups.needs[line] & ~facts[:, None] == 0)
        fits &= (groups.low[line] <= score[:, None]) & (score[:, None] < groups.high[line])
        place = choose_one(rng.random(total), groups.weight[stays.illness] * fits)
        stay = np.flatnonzero(grouped & (place >= 0) & (rng.random(total) < figure(f"drg_{drg_type.lower()}")))
        titles.append(groups.frame[line[stay, place[stay]]])
        found.append(stay)
    stay = np.concatenate(found)
    order = np.argsort(stay, kind="stable")
    return _refined(block, stays, score, stay[order], pl.concat(titles)[order])


def _facts(block: PatientBlock, stays: Stays, operated: Bools) -> Ints:
    """Return which of NEEDS are met in each admission: the sum of 2 ** place."""
    icu = block.icu
    ventilated = on_ventilator(block)
    long = ventilated & (icu.ventilated_until - icu.ventilated_from >= 4 * DAY)
    over, under = np.zeros(len(stays.person), dtype=bool), np.zeros(len(stays.person), dtype=bool)
    over[icu.admission[long]] = True
    under[icu.admission[ventilated & ~long]] = True
    met = np.stack([~stays.died, stays.died, operated, ~operated, under & ~over, over])
    total: Ints = (met.astype(np.int64) << np.arange(len(NEEDS))[:, None]).sum(axis=0)
    return total


def _refined(block: PatientBlock, stays: Stays, score: Floats, stay: Ints, titles: pl.DataFrame) -> pl.DataFrame:
    """Give APR DRGs their severity of illness and risk of mortality; HCFA's carry theirs in the title."""
    decades = (stays.age - 65) / DECADE * figure("apr_mortality_per_decade_over_65")
    risk = score + decades + figure("apr_mortality_of_the_dead") * stays.died
    edges = np.array([figure(f"apr_severity_{level}") for level in (2, 3, 4)])
    apr = (titles["drg_type"] == "APR").to_numpy()
    grades = {
        name: integers(np.where(apr, 1 + np.searchsorted(edges, value[stay], side="right"), NONE))
        for name, value in (("drg_severity", score), ("drg_mortality", risk))
    }
    return pl.DataFrame({**whose(block, stay), **titles.to_dict(), **grades})


@cache
def hcpcs_codes() -> pl.DataFrame:
    """Return the different codes of hcpcs.csv."""
    return catalog.read("hcpcs.csv").unique("code", keep="first", maintain_order=True)


@cache
def _hcpcs_menu(causes: tuple[str, ...]) -> Menu:
    numbers = {code: number for number, code in enumerate(hcpcs_codes()["code"])}
    lines: list[list[tuple[int, float]]] = [[] for _ in causes]
    for code, cause, weight in catalog.read("hcpcs.csv").select("code", "cause", "weight").iter_rows():
        if cause in causes:
            lines[causes.index(cause)].append((numbers[code], weight))
    return padded(lines)


def hcpcs_events(block: PatientBlock, stays: Stays) -> pl.DataFrame:
    """Hours under observation, the visits that go with them, and procedures billed by HCPCS."""
    rng = block.streams.rng("hcpcsevents")
    total = len(stays.person)
    observed = np.flatnonzero(rng.random(total) < _by_kind(block, "coding_hcpcs_observation"))
    visited = observed[rng.random(len(observed)) < figure("hcpcs_visit")]
    own, usual = _hcpcs_menu(catalog.illnesses()), _hcpcs_menu(("any",))
    weight = np.concatenate([own.weight[stays.illness], np.repeat(usual.weight, total, axis=0)], axis=1)
    number = np.concatenate([own.number[stays.illness], np.repeat(usual.number, total, axis=0)], axis=1)
    count = rng.poisson(_by_kind(block, "coding_hcpcs_procedures"))
    stay, column = choose_some(rng.exponential(size=weight.shape), weight, count)
    parts = [rows_of(stay, number[stay, column], 0.0)]
    for order, (menu, chosen) in enumerate(
        ((_hcpcs_menu(("observation_visit",)), visited), (_hcpcs_menu(("observation",)), observed)), 1
    ):
        column = choose_one(rng.random(len(chosen)), np.repeat(menu.weight, len(chosen), axis=0))
        parts.append(rows_of(chosen, menu.number[0, column], float(order)))
    own_codes = np.arange(hcpcs_codes().height)
    rows = in_sequence(rng, joined(parts), own_codes, len(own_codes))
    later = DAY * (rng.random(len(rows.stay)) < figure("hcpcs_day_after"))
    codes = hcpcs_codes()[rows.number]
    return pl.DataFrame(
        {
            **whose(block, rows.stay),
            "chartdate": dates(np.minimum(stays.first_day[rows.stay] + later, stays.last_day[rows.stay])),
            "hcpcs_cd": codes["code"],
            "seq_num": pl.Series(rows.ordinal + 1),
            "short_description": codes["short_description"],
        }
    )


def _by_kind(block: PatientBlock, field: str) -> Floats:
    """Return a figure that depends on the type of admission, for each admission."""
    kinds = block.admissions.kind.to_numpy()
    found = np.full(len(kinds), np.nan)
    for kind, share in shares(field).items():
        found[kinds == kind] = share
    return found
