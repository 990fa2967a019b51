"""Texts without padding, names without runs of blanks, and words in place of numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrtraj.format.arrays import Texts

SUBJECT = 10_000_001
PATIENT = {"subject_id": SUBJECT, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
BLANKS = " " * 30_000
CHARTED = {"subject_id": SUBJECT, "charttime": "2150-01-01 08:00:00", "storetime": "2150-01-01 09:00:00"}


def lab(number: int, **columns: Any) -> dict[str, Any]:
    return CHARTED | {"labevent_id": number, "specimen_id": number, "itemid": 50912, "valueuom": "mg/dL"} | columns


@pytest.mark.parametrize(
    ("values", "trimmed", "collapsed"),
    [
        (["a", None, "a "], ["a", None, "a"], ["a", None, "a"]),
        ([" b  c\t", "\n", ""], ["b  c", None, None], ["b c", None, None]),
        ([None, None], [None, None], [None, None]),
        ([], [], []),
    ],
)
def test_trimmed_and_collapsed_texts(
    values: list[str | None], trimmed: list[str | None], collapsed: list[str | None]
) -> None:
    texts = Texts.encode(pa.chunked_array([pa.array(values, pa.string())]))
    assert texts.trimmed().take() == trimmed
    assert texts.collapsed().take() == collapsed
    assert len(texts.trimmed().values) == len(set(trimmed) - {None})


def test_columns_of_other_types_are_not_trimmed() -> None:
    numbers = Texts.encode(pa.chunked_array([pa.array([1, None])]))
    assert numbers.trimmed() is numbers


@pytest.mark.parametrize("standardise", [True, False])
def test_texts_are_trimmed_and_blank_fields_are_null(build_rows: Callable[..., Any], *, standardise: bool) -> None:
    rows = {
        "hosp/patients": [PATIENT],
        "icu/chartevents": [
            CHARTED | {"itemid": 1, "value": " Disease  Process "},
            CHARTED | {"itemid": 2, "value": BLANKS, "valueuom": BLANKS},
            CHARTED | {"itemid": 3, "value": "x", "valueuom": " odd unit "},
        ],
        "hosp/labevents": [
            lab(1, value=BLANKS, comments=BLANKS, flag=" abnormal "),
            lab(2, value=" ", comments="NEG."),
        ],
    }
    built = build_rows(rows, standardise=standardise)
    assert built.one(SUBJECT, "CHART//1")["text_value"] == "Disease  Process"
    assert [built.one(SUBJECT, "CHART//2")[name] for name in ("text_value", "unit", "raw_unit")] == [None] * 3
    assert built.one(SUBJECT, "CHART//3")["unit"] == "odd unit"
    blank, result = built.of(SUBJECT, "LAB//50912")
    assert (blank["text_value"], blank["attributes"]) == (None, {"flag": "abnormal"})
    assert result["text_value"] == ("NEG" if standardise else None)


def test_notes_are_not_trimmed(build_rows: Callable[..., Any]) -> None:
    text = " \nName:  ___ \n"
    note = {"note_id": f"{SUBJECT}-DS-1", "subject_id": SUBJECT, "charttime": "2150-01-01 00:00:00", "text": text}
    built = build_rows({"hosp/patients": [PATIENT], "note/discharge": [note]}, notes="inline")
    (event,) = built.of(SUBJECT, "DISCHARGE_NOTE//")
    assert event["text_value"] == text


def test_names_and_labels_have_single_blanks(build_rows: Callable[..., Any], tmp_path: Path) -> None:
    order = {"subject_id": SUBJECT, "starttime": "2150-01-01 08:00:00", "dose_val_rx": "1"}
    rows = {
        "hosp/patients": [PATIENT],
        "hosp/prescriptions": [order | {"drug": drug} for drug in ("Sodium  Chloride", " Sodium Chloride ")],
        "icu/d_items": [{"itemid": 228335, "label": " CAM-ICU  Disorganized thinking", "linksto": "chartevents"}],
        "icu/chartevents": [CHARTED | {"itemid": 228335, "value": "Yes"}],
    }
    built = build_rows(rows)
    assert len(built.of(SUBJECT, "DRUG_ORDER_START//Sodium Chloride//UNKNOWN")) == 2
    codes = pq.read_table(tmp_path / "out" / "rows" / "metadata" / "codes.parquet").to_pylist()
    assert {c["code"]: c["description"] for c in codes}["CHART//228335"] == "CAM-ICU Disorganized thinking"


WORDS = {"NaN": "nan", "nan": "nan", "inf": "inf", "-Infinity": "-inf", "1e400": "inf"}


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("word", WORDS)
def test_words_in_place_of_numbers_are_kept(build_rows: Callable[..., Any], word: str, *, standardise: bool) -> None:
    output = CHARTED | {"itemid": 226559, "value": word, "valueuom": "mL"}
    rows = {
        "hosp/patients": [PATIENT],
        "hosp/labevents": [lab(1, value=word, valuenum=word, ref_range_lower=word, ref_range_upper=2)],
        "icu/outputevents": [output],
    }
    built = build_rows(rows, standardise=standardise)
    for event in (built.one(SUBJECT, "LAB//50912"), built.one(SUBJECT, "OUTPUT//226559")):
        assert (event["numeric_value"], event["raw_value"]) == (None, WORDS[word])
        assert "number_out_of_range" in event["flags"]
    assert built.one(SUBJECT, "LAB//50912")["attributes"] == {"ref_range_upper": 2}


def test_a_number_in_the_text_beside_nan_is_read(build_rows: Callable[..., Any]) -> None:
    rows = {"hosp/patients": [PATIENT], "hosp/labevents": [lab(1, value="1.5", valuenum="NaN")]}
    event = build_rows(rows, standardise=True).one(SUBJECT, "LAB//50912")
    assert (event["numeric_value"], event["raw_value"], event["flags"]) == (1.5, "1.5", {"number_from_text"})
