"""Draw the tables of the emergency department except edstays: triage, vital signs, diagnoses, drugs.

The numbers of rows per stay are those of MIMIC-IV-ED 2.2 (425,087 stays): 3.68 sets of vital signs, 2.12 diagnoses,
7.03 rows of home drugs and 3.73 rows of dispensed drugs. The catalog marks figures without a source as assumptions.
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
"""Name in the catalog that stands for any illness."""
ICD10_FROM = (2015 - 1970) * 12 + 9
"""October 2015, in months since 1970."""
ELDERLY = 75


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the ED tables for a block, and store triage in the block's cache for the notes."""
    block.cache[TRIAGE] = _triage(block)
    return {
        TRIAGE: block.cache[TRIAGE],
        "ed/vitalsign": _vitalsign(block),
        "ed/diagnosis": _diagnosis(block),
        "ed/medrecon": _medrecon(block),
        "ed/pyxis": _pyxis(block),
    }


def triage(block: PatientBlock) -> pl.DataFrame:
    """Return the table triage with a row for each ED stay. It is drawn if it is not in the block's cache."""
    return block.cache[TRIAGE] if TRIAGE in block.cache else _triage(block)


def parse_weights(entries: pl.Series, names: tuple[str, ...]) -> Floats:
    """Parse a column of cells such as `name:weight name:weight`; return [lines, names]: the weights, 0 if absent."""
    place = {name: number for number, name in enumerate(names)}
    weights = np.zeros((len(entries), len(names)))
    for line, text in enumerate(entries.fill_null("")):
        for word in text.split():
            name, weight = word.split(":")
            weights[line, place[name]] = float(weight)
    return weights


def pick_by_group(rng: np.random.Generator, group: Ints, owners: Ints, weights: Floats) -> Ints:
    """Draw, for each element, a line of its group by weight; -1 for groups without lines.

    Args:
        rng: source of random numbers.
        group: group of each element.
        owners: group of each line.
        weights: weight of each line.
    """
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
    """Return the home drugs, ordered by patient: the patient's number and the line of ed_home_drugs.csv."""
    rng = block.streams.rng("home drugs")
    people = block.people
    elderly = people.anchor_age >= ELDERLY
    anyone = np.ones(len(people.female), dtype=bool)
    has = np.column_stack([people.conditions, people.female, ~people.female, elderly, anyone])
    chance = -np.expm1(has @ _home_drug_odds())
    drawn = rng.random(chance.shape)
    person, drug = np.nonzero(drawn < chance)
    # A patient takes only one of several interchangeable drugs, such as two statins.
    kinds = _drug_kinds()
    order = np.lexsort((drawn[person, drug], kinds[drug], person))
    same = person * (int(kinds.max()) + 1) + kinds[drug]
    one = np.sort(order[np.unique(same[order], return_index=True)[1]])
    return person[one], drug[one]


@cache
def _drug_kinds() -> Ints:
    """Return a group number for each home drug. A patient takes only one drug of a group."""
    table = catalog.read("ed_home_drugs.csv")
    kinds = np.unique(table["one_of"].fill_null(table["name"]).to_numpy(), return_inverse=True)[1]
    return kinds.astype(np.int64)


@cache
def _home_drug_odds() -> Floats:
    """Return [causes, drugs]: logarithm of the probability that the cause does not lead to the drug."""
    names = (*catalog.conditions(), "female", "male", "elderly", ANYONE)
    odds: Floats = np.log1p(-parse_weights(catalog.read("ed_home_drugs.csv")["taken_by"], names)).T
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
            "acuity": _numbers(level, rng.random(len(stay)) < _missing_share("triage", "acuity")),
            "chiefcomplaint": _complaints(rng, block.episodes.illness[ed.episode]),
        }
    )


def _complaints(rng: np.random.Generator, illness: Ints) -> pl.Series:
    """Return one to three complaints for each illness, some in capital letters."""
    texts, owners, weights = _complaint_table()
    first, second, third = (pick_by_group(rng, illness, owners, weights) for _ in range(3))
    more = rng.random(len(illness))
    second = np.where((more < 0.38) & (second != first), second, -1)
    third = np.where((more < 0.07) & (second >= 0) & (third != first) & (third != second), third, -1)
    none = len(texts) - 1
    parts = enumerate((first, second, third))
    frame = pl.DataFrame({str(place): texts[np.where(part < 0, none, part)] for place, part in parts})
    joined = frame.select(text=pl.concat_str(pl.all(), separator=", ", ignore_nulls=True))["text"]
    in_capitals = pl.Series(rng.random(len(illness)) < 0.16, dtype=pl.Boolean)
    return joined.str.to_uppercase().zip_with(in_capitals, joined)


@cache
def _complaint_table() -> tuple[pl.Series, Ints, Floats]:
    """Return the complaints followed by a null, and the illness and weight of each complaint."""
    table = catalog.read("ed_complaints.csv")
    texts = pl.concat([table["complaint"], pl.Series([None], dtype=pl.String)])
    owners = catalog.illness_numbers(table["illness"].to_list())
    return texts, owners, table["weight"].cast(pl.Float64).to_numpy()


def _vitals(rng: np.random.Generator, block: PatientBlock, stay: Ints, time: Ints, table: str) -> dict[str, pl.Series]:
    """Return the columns of vital signs and pain that triage and vitalsign share."""
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
    # Missing values are often missing together. Systolic and diastolic pressure are always missing together.
    all_missing, single_missing = rng.random(total), rng.random((tiles, total))
    single_missing[5] = single_missing[4]
    share = np.array([_missing_share(table, signal) for signal in (*VITALS, "pain")])[:, None]
    missing = (all_missing < 0.7 * share) | (single_missing < 0.3 * share / (1 - 0.7 * share))
    columns = {name: _numbers(values[row], missing[row]) for row, name in enumerate(COLUMNS)}
    columns["pain"] = _pain(rng, values[6], missing[6], block.severity(episode, time))
    return columns


def _numbers(values: Floats, missing: Bools) -> pl.Series:
    return pl.Series(np.where(missing, np.nan, values), dtype=pl.Float64, nan_to_null=True)


def _pain(rng: np.random.Generator, score: Floats, missing: Bools, severity: Floats) -> pl.Series:
    """Return pain scores as text, or words for patients who cannot or will not give a score."""
    entries, weights = catalog.choices("emergency_pain_text")
    texts = pl.concat([pl.Series([str(number) for number in range(11)]), entries, pl.Series([None], dtype=pl.String)])
    in_words = rng.random(len(score)) < np.where(severity > 1.5, 0.25, 0.02)
    place = np.where(in_words, 11 + pick(rng, weights, len(score)), score.astype(np.int64))
    return texts[np.where(missing, len(texts) - 1, place)]


@cache
def _missing_share(table: str, column: str) -> float:
    shares = catalog.read("ed_missing.csv").filter(table=table, column=column)["share"]
    return float(shares[0])


def _vitalsign(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed vital signs")
    ed = block.ed
    # The first set is soon after triage, the others follow every 1-4 hours (MIMIC-IV-ED documentation).
    gaps = HOUR + rng.exponential(0.78 * HOUR, (len(ed.person), 30))
    gaps[:, 0] = rng.exponential(0.3 * HOUR, len(ed.person))
    time = ed.arrival[:, None] + np.cumsum(gaps, axis=1).astype(np.int64)
    measured = (time < ed.departure[:, None]) & (rng.random(len(ed.person)) > 0.03)[:, None]
    stay = np.nonzero(measured)[0]
    charted = minutes(time[measured])
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
    """Return the rhythm on the monitor, which is rarely recorded. It depends on heart rate and atrial fibrillation."""
    total = len(person)
    fibrillation = block.people.conditions[person, catalog.conditions().index("atrial_fibrillation")]
    kind = np.select([fibrillation & (rng.random(total) < 0.6), heart_rate > 100, heart_rate < 60], [3, 1, 2], 0)
    texts, owners, weights = _rhythms()
    drawn = pick_by_group(rng, kind, owners, weights)
    return texts[np.where(rng.random(total) < _missing_share("vitalsign", "rhythm"), len(texts) - 1, drawn)]


@cache
def _rhythms() -> tuple[pl.Series, Ints, Floats]:
    """Return the texts for rhythms followed by a null, and the kind and weight of each text."""
    kinds = [catalog.choices(f"emergency_rhythm_{kind}") for kind in ("sinus", "fast", "slow", "fibrillation")]
    texts = pl.concat([*(entries for entries, _ in kinds), pl.Series([None], dtype=pl.String)])
    owners = np.repeat(np.arange(len(kinds)), [len(entries) for entries, _ in kinds])
    return texts, owners, np.concatenate([weights for _, weights in kinds])


def _diagnosis(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed diagnoses")
    ed = block.ed
    illness = block.episodes.illness[ed.episode]
    month = ed.departure.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    newer = (month - 12 * block.people.shift[ed.person] >= ICD10_FROM).astype(np.int64)
    more, _ = repeat(np.minimum(rng.poisson(0.62 + 0.92 * block.episodes.severity[ed.episode]), 8))
    first, later = _code_weights()
    principal = pick_by_group(rng, illness * 2 + newer, *first)
    secondary = pick_by_group(
        rng, _secondary_causes(rng, block, ed.person[more], illness[more]) * 2 + newer[more], *later
    )
    stay, line = np.concatenate([np.arange(len(ed.person)), more]), np.concatenate([principal, secondary])
    rows, lines = _drop_repeated_codes(stay[line >= 0], line[line >= 0])
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
    """Return the cause of each further diagnosis: the illness, a chronic condition, or any cause."""
    owner, condition = np.nonzero(block.people.conditions)
    line = pick_by_group(rng, person, owner, np.ones(len(owner)))
    chronic = np.where(line >= 0, condition[np.maximum(line, 0)] + len(catalog.illnesses()), illness)
    other = len(catalog.illnesses()) + len(catalog.conditions())
    drawn: Ints = np.choose(rng.choice(3, len(person), p=[0.4, 0.45, 0.15]), [illness, chronic, other])
    return drawn


@cache
def _codes() -> pl.DataFrame:
    """Return the lines of diagnoses.csv, without the failures of organs, which only intensive care codes."""
    table = catalog.read("diagnoses.csv")
    return table.filter(pl.col("role") != "failure")


@cache
def _code_weights() -> tuple[tuple[Ints, Floats], tuple[Ints, Floats]]:
    """Return the groups and weights of the lines of diagnoses.csv, for first and for later diagnoses.

    The group is 2 * cause, plus 1 for ICD-10.
    """
    table = _codes()
    number = {name: place for place, name in enumerate((*catalog.illnesses(), *catalog.conditions(), "any"))}
    owners = np.array([number[name] for name in table["cause"]]) * 2 + (table["icd_version"].to_numpy() == 10)
    weight = table["weight"].cast(pl.Float64).to_numpy()
    return (owners, weight * (table["role"] == "principal").to_numpy()), (owners, weight)


@cache
def _code_table() -> pl.DataFrame:
    return _codes().select(
        "icd_code", pl.col("icd_version").cast(pl.Int64), icd_title=pl.col("long_title").str.to_uppercase()
    )


def _drop_repeated_codes(stay: Ints, line: Ints) -> tuple[Ints, Ints]:
    """Return stays and lines, sorted by stay in a stable order, without repeated codes within a stay."""
    code = _code_numbers()[line]
    first = np.sort(np.unique(stay * (int(code.max(initial=0)) + 1) + code, return_index=True)[1])
    first = first[np.argsort(stay[first], kind="stable")]
    return stay[first], line[first]


@cache
def _code_numbers() -> Ints:
    """Return a number for each line of diagnoses.csv. Lines with the same code share a number."""
    return np.unique(_codes()["icd_code"].to_numpy(), return_inverse=True)[1].astype(np.int64)


def _medrecon(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed home drugs")
    ed = block.ed
    owner, home_drug = home_drugs(block)
    count = np.bincount(owner, minlength=len(block.people.subject_id))
    first = np.cumsum(count) - count
    # Some visits have no list of home drugs: patients who leave soon, or who cannot give information.
    has_list = rng.random(len(ed.person)) < 0.86
    stay, ordinal = repeat(np.where(has_list, count[ed.person], 0))
    drug = home_drug[first[ed.person[stay]] + ordinal]
    recorded = rng.random(len(drug)) < 0.97
    stay, drug = stay[recorded], drug[recorded]
    delay = np.minimum(rng.lognormal(np.log(1.1 * HOUR), 0.7, len(ed.person)), 0.9 * (ed.departure - ed.arrival))
    charted = minutes(ed.arrival + delay.astype(np.int64))
    class_counts, class_lines = _drug_classes()
    row, rank = repeat(class_counts[drug])
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
    """Return the number of classes of each home drug, and [drugs, rank]: their lines in ed_drug_classes.csv."""
    place = {code: line for line, code in enumerate(_class_table()["etccode"].to_list())}
    lists = [text.split() for text in catalog.read("ed_home_drugs.csv")["classes"].cast(pl.String)]
    count = np.array([len(entries) for entries in lists])
    lines = np.full((len(lists), int(count.max())), -1)
    for drug, entries in enumerate(lists):
        lines[drug, : len(entries)] = [place[word] for word in entries]
    return count, lines


@cache
def _home_drug_table() -> pl.DataFrame:
    return catalog.read("ed_home_drugs.csv").select("name", _padded("gsn", 6), _padded("ndc", 11))


@cache
def _class_table() -> pl.DataFrame:
    return catalog.read("ed_drug_classes.csv").select(_padded("etccode", 8), "etcdescription")


def _padded(column: str, width: int) -> pl.Expr:
    """Restore the leading zeros of codes that were read as numbers."""
    return pl.col(column).cast(pl.String).str.zfill(width)


def _pyxis(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("ed dispensing")
    ed = block.ed
    severity = np.minimum(block.episodes.severity[ed.episode], 2.0)
    mean = np.where(rng.random(len(ed.person)) < 0.22, 0.0, 2.1 + 3.5 * severity)
    hours = (ed.departure - ed.arrival) / HOUR
    stay, _ = repeat(rng.poisson(mean * np.minimum(hours / 6, 1.5)))
    owners, drugs, weights = _indications()
    line = pick_by_group(rng, block.episodes.illness[ed.episode[stay]], owners, weights)
    passed = np.minimum(0.08 + 0.92 * rng.random(len(stay)) ** 1.4, 0.99)
    time = ed.arrival[stay] + (passed * (ed.departure - ed.arrival)[stay]).astype(np.int64)
    charted = minutes(time)
    order = np.lexsort((line, charted, stay))
    stay, drug, charted = stay[order], drugs[line[order]], charted[order]
    of_stay = np.bincount(stay, minlength=len(ed.person))
    med_rn = repeat(of_stay)[1] + 1
    count, codes = _dispensed_codes()
    row, rank = repeat(count[drug])
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(ed.person[stay[row]]),
            "stay_id": ed.stay_id[stay[row]],
            "charttime": times(charted[row]),
            "med_rn": med_rn[row],
            "name": catalog.read("ed_pyxis.csv")["name"][drug[row]],
            "gsn_rn": rank + 1,
            "gsn": codes[(np.cumsum(count) - count)[drug[row]] + rank],
        }
    )


@cache
def _indications() -> tuple[Ints, Ints, Floats]:
    """Return the pairs of an illness and a drug of ed_pyxis.csv that treats it: illness, drug and weight."""
    weights = parse_weights(catalog.read("ed_pyxis.csv")["given_for"], (*catalog.illnesses(), ANYONE))
    table = weights[:, :-1] + weights[:, -1:]
    drug, illness = np.nonzero(table)
    return illness.astype(np.int64), drug.astype(np.int64), table[drug, illness]


@cache
def _dispensed_codes() -> tuple[Ints, pl.Series]:
    """Return the number of rows for each drug of ed_pyxis.csv, and the GSNs of all drugs in order; null if unknown."""
    lists = [text.split() or [None] for text in catalog.read("ed_pyxis.csv")["gsns"].cast(pl.String).fill_null("")]
    flat = [code for entries in lists for code in entries]
    return np.array([len(entries) for entries in lists]), pl.Series(flat, dtype=pl.String).str.zfill(6)
