"""Compare planted defects with the events of the build: recall by kind, and no other changes.

Every kind of defect of `ehrtraj synth --defects` has an answer that describes the right event. Kinds in UNDECIDED have
no rule yet, or cannot be decided from the row: they are counted and printed, not asserted.
"""

from __future__ import annotations

import datetime
import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.synth.run import synth

Event = dict[str, Any]

Key = dict[str, Any]
Place = tuple[Any, ...]

# Tables whose events contain the number of the row as source_key, and the column of the key with this number.
NUMBERED = {
    "hosp/labevents": "labevent_id",
    "hosp/microbiologyevents": "microevent_id",
    "hosp/pharmacy": "pharmacy_id",
    "hosp/prescriptions": "pharmacy_id",
    "hosp/emar": "emar_id",
    "hosp/emar_detail": "emar_id",
    "icu/inputevents": "orderid",
    "icu/ingredientevents": "orderid",
    "icu/procedureevents": "orderid",
}
# What else distinguishes rows with the same number: an attribute, or the item in the code.
BESIDE = {"hosp/emar_detail": "parent_field_ordinal"}
ITEM = {"hosp/prescriptions": "drug", "icu/inputevents": "itemid", "icu/ingredientevents": "itemid"}
# Tables whose rows are found by stay, and by the attribute that distinguishes the rows of a stay.
OF_A_STAY = {
    "hosp/admissions": ("hadm_id", None),
    "icu/icustays": ("stay_id", None),
    "hosp/diagnoses_icd": ("hadm_id", "seq_num"),
    "hosp/procedures_icd": ("hadm_id", "seq_num"),
    "hosp/drgcodes": ("hadm_id", None),
    "ed/edstays": ("stay_id", None),
    "ed/diagnosis": ("stay_id", "seq_num"),
}
# Tables in which a row becomes several events: found by the column that the answer names.
BY_COLUMN = ("ed/triage", "ed/vitalsign")
BY_TIME = ("icu/chartevents", "icu/datetimeevents", "icu/outputevents")
NOTES = ("note/discharge", "note/radiology")
TIMES = ("time", "available_time")
COLUMNS = ("subject_id", "code", "text_value", "unit", "raw_value", "raw_unit", "hadm_id", "stay_id", "time_precision")

UNDECIDED: dict[tuple[str, str], str] = {}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("answers")
    return {
        name: synth(folder / name, patients=200, defects=rate, max_cpus=2).path
        for name, rate in (("clean", 0.0), ("defective", 0.03))
    }


@pytest.fixture(scope="module")
def datasets(releases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("answered")
    return {name: ehrtraj.build(release, folder, name, max_cpus=2).path for name, release in releases.items()}


def events_of(dataset: Path) -> pl.DataFrame:
    return pl.read_parquet(dataset / "data" / "**" / "*.parquet")


def answers_of(release: Path) -> pl.DataFrame:
    return pl.read_parquet(release / "answers.parquet")


# ---- finding the event of an answer ---------------------------------------------------------------------------------


def _time(text: str | None) -> datetime.datetime | None:
    return None if text is None else datetime.datetime.fromisoformat(text)


def _source_of(table: str, right: dict[str, Any]) -> str:
    """Return the table of the event in an answer: births and deaths come from the patients."""
    return "hosp/patients" if right.get("event_type") in ("MEDS_BIRTH", "MEDS_DEATH") else table


def _key_of(answer: dict[str, Any]) -> Key:
    """Return the row's key and the column that was changed."""
    return json.loads(answer["key"]) | {"column": answer["column"]}


class Index:
    """Events by the keys that answers contain."""

    def __init__(self, dataset: Path, answers: pl.DataFrame) -> None:
        flags = json.loads((dataset / "metadata" / "flags.json").read_text())
        self._bits = {name: flag["value"] for name, flag in flags.items()}
        events = events_of(dataset)
        tables = pl.Series(["hosp/patients", *answers["table"].unique()]).implode()
        self._rows: dict[tuple[Any, ...], list[Event]] = {}
        wanted = {
            self._place(_source_of(a["table"], json.loads(a["right"])), _key_of(a), a["subject_id"])
            for a in answers.iter_rows(named=True)
        }
        for event in events.filter(pl.col("source_table").is_in(tables)).iter_rows(named=True):
            if (place := self._places(event)) in wanted:
                self._rows.setdefault(place, []).append(self._opened(event))

    def _place(self, table: str, key: Key, subject: int | None) -> Place | None:
        if table in NUMBERED:
            number = int(str(key[NUMBERED[table]]).rpartition("-")[2])
            beside = key.get(BESIDE.get(table, "")) or " ".join(str(key.get(ITEM.get(table, ""), "")).split())
            return table, subject, number, beside
        if table in OF_A_STAY:
            stay, within = OF_A_STAY[table]
            return table, key[stay], key.get(within or "")
        if table in NOTES:
            return table, key["note_id"]
        if table == "ed/medrecon":
            return table, key["stay_id"], " ".join(key["name"].split()), key["etc_rn"]
        if table in BY_COLUMN:
            return table, key["stay_id"], key.get("charttime"), key["column"]
        if table == "hosp/patients":
            return table, subject
        if table == "hosp/omr" and key["chartdate"]:
            return table, subject, key["chartdate"], key["result_name"]
        if table in BY_TIME and key.get("charttime"):
            return table, subject, str(key["itemid"]), _time(key["charttime"])
        return None

    def _places(self, event: Event) -> Place:
        table, subject = event["source_table"], event["subject_id"]
        item = [*event["code"].split("//"), ""][1]
        if table in NUMBERED:
            beside = self._attributes(event).get(BESIDE[table]) if table in BESIDE else item if table in ITEM else ""
            return table, subject, event["source_key"], beside or ""
        if table in OF_A_STAY:
            stay, within = OF_A_STAY[table]
            return table, event[stay], self._attributes(event).get(within) if within else None
        if table in NOTES:
            return table, self._attributes(event)["note_id"]
        if table == "ed/medrecon":
            return table, event["stay_id"], item, self._attributes(event)["etc_rn"]
        if table in BY_COLUMN:
            return table, event["stay_id"], str(event["time"]) if table == "ed/vitalsign" else None, item
        if table == "hosp/patients":
            return table, subject
        if table == "hosp/omr":
            return table, subject, f"{event['time']:%Y-%m-%d}", item
        return table, subject, item, event["time"]

    @staticmethod
    def _attributes(event: Event) -> Event:
        return json.loads(event["attributes"] or "{}")

    def _opened(self, event: Event) -> Event:
        attributes = self._attributes(event)
        flags = {name for name, bit in self._bits.items() if event["flags"] & bit}
        return {**attributes, **event, "flags": flags}

    def is_planted(self, event: Event) -> bool:
        """Return whether an event comes from a row with a planted defect."""
        return self._places(event) in self._rows

    def of(self, table: str, key: Key, subject: int | None) -> list[Event] | None:
        place = self._place(table, key, subject)
        return None if place is None else self._rows.get(place, [])


def is_right(event: Event, right: dict[str, Any]) -> bool:
    """Return whether an event has all values that the answer contains."""
    for name, wanted in right.items():
        got = event.get(name)
        if name == "event_type":
            same = event["code"].split("//")[0] == wanted
        elif name == "flags":
            same = set(wanted) <= event["flags"]
        elif name in TIMES:
            same = got == _time(wanted)
        elif name == "raw_value" and wanted is not None:
            same = got is not None and (got == wanted or float(got) == float(wanted))
        elif isinstance(wanted, float):
            same = got is not None and abs(float(got) - wanted) <= 1e-5 * max(1.0, abs(wanted))
        else:
            same = got == wanted
        if not same:
            return False
    return True


def recall(index: Index, answers: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the numbers of right answers and of all answers that can be looked up, by table and kind."""
    right: Counter[tuple[str, str]] = Counter()
    total: Counter[tuple[str, str]] = Counter()
    for answer in answers.iter_rows(named=True):
        wanted = json.loads(answer["right"])
        if "rejected" in wanted:
            continue
        found = index.of(_source_of(answer["table"], wanted), _key_of(answer), answer["subject_id"])
        if found is not None:
            kind = answer["table"], answer["defect"]
            total[kind] += 1
            right[kind] += any(is_right(event, wanted) for event in found)
    return {kind: (right[kind], total[kind]) for kind in sorted(total)}


def test_every_defect_is_handled_as_its_rule_requires(releases: dict[str, Path], datasets: dict[str, Path]) -> None:
    answers = answers_of(releases["defective"])
    found = recall(Index(datasets["defective"], answers), answers)
    lines = [f"{table:<26}{kind:<28}{right:>6} of {total:>6}" for (table, kind), (right, total) in found.items()]
    print("\n".join(lines))
    assert len(found) > 40
    wrong = {kind: counts for kind, counts in found.items() if counts[0] < counts[1] and kind not in UNDECIDED}
    assert not wrong
    assert not [kind for kind in UNDECIDED if kind in found and found[kind][0] == found[kind][1]], "now decided"


def test_exactly_the_planted_rows_are_rejected(releases: dict[str, Path], datasets: dict[str, Path]) -> None:
    answers = answers_of(releases["defective"])
    planted: Counter[tuple[str, str]] = Counter()
    for answer in answers.iter_rows(named=True):
        if (reason := json.loads(answer["right"]).get("rejected")) and (
            answer["table"],
            answer["defect"],
        ) not in UNDECIDED:
            planted[answer["table"], reason] += 1
    ledger = pl.read_parquet(datasets["defective"] / "ledger.parquet").filter(pl.col("outcome") == "rejected")
    assert dict(planted) == {(row["table"], row["reason"]): row["rows"] for row in ledger.iter_rows(named=True)}


# Flags that the rules of values, units and texts set because of the row alone. The others (outside_stay,
# copied_result, ...) depend on other rows, which may have a defect.
OF_THE_ROW = [
    *("unit_converted", "unit_assumed", "unit_unlisted", "unit_inferred", "weight_used", "weight_placeholder"),
    *("sentinel_value", "impossible_value", "suspicious_value"),
    *("number_from_text", "bound_only", "range_only", "text_from_comments", "no_result", "remarked"),
    *("not_an_organism", "not_a_dose", "dose_unlisted"),
]
SAME = ("source_table", "subject_id", "time", "code", "numeric_value", "unit", "raw_value", "raw_unit", "text_value")


def test_values_without_defects_are_unchanged(releases: dict[str, Path], datasets: dict[str, Path]) -> None:
    """Every event without a planted defect is in the dataset of the clean release, with the same values and flags.

    Prints, for each flag, the number of events with it, the number with planted defects, and the number of other events
    that the clean dataset does not contain, which were flagged for no reason.
    """
    answers = answers_of(releases["defective"])
    index = Index(datasets["defective"], answers)
    flags = json.loads((datasets["clean"] / "metadata" / "flags.json").read_text())
    bits = {name: flags[name]["value"] for name in OF_THE_ROW}
    tables = [*NUMBERED, *BY_TIME, *BY_COLUMN, "hosp/omr"]

    def events(name: str) -> pl.DataFrame:
        # The event of a specimen takes its time from any of its rows.
        rows = events_of(datasets[name]).filter(
            pl.col("source_table").is_in(tables), ~pl.col("code").str.starts_with("MICRO_SPECIMEN")
        )
        return rows.with_columns(pl.col("flags") & sum(bits.values()))

    defective = events("defective")
    planted = defective.select(pl.struct(pl.all()).map_elements(index.is_planted, return_dtype=pl.Boolean)).to_series()
    # The calories of a drug given per kg are converted with the weight in the row of the drug, which may be planted.
    inputs = defective.filter(planted, source_table="icu/inputevents").select("subject_id", "source_key").unique()
    by_weight = pl.col("code").eq("INGREDIENT_START//226060") & pl.col("raw_unit").str.contains("/kg/").fill_null(False)
    weighed = defective.filter(~planted, by_weight).join(inputs, on=["subject_id", "source_key"], how="semi")
    others = defective.filter(~planted).join(weighed, on=[*SAME, "flags"], how="anti", nulls_equal=True)
    strange = others.join(events("clean"), on=[*SAME, "flags"], how="anti", nulls_equal=True)
    for name, bit in bits.items():
        flagged, by_plan, wrong = (
            rows.filter(pl.col("flags") & bit != 0).height for rows in (defective, defective.filter(planted), strange)
        )
        print(f"{name:<20}{flagged:>8} events, {by_plan:>6} planted, {wrong:>3} for no reason")
    assert others.height > 100_000
    assert strange.is_empty(), strange.group_by("source_table", "flags").len()


def test_exactly_the_planted_codes_are_flagged(releases: dict[str, Path], datasets: dict[str, Path]) -> None:
    planted = answers_of(releases["defective"])["defect"].value_counts()
    expected = dict(
        planted.filter(pl.col("defect").is_in(["code_unknown", "repeated_code", "item_unknown"])).iter_rows()
    )
    expected["code_unknown"] += expected.pop("item_unknown")
    assert min(expected.values()) > 20
    for name, wanted in (("clean", dict.fromkeys(expected, 0)), ("defective", expected)):
        bits = json.loads((datasets[name] / "metadata" / "flags.json").read_text())
        unknown, repeated = (pl.col("flags") & bits[flag]["value"] != 0 for flag in ("code_unknown", "repeated_code"))
        events = events_of(datasets[name])
        # An unknown code that was planted twice in a bill is also a repeated code.
        found = {"code_unknown": events.filter(unknown), "repeated_code": events.filter(repeated, ~unknown)}
        assert {flag: rows.height for flag, rows in found.items()} == wanted
