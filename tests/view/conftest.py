"""Datasets for the viewer: one with hostile texts and a known future, and the same with another future."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

import ehrtraj
from ehrtraj.view.app import make_app
from ehrtraj.view.lists import PatientList

PORT = 8642
TOKEN = "a-token-for-tests"
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>\x1b[31m\u202e"
AS_OF = "2139-11-06 12:00"
FUTURE = {
    "number": "98765.4",
    "text": "PLANTED-TEXT",
    "drug": "PLANTED-DRUG",
    "note": "PLANTED-NOTE",
    "death": "2139-11-07",
}
"""What happens to one patient after `AS_OF`, as pages write it."""

PEAKS = {1234: 191, 2345: 34}
"""Heart rates that no other point shows, by their place among `_with_many_heart_rates`."""

Tables = dict[str, list[dict[str, Any]]]


def _with_hostile_texts(tables: Tables, sepsis: int) -> None:
    for row in tables["note/radiology"]:
        if row["subject_id"] == sepsis:
            row["text"] = f"{row['text']}{HOSTILE}"
    for row in tables["hosp/prescriptions"]:
        if row["subject_id"] == sepsis:
            row["drug"] = f"{row['drug']}{HOSTILE}"
    for row in tables["hosp/d_labitems"]:
        row["label"] = f"{row['label']}{HOSTILE}"


def _with_planted_future(tables: Tables, died: int) -> None:
    ids = {"subject_id": died, "hadm_id": tables["hosp/admissions"][1]["hadm_id"]}
    lab = {"labevent_id": 79000001, "specimen_id": 49000001, "itemid": 51003, "charttime": "2139-11-06 14:00"}
    result = {"storetime": "2139-11-06 15:00", "value": "98765.4", "valuenum": 98765.4, "valueuom": "ng/mL"}
    tables["hosp/labevents"].append(ids | lab | result | {"comments": "PLANTED-TEXT"})
    order = {"pharmacy_id": 59000001, "poe_id": f"{died}-9", "poe_seq": 9, "starttime": "2139-11-06 20:00"}
    tables["hosp/prescriptions"].append(ids | order | {"stoptime": "2139-11-07 19:00", "drug": "PLANTED-DRUG"})
    note = {"note_id": f"{died}-RR-1", "note_type": "RR", "note_seq": 1, "charttime": "2139-11-06 16:00"}
    tables["note/radiology"].append(ids | note | {"storetime": "2139-11-06 17:00", "text": "PLANTED-NOTE"})


def _with_many_heart_rates(tables: Tables, sepsis: int) -> None:
    """More than the pixels of a screen, with two peaks of one value each."""
    ids = next(row for row in tables["icu/chartevents"] if row["subject_id"] == sepsis and row["itemid"] == 220045)
    start = datetime(2153, 4, 12, 20)
    for at in range(4000):
        value = PEAKS.get(at, 80 + at % 11)
        time = f"{start + at * timedelta(seconds=15)}"
        row = {"charttime": time, "storetime": time, "value": f"{value}", "valuenum": value}
        tables["icu/chartevents"].append(ids | row)


def _with_another_future(tables: Tables, died: int) -> None:
    """He survives: everything that is dated after `AS_OF` is dropped, or comes two weeks later."""
    for row in tables["hosp/patients"]:
        if row["subject_id"] == died:
            row["dod"] = None
    for row in tables["hosp/admissions"]:
        if row["subject_id"] == died:
            row |= {"deathtime": None, "dischtime": "2139-11-20 10:00", "discharge_location": "HOME"}
            row["hospital_expire_flag"] = 0
    for name in ("hosp/transfers", "icu/icustays"):
        for row in tables[name]:
            if row["subject_id"] == died:
                row |= {
                    key: "2139-11-20 10:00:00" for key, at in row.items() if str(at) >= "2139-11-07" and ":" in str(at)
                }
    for name in ("hosp/labevents", "icu/chartevents", "icu/outputevents", "hosp/procedures_icd", "hosp/diagnoses_icd"):
        tables[name] = [
            row for row in tables[name] if row["subject_id"] != died or (row.get("storetime") or "9") <= AS_OF
        ]


def _build(handmade: ModuleType, folder: Path, change: Callable[[Tables, int], None]) -> Path:
    tables = handmade.release_rows()
    _with_hostile_texts(tables, handmade.SEPSIS)
    change(tables, handmade.DIED)
    handmade.write_tables(folder / "release", tables)
    return ehrtraj.build(folder / "release", folder, "v1", max_cpus=1, allow_incomplete=True).path


@pytest.fixture(scope="session")
def shown(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset that the viewer shows. Tests must not change it."""
    return _build(handmade, tmp_path_factory.mktemp("shown"), _with_planted_future)


@pytest.fixture(scope="session")
def browsed(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of `shown` with many heart rates, for the tests in a browser. Tests must not change it."""

    def change(tables: Tables, died: int) -> None:
        _with_planted_future(tables, died)
        _with_many_heart_rates(tables, handmade.SEPSIS)

    return _build(handmade, tmp_path_factory.mktemp("browsed"), change)


@pytest.fixture(scope="session")
def other_future(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same dataset, in which something else happens to one patient after `AS_OF`."""
    return _build(handmade, tmp_path_factory.mktemp("other"), _with_another_future)


Connect = Callable[..., TestClient]


@pytest.fixture(scope="session")
def connect() -> Connect:
    """Return a function that returns a browser without JavaScript, which has opened the address with the token."""

    def connected(
        dataset: Path, *, token: bool = True, lists: Mapping[str, Mapping[str, PatientList]] | None = None, **more: Any
    ) -> TestClient:
        app = make_app(ehrtraj.open(dataset), TOKEN, PORT, **(lists or {}), **more)
        client = TestClient(app, base_url=f"http://127.0.0.1:{PORT}")
        if token:
            client.get("/", params={"token": TOKEN})
        return client

    return connected


@pytest.fixture(scope="session")
def client(connect: Connect, shown: Path) -> TestClient:
    """A browser that has opened the address with the token."""
    return connect(shown)


@pytest.fixture(scope="session")
def hostile() -> str:
    """A text in notes, names of drugs and names of laboratory tests."""
    return HOSTILE


@pytest.fixture(scope="session")
def peaks() -> dict[int, int]:
    """Heart rates of one moment each, in `browsed`."""
    return PEAKS
