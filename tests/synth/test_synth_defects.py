"""Planted defects: every kind occurs, its answer describes exactly the change, and no other row changes."""

from __future__ import annotations

import csv
import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from ehrtraj import rules
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.defects import ANSWERS, KEYS, all_kinds, plant
from ehrtraj.synth.defects.texts import as_written
from ehrtraj.synth.life import draw_block
from ehrtraj.synth.tables import (
    charting,
    coding,
    emergency,
    encounters,
    fluids,
    labs,
    microbiology,
    notes,
    omr,
    orders,
)

Tables = dict[str, pl.DataFrame]

PATIENTS, ROWS = 40, 60
HIGH_RATE = 0.1
SEEDS = range(10)
BEGIN = np.datetime64("2150-03-01T08:00:00", "us")
HOUR, DAY = 3600, 86400


# ---- a small handmade block -----------------------------------------------------------------------------------------
def times(seconds: Any) -> pl.Series:
    return pl.Series(BEGIN + np.asarray(seconds).astype("timedelta64[s]")).cast(pl.Datetime("us"))


def frame(**columns: Any) -> pl.DataFrame:
    """Return a frame of columns. Lists are repeated to the length of the longest column."""
    height = max(len(column) for column in columns.values())
    filled = {
        name: [column[i % len(column)] for i in range(height)] if isinstance(column, list) else column
        for name, column in columns.items()
    }
    return pl.DataFrame({name: pl.Series(column) for name, column in filled.items()})


def catalog(name: str) -> list[dict[str, str]]:
    with resources.files("ehrtraj.synth").joinpath(f"catalog/{name}").open() as lines:
        return list(csv.DictReader(lines))


class SmallBlock:
    """Patients with two admissions a month apart, the second with an ICU stay.

    A quarter of the patients die in the second admission, another quarter days later at home. In every other table each
    patient has the same number of rows.
    """

    def __init__(self) -> None:
        patient = np.arange(PATIENTS)
        self.subject = 10_000_000 + 27 * patient
        self.hadm = 20_000_100 + np.arange(2 * PATIENTS)
        self.stay = 30_000_100 + patient
        self.owner = np.arange(2 * PATIENTS) // 2
        self.start = self.owner * 400 * DAY + (np.arange(2 * PATIENTS) % 2) * 30 * DAY
        self.stop = self.start + 4 * DAY
        self.row = patient.repeat(ROWS)
        self.number = np.arange(PATIENTS * ROWS)
        self.place = self.number % ROWS
        # Rows are spread over the second admission.
        self.when = self.start[1::2][self.row] + self.place * (4 * DAY // ROWS // 60 * 60)

    def tables(self) -> Tables:
        return (
            self._stays() | self._labs() | self._chart() | self._inputs() | self._orders() | self._coded() | self._ed()
        )

    def _subject_and_admission(self) -> dict[str, Any]:
        return {"subject_id": self.subject[self.row], "hadm_id": self.hadm[1::2][self.row]}

    def _stays(self) -> Tables:
        second = np.arange(2 * PATIENTS) % 2 == 1
        dies = second & (self.owner % 4 == 0)
        ends = times(self.stop)
        at_home = ends.dt.offset_by("9d").dt.date().to_list()
        dods = [{0: ends.dt.date()[2 * i + 1], 1: at_home[2 * i + 1]}.get(i % 4) for i in range(PATIENTS)]
        return {
            "hosp/patients": frame(
                subject_id=self.subject, gender=["F", "M"], anchor_age=[85, 40, 60], anchor_year=[2150], dod=dods
            ),
            "hosp/admissions": frame(
                subject_id=self.subject[self.owner],
                hadm_id=self.hadm,
                admittime=times(self.start),
                dischtime=ends,
                deathtime=[end if died else None for end, died in zip(ends, dies, strict=True)],
                edregtime=times(self.start - 4 * HOUR),
                edouttime=times(self.start + HOUR),
                hospital_expire_flag=dies.astype(np.int64),
            ),
            "icu/icustays": frame(
                subject_id=self.subject,
                hadm_id=self.hadm[1::2],
                stay_id=self.stay,
                intime=times(self.start[1::2]),
                outtime=times(self.stop[1::2] - HOUR),
                los=[2.96],
            ),
        }

    def _labs(self) -> Tables:
        units = {int(line["itemid"]): line["unit"] for line in catalog("defect_units.csv")}
        listed = {line["item"] for line in catalog("defect_values.csv") if line["table"] == "hosp/labevents"}
        items = sorted({int(item) for item in listed if item} | set(units))
        item = np.array(items)[self.number * 7 % len(items)]
        outside = self.place % 5 == 4
        when = np.where(outside, self.when + 60 * DAY, self.when)
        number = np.where(item == 50816, 40.0, 1.5 + self.place)
        return {
            "hosp/labevents": frame(
                labevent_id=1 + self.number,
                subject_id=self.subject[self.row],
                hadm_id=[
                    None if out else int(h)
                    for out, h in zip(outside, self._subject_and_admission()["hadm_id"], strict=True)
                ],
                itemid=item,
                charttime=times(when),
                storetime=times(when + HOUR),
                value=as_written(pl.Series(number)),
                valuenum=number,
                valueuom=[units.get(int(i), "x") for i in item],
                comments=pl.Series([None] * len(item), dtype=pl.String),
                priority=["STAT"],
            ),
            "hosp/microbiologyevents": frame(
                microevent_id=self.number,
                **self._subject_and_admission(),
                micro_specimen_id=self.number // 3,
                chartdate=times(self.when).dt.truncate("1d"),
                charttime=times(self.when),
                storedate=times(self.when).dt.truncate("1d").dt.offset_by("2d"),
                storetime=times(self.when + 2 * DAY),
                test_itemid=[90201],
                org_itemid=[None, 80002],
                org_name=[None, "ESCHERICHIA COLI"],
                ab_itemid=[None, 90004],
                comments=["NO GROWTH.  "],
            ),
        }

    def _chart(self) -> Tables:
        charted = {
            220045: 80.0, 223761: 98.6, 223762: 37.0, 224639: 80.5, 226512: 80.0, 223835: 40.0, 220210: 16.0,
            220181: 70.0, 226730: 170.0, 220179: 120.0, 220224: 90.0,
        }  # fmt: skip
        item = np.array(list(charted))[self.number % len(charted)]
        number = np.array([charted[int(i)] for i in item])
        shared = {
            **self._subject_and_admission(),
            "stay_id": self.stay[self.row],
            "charttime": times(self.when),
            "storetime": times(self.when + 600),
        }
        return {
            "icu/chartevents": frame(**shared, itemid=item, value=as_written(pl.Series(number)), valuenum=number),
            "icu/datetimeevents": frame(**shared, itemid=224183 + self.number, value=times(self.when - DAY)),
            "icu/outputevents": frame(**shared, itemid=226559 + self.number, value=number),
        }

    def _inputs(self) -> Tables:
        shared = {
            **self._subject_and_admission(),
            "orderid": 1 + self.number,
            "starttime": times(self.when),
            "storetime": times(self.when + 600),
        }
        rate = [0.1, 0.5, 2.4, 75.0]
        return {
            "icu/inputevents": frame(
                **shared,
                itemid=[221906, 221749, 222315, 225158],
                rate=rate,
                rateuom=["mcg/kg/min", "mcg/kg/min", "units/hour", "mL/hour"],
                originalrate=rate,
                patientweight=[80.0],
                statusdescription=["FinishedRunning"],
            ),
            "icu/ingredientevents": frame(**shared, itemid=[226221]),
            "icu/procedureevents": frame(**shared, itemid=[225792]),
        }

    def _orders(self) -> Tables:
        entry = [f"{subject}-{i}" for i, subject in enumerate(self.subject[self.row])]
        span = {"starttime": times(self.when), "stoptime": times(self.when + DAY)}
        return {
            "hosp/prescriptions": frame(
                **self._subject_and_admission(),
                pharmacy_id=self.number,
                drug_type=["MAIN"],
                drug=["Heparin", "Aspirin"],
                formulary_drug_cd=["X"],
                **span,
                dose_val_rx=["5000", "81"],
                dose_unit_rx=["mg"],
                gsn=["004380"],
                ndc=["00409131230"],
            ),
            "hosp/pharmacy": frame(**self._subject_and_admission(), pharmacy_id=self.number, **span),
            "hosp/emar": frame(
                **self._subject_and_admission(),
                emar_id=entry,
                emar_seq=self.number,
                charttime=times(self.when),
                storetime=times(self.when + 60),
            ),
            "hosp/emar_detail": frame(
                subject_id=self.subject[self.row],
                emar_id=entry,
                emar_seq=self.number,
                parent_field_ordinal=["1.1", "1.2"],
                dose_given=["5"],
            ),
        }

    def _coded(self) -> Tables:
        bill = {**self._subject_and_admission(), "seq_num": 1 + self.place}
        return {
            "hosp/diagnoses_icd": frame(**bill, icd_code=["A419", "4019", "I10", "E8889"], icd_version=[10, 9, 10, 9]),
            "hosp/procedures_icd": frame(**bill, icd_code=["0BH17", "3961"], icd_version=[10, 9]),
            "hosp/drgcodes": frame(
                **self._subject_and_admission(), drg_type=["HCFA"], drg_code=[f"{100 + place}" for place in self.place]
            ),
            "hosp/omr": frame(
                subject_id=self.subject[self.row],
                chartdate=times(self.when).dt.date(),
                seq_num=1 + self.number,
                result_name=["Weight (Lbs)", "Height (Inches)", "BMI (kg/m2)", "eGFR", "Blood Pressure"],
                result_value=["180", "68", "27.4", "58", "120/80"],
            ),
        }

    def _ed(self) -> Tables:
        shared = {"subject_id": self.subject[self.row], "stay_id": 39_000_000 + self.number}
        vitals = {
            "temperature": [98.6], "heartrate": [80.0], "resprate": [18.0], "o2sat": [98.0], "pain": ["3", None]
        }  # fmt: skip
        note = {
            "note_id": [f"{subject}-{i}" for i, subject in enumerate(self.subject[self.row])],
            "subject_id": self.subject[self.row],
        }
        detail = {"field_name": ["author"], "field_value": ["___"], "field_ordinal": [1]}
        return {
            "ed/edstays": frame(**shared, intime=times(self.when), outtime=times(self.when + HOUR)),
            "ed/medrecon": frame(
                **shared, charttime=times(self.when), name=["aspirin"], ndc=["00904404073"], etc_rn=[1]
            ),
            "ed/pyxis": frame(**shared, charttime=times(self.when), med_rn=[1], name=["Morphine"], gsn_rn=[1]),
            "note/discharge_detail": frame(**note, **detail),
            "note/radiology_detail": frame(**note, **detail),
            "ed/triage": frame(**shared, **vitals, sbp=[120.0], dbp=[70.0]),
            "ed/vitalsign": frame(**shared, charttime=times(self.when), **vitals, sbp=[120], dbp=[70]),
            "ed/diagnosis": frame(
                subject_id=self.subject[self.row],
                stay_id=39_000_000 + self.number // 2,
                seq_num=[1, 2],
                icd_code=["A419"],
                icd_version=[10],
            ),
            "note/discharge": frame(
                **note, charttime=times(self.when).dt.truncate("1d"), storetime=times(self.when + DAY)
            ),
            "note/radiology": frame(**note, charttime=times(self.when), storetime=times(self.when + HOUR)),
        }


@cache
def small_block() -> Tables:
    return SmallBlock().tables()


@cache
def planted_small_block(seed: int) -> tuple[Tables, pl.DataFrame]:
    return plant(small_block(), np.random.default_rng(seed), HIGH_RATE)


# ---- a drawn block --------------------------------------------------------------------------------------------------
def draw_tables(block: PatientBlock) -> Tables:
    modules = (encounters, labs, microbiology, omr, orders, coding, charting, fluids, emergency, notes)
    return {table: rows for module in modules for table, rows in module.draw(block).items()}


@cache
def drawn_block() -> Tables:
    return draw_tables(draw_block(7, 4))


@cache
def planted_drawn_block() -> tuple[Tables, pl.DataFrame]:
    return plant(drawn_block(), np.random.default_rng(5), 0.02)


# ---- checks of both blocks ------------------------------------------------------------------------------------------
def texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows as they are written in the file."""
    return rows.select(as_written(rows[name]) for name in rows.columns)


def join_answers(table: str, rows: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Join the answers of one table with the rows that their keys identify."""
    names = KEYS[table]
    keys = [json.loads(key) for key in answers["key"]]
    assert all(tuple(key) == names for key in keys)
    cells = {name: [_cell(key[name]) for key in keys] for name in names}
    keyed_answers = answers.select(pl.all().name.prefix("answer.")).hstack(
        pl.DataFrame({f"key.{name}": column for name, column in cells.items()}, schema_overrides={})
        .cast(pl.String)
    )  # fmt: skip
    return keyed_answers.join(
        texts(rows), left_on=[f"key.{name}" for name in names], right_on=list(names), nulls_equal=True, coalesce=False
    )


def _cell(value: object) -> str | None:
    return None if value is None else str(value).removesuffix(".0") if isinstance(value, float) else str(value)


def check_answers(tables: Tables, answers: pl.DataFrame) -> None:
    """Check that each key identifies one row (two for a duplicate) with the cells that the answer records."""
    for (table,), table_answers in answers.group_by("table", maintain_order=True):
        rows = join_answers(table, tables[table], table_answers)
        duplicates = rows.filter(pl.col("answer.defect") == "exact_duplicate")
        others = rows.filter(pl.col("answer.defect") != "exact_duplicate")
        assert others.height == table_answers.filter(pl.col("defect") != "exact_duplicate").height, table
        assert others["answer.key"].n_unique() == others.height, table
        assert duplicates.height == 2 * (table_answers["defect"] == "exact_duplicate").sum(), table
        for row in others.iter_rows(named=True):
            assert row[row["answer.column"]] == row["answer.written"] != row["answer.original"], row
            assert row["subject_id"] == _cell(row["answer.subject_id"])


def check_other_rows(before: Tables, tables: Tables, answers: pl.DataFrame) -> None:
    """Check that all rows without an answer are unchanged and in the same order."""
    added = {kind.defect for kind in all_kinds() if kind.added}
    assert list(tables) == list(before)
    for table, rows_before in before.items():
        table_answers = answers.filter(pl.col("table") == table)
        copies = table_answers.filter(pl.col("defect").is_in(list(added)))
        rows_after = tables[table]
        assert rows_after.columns == rows_before.columns
        assert rows_after.height == rows_before.height + copies.height
        if not table_answers.height:
            assert_frame_equal(rows_after, rows_before)
            continue
        old, new = texts(rows_before), texts(rows_after)
        unchanged_after = new.join(old, on=old.columns, how="semi", nulls_equal=True, maintain_order="left")
        assert (
            new.height - unchanged_after.height == table_answers.filter(pl.col("defect") != "exact_duplicate").height
        ), table
        unchanged_before = old.join(new, on=old.columns, how="semi", nulls_equal=True, maintain_order="left")
        assert unchanged_before.equals(unchanged_after.unique(maintain_order=True)), table


# ---- tests ----------------------------------------------------------------------------------------------------------
def test_every_kind_is_described_with_its_tables_and_source() -> None:
    described = {line["defect"]: line for line in catalog("defects.csv")}
    tables: dict[str, set[str]] = {}
    for kind in all_kinds():
        tables.setdefault(kind.defect, set()).add(kind.table)
    assert {name: set(line["tables"].split()) for name, line in described.items()} == tables
    assert all(line["description"] and line["source"] for line in described.values())
    for name in ("defect_values.csv", "defect_units.csv", "defect_rates.csv"):
        assert all(line["source"] for line in catalog(name)), name


def test_flags_of_answers_exist_or_are_described_as_having_no_rule_yet() -> None:
    described = {line["defect"]: line["description"] for line in catalog("defects.csv")}
    for seed in SEEDS:
        for defect, right in planted_small_block(seed)[1].select("defect", "right").unique("defect").iter_rows():
            for flag in json.loads(right).get("flags", []):
                assert flag in rules.flags() or "no rule yet" in described[defect], (defect, flag)


def test_every_kind_occurs() -> None:
    seen = {
        pair for seed in SEEDS for pair in planted_small_block(seed)[1].select("table", "defect").unique().iter_rows()
    }
    assert {(kind.table, kind.defect) for kind in all_kinds()} == seen


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_answer_identifies_its_row_and_the_new_cell(seed: int) -> None:
    check_answers(*planted_small_block(seed))


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_without_an_answer_are_unchanged(seed: int) -> None:
    check_other_rows(small_block(), *planted_small_block(seed))


def test_answers_are_exact_in_a_drawn_block() -> None:
    check_answers(*planted_drawn_block())
    check_other_rows(drawn_block(), *planted_drawn_block())


def test_the_rate_is_the_share_of_eligible_rows() -> None:
    tables, answers = planted_drawn_block()
    stored = drawn_block()["icu/outputevents"].filter(pl.col("storetime").is_not_null()).height
    hit = answers.filter(pl.col("table") == "icu/outputevents", pl.col("defect") == "storetime_before_charttime").height
    assert 0.4 * 0.02 * stored < hit < 2 * 0.02 * stored
    assert tables["icu/outputevents"].height == drawn_block()["icu/outputevents"].height


def test_no_defects_at_rate_0() -> None:
    tables, answers = plant(small_block(), np.random.default_rng(0), 0.0)
    assert all(tables[table] is rows for table, rows in small_block().items())
    assert answers.is_empty()
    assert answers.schema == ANSWERS


def test_the_same_stream_gives_the_same_defects() -> None:
    tables, answers = plant(small_block(), np.random.default_rng(1), HIGH_RATE)
    assert_frame_equal(answers, planted_small_block(1)[1])
    for table, rows in planted_small_block(1)[0].items():
        assert_frame_equal(tables[table], rows)
    assert not answers.equals(planted_small_block(2)[1])


@pytest.mark.parametrize("table", sorted(KEYS))
def test_a_single_table_can_be_planted(table: str) -> None:
    """Kinds that need another table are skipped if it is missing."""
    tables, answers = plant({table: small_block()[table]}, np.random.default_rng(0), 1.0)
    check_answers(tables, answers)
    empty, none = plant({table: small_block()[table].clear()}, np.random.default_rng(0), 1.0)
    assert empty[table].is_empty()
    assert none.is_empty()


def test_a_column_becomes_text_if_a_cell_does_not_fit_its_type() -> None:
    for seed in SEEDS:
        tables, answers = planted_small_block(seed)
        broken = answers.filter(pl.col("defect").str.ends_with("_unreadable"))
        for table, column in broken.select("table", "column").unique().iter_rows():
            assert tables[table][column].dtype == pl.String
            written = set(broken.filter(table=table, column=column)["written"])
            others = tables[table].filter(~pl.col(column).is_in(list(written)))[column].drop_nulls()
            dates = others.str.contains(r"^\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d)?$")
            numbers = others.str.contains(r"^-?\d+(\.\d*[1-9])?$")
            assert (dates | numbers).all()


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_outside_0_to_1_is_rejected(rate: float) -> None:
    with pytest.raises(ValueError, match="must be a share between 0 and 1"):
        plant(small_block(), np.random.default_rng(0), rate)


@pytest.mark.parametrize(
    ("defect", "right"),
    [
        ("sentinel_value", {"numeric_value": None, "flags": ["sentinel_value"]}),
        ("hadm_of_other_patient", {"hadm_id": None, "flags": ["hadm_of_other_patient"]}),
        ("exact_duplicate", {"rejected": "exact_duplicate"}),
        ("masked_result", {"numeric_value": None, "value": "___"}),
    ],
)
def test_the_right_event(defect: str, right: dict[str, object]) -> None:
    rights = planted_small_block(3)[1].filter(pl.col("defect") == defect)["right"]
    assert len(rights)
    assert all(json.loads(text) | right == json.loads(text) for text in rights)


@pytest.mark.parametrize(
    ("defect", "units", "numbers"),
    [
        ("fahrenheit_as_celsius", {"Cel"}, [37.0]),
        ("celsius_as_fahrenheit", {"Cel"}, [37.0]),
        ("fio2_fraction", {"%"}, [40.0]),
        ("rate_unit", {"ug/kg/min", "[USP'U]/h"}, [0.1, 0.5, 2.4]),
        ("unit_not_named", {"kg", "cm"}, [81.65, 172.7]),
    ],
)
def test_the_right_number_is_the_original_one(defect: str, units: set[str], numbers: list[float]) -> None:
    rights = [json.loads(right) for right in planted_small_block(3)[1].filter(pl.col("defect") == defect)["right"]]
    assert {right["unit"] for right in rights} == units
    for right in rights:
        assert any(abs(right["numeric_value"] - number) <= 0.002 * number for number in numbers), right


def test_a_missing_admission_is_the_one_that_contains_the_time() -> None:
    tables, answers = planted_small_block(0)
    stays = tables["hosp/admissions"]
    missing = join_answers("hosp/labevents", tables["hosp/labevents"], answers.filter(
        pl.col("table") == "hosp/labevents", pl.col("defect") == "hadm_missing"
    ))  # fmt: skip
    assert missing.height
    for row in missing.iter_rows(named=True):
        right = json.loads(row["answer.right"])
        stay = stays.filter(pl.col("hadm_id") == right["hadm_id"]).row(0, named=True)
        assert str(stay["edregtime"]) <= row["charttime"] <= str(stay["dischtime"])
        assert right["flags"] == ["hadm_inferred"]
