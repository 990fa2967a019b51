"""Codes: their form, their presence in dictionaries, and their parents in other coding systems."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import OutputError, ReleaseError, SettingsError
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, find_vocabularies
from ehrtraj.pipeline.publish.codes import CodeTables, describe_codes
from ehrtraj.pipeline.shard.code_facts import COUNTS_SCHEMA, FACTS_SCHEMA
from ehrtraj.rules.listing import about_item
from ehrtraj.sources.source import find_source, packaged

MIMIC = packaged("mimiciv")

ROOT = Path(__file__).resolve().parents[2]
HADM, SUBJECT = 20, 1
STAY = {"subject_id": SUBJECT, "hadm_id": HADM}
ADMISSION = STAY | {"admittime": "2150-01-01 08:00:00", "dischtime": "2150-01-09 12:00:00"}
PATIENT = {"subject_id": SUBJECT, "gender": "F", "anchor_age": 50, "anchor_year": 2150}
ITEMS = {"LAB", "CHART", "CHART_DATE", "OUTPUT", "INPUT_START", "INPUT_END", "INGREDIENT_START", "INGREDIENT_END"} | {
    "ICU_PROCEDURE_START", "ICU_PROCEDURE_END"
}  # fmt: skip
MAP_HEADER = "itemid (omop_source_code),label,omop_vocabulary_id,omop_concept_code,sssom_confidence\n"


@pytest.fixture(scope="module")
def macros() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        yield connection


def ask(connection: duckdb.DuckDBPyConnection, sql: str, *values: object) -> Any:
    found = connection.execute(f"SELECT {sql}", list(values)).fetchone()
    assert found is not None
    return found[0] if len(found) == 1 else found


# The form of a code --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("macro", "version", "code", "spelled"),
    [
        ("icd_diagnosis", 9, "4019", "ICD9CM//401.9"),
        ("icd_diagnosis", 9, "E8859", "ICD9CM//E885.9"),
        ("icd_diagnosis", 9, "V667", "ICD9CM//V66.7"),
        ("icd_diagnosis", 9, "042", "ICD9CM//042"),
        ("icd_diagnosis", 10, "A419", "ICD10CM//A41.9"),
        ("icd_diagnosis", 10, "S72141A", "ICD10CM//S72.141A"),
        ("icd_procedure", 9, "7935", "ICD9PROC//79.35"),
        ("icd_procedure", 10, "0BH17EZ", "ICD10PCS//0BH17EZ"),
    ],
)
@given(before=st.text(" ", max_size=3), after=st.text(" ", max_size=4), lower=st.booleans(), dotted=st.booleans())
@settings(deadline=None, max_examples=10)
def test_an_icd_code_is_the_same_in_every_notation(
    macros: duckdb.DuckDBPyConnection,
    macro: str,
    version: int,
    code: str,
    spelled: str,
    before: str,
    after: str,
    lower: bool,
    dotted: bool,
) -> None:
    written = spelled.partition("//")[2] if dotted else code
    written = before + (written.lower() if lower else written) + after
    assert ask(macros, f"{macro}(?, ?, '//')", version, written) == spelled


@given(
    lengths=st.sampled_from([(5, 4, 2), (4, 4, 2), (5, 3, 2), (5, 4, 1)]),
    number=st.integers(10**10, 10**11 - 1),
    blanks=st.text(" ", max_size=2),
)
@settings(deadline=None, max_examples=40)
def test_an_ndc_has_eleven_digits_with_any_hyphenation(
    macros: duckdb.DuckDBPyConnection, lengths: tuple[int, int, int], number: int, blanks: str
) -> None:
    digits = str(number)
    parts = [digits[:5][: lengths[0]], digits[5:9][: lengths[1]], digits[9:][: lengths[2]]]
    wanted = "".join(part.zfill(full) for part, full in zip(parts, (5, 4, 2), strict=True))
    for written in ("-".join(parts), wanted):
        assert ask(macros, "ndc11(?)", f"{blanks}{written}{blanks}") == wanted
        assert ask(macros, "ndc_is_invalid(?)", written) is False


@pytest.mark.parametrize("written", [None, "", " ", "0", " 0 ", "00000000000"])
def test_a_placeholder_for_a_missing_ndc_is_null(macros: duckdb.DuckDBPyConnection, written: str | None) -> None:
    assert ask(macros, "ndc_or_text($1), ndc_is_invalid($1)", written) == (None, False)


# Ten digits without hyphens could be any of three codes; nine digits may be a product without its package.
@pytest.mark.parametrize("written", ["1234567890", "904272561", "0904-272-61", "123456-7890-12", "unknown"])
def test_text_that_is_not_an_ndc_is_kept_as_written(macros: duckdb.DuckDBPyConnection, written: str) -> None:
    assert ask(macros, "ndc11($1), ndc_or_text($1), ndc_is_invalid($1)", written) == (None, written, True)


def test_every_code_of_the_demo_s_dictionaries_has_the_form_of_its_system(demo: Path) -> None:
    forms = {(line["begins"], line["form"]) for line in MIMIC.rules("code_forms") if line["begins"]}
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        for name in ("d_icd_diagnoses", "d_icd_procedures", "d_hcpcs"):
            written = connection.read_csv(str(demo / "hosp" / f"{name}.csv.gz"), all_varchar=True)
            columns = "code" if name == "d_hcpcs" else "icd_code, icd_version::INTEGER AS icd_version"
            written.project(columns).create(name)
        for name in ("d_labitems", "d_items"):
            connection.read_csv(str(demo / ("hosp" if name == "d_labitems" else "icu") / f"{name}.csv.gz")).create(name)
        known = connection.execute(MIMIC.helper("dictionaries")).fetchall()
    items = Counter(event_type for event_type, item in known if item.isdecimal() and event_type in ITEMS)
    assert items == {"LAB": 1622, **dict.fromkeys(ITEMS - {"LAB"}, 4014)}
    codes = [f"{event_type}//{item}" for event_type, item in known if event_type not in ITEMS]
    assert len(codes) > 200_000
    patterns = [re.compile(f"{re.escape(begins)}//({form})") for begins, form in forms]
    odd = {code for code in codes if not any(pattern.fullmatch(code) for pattern in patterns)}
    # Headings of tables, which are not codes, and the modifiers of HCPCS.
    odd -= {code for code in odd if re.fullmatch(r"PROCEDURE//ICD10PCS//\w{3}|HCPCS//[A-Z][A-Z0-9]", code)}
    assert odd == set()


def test_parents_use_the_omop_name_of_the_system_if_there_is_one() -> None:
    lines = MIMIC.rules("code_forms")
    assert all(line["omop"] in ("", line["parent"]) for line in lines)
    for line in lines:
        re.compile(line["form"])


def test_the_form_of_a_code_is_explained() -> None:
    found = {table.name: table.lines for table in about_item("DIAGNOSIS//ICD10CM//A41.9", MIMIC.rules)}
    assert [line["parent"] for line in found["code_forms"]] == ["ICD10CM"]


# Content of events ----------------------------------------------------------------------------------------------------


def hospital(**more: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION]} | {f"hosp/{k}": v for k, v in more.items()}


def billed(*codes: tuple[int, str]) -> list[dict[str, Any]]:
    return [
        STAY | {"seq_num": number, "icd_version": version, "icd_code": code}
        for number, (version, code) in enumerate(codes, start=1)
    ]


def test_a_code_missing_in_its_dictionary_is_flagged_and_has_no_parent(
    build_rows: Callable[..., Any],
) -> None:
    found = build_rows(
        hospital(
            diagnoses_icd=billed((10, "A419"), (10, "U9999"), (9, "4019"), (9, "A419")),
            procedures_icd=[
                row | {"chartdate": "2150-01-02"} for row in billed((9, "7935"), (10, "0BH17EZ"), (10, "0BH17E"))
            ],
            hcpcsevents=[
                STAY | {"chartdate": "2150-01-02", "seq_num": n, "hcpcs_cd": code}
                for n, code in enumerate(("99291 ", "g0378", "99999"), start=1)
            ],
            d_icd_diagnoses=[
                {"icd_version": 10, "icd_code": "A419 ", "long_title": "Sepsis"},
                {"icd_version": 9, "icd_code": "4019", "long_title": "Hypertension"},
            ],
            d_icd_procedures=[
                {"icd_version": 9, "icd_code": "7935", "long_title": "Reduction"},
                {"icd_version": 10, "icd_code": "0BH17EZ", "long_title": "Intubation"},
            ],
            d_hcpcs=[{"code": "99291"}, {"code": "G0378"}],
        )
    )
    flagged = {e["code"] for e in found.events if "code_unknown" in e["flags"]}
    assert flagged == {
        "DIAGNOSIS//ICD10CM//U99.99",
        "DIAGNOSIS//ICD9CM//A41.9",
        "PROCEDURE//ICD10PCS//0BH17E",
        "HCPCS//99999",
    }
    parents = parents_of(found.dataset)
    assert [parents[code] for code in sorted(flagged)] == [[]] * 4
    assert parents["HCPCS//99291"] == ["CPT4/99291"]
    assert parents["HCPCS//G0378"] == ["HCPCS/G0378"]


@pytest.mark.parametrize("standardise", [False, True])
def test_items_missing_in_their_dictionary_are_flagged(build_rows: Callable[..., Any], standardise: bool) -> None:
    """The code may end with a unit, and `linksto` may name any table."""
    when = {"charttime": "2150-01-01 09:00:00", "storetime": "2150-01-01 09:10:00"}
    spans = {"starttime": when["charttime"], "endtime": when["storetime"]}
    stay = STAY | {"stay_id": 30000001}
    # (itemid, whether it is known)
    known, unknown = 220045, 229999
    tables = {
        "hosp/labevents": [
            STAY | when | {"labevent_id": n, "itemid": item, "valuenum": 3, "value": "3", "valueuom": unit}
            for n, (item, unit) in enumerate([(50931, "mg/dL"), (50931, "moons"), (59999, "mg/dL"), (59999, None)])
        ],
        "hosp/d_labitems": [{"itemid": 50931, "label": "Glucose"}],
        "icu/d_items": [{"itemid": known, "label": "Heart Rate", "linksto": "chartevents"}],
    }
    for name in ("chartevents", "datetimeevents", "outputevents"):
        value = "2150-01-01 00:00:00" if name == "datetimeevents" else "5"
        tables[f"icu/{name}"] = [stay | when | {"itemid": item, "value": value} for item in (known, unknown)]
    for name in ("inputevents", "ingredientevents", "procedureevents"):
        tables[f"icu/{name}"] = [
            stay | spans | {"itemid": item, "orderid": item, "originalamount": 1} for item in (known, unknown)
        ]
    found = build_rows(hospital() | tables, standardise=standardise)
    items = [event for event in found.events if event["code"].split("//")[0] in ITEMS]
    assert {event["code"].split("//")[0] for event in items} == ITEMS
    assert len(items) == 4 + 6 + 2 * 6
    for event in items:
        assert ("code_unknown" in event["flags"]) is (event["code"].split("//")[1] in ("59999", str(unknown))), event


def test_without_a_dictionary_no_code_is_unknown(build_rows: Callable[..., Any]) -> None:
    found = build_rows(
        hospital(
            diagnoses_icd=billed((10, "U9999"), (11, "AB12")),
            d_icd_procedures=[{"icd_version": 9, "icd_code": "7935", "long_title": "Reduction"}],
        )
    )
    assert not any("code_unknown" in e["flags"] for e in found.events)
    parents = parents_of(found.dataset)
    assert parents["DIAGNOSIS//ICD10CM//U99.99"] == ["ICD10CM/U99.99"]
    assert parents["DIAGNOSIS//ICD//AB12"] == []


def test_the_repetition_of_a_code_in_a_bill_is_flagged(build_rows: Callable[..., Any]) -> None:
    rows = billed((10, "A419"), (10, "I10"), (10, "A41.9"), (9, "4019"), (10, "a419 "))
    found = build_rows(hospital(diagnoses_icd=rows))
    again = {e["attributes"]["seq_num"] for e in found.of(SUBJECT, "DIAGNOSIS//") if "repeated_code" in e["flags"]}
    assert again == {3, 5}
    assert len(found.of(SUBJECT, "DIAGNOSIS//ICD10CM//A41.9")) == 3


def test_a_group_keeps_its_system_severity_and_mortality(build_rows: Callable[..., Any]) -> None:
    found = build_rows(
        hospital(
            drgcodes=[
                STAY | {"drg_type": "HCFA", "drg_code": "871", "description": "SEPTICEMIA"},
                STAY
                | {"drg_type": "APR", "drg_code": " 720 ", "description": "SEPTICEMIA"}
                | {"drg_severity": 4, "drg_mortality": 3},
            ]
        )
    )
    assert found.one(SUBJECT, "DRG//APR//720")["attributes"] == {"drg_severity": 4, "drg_mortality": 3}
    parents = parents_of(found.dataset)
    assert parents["DRG//HCFA//871"] == ["MS-DRG/871"]
    assert parents["DRG//APR//720"] == ["APR-DRG/720"]


def test_an_order_names_its_product_and_a_drug_all_products_that_were_ordered(build_rows: Callable[..., Any]) -> None:
    def order(number: int, drug: str, ndc: str | None) -> dict[str, Any]:
        named = {"pharmacy_id": number, "drug_type": "MAIN", "drug": drug, "ndc": ndc}
        return STAY | named | {"starttime": "2150-01-02 08:00:00", "stoptime": "2150-01-03 08:00:00"}

    written = ["00904272561", "0904-2725-61", "63323-262-01", "0", "12345", None]
    rows = [order(number, "Heparin", ndc) for number, ndc in enumerate(written, start=1)]
    found = build_rows(hospital(prescriptions=[*rows, order(7, "Saline", "0")]))
    orders = {e["source_key"]: e for e in found.of(SUBJECT, "DRUG_ORDER_START//")}
    assert {key: e["attributes"].get("ndc") for key, e in orders.items()} == {
        1: "00904272561",
        2: "00904272561",
        3: "63323026201",
        4: None,
        5: "12345",
        6: None,
        7: None,
    }
    assert {key for key, e in orders.items() if "ndc_invalid" in e["flags"]} == {5}
    assert {k: e["attributes"].get("ndc_written") for k, e in orders.items() if "ndc_written" in e["attributes"]} == {
        2: "0904-2725-61",
        3: "63323-262-01",
    }
    parents = parents_of(found.dataset)
    assert parents["DRUG_ORDER_START//Heparin//UNKNOWN"] == ["DRUG/heparin", "NDC/00904272561", "NDC/63323026201"]
    assert parents["DRUG_ORDER_END//Heparin"] == parents["DRUG_ORDER_START//Heparin//UNKNOWN"]
    assert parents["DRUG_ORDER_START//Saline//UNKNOWN"] == ["DRUG/saline"]


# Parents --------------------------------------------------------------------------------------------------------------


def codes_of(dataset: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(dataset / "metadata" / "codes.parquet").to_pylist()
    return rows


def parents_of(dataset: Path) -> dict[str, list[str]]:
    return {row["code"]: row["parent_codes"] for row in codes_of(dataset)}


def described(*codes: str, overlay: Path | None = None, **folders: Path) -> CodeTables:
    """Return the metadata of codes for a release without dictionaries."""
    ones = [1] * len(codes)
    counts = pa.table([list(codes), ["hosp/labevents"] * len(codes), ones, ones], schema=COUNTS_SCHEMA)
    dictionaries = {t.name: t.schema.empty_table() for t in MIMIC.tables.values() if t.kind == "dictionary"}
    return describe_codes(
        counts, FACTS_SCHEMA.empty_table(), dictionaries, find_source(overlay=overlay), files_in(**folders)
    )


def files_in(**folders: Path) -> list[VocabularyFile]:
    needed = {"data_dir": "release", "trajectory_version": "v1"}
    return find_vocabularies(ehrtraj.config.resolve(needed | folders, environ={})[0], MIMIC)


def parents(found: CodeTables) -> dict[str, list[str]]:
    return dict(zip(found.codes["code"].to_pylist(), found.codes["parent_codes"].to_pylist(), strict=True))


@pytest.mark.parametrize(
    "codes",
    [
        ("CHART//223761", "CHART//223762"),
        ("CHART//226512", "CHART//226531", "CHART//224639", "OMR//Weight (Lbs)", "OMR//Weight"),
        ("CHART//226707", "CHART//226730", "OMR//Height (Inches)", "OMR//Height"),
        ("CHART//223835", "LAB//50816"),
        ("LAB//51222", "LAB//50811", "CHART//220228"),
        ("LAB//51003", "CHART//227429"),
        ("CHART//220050", "OMR//Blood Pressure//SYSTOLIC"),
        ("LAB//50912", "LAB//50912//umol/L"),
    ],
)
def test_items_that_measure_the_same_share_a_parent_whatever_unit_their_code_has(codes: tuple[str, ...]) -> None:
    found = set(map(tuple, parents(described(*codes)).values()))
    assert len(found) == 1
    assert next(iter(found))[0].startswith("LOINC/")


def test_a_custom_concept_is_a_parent(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    line = "LAB,50912,LOINC/38483-4,our laboratory"
    (tmp_path / "rules" / "concepts.csv").write_text(f"event_type,item,concept,source\n{line}\n")
    found = parents(described("LAB//50912", overlay=tmp_path))
    assert found["LAB//50912"] == ["LOINC/2160-0", "LOINC/38483-4"]


@pytest.fixture
def gem(tmp_path: Path) -> Path:
    folder = tmp_path / "gem"
    folder.mkdir()
    (folder / "2018_I9gem.txt").write_text(
        "4019  I10     00000\n82021 S72141A 10112\n82021 S72142A 10111\nE8859 NoDx    11000\n99999 T88     10000\n"
    )
    (folder / "gem_i9pcs.txt").write_bytes(b"7935 0QS604Z 10000\r\n7935 0QS704Z 10000\r\n")
    return folder


def test_every_target_of_the_equivalence_mappings_is_a_parent(gem: Path) -> None:
    hip, fall, plate = "DIAGNOSIS//ICD9CM//820.21", "DIAGNOSIS//ICD9CM//E885.9", "PROCEDURE//ICD9PROC//79.35"
    found = described(hip, fall, plate, "DIAGNOSIS//ICD10CM//I10", gem=gem)
    assert parents(found) == {
        hip: ["ICD10CM/S72.141A", "ICD10CM/S72.142A", "ICD9CM/820.21"],
        fall: ["ICD9CM/E885.9"],
        plate: ["ICD10PCS/0QS604Z", "ICD10PCS/0QS704Z", "ICD9Proc/79.35"],
        "DIAGNOSIS//ICD10CM//I10": ["ICD10CM/I10"],
    }
    mapped = {(r["code"], r["parent_code"]): r for r in found.parents.to_pylist() if r["origin"] == "2018_I9gem.txt"}
    assert mapped[fall, None]["approximate"]
    left = mapped[hip, "ICD10CM/S72.142A"]
    assert (left["approximate"], left["combination"], left["scenario"], left["choice_list"]) == (True, True, 1, 1)
    assert "--gem: 2 of 4 codes" in found.notes[0]


def test_a_line_that_is_not_a_mapping_is_named(gem: Path) -> None:
    with (gem / "2018_I9gem.txt").open("a") as file:
        file.write("001.0 A000 00000\n")
    with pytest.raises(ReleaseError, match=r"2018_I9gem.txt, line 6: "):
        described("DIAGNOSIS//ICD9CM//820.21", gem=gem)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    folder = tmp_path / "mimic-code" / "mimic-iv" / "mapping"
    folder.mkdir(parents=True)
    (folder / "d_labitems_to_loinc.csv").write_text(
        MAP_HEADER + "99801,a,LOINC,19991-9,\n99802,b,LOINC,11555-0,0.1\n99803,c,LOINC,-56064,\n99804,d,LOINC,,\n"
        "99805,e,LOINC,20563-3,0.5\n"
    )
    (folder / "inputevents_to_rxnorm.csv").write_text(
        MAP_HEADER.replace(",sssom_confidence", "")
        + "225798,Vancomycin,RxNorm,1807507\n225798,Vancomycin,RxNorm,374282\n225798,Vancomycin,RxNorm,1807507\n"
    )
    return tmp_path / "mimic-code"


def test_concept_maps_give_items_their_concepts(maps: Path) -> None:
    labs = [f"LAB//{item}" for item in range(99801, 99806)]
    drugs = ["INPUT_START//225798//mg/h", "INPUT_END//225798", "INGREDIENT_START//225798"]
    found = described(*labs, *drugs, concept_maps=maps)
    # A confidence below one half, a code that is not a LOINC code, a missing code: none of them is a parent.
    assert [parents(found)[lab] for lab in labs] == [["LOINC/19991-9"], [], [], [], ["LOINC/20563-3"]]
    both = ["RxNorm/1807507", "RxNorm/374282"]
    assert [parents(found)[drug] for drug in drugs] == [both, both, []]
    assert any("-56064" in note and "d_labitems_to_loinc.csv" in note for note in found.notes)


def test_a_concept_map_overrides_the_rules_for_its_items_and_adds_to_others(maps: Path) -> None:
    before = parents(described("LAB//50912", "LAB//50801", "CHART//223792", "OUTPUT//226559"))
    with (maps / "mimic-iv" / "mapping" / "d_labitems_to_loinc.csv").open("a") as file:
        file.write("50912,Creatinine,LOINC,38483-4,\n50801,Gradient,LOINC,9999999,\n")
    with (maps / "mimic-iv" / "mapping" / "meas_chartevents_main.csv").open("w") as file:
        file.write(MAP_HEADER + "223792,Pain Management,LOINC,72514-3,\n")
    after = parents(described(*before, concept_maps=maps))
    assert before["LAB//50912"] == ["LOINC/2160-0"]
    # Another code in the same system replaces the rule's, one in another system stands beside it, and a line that is
    # no code of its system does neither.
    assert after == before | {
        "LAB//50912": ["LOINC/38483-4"],
        "CHART//223792": ["LOINC/72514-3", "SNOMED/278414003"],
    }


def test_items_have_the_codes_of_the_rules_without_any_option() -> None:
    found = parents(described("CHART//224082", "INPUT_START//222168//ug/kg/min", "LAB//50801", "OUTPUT//226559"))
    assert found == {
        "CHART//224082": ["SNOMED/359962006"],
        "INPUT_START//222168//ug/kg/min": ["RxNorm/1808216"],
        "LAB//50801": ["LOINC/19991-9"],
        "OUTPUT//226559": ["LOINC/9187-6"],
    }


def test_a_map_without_its_columns_is_refused(maps: Path) -> None:
    (maps / "mimic-iv" / "mapping" / "proc_itemid.csv").write_text("itemid,code\n1,2\n")
    with pytest.raises(ReleaseError, match=r"proc_itemid.csv has no column itemid \(omop_source_code\)"):
        described("LAB//50801", concept_maps=maps)


def test_a_file_that_cannot_be_read_is_named_with_its_line(maps: Path, athena: Path) -> None:
    (maps / "mimic-iv" / "mapping" / "proc_itemid.csv").write_text(MAP_HEADER + "1,a,SNOMED,1234567,\n2,b\n")
    with pytest.raises(ReleaseError, match=r"cannot read .*proc_itemid.csv: .*Line: 3"):
        described("ICU_PROCEDURE_START//1", concept_maps=maps)
    with (athena / "CONCEPT_RELATIONSHIP.csv").open("a") as file:
        file.write("1\t2\n")
    with pytest.raises(ReleaseError, match=r"cannot read .*athena.*: .*Line: 10"):
        described("LAB//50912", vocabulary=athena)


CONCEPTS = """concept_id\tconcept_name\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\tinvalid_reason
1\tSepsis "unspecified\tICD10CM\t\t\tA41.9\t
2\tSepsis\tSNOMED\t\tS\t91302008\t
3\tInfection\tSNOMED\t\tS\t40733004\t
4\tNo longer standard\tSNOMED\t\t\t1111111\tU
5\tVancomycin 5 "MG\tNDC\t\t\t00904272561\t
6\tvancomycin\tRxNorm\tClinical Drug Form\tS\t1807507\t
7\tCreatinine\tLOINC\t\tS\t2160-0\t
8\tSame code elsewhere\tReadCode\t\t\tA41.9\t
9\tWrong\tSNOMED\t\tS\t9999999\t
"""
RELATIONSHIPS = """concept_id_1\tconcept_id_2\trelationship_id\tinvalid_reason
1\t2\tMaps to\t
1\t3\tMaps to\t
1\t4\tMaps to\t
1\t9\tMaps to\tD
1\t9\tIs a\t
8\t9\tMaps to\t
5\t6\tMaps to\t
7\t7\tMaps to\t
"""


@pytest.fixture
def athena(tmp_path: Path) -> Path:
    folder = tmp_path / "athena"
    folder.mkdir()
    (folder / "CONCEPT.csv").write_text(CONCEPTS)
    (folder / "CONCEPT_RELATIONSHIP.csv").write_text(RELATIONSHIPS)
    return folder


def test_omop_maps_codes_to_all_their_standard_concepts(athena: Path, gem: Path) -> None:
    with (gem / "2018_I9gem.txt").open("a") as file:
        file.write("0389  A419    10000\n")
    sepsis, before = "DIAGNOSIS//ICD10CM//A41.9", "DIAGNOSIS//ICD9CM//038.9"
    found = parents(described(sepsis, before, "LAB//50912", "CHART//1", vocabulary=athena, gem=gem))
    assert found[sepsis] == ["ICD10CM/A41.9", "SNOMED/40733004", "SNOMED/91302008"]
    assert found["LAB//50912"] == ["LOINC/2160-0"]
    # An approximate equivalent is not mapped any further.
    assert found[before] == ["ICD10CM/A41.9", "ICD9CM/038.9"]
    assert found["CHART//1"] == []


def test_a_vocabulary_without_its_columns_is_refused(athena: Path) -> None:
    (athena / "CONCEPT.csv").write_text("concept_id,concept_name\n1,a\n")
    with pytest.raises(ReleaseError, match=r"CONCEPT.csv has no column concept_id, vocabulary_id"):
        described("LAB//50912", vocabulary=athena)


@pytest.mark.parametrize(
    ("setting", "present", "complaint"),
    [
        ("gem", None, r"--gem is .*: there is no such folder.*I9gem.txt.*cms.gov"),
        ("gem", ["I9gem.csv"], r"does not contain \*I9gem.txt, gem_i9pcs.txt.*cms.gov"),
        ("gem", ["2017_I9gem.txt", "2018_I9gem.txt"], r"contains 2 files \*I9gem.txt: keep only one"),
        ("concept_maps", [], r"--concept-maps is .* does not contain d_labitems_to_loinc.csv.*github.com/MIT-LCP"),
        ("vocabulary", ["CONCEPT.csv"], r"does not contain CONCEPT_RELATIONSHIP.csv. Get it from.*athena.ohdsi.org"),
    ],
)
def test_a_folder_without_the_expected_files_is_refused(
    tmp_path: Path, setting: str, present: list[str] | None, complaint: str
) -> None:
    folder = tmp_path / setting
    if present is not None:
        folder.mkdir()
        for name in present:
            (folder / name).touch()
    with pytest.raises(SettingsError, match=complaint):
        files_in(**{setting: folder})


def test_the_command_line_reports_a_missing_folder(release: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["build", str(release), "-o", str(tmp_path / "out"), "-t", "v1", "--gem", str(tmp_path / "gems")]
    )
    assert isinstance(result.exception, SettingsError)
    assert "cms.gov" in str(result.exception)
    assert not list(tmp_path.glob("out/*"))


def test_a_build_records_its_vocabularies_and_changes_with_them(
    build_rows: Callable[..., Any], tmp_path: Path, athena: Path, gem: Path, maps: Path
) -> None:
    rows = hospital(
        diagnoses_icd=billed((10, "A419"), (9, "4019")),
        prescriptions=[
            STAY | {"pharmacy_id": 1, "drug": "Vancomycin", "ndc": "0904-2725-61", "starttime": "2150-01-02 08:00:00"}
        ],
    )
    folders = {"vocabulary": athena, "gem": gem, "concept_maps": maps}
    found = build_rows(rows, **folders)
    assert parents_of(found.dataset) | {
        "DRUG_ORDER_START//Vancomycin//UNKNOWN": ["DRUG/vancomycin", "NDC/00904272561", "RxNorm/1807507"],
        "DIAGNOSIS//ICD9CM//401.9": ["ICD10CM/I10", "ICD9CM/401.9"],
    } == parents_of(found.dataset)
    manifest = json.loads((found.dataset / "manifest.json").read_text())
    assert manifest["settings"]["gem"] == str(gem)
    assert set(manifest["vocabularies"]) >= {"2018_I9gem.txt", "CONCEPT.csv", "d_labitems_to_loinc.csv"}
    assert set(manifest["fingerprint"]["vocabularies"]) == set(folders)
    assert any(note.startswith("--vocabulary: 2 of") for note in manifest["notes"])

    build = {"data_dir": tmp_path / "rows", "output": tmp_path / "out", "trajectory_version": "rows", "max_cpus": 1}
    assert ehrtraj.build(**build, **folders).already_there
    (athena / "CONCEPT.csv").write_text(CONCEPTS.replace("91302008", "91302009"))
    with pytest.raises(OutputError, match="vocabularies differ"):
        ehrtraj.build(**build, **folders)


def test_parents_are_sorted_and_each_has_an_origin(built: Path) -> None:
    origins = pq.read_table(built / "metadata" / "parent_codes.parquet").to_pylist()
    known = {(row["code"], row["parent_code"]) for row in origins}
    rows = codes_of(built)
    assert {(row["code"], parent) for row in rows for parent in row["parent_codes"]} == known
    assert all(row["parent_codes"] == sorted(set(row["parent_codes"])) for row in rows)
    assert len(known) > 20


# Real maps ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_maps() -> Path:
    given = os.environ.get("EHRTRAJ_CONCEPT_MAPS")
    folder = Path(given) if given else ROOT.parent / "shared" / "concept_maps"
    if not folder.is_dir():
        pytest.skip(f"the concept maps of mimic-code are not in {folder}: set EHRTRAJ_CONCEPT_MAPS to their folder")
    return folder


def test_mimic_code_maps_give_parents_in_each_of_their_event_types(real_maps: Path) -> None:
    items = {
        "LAB": 50912,
        "CHART": 220045,
        "OUTPUT": 226559,
        "INPUT_START": 221906,
        "INPUT_END": 221906,
        "ICU_PROCEDURE_START": 221214,
        "ICU_PROCEDURE_END": 221214,
        "CHART_DATE": 224184,
    }
    found = described(*(f"{event_type}//{item}" for event_type, item in items.items()), concept_maps=real_maps)
    by_map = {row["code"] for row in found.parents.to_pylist() if row["origin"] not in ("concepts.csv",)}
    assert by_map == {f"{event_type}//{item}" for event_type, item in items.items()}
    listed = {event_type for file in files_in(concept_maps=real_maps) for event_type in file.event_types}
    assert listed == set(items)
