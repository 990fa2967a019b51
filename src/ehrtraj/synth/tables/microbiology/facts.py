"""The catalog of microbiology as arrays, and its weighted groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints

INTERPRETATIONS = ("S", "I", "R")
MASKED = "___"
INFECTION = "infection"
"""Cause of growth after the causes of illnesses: an infection in intensive care that is not the illness."""


@dataclass(frozen=True)
class WeightedGroups:
    """Groups of catalog lines from which a line is picked by weight."""

    edges: Floats
    """Ascending over all lines: number of the group plus the cumulative share of weights within the group."""
    last: Ints
    """Last line of each group; -1 for a group without lines."""

    def pick(self, group: Ints, uniform: Floats) -> Ints:
        """Return a line of each group, chosen by uniform numbers; -1 for group -1 and for groups without lines."""
        line = np.minimum(np.searchsorted(self.edges, group + uniform, side="right"), self.last[group])
        drawn: Ints = np.where(group < 0, -1, line)
        return drawn


def _weighted_groups(group: Ints, weight: Floats, groups: int) -> WeightedGroups:
    """Return weighted groups of lines that are sorted by group."""
    total = np.zeros(groups)
    np.add.at(total, group, weight)
    before = np.cumsum(total) - total
    last = np.full(groups, -1)
    last[group] = np.arange(len(group))
    return WeightedGroups(group + (np.cumsum(weight) - before[group]) / total[group], last)


@dataclass(frozen=True)
class Facts:
    """The catalog of microbiology as arrays. Tests, organisms and sites are identified by number."""

    specimens: pl.DataFrame
    tests: pl.DataFrame
    organisms: pl.DataFrame
    antibiotics: pl.DataFrame
    dilutions: pl.DataFrame
    phrases: pl.Series
    mean: dict[str, Floats]
    """Mean number of each specimen in each context."""
    early: dict[str, Floats]
    """Share of each specimen that is taken early, in each context."""
    site: Ints
    """[tests]: number of the site."""
    stain: Bools
    """[sites]: the test of the site is a stain."""
    bottle: int
    """The site whose test is done only after growth."""
    chance: Floats
    """[any cause, each illness, infection; sites]: probability of growth."""
    second: Floats
    """[any cause, each illness, infection; sites]: probability of a second organism."""
    flora: Ints
    """[any cause, each illness, infection; sites]: number of the flora."""
    worked_up: Bools
    """[sites]: susceptibility is tested."""
    organism_groups: WeightedGroups
    """Lines of micro_flora.csv by flora."""
    organism: Ints
    """[lines of micro_flora.csv]: number of the organism."""
    mechanism: Ints
    """[lines of micro_susceptibility.csv]: number of the mechanism. The next three arrays have the same lines."""
    reflex: Ints
    """Line of the antibiotic to which the organism must be resistant before this one is tested, or -1."""
    only_site: Ints
    dilution_group: Ints
    """[lines, interpretations]"""
    dilution_groups: WeightedGroups
    remark_groups: WeightedGroups
    """Groups of phrases: 2 * site, plus 1 with growth."""
    remark: Ints
    """Position in `phrases` of each line of remark_groups. The Gram stains of organisms follow all other phrases."""


@cache
def read_facts() -> Facts:
    """Return the catalog of microbiology as arrays."""
    tests, organisms = catalog.read("micro_tests.csv"), catalog.read("micro_organisms.csv")
    antibiotics, specimens = catalog.read("micro_susceptibility.csv"), catalog.read("micro_specimens.csv")
    sites = tests["site"].unique(maintain_order=True)
    number = {name: place for place, name in enumerate(sites)}
    mean, early = _needs(specimens["specimen"])
    chance, second, flora, floras = _growth(number)
    worked_up = np.zeros(len(sites), dtype=bool)
    worked_up[[number[site] for site in catalog.read("micro_growth.csv").filter(pl.col("tested") == 1)["site"]]] = True
    flora_lines = catalog.read("micro_flora.csv")
    dilutions, dilution_group, dilution_groups = _dilutions(antibiotics)
    phrases, remark, remark_groups = _remarks(sites, organisms["gram_stain"])
    return Facts(
        specimens=specimens,
        tests=tests,
        organisms=organisms,
        antibiotics=antibiotics,
        dilutions=dilutions,
        phrases=phrases,
        mean=mean,
        early=early,
        site=places(tests["site"], sites),
        stain=sites.str.ends_with("_stain").to_numpy(),
        bottle=number["bottle_stain"],
        chance=chance,
        second=second,
        flora=flora,
        worked_up=worked_up,
        organism_groups=_weighted_groups(
            places(flora_lines["flora"], floras), flora_lines["weight"].cast(pl.Float64).to_numpy(), len(floras)
        ),
        organism=places(flora_lines["organism"], organisms["organism"]),
        mechanism=places(antibiotics["mechanism"], antibiotics["mechanism"].unique(maintain_order=True)),
        reflex=_reflexes(antibiotics),
        only_site=places(antibiotics["only_site"], sites),
        dilution_group=dilution_group,
        dilution_groups=dilution_groups,
        remark_groups=remark_groups,
        remark=remark,
    )


def places(column: pl.Series, values: pl.Series) -> Ints:
    """Return the position of each element in `values`; -1 for null."""
    order = {value: place for place, value in enumerate(values)}
    return np.array([-1 if value is None else order[value] for value in column], dtype=np.int64)


def _needs(specimens: pl.Series) -> tuple[dict[str, Floats], dict[str, Floats]]:
    order = {name: place for place, name in enumerate(specimens)}
    table = catalog.read("micro_needs.csv")
    names = [*catalog.illnesses(), *table["context"].unique(maintain_order=True)]
    mean, early = ({name: np.zeros(len(order)) for name in names} for _ in range(2))
    for context, specimen, count, at_first in table.select("context", "specimen", "mean", "early").iter_rows():
        mean[context][order[specimen]] = count
        early[context][order[specimen]] = at_first
    return mean, early


def _growth(number: dict[str, int]) -> tuple[Floats, Floats, Ints, pl.Series]:
    """Return [causes, sites] chance, second and flora. Any cause is first; causes without a line use its values."""
    floras = catalog.read("micro_flora.csv")["flora"].unique(maintain_order=True)
    flora = {name: place for place, name in enumerate(floras)}
    causes = {name: place + 1 for place, name in enumerate(catalog.illnesses())} | {"*": 0}
    causes[INFECTION] = len(causes)
    shape = (len(causes), len(number))
    chance, second, kind = np.zeros(shape), np.zeros(shape), np.full(shape, -1)
    lines = catalog.read("micro_growth.csv").sort(pl.col("cause") != "*", maintain_order=True)
    for cause, site, often, again, name in lines.select("cause", "site", "chance", "second", "flora").iter_rows():
        rows = slice(None) if cause == "*" else causes[cause]
        column = number[site]
        chance[rows, column], second[rows, column], kind[rows, column] = often, again, flora[name]
    return chance, second, kind, floras


def _reflexes(antibiotics: pl.DataFrame) -> Ints:
    pairs = list(zip(antibiotics["organism"], antibiotics["ab_name"], strict=True))
    line = {pair: place for place, pair in enumerate(pairs)}
    needed = zip(antibiotics["organism"], antibiotics["only_if_resistant_to"], strict=True)
    return np.array([-1 if name is None else line[organism, name] for organism, name in needed], dtype=np.int64)


def _dilutions(antibiotics: pl.DataFrame) -> tuple[pl.DataFrame, Ints, WeightedGroups]:
    table = catalog.read("micro_dilutions.csv").with_columns(pl.col("dilution_text").cast(pl.String))
    keys = table.select("dilutions", "ab_name", "interpretation").unique(maintain_order=True).rows()
    order = {key: place for place, key in enumerate(keys)}
    columns = (table["dilutions"], table["ab_name"], table["interpretation"])
    group = np.array([order[key] for key in zip(*columns, strict=True)])
    lines = zip(antibiotics["dilutions"], antibiotics["ab_name"], strict=True)
    of_line = np.array([[order.get((*line, letter), -1) for letter in INTERPRETATIONS] for line in lines])
    sign = pl.col("dilution_text").str.extract("^([<=>]*)").replace({"": "="}).str.pad_end(10)
    written = table.select(
        "dilution_text",
        sign.alias("dilution_comparison"),
        pl.col("dilution_text").str.strip_chars("<=>").cast(pl.Float64).alias("dilution_value"),
    )
    return written, of_line, _weighted_groups(group, table["weight"].cast(pl.Float64).to_numpy(), len(keys))


def _remarks(sites: pl.Series, stains: pl.Series) -> tuple[pl.Series, Ints, WeightedGroups]:
    group, weight, texts = [], [], []
    known = set(catalog.read("choices_micro.csv")["field"])
    for place, site in enumerate(sites):
        for grown, prefix in enumerate(("micro_no_", "micro_with_")):
            if prefix + site in known:
                values, weights = catalog.choices(prefix + site)
                group += [2 * place + grown] * len(values)
                weight += list(weights)
                texts += list(values)
    # A remark ends with two spaces, unless it was masked.
    phrases = pl.concat([pl.Series(texts, dtype=pl.String), stains])
    ended = phrases.zip_with((phrases == MASKED).fill_null(value=True), phrases + "  ")
    return ended, np.arange(len(texts)), _weighted_groups(np.array(group), np.array(weight), 2 * len(sites))


def group_ranges(group: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return the first line and the number of lines of each group. Lines must be sorted by group."""
    count = np.bincount(group, minlength=groups)
    first = np.zeros(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first, count.astype(np.int64)
