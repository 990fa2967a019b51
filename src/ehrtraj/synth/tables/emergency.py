"""Draws the tables of the emergency department except its stays: triage, vital signs, diagnoses, drugs.

The numbers of rows per stay are those of MIMIC-IV-ED 2.2 (425,087 stays): 3.68 sets of vital signs, 2.12 diagnoses,
7.03 lines of home drugs, 3.73 lines of dispensed drugs. What no source gives is an assumption; the catalog says so.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, Bools, Floats, Ints, minutes, pick, repeat, times

VITALS = (
    "temperature", "heart_rate", "respiratory_rate", "oxygen_saturation", "systolic_pressure", "diastolic_pressure",
)  # fmt: skip
COLUMNS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp")
TRIAGE = "ed/triage"
ANYONE = "anyone"
"""The word of the catalog for whoever comes, whatever the reason."""
ICD10_FROM = (2015 - 1970) * 12 + 9
"""October 2015, in months since 1970."""
ELDERLY = 75


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the tables of the block's ED stays, and keep triage in the block's cache for the notes."""
    block.cache[TRIAGE] = _triage(block)
    return {
        TRIAGE: block.cache[TRIAGE],
        "ed/vitalsign": _vitalsign(block),
        "ed/diagnosis": _diagnosis(block),
        "ed/medrecon": _medrecon(block),
        "ed/pyxis": _pyxis(block),
    }


def triage(block: PatientBlock) -> pl.DataFrame:
    """Return the table triage, a row for each ED stay; drawn first if the block's cache has none."""
    return block.cache[TRIAGE] if TRIAGE in block.cache else _triage(block)


def word_weights(words: pl.Series, names: tuple[str, ...]) -> Floats:
    """Return [lines, names] of the weights in a column that lists them as `name:weight name:weight`; 0 elsewhere."""
    place = {name: number for number, name in enumerate(names)}
    weights = np.zeros((len(words), len(names)))
    for line, text in enumerate(words.fill_null("")):
        for word in text.split():
            name, weight = word.split(":")
            weights[line, place[name]] = float(weight)
    return weights


def pick_within(rng: np.random.Generator, group: Ints, owners: Ints, weights: Floats) -> Ints:
    """Draw, for each element, one of the lines that its group owns, by their weights; -1 where it owns none."""
    if not len(owners):
        return np.full(len(group), -1)
    order = np.argsort(owners, kind="stable")
    count = np.bincount(owners, minlength=int(group.max(initial=0)) + 1)
    last = np.cumsum(count) - 1
    edges = np.cumsum(weights[order])
    upper = np.where(last >= 0, edges[last], 0.0)
    lower = np.concatenate([[0.0], upper[:-1]])
    drawn = np.searchsorted(edges, lower[group] + rng.random(len(group)) * (upper - lower)[group], side="right")
    return np.where(count[group] > 0, order[np.minimum(drawn, np.maximum(last[group], 0))], -1)


def home_drugs(block: PatientBlock) -> tuple[Ints, Ints]:
    """Return what patients take at home, ordered by patient: the patient's number, the line of ed_home_drugs.csv."""
    rng = block.streams.rng("home drugs")
    people = block.people
    elderly = people.anchor_age >= ELDERLY
    anyone = np.ones(len(people.female), dtype=bool)
    has = np.column_stack([people.conditions, people.female, ~people.female, elderly, anyone])
    chance = -np.expm1(has @ _home_drug_odds())
    drawn = rng.random(chance.shape)
    person, drug = np.nonzero(drawn < chance)
    # Of drugs that stand for each other (two statins) a patient takes one.
    kinds = _drug_kinds()
    order = np.lexsort((drawn[person, drug], kinds[drug], person))
    same = person * (int(kinds.max()) + 1) + kinds[drug]
    one = np.sort(order[np.unique(same[order], return_index=True)[1]])
    return person[one], drug[one]


@cache
def _drug_kinds() -> Ints:
    """Return a number for each home drug, the same for those of which a patient takes only one."""
    table = catalog.read("ed_home_drugs.csv")
    kinds = np.unique(table["one_of"].fill_null(table["name"]).to_numpy(), return_inverse=True)[1]
    return kinds.astype(np.int64)


@cache
def _home_drug_odds() -> Floats:
    """Return [causes, drugs]: the logarithm of the chance that the cause does not bring the drug."""
    names = (*catalog.conditions(), "female", "male", "elderly", ANYONE)
    odds: Floats = np.log1p(-word_weights(catalog.read("ed_home_drugs.csv")["taken_by"], names)).T
    return odds


def _triage(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed triage")
    ed = block.ed
    stay = np.arange(len(ed.person))
    columns = _vitals(rng, block, stay, ed.arrival, "triage")
    severity = block.episodes.severity[ed.episode] * rng.lognormal(0.0, 0.35, len(stay))
    edges = catalog.read("ed_acuity.csv")
    level = edges["acuity"].cast(pl.Float64).to_numpy()[np.searchsorted(edges["up_to"].to_numpy(), severity)]
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person),
            "stay_id": ed.stay_id,
            **columns,
            "acuity": _numbers(level, rng.random(len(stay)) < _missing("triage", "acuity")),
            "chiefcomplaint": _complaints(rng, block.episodes.illness[ed.episode]),
        }
    )


def _complaints(rng: np.random.Generator, illness: Ints) -> pl.Series:
    """Return one to three complaints of each illness, some of them in capitals."""
    texts, owners, weights = _complaint_table()
    first, second, third = (pick_within(rng, illness, owners, weights) for _ in range(3))
    more = rng.random(len(illness))
    second = np.where((more < 0.38) & (second != first), second, -1)
    third = np.where((more < 0.07) & (second >= 0) & (third != first) & (third != second), third, -1)
    none = len(texts) - 1
    parts = enumerate((first, second, third))
    frame = pl.DataFrame({str(place): texts[np.where(part < 0, none, part)] for place, part in parts})
    joined = frame.select(text=pl.concat_str(pl.all(), separator=", ", ignore_nulls=True))["text"]
    loud = pl.Series(rng.random(len(illness)) < 0.16, dtype=pl.Boolean)
    return joined.str.to_uppercase().zip_with(loud, joined)


@cache
def _complaint_table() -> tuple[pl.Series, Ints, Floats]:
    """Return the complaints, null after them, with the illness of each and its weight."""
    table = catalog.read("ed_complaints.csv")
    texts = pl.concat([table["complaint"], pl.Series([None], dtype=pl.String)])
    owners = catalog.illness_numbers(table["illness"].to_list())
    return texts, owners, table["weight"].cast(pl.Float64).to_numpy()


def _vitals(rng: np.random.Generator, block: PatientBlock, stay: Ints, time: Ints, table: str) -> dict[str, pl.Series]:
    """Return the columns of vital signs and of pain that the tables triage and vitalsign have in common."""
    number, total = catalog.signal_numbers(), len(stay)
    signals = np.array([number[name] for name in (*VITALS, "pain")])
    person, episode = block.ed.person[stay], block.ed.episode[stay]
    tiles = len(signals)
    values = block.measure(
        rng, np.repeat(signals, total), np.tile(person, tiles), np.tile(episode, tiles), np.tile(time, tiles)
    ).reshape(tiles, total)
    values[0] = np.rint((values[0] * 1.8 + 32) * 10) / 10
    values[1:] = np.rint(values[1:])
    values[5] = np.minimum(values[5], values[4] - 10)
    # What is not written down is often missing altogether; and a pressure is written whole or not at all.
    together, alone = rng.random(total), rng.random((tiles, total))
    alone[5] = alone[4]
    share = np.array([_missing(table, signal) for signal in (*VITALS, "pain")])[:, None]
    gone = (together < 0.7 * share) | (alone < 0.3 * share / (1 - 0.7 * share))
    columns = {name: _numbers(values[row], gone[row]) for row, name in enumerate(COLUMNS)}
    columns["pain"] = _pain(rng, values[6], gone[6], block.severity(episode, time))
    return columns


def _numbers(values: Floats, gone: Bools) -> pl.Series:
    return pl.Series(np.where(gone, np.nan, values), dtype=pl.Float64, nan_to_null=True)


def _pain(rng: np.random.Generator, score: Floats, gone: Bools, severity: Floats) -> pl.Series:
    """Return scores as text, and words where the patient cannot or will not tell."""
    words, weights = catalog.choices("emergency_pain_text")
    texts = pl.concat([pl.Series([str(number) for number in range(11)]), words, pl.Series([None], dtype=pl.String)])
    wordy = rng.random(len(score)) < np.where(severity > 1.5, 0.25, 0.02)
    place = np.where(wordy, 11 + pick(rng, weights, len(score)), score.astype(np.int64))
    return texts[np.where(gone, len(texts) - 1, place)]


@cache
def _missing(table: str, column: str) -> float:
    shares = catalog.read("ed_missing.csv").filter(table=table, column=column)["share"]
    return float(shares[0])


def _vitalsign(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed vital signs")
    ed = block.ed
    # The first soon after triage, then every hour to four (MIMIC-IV-ED documentation: every 1-4 hours).
    gaps = HOUR + rng.exponential(0.78 * HOUR, (len(ed.person), 30))
    gaps[:, 0] = rng.exponential(0.3 * HOUR, len(ed.person))
    time = ed.arrival[:, None] + np.cumsum(gaps, axis=1).astype(np.int64)
    taken = (time < ed.departure[:, None]) & (rng.random(len(ed.person)) > 0.03)[:, None]
    stay = np.nonzero(taken)[0]
    charted = minutes(time[taken])
    columns = _vitals(rng, block, stay, charted, "vitalsign")
    pain = columns.pop("pain")
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person[stay]),
            "stay_id": ed.stay_id[stay],
            "charttime": times(charted),
            **columns,
            "sbp": columns["sbp"].cast(pl.Int64),
            "dbp": columns["dbp"].cast(pl.Int64),
            "rhythm": _rhythm(rng, block, ed.person[stay], columns["heartrate"].to_numpy()),
            "pain": pain,
        }
    )


def _rhythm(rng: np.random.Generator, block: PatientBlock, person: Ints, heart_rate: Floats) -> pl.Series:
    """Return the rhythm on the monitor, written down for few: it goes with the rate, and with atrial fibrillation."""
    total = len(person)
    fibrillation = block.people.conditions[person, catalog.conditions().index("atrial_fibrillation")]
    kind = np.select([fibrillation & (rng.random(total) < 0.6), heart_rate > 100, heart_rate < 60], [3, 1, 2], 0)
    texts, owners, weights = _rhythms()
    drawn = pick_within(rng, kind, owners, weights)
    return texts[np.where(rng.random(total) < _missing("vitalsign", "rhythm"), len(texts) - 1, drawn)]


@cache
def _rhythms() -> tuple[pl.Series, Ints, Floats]:
    """Return the words for rhythms, null after them, with the kind of each and its weight."""
    kinds = [catalog.choices(f"emergency_rhythm_{kind}") for kind in ("sinus", "fast", "slow", "fibrillation")]
    texts = pl.concat([*(words for words, _ in kinds), pl.Series([None], dtype=pl.String)])
    owners = np.repeat(np.arange(len(kinds)), [len(words) for words, _ in kinds])
    return texts, owners, np.concatenate([weights for _, weights in kinds])


def _diagnosis(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed diagnoses")
    ed = block.ed
    illness = block.episodes.illness[ed.episode]
    month = ed.departure.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    newer = (month - 12 * block.people.shift[ed.person] >= ICD10_FROM).astype(np.int64)
    more, _ = repeat(np.minimum(rng.poisson(0.62 + 0.92 * block.episodes.severity[ed.episode]), 8))
    first, later = _code_weights()
    principal = pick_within(rng, illness * 2 + newer, *first)
    secondary = pick_within(
        rng, _secondary_causes(rng, block, ed.person[more], illness[more]) * 2 + newer[more], *later
    )
    stay, line = np.concatenate([np.arange(len(ed.person)), more]), np.concatenate([principal, secondary])
    rows, lines = _once(stay[line >= 0], line[line >= 0])
    coded = _code_table()[lines]
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person[rows]),
            "stay_id": ed.stay_id[rows],
            "seq_num": repeat(np.bincount(rows, minlength=len(ed.person)))[1] + 1,
            "icd_code": coded["icd_code"],
            "icd_version": coded["icd_version"],
            "icd_title": coded["icd_title"],
        }
    )


def _secondary_causes(rng: np.random.Generator, block: PatientBlock, person: Ints, illness: Ints) -> Ints:
    """Return what a further diagnosis is of: the illness, a chronic condition, or anything."""
    owner, condition = np.nonzero(block.people.conditions)
    line = pick_within(rng, person, owner, np.ones(len(owner)))
    chronic = np.where(line >= 0, condition[np.maximum(line, 0)] + len(catalog.illnesses()), illness)
    other = len(catalog.illnesses()) + len(catalog.conditions())
    drawn: Ints = np.choose(rng.choice(3, len(person), p=[0.4, 0.45, 0.15]), [illness, chronic, other])
    return drawn


@cache
def _code_weights() -> tuple[tuple[Ints, Floats], tuple[Ints, Floats]]:
    """Return owner (cause times 2, plus 1 in ICD-10) and weight of the lines of diagnoses.csv: as first, as later."""
    table = catalog.read("diagnoses.csv")
    number = {name: place for place, name in enumerate((*catalog.illnesses(), *catalog.conditions(), "any"))}
    owners = np.array([number[name] for name in table["cause"]]) * 2 + (table["icd_version"].to_numpy() == 10)
    weight = table["weight"].cast(pl.Float64).to_numpy()
    return (owners, weight * (table["role"] == "principal").to_numpy()), (owners, weight)


@cache
def _code_table() -> pl.DataFrame:
    return catalog.read("diagnoses.csv").select(
        "icd_code", pl.col("icd_version").cast(pl.Int64), icd_title=pl.col("long_title").str.to_uppercase()
    )


def _once(stay: Ints, line: Ints) -> tuple[Ints, Ints]:
    """Return stays and lines, by stay and in the order given, leaving out a code that the stay has already."""
    code = _code_numbers()[line]
    first = np.sort(np.unique(stay * (int(code.max(initial=0)) + 1) + code, return_index=True)[1])
    first = first[np.argsort(stay[first], kind="stable")]
    return stay[first], line[first]


@cache
def _code_numbers() -> Ints:
    """Return a number for each line of diagnoses.csv, the same for the same code."""
    return np.unique(catalog.read("diagnoses.csv")["icd_code"].to_numpy(), return_inverse=True)[1].astype(np.int64)


def _medrecon(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed home drugs")
    ed = block.ed
    owner, taken = home_drugs(block)
    count = np.bincount(owner, minlength=len(block.people.subject_id))
    first = np.cumsum(count) - count
    # Not every visit has its list of home drugs: those who leave soon, or who cannot tell.
    asked = rng.random(len(ed.person)) < 0.86
    stay, ordinal = repeat(np.where(asked, count[ed.person], 0))
    drug = taken[first[ed.person[stay]] + ordinal]
    told = rng.random(len(drug)) < 0.97
    stay, drug = stay[told], drug[told]
    delay = np.minimum(rng.lognormal(np.log(1.1 * HOUR), 0.7, len(ed.person)), 0.9 * (ed.departure - ed.arrival))
    charted = minutes(ed.arrival + delay.astype(np.int64))
    of_drug, class_lines = _drug_classes()
    row, rank = repeat(of_drug[drug])
    stay, drug = stay[row], drug[row]
    drugs, classes = _home_drug_table()[drug], _class_table()[class_lines[drug, rank]]
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person[stay]),
            "stay_id": ed.stay_id[stay],
            "charttime": times(charted[stay]),
            "name": drugs["name"],
            "gsn": drugs["gsn"],
            "ndc": drugs["ndc"],
            "etc_rn": rank + 1,
            "etccode": classes["etccode"],
            "etcdescription": classes["etcdescription"],
        }
    )


@cache
def _drug_classes() -> tuple[Ints, Ints]:
    """Return how many classes each home drug has, and [drugs, rank] which line of ed_drug_classes.csv each is."""
    place = {code: line for line, code in enumerate(_class_table()["etccode"].to_list())}
    lists = [text.split() for text in catalog.read("ed_home_drugs.csv")["classes"].cast(pl.String)]
    count = np.array([len(words) for words in lists])
    lines = np.full((len(lists), int(count.max())), -1)
    for drug, words in enumerate(lists):
        lines[drug, : len(words)] = [place[word] for word in words]
    return count, lines


@cache
def _home_drug_table() -> pl.DataFrame:
    return catalog.read("ed_home_drugs.csv").select("name", _padded("gsn", 6), _padded("ndc", 11))


@cache
def _class_table() -> pl.DataFrame:
    return catalog.read("ed_drug_classes.csv").select(_padded("etccode", 8), "etcdescription")


def _padded(column: str, width: int) -> pl.Expr:
    """Give codes back the leading zeros that reading them as numbers has lost."""
    return pl.col(column).cast(pl.String).str.zfill(width)


def _pyxis(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed dispensing")
    ed = block.ed
    severity = np.minimum(block.episodes.severity[ed.episode], 2.0)
    mean = np.where(rng.random(len(ed.person)) < 0.22, 0.0, 2.1 + 3.5 * severity)
    hours = (ed.departure - ed.arrival) / HOUR
    stay, _ = repeat(rng.poisson(mean * np.minimum(hours / 6, 1.5)))
    owners, drugs, weights = _given_for()
    line = pick_within(rng, block.episodes.illness[ed.episode[stay]], owners, weights)
    passed = np.minimum(0.08 + 0.92 * rng.random(len(stay)) ** 1.4, 0.99)
    time = ed.arrival[stay] + (passed * (ed.departure - ed.arrival)[stay]).astype(np.int64)
    charted = minutes(time)
    order = np.lexsort((line, charted, stay))
    stay, drug, charted = stay[order], drugs[line[order]], charted[order]
    of_stay = np.bincount(stay, minlength=len(ed.person))
    given = repeat(of_stay)[1] + 1
    count, codes = _dispensed_codes()
    row, rank = repeat(count[drug])
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person[stay[row]]),
            "stay_id": ed.stay_id[stay[row]],
            "charttime": times(charted[row]),
            "med_rn": given[row],
            "name": catalog.read("ed_pyxis.csv")["name"][drug[row]],
            "gsn_rn": rank + 1,
            "gsn": codes[(np.cumsum(count) - count)[drug[row]] + rank],
        }
    )


@cache
def _given_for() -> tuple[Ints, Ints, Floats]:
    """Return, for each illness that a drug of ed_pyxis.csv is given for: the illness, the drug and the weight."""
    weights = word_weights(catalog.read("ed_pyxis.csv")["given_for"], (*catalog.illnesses(), ANYONE))
    table = weights[:, :-1] + weights[:, -1:]
    drug, illness = np.nonzero(table)
    return illness.astype(np.int64), drug.astype(np.int64), table[drug, illness]


@cache
def _dispensed_codes() -> tuple[Ints, pl.Series]:
    """Return how many rows each drug of ed_pyxis.csv fills, and the GSN of all of them in a line; null if unknown."""
    lists = [text.split() or [None] for text in catalog.read("ed_pyxis.csv")["gsns"].cast(pl.String).fill_null("")]
    flat = [code for words in lists for code in words]
    return np.array([len(words) for words in lists]), pl.Series(flat, dtype=pl.String).str.zfill(6)
