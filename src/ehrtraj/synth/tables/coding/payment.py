"""Draw the codes for the payment of admissions: hosp/drgcodes and hosp/hcpcsevents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, dates, integers
from ehrtraj.synth.tables.coding.books import DIAGNOSES, Menu, beginning_with, code_table, figure, padded, shares
from ehrtraj.synth.tables.coding.choice import (
    DECADE,
    CodedAdmissions,
    CodedRows,
    choose_one,
    choose_some,
    coded_rows,
    concat_rows,
    in_sequence,
    on_ventilator,
    patient_columns,
)

NEEDS = ("alive", "died", "operated", "not_operated", "ventilated_under_4_days", "ventilated_over_4_days")
"""Requirements that the column `needs` of drgs.csv may contain."""


@dataclass(frozen=True)
class _DrgGroups:
    """Lines of drgs.csv of one type."""

    frame: pl.DataFrame
    """drg_type, drg_code (three digits), description"""
    line: Ints
    """[illnesses, places]: lines of each illness, padded with 0."""
    weight: Floats
    """[illnesses, places]: weights, 0 for padding."""
    low: Floats
    high: Floats
    needs: Ints
    """Sum of 2 ** position in NEEDS."""
    for_diagnosis: Bools
    """[diagnoses, lines]"""


@cache
def _groups(drg_type: str) -> _DrgGroups:
    table = catalog.read("drgs.csv").filter(pl.col("drg_type") == drg_type)
    lines: list[list[tuple[int, float]]] = [[] for _ in catalog.illnesses()]
    for line, (illness, weight) in enumerate(
        zip(catalog.illness_numbers(table["cause"].to_list()), table["weight"], strict=True)
    ):
        lines[illness].append((line, weight))
    menu = padded(lines)
    matches = np.zeros((code_table(DIAGNOSES).height, table.height), dtype=bool)
    for line, words in enumerate(table["diagnoses"]):
        starts = words.split() if words else [""]
        matches[[number for start in starts for _, number in beginning_with(DIAGNOSES, start)], line] = True
    needs = [sum(2 ** NEEDS.index(need) for need in (words or "").split()) for words in table["needs"]]
    return _DrgGroups(
        frame=table.select("drg_type", pl.col("drg_code").cast(pl.String).str.zfill(3), "description"),
        line=menu.number,
        weight=menu.weight,
        low=table["severity_from"].fill_null(-np.inf).to_numpy(),
        high=table["severity_to"].fill_null(np.inf).to_numpy(),
        needs=np.array(needs, dtype=np.int64),
        for_diagnosis=matches,
    )


def drg_codes(block: PatientBlock, admissions: CodedAdmissions, diagnoses: CodedRows, operated: Bools) -> pl.DataFrame:
    """Draw hosp/drgcodes: an APR DRG, an HCFA DRG, both or none, by diagnosis, severity and operation."""
    rng = block.streams.rng("drgcodes")
    total = len(admissions.person)
    codes = np.bincount(diagnoses.admission, minlength=total) - figure("drg_usual_codes")
    score = admissions.severity + figure("drg_per_code") * codes + rng.normal(0, figure("drg_noise"), total)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    grouped = rng.random(total) < _by_kind(block, "coding_drg_share")
    facts = _met_needs(block, admissions, operated)
    titles, group_admissions = [], []
    for drg_type in ("APR", "HCFA"):
        groups = _groups(drg_type)
        line = groups.line[admissions.illness]
        matches = groups.for_diagnosis[principal[:, None], line] & (groups.needs[line] & ~facts[:, None] == 0)
        matches &= (groups.low[line] <= score[:, None]) & (score[:, None] < groups.high[line])
        place = choose_one(rng.random(total), groups.weight[admissions.illness] * matches)
        admission = np.flatnonzero(grouped & (place >= 0) & (rng.random(total) < figure(f"drg_{drg_type.lower()}")))
        titles.append(groups.frame[line[admission, place[admission]]])
        group_admissions.append(admission)
    admission = np.concatenate(group_admissions)
    order = np.argsort(admission, kind="stable")
    return _with_apr_grades(block, admissions, score, admission[order], pl.concat(titles)[order])


def _met_needs(block: PatientBlock, admissions: CodedAdmissions, operated: Bools) -> Ints:
    """Return which of NEEDS are met in each admission, as the sum of 2 ** position."""
    icu = block.icu
    ventilated = on_ventilator(block)
    long = ventilated & (icu.ventilated_until - icu.ventilated_from >= 4 * DAY)
    over, under = np.zeros(len(admissions.person), dtype=bool), np.zeros(len(admissions.person), dtype=bool)
    over[icu.admission[long]] = True
    under[icu.admission[ventilated & ~long]] = True
    met = np.stack([~admissions.died, admissions.died, operated, ~operated, under & ~over, over])
    total: Ints = (met.astype(np.int64) << np.arange(len(NEEDS))[:, None]).sum(axis=0)
    return total


def _with_apr_grades(
    block: PatientBlock, admissions: CodedAdmissions, score: Floats, admission: Ints, titles: pl.DataFrame
) -> pl.DataFrame:
    """Add severity of illness and risk of mortality to APR DRGs. HCFA DRGs have them in their title."""
    decades = (admissions.age - 65) / DECADE * figure("apr_mortality_per_decade_over_65")
    risk = score + decades + figure("apr_mortality_of_the_dead") * admissions.died
    edges = np.array([figure(f"apr_severity_{level}") for level in (2, 3, 4)])
    apr = (titles["drg_type"] == "APR").to_numpy()
    grades = {
        name: integers(np.where(apr, 1 + np.searchsorted(edges, value[admission], side="right"), NONE))
        for name, value in (("drg_severity", score), ("drg_mortality", risk))
    }
    return pl.DataFrame({**patient_columns(block, admission), **titles.to_dict(), **grades})


@cache
def hcpcs_codes() -> pl.DataFrame:
    """Return the distinct codes of hcpcs.csv."""
    return catalog.read("hcpcs.csv").unique("code", keep="first", maintain_order=True)


@cache
def _hcpcs_menu(causes: tuple[str, ...]) -> Menu:
    numbers = {code: number for number, code in enumerate(hcpcs_codes()["code"])}
    lines: list[list[tuple[int, float]]] = [[] for _ in causes]
    for code, cause, weight in catalog.read("hcpcs.csv").select("code", "cause", "weight").iter_rows():
        if cause in causes:
            lines[causes.index(cause)].append((numbers[code], weight))
    return padded(lines)


def hcpcs_events(block: PatientBlock, admissions: CodedAdmissions) -> pl.DataFrame:
    """Draw hosp/hcpcsevents: hours under observation, their visits, and procedures billed by HCPCS."""
    rng = block.streams.rng("hcpcsevents")
    total = len(admissions.person)
    observed = np.flatnonzero(rng.random(total) < _by_kind(block, "coding_hcpcs_observation"))
    with_visit = observed[rng.random(len(observed)) < figure("hcpcs_visit")]
    illness_menu, any_menu = _hcpcs_menu(catalog.illnesses()), _hcpcs_menu(("any",))
    weight = np.concatenate(
        [illness_menu.weight[admissions.illness], np.repeat(any_menu.weight, total, axis=0)], axis=1
    )
    number = np.concatenate(
        [illness_menu.number[admissions.illness], np.repeat(any_menu.number, total, axis=0)], axis=1
    )
    count = rng.poisson(_by_kind(block, "coding_hcpcs_procedures"))
    admission, column = choose_some(rng.exponential(size=weight.shape), weight, count)
    parts = [coded_rows(admission, number[admission, column], 0.0)]
    for order, (menu, chosen) in enumerate(
        ((_hcpcs_menu(("observation_visit",)), with_visit), (_hcpcs_menu(("observation",)), observed)), 1
    ):
        column = choose_one(rng.random(len(chosen)), np.repeat(menu.weight, len(chosen), axis=0))
        parts.append(coded_rows(chosen, menu.number[0, column], float(order)))
    families = np.arange(hcpcs_codes().height)
    rows = in_sequence(rng, concat_rows(parts), families, len(families))
    later = DAY * (rng.random(len(rows.admission)) < figure("hcpcs_day_after"))
    codes = hcpcs_codes()[rows.number]
    return pl.DataFrame(
        {
            **patient_columns(block, rows.admission),
            "chartdate": dates(
                np.minimum(admissions.first_day[rows.admission] + later, admissions.last_day[rows.admission])
            ),
            "hcpcs_cd": codes["code"],
            "seq_num": pl.Series(rows.ordinal + 1),
            "short_description": codes["short_description"],
        }
    )


def _by_kind(block: PatientBlock, field: str) -> Floats:
    """Return, for each admission, a figure that depends on the type of admission."""
    kinds = block.admissions.kind.to_numpy()
    figures = np.full(len(kinds), np.nan)
    for kind, share in shares(field).items():
        figures[kinds == kind] = share
    return figures
