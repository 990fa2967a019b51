"""Parents of drug codes: the products that pharmacy_id links, the products of a name, and the name itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")
STAY = {"subject_id": 1, "hadm_id": 20}
ADMISSION = STAY | {"admittime": "2150-01-01 08:00:00", "dischtime": "2150-01-09 12:00:00"}
PATIENT = {"subject_id": 1, "gender": "F", "anchor_age": 50, "anchor_year": 2150}
HEPARIN, SALINE, CEPHALEXIN = "63323026201", "00338004938", "00093314501"
GLARGINE, REGULAR = "00088222033", "00002821501"
WHEN = "2150-01-02 08:00:00"


def order(pharmacy_id: int, drug: str, ndc: str, formulary: str | None, drug_type: str = "MAIN") -> dict[str, Any]:
    product = {"drug": drug, "ndc": ndc, "formulary_drug_cd": formulary, "drug_type": drug_type}
    return STAY | product | {"pharmacy_id": pharmacy_id, "starttime": WHEN, "stoptime": "2150-01-03 08:00:00"}


def entry(number: int, medication: str | None, pharmacy_id: int | None, event: str = "Administered") -> dict[str, Any]:
    named = {"emar_id": f"1-{number}", "emar_seq": number, "medication": medication, "pharmacy_id": pharmacy_id}
    return STAY | named | {"charttime": WHEN, "storetime": WHEN, "event_txt": event}


def dispensed(pharmacy_id: int, medication: str) -> dict[str, Any]:
    times = {"starttime": WHEN, "stoptime": WHEN, "verifiedtime": WHEN, "entertime": WHEN}
    return STAY | times | {"pharmacy_id": pharmacy_id, "medication": medication}


ORDERS = [
    order(1, "Heparin Sodium", HEPARIN, "HEPA5I"),
    order(1, "0.9% Sodium Chloride", SALINE, "NS100", "BASE"),
    order(2, "cephalexin", CEPHALEXIN, "CEPH500"),
    order(3, "Insulin", GLARGINE, "GLAR100I"),
    order(4, "Insulin", REGULAR, "INRHI"),
    order(5, "Vancomycin", "00409433201", "VANC1F"),
    order(6, "vancomycin ", "00409650901", "VANC500"),
]


@pytest.fixture
def parents(build_rows: Callable[..., Any]) -> Callable[..., dict[str, set[str]]]:
    """Builds rows of the hospital and returns the parents of each code."""

    def build(**tables: list[dict[str, Any]]) -> dict[str, set[str]]:
        rows = {"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION]}
        found = build_rows(rows | {f"hosp/{name}": lines for name, lines in tables.items()})
        codes = pq.read_table(found.dataset / "metadata" / "codes.parquet").to_pylist()
        return {row["code"]: set(row["parent_codes"]) for row in codes}

    return build


def test_an_entry_gets_the_product_of_its_pharmacy_order_and_not_its_solvent(
    parents: Callable[..., dict[str, set[str]]],
) -> None:
    dose = {"subject_id": 1, "emar_id": "1-1", "emar_seq": 1, "dose_given": "5", "dose_given_unit": "mL"}
    found = parents(
        prescriptions=ORDERS,
        pharmacy=[dispensed(1, "Heparin")],
        emar=[entry(1, "Heparin", 1)],
        emar_detail=[dose | {"parent_field_ordinal": 1.1, "infusion_rate": "3", "infusion_rate_unit": "mL/hr"}],
    )
    linked = {"PHARMACY_START", "PHARMACY_VERIFIED", "PHARMACY_END", "EMAR", "EMAR_DOSE", "EMAR_INFUSION"}
    of_heparin = {c: p for c, p in found.items() if c.split("//")[0] in linked}
    assert {code.split("//")[0] for code in of_heparin} == linked
    assert set(map(frozenset, of_heparin.values())) == {frozenset({"DRUG/heparin", f"NDC/{HEPARIN}"})}


def test_the_main_product_counts_whatever_the_order_of_rows(parents: Callable[..., dict[str, set[str]]]) -> None:
    rows = [order(1, "0.9% Sodium Chloride", SALINE, "NS100", "BASE"), order(1, "Zinc", HEPARIN, "ZINC")]
    found = parents(prescriptions=rows, emar=[entry(1, "Zinc Sulfate", 1)])
    assert found["EMAR//Administered//Zinc Sulfate"] == {"DRUG/zinc sulfate", f"NDC/{HEPARIN}"}


def test_a_link_to_another_drug_gives_no_parent(parents: Callable[..., dict[str, set[str]]]) -> None:
    found = parents(prescriptions=ORDERS, emar=[entry(1, "Pantoprazole", 2), entry(2, None, 2)])
    assert found["EMAR//Administered//Pantoprazole"] == {"DRUG/pantoprazole"}
    assert found["EMAR//Administered//UNKNOWN"] == set()


def test_a_name_gets_its_products_whatever_its_case_where_it_has_one_ingredient(
    parents: Callable[..., dict[str, set[str]]],
) -> None:
    entries = [entry(1, "VANCOMYCIN", None), entry(2, "Insulin", None), entry(3, "Insulin", 4, "Hold Dose")]
    found = parents(prescriptions=ORDERS, emar=entries)
    products = {"NDC/00409433201", "NDC/00409650901"}
    assert found["EMAR//Administered//VANCOMYCIN"] == {"DRUG/vancomycin", *products}
    # Two insulins are ordered as 'Insulin': the name alone does not show which.
    assert found["EMAR//Administered//Insulin"] == {"DRUG/insulin"}
    assert found["EMAR//Hold Dose//Insulin"] == {"DRUG/insulin", f"NDC/{REGULAR}"}


def test_a_product_without_a_formulary_code_counts_as_an_ingredient_of_its_own(
    parents: Callable[..., dict[str, set[str]]],
) -> None:
    orders = [
        order(n, drug, ndc, None) for n, (drug, ndc) in enumerate([("A", HEPARIN), ("B", HEPARIN), ("B", SALINE)])
    ]
    found = parents(prescriptions=orders, emar=[entry(1, "a", None), entry(2, "b", None)])
    assert found["EMAR//Administered//a"] == {"DRUG/a", f"NDC/{HEPARIN}"}
    assert found["EMAR//Administered//b"] == {"DRUG/b"}


def test_all_spellings_of_a_drug_share_its_name_as_a_parent(parents: Callable[..., dict[str, set[str]]]) -> None:
    spellings = ["Vancomycin", "VANCOMYCIN", "vancomycin", "Vancomycin  HCl", "vancomycin hcl"]
    found = parents(emar=[entry(n, name, None) for n, name in enumerate(spellings, start=1)])
    names = {code.rpartition("//")[2]: above for code, above in found.items() if code.startswith("EMAR//")}
    assert {name for name, above in names.items() if above == {"DRUG/vancomycin"}} == set(spellings[:3])
    assert {name.lower() for name, above in names.items() if above == {"DRUG/vancomycin hcl"}} >= {"vancomycin hcl"}
    assert len(names) == len(spellings)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Heparin", "heparin sodium", True),
        ("HYDROmorphone (Dilaudid)", "HYDROmorphone", True),
        ("Magnesium  Sulfate ", "magnesium sulfate", True),
        ("Iron", "ironwood", False),
        ("Cephalexin", "Heparin", False),
        ("Heparin", None, False),
        (None, None, False),
    ],
)
def test_drugs_are_the_same_by_their_names(one: str | None, other: str | None, same: bool) -> None:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        for pair in ([one, other], [other, one]):
            assert connection.execute("SELECT same_drug($1, $2)", pair).fetchall() == [(same,)]


def test_on_the_demo_most_entries_and_orders_of_drugs_have_a_product(demo_built: Path) -> None:
    codes = pq.read_table(demo_built / "metadata" / "codes.parquet").to_pylist()
    drugs = [row for row in codes if row["event_type"].split("_")[0] in ("EMAR", "PHARMACY")]
    with_product = [row for row in drugs if any(parent.startswith("NDC/") for parent in row["parent_codes"])]
    assert len(with_product) / len(drugs) > 0.9
    assert sum(row["n_events"] for row in with_product) / sum(row["n_events"] for row in drugs) > 0.9


# Ingredients and classes of an invented vocabulary --------------------------------------------------------------------

CONCEPTS = [
    ("1", "Vancomycin 1000 MG Injection", "NDC", "11-digit NDC", "", "00409433201"),
    ("2", "vancomycin 1000 MG Injection", "RxNorm", "Clinical Drug", "S", "1000002"),
    ("3", "Vancomycin", "RxNorm", "Ingredient", "S", "1000003"),
    ("4", "vancomycin; parenteral", "ATC", "ATC 5th", "C", "J01XA01"),
    ("5", "Glycopeptide antibacterials", "ATC", "ATC 4th", "C", "J01XA"),
    ("6", "insulin", "RxNorm", "Ingredient", "S", "1000006"),
    ("7", "Insulin", "RxNorm", "Ingredient", "S", "1000007"),
    ("8", "heparin", "RxNorm", "Ingredient", "", "1000008"),
    ("9", "Injection", "RxNorm", "Dose Form", "S", "1000009"),
    ("10", "pantoprazole", "RxNorm", "Brand Name", "S", "1000010"),
]
RELATIONSHIPS = [("1", "2", "Maps to", "")]
# (ancestor, descendant)
ANCESTORS = [("3", "2"), ("4", "2"), ("5", "2"), ("9", "2"), ("2", "2"), ("3", "3"), ("4", "3"), ("5", "3"), ("6", "6")]
NAMES = {
    "CONCEPT": ("concept_id", "concept_name", "vocabulary_id", "concept_class_id", "standard_concept", "concept_code"),
    "CONCEPT_RELATIONSHIP": ("concept_id_1", "concept_id_2", "relationship_id", "invalid_reason"),
    "CONCEPT_ANCESTOR": ("ancestor_concept_id", "descendant_concept_id"),
}
PRODUCT = {"NDC/00409433201", "RxNorm/1000002"}
ABOVE = {"RxNorm/1000003", "ATC/J01XA01", "ATC/J01XA"}


@pytest.fixture
def with_vocabulary(build_rows: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Builds two orders and some entries with an invented vocabulary of some of its files."""

    def build(*files: str) -> Any:
        folder = tmp_path / "athena"
        folder.mkdir()
        for name, rows in zip(NAMES, (CONCEPTS, RELATIONSHIPS, ANCESTORS), strict=True):
            if name in files:
                lines = ["\t".join(row) for row in (NAMES[name], *rows)]
                (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
        entries = [
            entry(n, name, None) for n, name in enumerate(["vancomycin HCl", "VANCOMYCIN", "Insulin", "heparin"])
        ]
        tables = {
            "hosp/patients": [PATIENT],
            "hosp/admissions": [ADMISSION],
            "hosp/prescriptions": [order(5, "Vancomycin HCl", "00409433201", "VANC1F")],
            "hosp/emar": [*entries, entry(9, "Pantoprazole", None)],
        }
        return build_rows(tables, vocabulary=folder)

    return build


def parents_in(dataset: Path) -> dict[str, set[str]]:
    codes = pq.read_table(dataset / "metadata" / "codes.parquet").to_pylist()
    return {row["code"]: set(row["parent_codes"]) for row in codes}


def test_drugs_get_ingredients_and_classes_by_product_and_by_name(with_vocabulary: Callable[..., Any]) -> None:
    found = parents_in(with_vocabulary(*NAMES).dataset)
    for code in ("DRUG_ORDER_START//Vancomycin HCl//UNKNOWN", "EMAR//Administered//vancomycin HCl"):
        assert found[code] == {"DRUG/vancomycin hcl", *PRODUCT, *ABOVE}
    assert found["EMAR//Administered//VANCOMYCIN"] == {"DRUG/vancomycin", *ABOVE}
    # Two ingredients of one name, one that is not standard, and a brand: a name shows none of them.
    for name in ("Insulin", "heparin", "Pantoprazole"):
        assert found[f"EMAR//Administered//{name}"] == {f"DRUG/{name.lower()}"}


def test_each_ingredient_and_class_has_its_origin(with_vocabulary: Callable[..., Any]) -> None:
    lines = pq.read_table(with_vocabulary(*NAMES).dataset / "metadata" / "parent_codes.parquet").to_pylist()
    origins = {(r["code"].rpartition("//")[2], r["parent_code"]): r["origin"] for r in lines}
    assert origins["VANCOMYCIN", "RxNorm/1000003"] == "CONCEPT.csv"
    assert origins["VANCOMYCIN", "ATC/J01XA01"] == "CONCEPT_ANCESTOR.csv"
    assert origins["Vancomycin HCl", "RxNorm/1000003"] == "CONCEPT_ANCESTOR.csv"
    assert origins["Vancomycin HCl", "RxNorm/1000002"] == "CONCEPT_RELATIONSHIP.csv"


def test_without_ancestors_a_name_still_gets_its_ingredient_and_a_note_names_the_file(
    with_vocabulary: Callable[..., Any],
) -> None:
    built = with_vocabulary("CONCEPT", "CONCEPT_RELATIONSHIP")
    found = parents_in(built.dataset)
    assert found["EMAR//Administered//VANCOMYCIN"] == {"DRUG/vancomycin", "RxNorm/1000003"}
    assert found["DRUG_ORDER_START//Vancomycin HCl//UNKNOWN"] == {"DRUG/vancomycin hcl", *PRODUCT}
    notes = json.loads((built.dataset / "manifest.json").read_text())["notes"]
    assert any("CONCEPT_ANCESTOR.csv is missing" in note for note in notes)
