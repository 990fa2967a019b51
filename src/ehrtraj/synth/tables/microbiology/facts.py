"""The catalog of microbiology in the form of arrays, and the lots drawn from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints

INTERPRETATIONS = ("S", "I", "R")
MASKED = "___"


@dataclass(frozen=True)
class Lots:
    """Lines of a catalog in groups, one of which is drawn by weight."""

    edges: Floats
    """Ascending over all lines: the group's number plus the part of its weight up to and with the line."""
    last: Ints
    """Each group's last line, or -1 for a group without any."""

    def draw(self, group: Ints, luck: Floats) -> Ints:
        """Return a line of each group, by numbers from 0 to 1; -1 for group -1 and those without lines."""
        line = np.minimum(np.searchsorted(self.edges, group + luck, side="right"), self.last[group])
        drawn: Ints = np.where(group < 0, -1, line)
        return drawn


def _lots(group: Ints, weight: Floats, groups: int) -> Lots:
    """Make lots of lines that are in order of their groups."""
    total = np.zeros(groups)
    np.add.at(total, group, weight)
    before = np.cumsum(total) - total
    last = np.full(groups, -1)
    last[group] = np.arange(len(group))
    return Lots(group + (np.cumsum(weight) - before[group]) / total[group], last)


@dataclass(frozen=True)
class Facts:
    """The catalog of microbiology as arrays; tests, organisms and sites by number."""

    specimens: pl.DataFrame
    tests: pl.DataFrame
    organisms: pl.DataFrame
    antibiotics: pl.DataFrame
    dilutions: pl.DataFrame
    phrases: pl.Series
    mean: dict[str, Floats]
    """How many of each specimen are taken in each context."""
    early: dict[str, Floats]
    site: Ints
    """Of each test."""
    stain: Bools
    """Of each site."""
    bottle: int
    """The site whose test is done only after growth."""
    chance: Floats
    """[any cause and each illness, sites]: how often something grows."""
    second: Floats
    flora: Ints
    worked_up: Bools
    """Of each site: susceptibility is tested there."""
    organism_lots: Lots
    """Lines of micro_flora.csv by flora."""
    organism: Ints
    """Of each line of micro_flora.csv."""
    mechanism: Ints
    """Of each line of micro_susceptibility.csv; so are the next three."""
    reflex: Ints
    """The line of the antibiotic to which the organism must be resistant to have this one tested, or -1."""
    only_site: Ints
    dilution_group: Ints
    """[lines, interpretations]"""
    dilution_lots: Lots
    remark_lots: Lots
    """Phrases by 2 * site, plus one where something grew."""
    remark: Ints
    """Number in `phrases` of each line of these lots; the organisms' Gram stains stand after all others."""


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
    plants = catalog.read("micro_flora.csv")
    dilutions, dilution_group, dilution_lots = _dilutions(antibiotics)
    phrases, remark, remark_lots = _remarks(sites, organisms["gram_stain"])
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
        organism_lots=_lots(places(plants["flora"], floras), plants["weight"].cast(pl.Float64).to_numpy(), len(floras)),
        organism=places(plants["organism"], organisms["organism"]),
        mechanism=places(antibiotics["mechanism"], antibiotics["mechanism"].unique(maintain_order=True)),
        reflex=_reflexes(antibiotics),
        only_site=places(antibiotics["only_site"], sites),
        dilution_group=dilution_group,
        dilution_lots=dilution_lots,
        remark_lots=remark_lots,
        remark=remark,
    )


def places(column: pl.Series, values: pl.Series) -> Ints:
    """Return the place of each element among `values`; -1 for null."""
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
    """Return [causes, sites] chance, second and flora: any cause first, and its line where an illness has none."""
    floras = catalog.read("micro_flora.csv")["flora"].unique(maintain_order=True)
    flora = {name: place for place, name in enumerate(floras)}
    causes = {name: place + 1 for place, name in enumerate(catalog.illnesses())} | {"*": 0}
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


def _dilutions(antibiotics: pl.DataFrame) -> tuple[pl.DataFrame, Ints, Lots]:
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
    return written, of_line, _lots(group, table["weight"].cast(pl.Float64).to_numpy(), len(keys))


def _remarks(sites: pl.Series, stains: pl.Series) -> tuple[pl.Series, Ints, Lots]:
    group, weight, texts = [], [], []
    known = set(catalog.read("choices_micro.csv")["field"])
    for place, site in enumerate(sites):
        for grown, prefix in enumerate(("micro_no_", "micro_with_")):
            if prefix + site in known:
                values, weights = catalog.choices(prefix + site)
                group += [2 * place + grown] * len(values)
                weight += list(weights)
                texts += list(values)
    # A remark ends in two blanks, unless it was masked.
    phrases = pl.concat([pl.Series(texts, dtype=pl.String), stains])
    ended = phrases.zip_with((phrases == MASKED).fill_null(value=True), phrases + "  ")
    return ended, np.arange(len(texts)), _lots(np.array(group), np.array(weight), 2 * len(sites))


def runs(group: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return where each group's lines begin and how many they are; lines of a group stand together."""
    count = np.bincount(group, minlength=groups)
    first = np.zeros(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first, count.astype(np.int64)
