"""Draws microbiologyevents: specimens, their tests, what grew in them and which antibiotics it resists."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, Block
from ehrtraj.synth.draw import (
    DAY,
    HOUR,
    MINUTE,
    NONE,
    Bools,
    Floats,
    Ints,
    blank,
    choose,
    integers,
    minutes,
    repeat,
    times,
)
from ehrtraj.synth.tables.encounters import inside_stay

ED_SHARE = 0.38
"""Specimens of an ED visit without admission, to those that the same illness needs on a ward: an assumption."""
SAME_GROWTH = 0.6
"""How often a further specimen of an illness grows if, and only if, the one before did: an assumption."""
SAME_ORGANISM = 0.75
SAME_RESISTANCE = 0.55
"""How often resistance to one group of antibiotics goes with that to the others: an assumption."""
SHARED_STAIN = 0.5
"""How often a stain shows what then grows."""
TIMELESS = 0.25
"""Specimens of outpatients without a time (MIMIC-IV demo 2.2: 45 of 182)."""
ORDERED_BY = 0.85
"""Specimens of outpatients that name who ordered them: no others do in MIMIC-IV demo 2.2."""
UNASSIGNED = 0.03
"""Specimens taken in an admission that do not name it (MIMIC-IV demo 2.2: 31 of 944)."""
INTERPRETATIONS = ("S", "I", "R")
MASKED = "___"


@dataclass(frozen=True)
class _Lots:
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


def _lots(group: Ints, weight: Floats, groups: int) -> _Lots:
    """Make lots of lines that are in order of their groups."""
    total = np.zeros(groups)
    np.add.at(total, group, weight)
    before = np.cumsum(total) - total
    last = np.full(groups, -1)
    last[group] = np.arange(len(group))
    return _Lots(group + (np.cumsum(weight) - before[group]) / total[group], last)


@dataclass(frozen=True)
class _Facts:
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
    organism_lots: _Lots
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
    dilution_lots: _Lots
    remark_lots: _Lots
    """Phrases by 2 * site, plus one where something grew."""
    remark: Ints
    """Number in `phrases` of each line of these lots; the organisms' Gram stains stand after all others."""


@cache
def _facts() -> _Facts:
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
    return _Facts(
        specimens=specimens,
        tests=tests,
        organisms=organisms,
        antibiotics=antibiotics,
        dilutions=dilutions,
        phrases=phrases,
        mean=mean,
        early=early,
        site=_places(tests["site"], sites),
        stain=sites.str.ends_with("_stain").to_numpy(),
        bottle=number["bottle_stain"],
        chance=chance,
        second=second,
        flora=flora,
        worked_up=worked_up,
        organism_lots=_lots(
            _places(plants["flora"], floras), plants["weight"].cast(pl.Float64).to_numpy(), len(floras)
        ),
        organism=_places(plants["organism"], organisms["organism"]),
        mechanism=_places(antibiotics["mechanism"], antibiotics["mechanism"].unique(maintain_order=True)),
        reflex=_reflexes(antibiotics),
        only_site=_places(antibiotics["only_site"], sites),
        dilution_group=dilution_group,
        dilution_lots=dilution_lots,
        remark_lots=remark_lots,
        remark=remark,
    )


def _places(column: pl.Series, values: pl.Series) -> Ints:
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


def _dilutions(antibiotics: pl.DataFrame) -> tuple[pl.DataFrame, Ints, _Lots]:
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


def _remarks(sites: pl.Series, stains: pl.Series) -> tuple[pl.Series, Ints, _Lots]:
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


@dataclass(frozen=True)
class _Taken:
    """Specimens, ordered by patient and time."""

    person: Ints
    episode: Ints
    time: Ints
    kind: Ints
    clinic: Bools
    """Taken outside of any stay or visit."""

    def only(self, keep: Ints | Bools) -> _Taken:
        return _Taken(**{name: column[keep] for name, column in vars(self).items()})


@dataclass(frozen=True)
class _Tests:
    """Tests, ordered as their specimens are."""

    specimen: Ints
    line: Ints
    """Of micro_tests.csv."""
    grown: Bools
    remark: Ints
    """Number of its phrase, or -1."""


@dataclass(frozen=True)
class _Isolates:
    """What grew, with the number of its test."""

    test: Ints
    number: Ints
    organism: Ints


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return the rows of microbiologyevents of a block."""
    rng = block.streams.rng("microbiology")
    taken = _specimens(rng, block)
    tests, isolates = _results(rng, block, taken)
    test, isolate, line, interpretation = _rows(rng, taken, tests, isolates)
    organism = np.where(isolate >= 0, isolates.organism[isolate], -1)
    number = np.where(isolate >= 0, isolates.number[isolate], NONE)
    frame = pl.concat(
        [
            pl.DataFrame(
                {"microevent_id": block.streams.serial_ids(30_000, len(test)), "isolate_num": integers(number)}
            ),
            _at(_specimen_columns(rng, block, taken), tests.specimen[test]),
            _at(_test_columns(rng, taken, tests), test),
            *_growth_columns(rng, organism, line, interpretation),
        ],
        how="horizontal",
    )
    return {"hosp/microbiologyevents": frame.select(_COLUMNS)}


_COLUMNS = (
    "microevent_id", "subject_id", "hadm_id", "micro_specimen_id", "order_provider_id", "chartdate", "charttime",
    "spec_itemid", "spec_type_desc", "test_seq", "storedate", "storetime", "test_itemid", "test_name", "org_itemid",
    "org_name", "isolate_num", "quantity", "ab_itemid", "ab_name", "dilution_text", "dilution_comparison",
    "dilution_value", "interpretation", "comments",
)  # fmt: skip


def _specimens(rng: np.random.Generator, block: Block) -> _Taken:
    mean, early, person, episode, begin, end = _occasions(block)
    source, kind = np.nonzero(count := rng.poisson(mean))
    row, _ = repeat(count[source, kind])
    source, kind = source[row], kind[row]
    sets = _facts().specimens["sets"].cast(pl.Float64).to_numpy()[kind]
    order, again = repeat(1 + (rng.random(len(kind)) < sets - 1))
    clinic = source >= len(begin) - BLOCK_PATIENTS
    span = np.maximum(end - begin, MINUTE)[source]
    soon = np.minimum(rng.exponential(5 * HOUR, len(kind)), 0.9 * span)
    later = np.where(clinic, rng.random(len(kind)), rng.random(len(kind)) ** 1.4) * span
    time = begin[source] + np.where(rng.random(len(kind)) < early[source, kind], soon, later).astype(np.int64)
    time = np.where(clinic, time - time % DAY + rng.integers(8 * HOUR, 17 * HOUR, len(kind)), time)
    time = np.minimum(time[order] + again * rng.integers(2, 25, len(order)) * MINUTE, end[source[order]])
    source = source[order]
    taken = _Taken(person[source], episode[source], time, kind[order], clinic[order])
    women = (_facts().specimens["only_of"] == "female").fill_null(value=False).to_numpy()
    amiss = taken.clinic & inside_stay(block, taken.person, taken.time)
    amiss |= women[taken.kind] & ~block.people.female[taken.person]
    taken = taken.only(~amiss)
    return taken.only(np.lexsort((taken.kind, taken.time, taken.person)))


def _occasions(block: Block) -> tuple[Floats, Floats, Ints, Ints, Ints, Ints]:
    """Return occasions to take specimens, the outpatients' years last.

    They are: mean numbers and shares taken at first [occasions, specimens], person, episode, beginning and end.
    """
    facts, episodes, stays, icu, people = _facts(), block.episodes, block.admissions, block.icu, block.people
    admitted = len(stays.person)
    everyone = np.arange(len(episodes.person))
    need = np.clip(episodes.severity, 0.4, 1.8) * np.where(everyone < admitted, 1.0, ED_SHARE)
    in_illness = np.stack([facts.mean[name] for name in catalog.illnesses()])[episodes.illness] * need[:, None]
    early = np.stack([facts.early[name] for name in catalog.illnesses()])[episodes.illness]
    breathing = np.flatnonzero(icu.ventilated_from != NONE)
    last = np.where(people.death == NONE, people.window_end, np.minimum(people.window_end, people.death))
    none = np.full(BLOCK_PATIENTS, -1)
    # Context, unit of its means, and the persons, episodes, beginnings and ends of its occasions.
    parts = [
        ("admission", 0, stays.person, everyone[:admitted], stays.admit, stays.discharge),
        ("admission_day", DAY, stays.person, everyone[:admitted], stays.admit, stays.discharge),
        ("icu_stay", 0, icu.person, icu.admission, icu.arrival, icu.departure),
        ("icu_day", DAY, icu.person, icu.admission, icu.arrival, icu.departure),
        ("ventilated_day", DAY, icu.person[breathing], icu.admission[breathing], icu.ventilated_from[breathing],
         icu.ventilated_until[breathing]),
        ("ed_visit", 0, episodes.person[admitted:], everyone[admitted:], episodes.start[admitted:],
         episodes.end[admitted:]),
        ("outpatient", 365 * DAY, np.arange(BLOCK_PATIENTS), none, people.window_start, last),
    ]  # fmt: skip
    means, earlies = [in_illness], [early]
    for context, unit, person, _, begin, end in parts:
        units = np.maximum(end - begin, 0) / unit if unit else np.ones(len(person))
        means.append(units[:, None] * facts.mean[context])
        earlies.append(np.broadcast_to(facts.early[context], means[-1].shape))
    columns = zip((episodes.person, everyone, episodes.start, episodes.end), *(part[2:] for part in parts), strict=True)
    person, episode, begin, end = (np.concatenate(column) for column in columns)
    return np.concatenate(means), np.concatenate(earlies), person, episode, begin, end


def _results(rng: np.random.Generator, block: Block, taken: _Taken) -> tuple[_Tests, _Isolates]:
    facts = _facts()
    first, count = _runs(_places(facts.tests["specimen"], facts.specimens["specimen"]), facts.specimens.height)
    specimen, ordinal = repeat(count[taken.kind])
    line = first[taken.kind[specimen]] + ordinal
    done = rng.random(len(line)) < facts.tests["share"].cast(pl.Float64).to_numpy()[line]
    specimen, line = specimen[done], line[done]
    site = facts.site[line]
    grown, isolates = _isolates(rng, block, taken, specimen, site)
    # What a culture of the specimen grew is what its stain shows; bottles are stained only then.
    shown = np.full(len(taken.person), -1)
    ahead = isolates.number == 1
    shown[specimen[isolates.test[ahead]]] = isolates.organism[ahead]
    coloured = facts.organisms["gram_stain"].is_not_null().to_numpy()
    seen = np.where(shown >= 0, coloured[shown], False)[specimen]
    kept = (site != facts.bottle) | seen
    lots = facts.remark_lots.draw(2 * site + grown, rng.random(len(site)))
    remark = np.where(lots >= 0, facts.remark[lots], -1)
    stained = facts.stain[site] & seen & (rng.random(len(site)) < SHARED_STAIN)
    remark = np.where(stained, len(facts.remark) + shown[specimen], remark)
    place = np.cumsum(kept) - 1
    tests = _Tests(specimen[kept], line[kept], grown[kept], remark[kept])
    return tests, _Isolates(place[isolates.test], isolates.number, isolates.organism)


def _runs(group: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return where each group's lines begin and how many they are; lines of a group stand together."""
    count = np.bincount(group, minlength=groups)
    first = np.zeros(groups, dtype=np.int64)
    first[group[::-1]] = np.arange(len(group))[::-1]
    return first, count.astype(np.int64)


def _isolates(
    rng: np.random.Generator, block: Block, taken: _Taken, specimen: Ints, site: Ints
) -> tuple[Bools, _Isolates]:
    """Draw which tests grow something, and what: alike in all specimens of an illness."""
    facts, episodes = _facts(), block.episodes
    episode, person = taken.episode[specimen], taken.person[specimen]
    cause = np.where(episode >= 0, episodes.illness[episode] + 1, 0)
    days = np.where(episode >= 0, taken.time[specimen] - episodes.start[episode], 0) / DAY
    # Treatment clears what the illness itself brought.
    usual = facts.chance[0, site]
    chance = usual + (facts.chance[cause, site] - usual) * (0.35 + 0.65 * np.exp(-np.maximum(days, 0) / 2))
    case = np.where(episode >= 0, episode, len(episodes.person) + person)
    shared = rng.random((len(episodes.person) + BLOCK_PATIENTS, facts.chance.shape[1]))
    alike, luck = rng.random(len(site)) < SAME_GROWTH, rng.random(len(site))
    grown = np.where(alike, shared[case, site], luck) < chance
    test = np.flatnonzero(grown)
    common = rng.random(len(shared))[case[test]]
    flora = facts.flora[cause, site][test]
    same = rng.random(len(test)) < SAME_ORGANISM
    organism = facts.organism[facts.organism_lots.draw(flora, np.where(same, common, rng.random(len(test))))]
    other = facts.organism[facts.organism_lots.draw(flora, rng.random(len(test)))]
    real = facts.organisms["gram_stain"].is_not_null().to_numpy()
    two = (rng.random(len(test)) < facts.second[cause, site][test]) & (other != organism) & real[other] & real[organism]
    isolates = _Isolates(
        np.concatenate([test, test[two]]),
        np.concatenate([np.ones(len(test), dtype=np.int64), np.full(int(two.sum()), 2)]),
        np.concatenate([organism, other[two]]),
    )
    return grown, isolates


def _rows(rng: np.random.Generator, taken: _Taken, tests: _Tests, isolates: _Isolates) -> tuple[Ints, Ints, Ints, Ints]:
    """Return each row's test, isolate, line of micro_susceptibility.csv and interpretation; -1 for none."""
    isolate, line, interpretation = _susceptibility(rng, taken, tests, isolates)
    bare_test = np.flatnonzero(~tests.grown)
    bare = np.ones(len(isolates.test), dtype=bool)
    bare[isolate] = False
    bare_isolate = np.flatnonzero(bare)
    test = np.concatenate([bare_test, isolates.test[bare_isolate], isolates.test[isolate]])
    number = np.concatenate([np.full(len(bare_test), -1), bare_isolate, isolate])
    nothing = np.full(len(bare_test) + len(bare_isolate), -1)
    line, interpretation = np.concatenate([nothing, line]), np.concatenate([nothing, interpretation])
    ordinal = np.where(number >= 0, isolates.number[number], 0)
    order = np.lexsort((line, ordinal, test))
    return test[order], number[order], line[order], interpretation[order]


def _susceptibility(
    rng: np.random.Generator, taken: _Taken, tests: _Tests, isolates: _Isolates
) -> tuple[Ints, Ints, Ints]:
    """Test isolates against antibiotics: an organism of one patient resists the same ones in all specimens."""
    facts = _facts()
    table = facts.antibiotics
    site = facts.site[tests.line[isolates.test]]
    often = facts.organisms["tested"].cast(pl.Float64).to_numpy()[isolates.organism]
    tested = facts.worked_up[site] & (rng.random(len(site)) < often)
    first, count = _runs(_places(table["organism"], facts.organisms["organism"]), facts.organisms.height)
    isolate, ordinal = repeat(np.where(tested, count[isolates.organism], 0))
    line = first[isolates.organism[isolate]] + ordinal
    person = taken.person[tests.specimen[isolates.test]]
    _, strain = np.unique(person * facts.organisms.height + isolates.organism, return_inverse=True)
    luck = _luck(rng, strain)[isolate]
    rows = np.arange(len(line))
    resistant, medium, share = (
        table[name].cast(pl.Float64).to_numpy()[line] for name in ("resistant", "intermediate", "tested")
    )
    own = luck[rows, facts.mechanism[line]]
    needed = facts.reflex[line]
    resists = luck[rows, facts.mechanism[needed]] < table["resistant"].cast(pl.Float64).to_numpy()[needed]
    where = facts.only_site[line]
    kept = (rng.random(len(line)) < share) & ((needed < 0) | resists) & ((where < 0) | (where == site[isolate]))
    interpretation = np.select([own < resistant, own < resistant + medium], [2, 1], 0)
    return isolate[kept], line[kept], interpretation[kept]


def _luck(rng: np.random.Generator, strain: Ints) -> Floats:
    """Return [isolates, mechanisms] numbers from 0 to 1, equal for equal strains: the lower, the more resistant.

    Antibiotics of one group share a number, so whatever resists the stronger resists the weaker.
    """
    shape = (int(strain.max(initial=0)) + 1, int(_facts().mechanism.max()) + 1)
    own, common = rng.random(shape), rng.random((shape[0], 1))
    luck: Floats = np.where(rng.random(shape) < SAME_RESISTANCE, common, own)[strain]
    return luck


def _specimen_columns(rng: np.random.Generator, block: Block, taken: _Taken) -> pl.DataFrame:
    stays, total = block.admissions, len(taken.person)
    charted = minutes(taken.time)
    admission = np.where(taken.episode < len(stays.person), taken.episode, -1)
    inside = (admission >= 0) & (charted >= minutes(stays.admit)[admission]) & (charted <= stays.discharge[admission])
    admission = np.where(inside & (rng.random(total) >= UNASSIGNED), admission, -1)
    providers, _ = catalog.staff()
    provider = np.where(taken.clinic & (rng.random(total) < ORDERED_BY), rng.integers(0, len(providers), total), -1)
    timeless = taken.clinic & (rng.random(total) < TIMELESS)
    own = pl.DataFrame(
        {
            "subject_id": block.subject_id(taken.person),
            "hadm_id": block.hadm_id(admission),
            "micro_specimen_id": block.streams.unique_ids("micro_specimen", total),
            "order_provider_id": choose(providers, provider),
            "chartdate": times(charted - charted % DAY),
            "charttime": blank(times(charted), timeless),
        }
    )
    return pl.concat(
        [own, _at(_facts().specimens.select("spec_itemid", "spec_type_desc"), taken.kind)], how="horizontal"
    )


def _test_columns(rng: np.random.Generator, taken: _Taken, tests: _Tests) -> pl.DataFrame:
    facts = _facts()
    usual, grown, spread = (
        facts.tests[name].cast(pl.Float64).to_numpy()[tests.line] for name in ("hours", "growth_hours", "spread")
    )
    waits = np.maximum(np.where(tests.grown, grown, usual) * np.exp(spread * rng.standard_normal(len(usual))), 0.4)
    stored = minutes(minutes(taken.time)[tests.specimen] + (waits * HOUR).astype(np.int64))
    first = np.searchsorted(tests.specimen, tests.specimen, side="left")
    own = pl.DataFrame(
        {
            "test_seq": np.arange(len(first)) - first + 1,
            "storedate": times(stored - stored % DAY),
            "storetime": times(stored),
            "comments": choose(facts.phrases, tests.remark),
        }
    )
    return pl.concat([own, _at(facts.tests.select("test_itemid", "test_name"), tests.line)], how="horizontal")


def _growth_columns(
    rng: np.random.Generator, organism: Ints, line: Ints, interpretation: Ints
) -> tuple[pl.DataFrame, ...]:
    facts = _facts()
    group = np.where(line >= 0, facts.dilution_group[line, interpretation], -1)
    dilution = facts.dilution_lots.draw(group, rng.random(len(line)))
    # MIMIC-IV demo 2.2 holds no quantity at all.
    names = facts.organisms.select("org_itemid", pl.col("organism").alias("org_name"), quantity=pl.lit(None, pl.String))
    letters = pl.DataFrame({"interpretation": INTERPRETATIONS})
    return (
        _at(names, organism),
        _at(facts.antibiotics.select("ab_itemid", "ab_name"), line),
        _at(facts.dilutions, dilution),
        _at(letters, interpretation),
    )


def _at(frame: pl.DataFrame, index: Ints) -> pl.DataFrame:
    """Return rows of a frame by their numbers, all null for -1."""
    return frame.select(pl.all().gather(blank(pl.Series(index), index < 0)))


__all__ = ["draw"]
