"""Write a small release in the layout of MIMIC-IV 3.1, MIMIC-IV-ED 2.2 and MIMIC-IV-Note 2.2: eight invented patients.

    python examples/handmade_release.py OUT            # hosp/, icu/, ed/ and note/*.csv.gz in OUT
    python examples/handmade_release.py OUT --plain    # the same as .csv

The patients never lived, and no row comes from MIMIC-IV: only the names of tables and columns, the itemids
and their labels are MIMIC's. It holds what real releases hold and careful readers stumble over: each case is
named in place.

- SEPSIS: 67, urinary sepsis: emergency department, ward, intensive care on a ventilator, home.
- DIED: 78, infarction and cardiogenic shock, dies in intensive care; dischtime holds the date only.
- HOSPICE: 84, lung cancer, discharged to a hospice, dies five weeks later: only the date of death is known.
- OLDEST: above 89, so given as 91: broken hip, operation, patient-controlled analgesia.
- CLINIC: 45, seen in the clinic only: no admission.
- OVERLAP: 38, two admissions that overlap.
- BORROWED: 54, a colonoscopy; one of his results carries the hadm_id of SEPSIS.
- VISIT: 29, one visit to the emergency department that led to no admission.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from ehrtraj.sources.source import packaged

SEPSIS, DIED, HOSPICE, OLDEST = 10900116, 10900234, 10900352, 10900471
CLINIC, OVERLAP, BORROWED, VISIT = 10900598, 10900613, 10900727, 10900845

SEPSIS_HADM, SEPSIS_STAY = 29000116, 39000116
DIED_HADM, DIED_STAY = 29000234, 39000234
HOSPICE_HADM, OLDEST_HADM, BORROWED_HADM = 29000352, 29000471, 29000727
OVERLAP_OUTER, OVERLAP_INNER = 29000613, 29000614
# The number of a stay in the emergency department is that of its row in transfers.
SEPSIS_ED, OLDEST_ED, VISIT_ED = 39000101, 39000401, 39000801
NO_SUCH_HADM = 29999999

SUMMARY = """ \nName:  ___                     Unit No:   ___\n \nAdmission Date:  ___
\nChief Complaint:\nfever, "not herself" since ___\n\nDischarge Medications:
1. Lisinopril 10 mg PO DAILY, \t2. Aspirin 81 mg\r\n\n\n___ MD, \u00b5g "quoted, with a comma"\n"""
REPORT = 'EXAMINATION:  CHEST (PORTABLE AP)\n\nINDICATION:  ___ year old // "? pneumonia"\n\nIMPRESSION:\n\nNo.\n'
ADDENDUM = "ADDENDUM:\n\n"

REJECTED = {
    ("icu/chartevents", "exact_duplicate"): 2,
    ("hosp/omr", "exact_duplicate"): 1,
    ("hosp/labevents", "no_time"): 1,
    ("hosp/poe_detail", "no_parent"): 1,
    ("hosp/emar_detail", "no_parent"): 1,
    ("note/discharge_detail", "no_note"): 1,
}
"""Rows that cannot become events, by table and reason."""

_NUMBERED = {"hosp/labevents": "labevent_id", "hosp/microbiologyevents": "microevent_id"}
_ORDERS = ("poe_id", "emar_id", "discontinue_of_poe_id", "discontinued_by_poe_id")

Value = str | int | float | None
Row = dict[str, Value]


class Rows:
    """The rows of a release, by `module/table`."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Row]] = {}

    def add(self, table: str, columns: str, *rows: tuple[Value, ...], **common: Value) -> None:
        """Append rows.

        Args:
            table: `module/table`.
            columns: names of the columns that the tuples hold, separated by blanks.
            rows: one tuple a row. An order is given by its number: `poe_id` 3 becomes '<subject_id>-3'.
            common: columns in which all these rows agree.
        """
        names = columns.split()
        there = self.tables.setdefault(table, [])
        for values in rows:
            row: Row = dict(zip(names, values, strict=True)) | common
            if table in _NUMBERED:
                row.setdefault(_NUMBERED[table], 71_000_001 + len(there))
            for kind in ("poe", "emar"):
                if f"{kind}_seq" in row:
                    row.setdefault(f"{kind}_id", row[f"{kind}_seq"])
            for name in _ORDERS:
                if isinstance(row.get(name), int):
                    row[name] = f"{row['subject_id']}-{row[name]}"
            there.append(row)


# fmt: off
def sepsis(r: Rows) -> None:
    """Sepsis from a urinary infection with E. coli: the stay with the most of everything."""
    who: Row = {"subject_id": SEPSIS}
    stay: Row = {"subject_id": SEPSIS, "hadm_id": SEPSIS_HADM}
    icu: Row = {"subject_id": SEPSIS, "hadm_id": SEPSIS_HADM, "stay_id": SEPSIS_STAY, "caregiver_id": 90011}

    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group",
        ("F", 66, 2152, "2017 - 2019"),
        **who,
    )
    r.add(
        "hosp/admissions",
        "admittime dischtime admission_type admit_provider_id admission_location discharge_location",
        ("2153-04-11 23:58", "2153-04-18 13:45", "EW EMER.", "P90001", "EMERGENCY ROOM", "HOME HEALTH CARE"),
        insurance="Medicare", language="English", marital_status="WIDOWED", race="WHITE",
        edregtime="2153-04-11 20:52", edouttime="2153-04-12 02:41", hospital_expire_flag=0, **stay,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000101, "ED", "Emergency Department", "2153-04-11 20:52:00", "2153-04-12 02:41:00"),
        (39000102, "admit", "Medicine", "2153-04-12 02:41:00", "2153-04-12 09:17:23"),
        (39000116, "transfer", "Medical Intensive Care Unit (MICU)", "2153-04-12 09:17:23",
         "2153-04-14 16:05:40"),
        (39000104, "transfer", "Medicine", "2153-04-14 16:05:40", "2153-04-18 13:45:12"),
        (39000105, "discharge", None, "2153-04-18 13:45:12", None),
        **stay,
    )
    r.add(
        "hosp/services", "transfertime prev_service curr_service",
        ("2153-04-11 23:59:30", None, "OMED"),
        ("2153-04-12 09:20:11", "OMED", "MED"),
        **stay,
    )

    # Results of the emergency department carry no hadm_id, though they led to the admission.
    r.add(
        "hosp/labevents",
        "specimen_id itemid value valuenum valueuom ref_range_lower ref_range_upper flag comments",
        (41000001, 50813, "4.1", 4.1, "mmol/L", 0.5, 2.0, "abnormal", None),
        # Line ends and quotes within a comment.
        (41000002, 50912, "1.9", 1.9, "mg/dL", 0.4, 1.1, "abnormal",
         'eGFR is likely between 26 and 31.\nUsing the "CKD-EPI" equation,\nwhich takes no account of race.'),
        # The value is masked, the number is there.
        (41000002, 50983, "___", 131, "mEq/L", 133, 145, "abnormal", None),
        (41000002, 50971, "5.0", 5, "mEq/L", 3.3, 5.1, None, None),
        (41000003, 51301, "19.4", 19.4, "K/uL", 4, 10, "abnormal", None),
        subject_id=SEPSIS, charttime="2153-04-11 21:20", storetime="2153-04-11 22:05", priority="STAT",
    )
    r.add(
        "hosp/labevents", "itemid value valuenum valueuom ref_range_lower ref_range_upper flag comments",
        (51516, ">182", None, "#/hpf", 0, 5, "abnormal", None),
        (51487, "POS", None, " ", None, None, "abnormal", None),
        (51463, "___", None, None, None, None, "abnormal", "MOD."),
        subject_id=SEPSIS, specimen_id=41000004, charttime="2153-04-11 21:40", storetime="2153-04-11 22:31",
        priority="STAT",
    )
    r.add(
        "hosp/labevents", "specimen_id itemid charttime storetime value valuenum valueuom flag",
        (41000005, 50813, "2153-04-12 10:30", "2153-04-12 10:33", "3.2", 3.2, "mmol/L", "abnormal"),
        (41000005, 50820, "2153-04-12 10:30", "2153-04-12 10:33", "7.28", 7.28, "units", "abnormal"),
        (41000005, 50818, "2153-04-12 10:30", "2153-04-12 10:33", "34", 34, "mm Hg", "abnormal"),
        # Nobody knows when this one was stored ...
        (41000006, 51265, "2153-04-13 05:10", None, "118", 118, "K/uL", "abnormal"),
        # ... and this one was stored before the specimen was taken.
        (41000007, 50931, "2153-04-13 05:10", "2153-04-13 05:02", "163", 163, "mg/dL", "abnormal"),
        # Only the time of storing is there.
        (41000008, 50912, None, "2153-04-13 17:44", "1.4", 1.4, "mg/dL", "abnormal"),
        (41000009, 50813, "2153-04-14 06:00", "2153-04-14 06:04", "1.4", 1.4, "mmol/L", None),
        (41000010, 50912, "2153-04-17 06:20", "2153-04-17 08:02", "0.9", 0.9, "mg/dL", None),
        # A row without any time cannot become an event.
        (41000011, 50971, None, None, "4.1", 4.1, "mEq/L", None),
        order_provider_id="P90002", priority="ROUTINE", **stay,
    )

    blood: Row = {
        "micro_specimen_id": 43000001, "chartdate": "2153-04-11 00:00", "charttime": "2153-04-11 21:25",
        "spec_itemid": 70012, "spec_type_desc": "BLOOD CULTURE", "test_seq": 1, "storedate": "2153-04-14 00:00",
        "storetime": "2153-04-14 10:12", "test_itemid": 90201, "test_name": "Blood Culture, Routine",
    }
    r.add(
        "hosp/microbiologyevents",
        "ab_itemid ab_name dilution_text dilution_comparison dilution_value interpretation comments",
        (90004, "AMPICILLIN", ">=32", "=>        ", 32, "R", None),
        (90018, "CEFTRIAXONE", "<=1", "<=        ", 1, "S", "Checked twice."),
        org_itemid=80002, org_name="ESCHERICHIA COLI", isolate_num=1, quantity="MODERATE  GROWTH", **stay,
        **blood,
    )
    urine: Row = {
        "micro_specimen_id": 43000002, "chartdate": "2153-04-11 00:00", "charttime": "2153-04-11 21:40",
        "spec_itemid": 70079, "spec_type_desc": "URINE", "test_seq": 1, "storedate": "2153-04-13 00:00",
        "storetime": "2153-04-13 09:55", "test_itemid": 90039, "test_name": "URINE CULTURE",
    }
    r.add(
        "hosp/microbiologyevents", "org_itemid org_name isolate_num comments",
        (80002, "ESCHERICHIA COLI", 1, ">100,000 CFU/mL.  "),
        subject_id=SEPSIS, **urine,
    )
    r.add(
        "hosp/microbiologyevents",
        "micro_specimen_id chartdate charttime spec_itemid spec_type_desc test_itemid test_name storedate"
        " storetime comments",
        # The day is all that is known of the time; stored on that very day.
        (43000004, "2153-04-12 00:00", None, 70079, "URINE", 90128, "Legionella Urinary Antigen ",
         "2153-04-12 00:00", "2153-04-12 16:40", "NEGATIVE FOR LEGIONELLA   SEROGROUP 1 ANTIGEN.  "),
        # The same on the day of the discharge, with no time of storing either.
        (43000005, "2153-04-18 00:00", None, 70064, "STOOL", 90221, "C. difficile PCR",
         "2153-04-18 00:00", None, "NEGATIVE.  "),
        test_seq=1, **stay,
    )

    r.add(
        "hosp/poe",
        "poe_seq ordertime order_type order_subtype transaction_type discontinue_of_poe_id"
        " discontinued_by_poe_id",
        (1, "2153-04-12 00:05:10", "ADT orders", "Admit", "New", None, None),
        (3, "2153-04-12 00:20:31", "Medications", None, "New", None, 5),
        (4, "2153-04-12 09:40:02", "Medications", None, "New", None, None),
        (5, "2153-04-12 09:41:15", "Medications", None, "D/C", 3, None),
        (6, "2153-04-12 09:52:00", "Consults", "Infectious Disease", "New", None, None),
        (7, "2153-04-14 17:02:40", "Medications", None, "New", None, None),
        (8, "2153-04-14 17:04:05", "Medications", None, "New", None, None),
        order_status="Inactive", **stay,
    )
    r.add(
        "hosp/poe_detail", "poe_seq field_name field_value",
        (1, "Admit to", "Medicine"),
        (6, "Consult Status Time", "2153-04-12 11:02:00"),
        (99, "Indication", "Antibiotics"),  # there is no order 99
        **who,
    )
    r.add(
        "hosp/pharmacy",
        "pharmacy_id poe_id starttime stoptime medication proc_type status entertime verifiedtime route"
        " frequency",
        (51000003, 3, "2153-04-12 01:00", "2153-04-12 10:00", "CefTRIAXone", "IV Piggyback", "Discontinued",
         "2153-04-12 00:24:40", "2153-04-12 00:31:05", "IV", "Q24H"),
        # Entered after the start it names.
        (51000004, 4, "2153-04-12 09:00", "2153-04-18 15:00", "Piperacillin-Tazobactam", "IV Piggyback",
         "Discontinued via patient discharge", "2153-04-12 09:44:00", "2153-04-12 09:50:12", "IV", "Q8H"),
        (51000007, 7, "2153-04-14 18:00", "2153-04-18 15:00", "Insulin", "Unit Dose",
         "Discontinued via patient discharge",
         "2153-04-14 17:05:00", "2153-04-14 17:20:31", "SC", "QIDACHS"),
        (51000008, 8, "2153-04-14 18:00", "2153-04-16 09:00", "Heparin", "IV Large Volume", "Discontinued",
         "2153-04-14 17:06:00", None, "IV DRIP", "INFUSION"),
        **stay,
    )
    r.add(
        "hosp/prescriptions",
        "pharmacy_id poe_seq starttime stoptime drug_type drug dose_val_rx dose_unit_rx ndc",
        (51000003, 3, "2153-04-12 01:00", "2153-04-12 10:00", "MAIN", "CefTRIAXone", "1", "gm",
         "00409733701"),
        (51000004, 4, "2153-04-12 09:00", "2153-04-18 15:00", "MAIN", "Piperacillin-Tazobactam", "4.5", "g",
         "60505615900"),
        (51000007, 7, "2153-04-14 18:00", "2153-04-18 15:00", "MAIN", "Insulin", "0-10", "UNIT", None),
        (51000008, 8, "2153-04-14 18:00", "2153-04-16 09:00", "MAIN", "Heparin", "25,000", "UNIT",
         "00409765062"),
        route="IV", **stay,
    )
    r.add(
        "hosp/emar", "emar_seq poe_id pharmacy_id charttime medication event_txt scheduletime storetime",
        (1, 3, 51000003, "2153-04-12 01:12", "CefTRIAXone", "Administered", "2153-04-12 01:00",
         "2153-04-12 01:13"),
        (2, 4, 51000004, "2153-04-12 10:08", "Piperacillin-Tazobactam", "Administered", "2153-04-12 10:08",
         "2153-04-12 10:09"),
        # Stored before it was given.
        (3, 4, 51000004, "2153-04-12 18:03", "Piperacillin-Tazobactam", "Administered", "2153-04-12 18:00",
         "2153-04-12 17:58"),
        (4, 7, 51000007, "2153-04-14 21:30", "Insulin", "Not Given per Sliding Scale", "2153-04-14 22:00",
         "2153-04-14 21:31"),
        (5, 8, 51000008, "2153-04-14 18:20", "Heparin", "Started", "2153-04-14 18:00", "2153-04-14 18:22"),
        (6, 8, 51000008, "2153-04-15 00:40", "Heparin", "Rate Change", None, "2153-04-15 00:41"),
        (7, None, 51000007, "2153-04-15 08:05", "Insulin", "Administered", "2153-04-15 08:00",
         "2153-04-15 08:06"),
        **stay,
    )
    r.add(
        "hosp/emar_detail",
        "emar_seq parent_field_ordinal administration_type dose_due dose_due_unit dose_given dose_given_unit",
        (1, None, "Standard Maintenance Medication", "1", "gm", None, None),
        (2, None, "Standard Maintenance Medication", "4.5", "g", None, None),
        (3, None, "Standard Maintenance Medication", "4.5", "g", None, None),
        (4, None, "Insulin SC Sliding Scale", "0", "Units", None, None),
        (7, None, "Insulin SC Sliding Scale", "4", "Units", None, None),
        (99, None, "Standard Maintenance Medication", "1", "TAB", None, None),  # there is no entry 99
        **who,
    )
    r.add(
        "hosp/emar_detail",
        "emar_seq pharmacy_id dose_given dose_given_unit product_description",
        (1, 51000003, "1", "gm", "CefTRIAXone 1g Vial"),
        (2, 51000004, "4.5", "g", "Piperacillin-Tazobactam 4.5g Frozen Bag"),
        # Another product than the entry's own.
        (3, 51000099, "___", "g", "Piperacillin-Tazobactam 4.5g Frozen Bag"),
        (7, 51000007, "4", "Units", "Insulin Glargine 10mL Vial"),
        parent_field_ordinal="1.1", route="IV", **who,
    )
    r.add(
        "hosp/emar_detail",
        "emar_seq infusion_rate prior_infusion_rate",
        (5, "900", None),
        (6, "1,050", "900"),
        administration_type="Heparin IV Infusion", infusion_rate_unit="units/hr", **who,
    )

    r.add(
        "icu/icustays", "stay_id first_careunit last_careunit intime outtime los",
        (SEPSIS_STAY, "Medical Intensive Care Unit (MICU)", "Surgical Intensive Care Unit (SICU)",
         "2153-04-12 09:17:23", "2153-04-14 16:05:40", 2.283530),
        **stay,
    )
    r.add(
        "icu/chartevents", "charttime itemid value valuenum valueuom warning",
        ("2153-04-12 09:30", 226512, "71.5", 71.5, "kg", 0),
        ("2153-04-12 09:30", 226730, "163", 163, "cm", 0),
        ("2153-04-12 09:30", 220045, "118", 118, "bpm", 0),
        ("2153-04-12 09:30", 220179, "82", 82, "mmHg", 1),  # the nurse marked it with a warning
        ("2153-04-12 09:30", 220180, "41", 41, "mmHg", 0),
        ("2153-04-12 09:30", 220210, "29", 29, "insp/min", 0),
        ("2153-04-12 09:30", 220277, "89", 89, "%", 0),
        ("2153-04-12 09:30", 223761, "102.4", 102.4, "°F", 0),
        ("2153-04-12 09:30", 220739, "To Speech", 3, None, 0),
        ("2153-04-12 11:00", 220052, "54", 54, "mmHg", 0),
        ("2153-04-12 11:00", 223900, "No Response-ETT", 1, None, 0),
        ("2153-04-12 11:00", 223835, "60", 60, None, 0),
        ("2153-04-12 11:00", 220339, "8", 8, "cmH2O", 0),
        ("2153-04-12 11:00", 224684, "420", 420, "mL", 0),
        storetime="2153-04-12 11:14", **icu,
    )
    r.add(
        "icu/chartevents", "charttime storetime itemid value valuenum valueuom",
        # The same row three times, and a fourth that was stored at another time and so is another row.
        ("2153-04-12 12:00", "2153-04-12 12:05", 220045, "109", 109, "bpm"),
        ("2153-04-12 12:00", "2153-04-12 12:05", 220045, "109", 109, "bpm"),
        ("2153-04-12 12:00", "2153-04-12 12:05", 220045, "109", 109, "bpm"),
        ("2153-04-12 12:00", "2153-04-12 12:20", 220045, "109", 109, "bpm"),
        ("2153-04-13 16:00", "2153-04-13 16:10", 220045, "92", 92, "bpm"),
        ("2153-04-13 16:00", None, 223762, "37.2", 37.2, "°C"),
        ("2153-04-13 16:00:37", "2153-04-13 16:10", 220001, "Urinary tract infection (UTI)", None, None),
        **icu,
    )
    r.add(
        "icu/inputevents",
        "starttime endtime storetime itemid orderid amount amountuom rate rateuom statusdescription",
        ("2153-04-12 10:05", "2153-04-12 11:30", "2153-04-12 10:31", 221906, 61000001,
         0.60775, "mg", 0.1, "mcg/kg/min", "ChangeDose/Rate"),
        ("2153-04-12 11:30", "2153-04-13 02:00", "2153-04-12 11:30", 221906, 61000002,
         13.6851, "mg", 0.22, "mcg/kg/min", "ChangeDose/Rate"),
        ("2153-04-13 02:00", "2153-04-13 09:30", "2153-04-13 09:41", 221906, 61000003,
         1.9305, "mg", 0.06, "mcg/kg/min", "FinishedRunning"),
        # The fluid in the same bag shares the order.
        ("2153-04-12 10:05", "2153-04-12 11:30", "2153-04-12 10:31", 225943, 61000001,
         18.99, "ml", 13.41, "mL/hour", "ChangeDose/Rate"),
        ordercategoryname="01-Drips", ordercategorydescription="Continuous Med", linkorderid=61000001,
        patientweight=71.5, **icu,
    )
    r.add(
        "icu/inputevents",
        "starttime endtime storetime itemid orderid linkorderid amount amountuom rate rateuom"
        " ordercategoryname ordercategorydescription statusdescription",
        ("2153-04-12 10:10", "2153-04-12 10:40", "2153-04-12 10:12", 225828, 61000011, 61000010,
         1000, "ml", 2000, "mL/hour", "03-IV Fluid Bolus", "Bolus", "FinishedRunning"),
        # A push: no rate, and an end one minute later that has no meaning.
        ("2153-04-12 10:08", "2153-04-12 10:09", "2153-04-12 10:07", 225893, 61000012, 61000012,
         1, "dose", None, None, "08-Antibiotics (IV)", "Drug Push", "FinishedRunning"),
        ("2153-04-14 15:00", "2153-04-14 16:05", "2153-04-14 15:05", 225828, 61000013, 61000013,
         108.33, "ml", 100, "mL/hour", "02-Fluids (Crystalloids)", "Continuous IV", "Paused"),
        # Stop before start.
        ("2153-04-14 09:00", "2153-04-14 08:00", "2153-04-14 09:02", 221744, 61000014, None,
         0.05, "mg", None, None, "05-Med Bolus", "Drug Push", "Stopped"),
        patientweight=71.5, **icu,
    )
    r.add(
        "icu/ingredientevents", "itemid amount amountuom rate rateuom",
        (220490, 1000, "ml", 2000, "mL/hour"),
        starttime="2153-04-12 10:10", endtime="2153-04-12 10:40", storetime="2153-04-12 10:12",
        orderid=61000011, linkorderid=61000010, statusdescription="FinishedRunning", **icu,
    )
    r.add(
        "icu/outputevents", "charttime storetime itemid value valueuom",
        ("2153-04-12 10:00", "2153-04-12 10:20", 226559, 20, "mL"),
        ("2153-04-12 12:00", "2153-04-12 11:58", 226559, 35, "mL"),
        ("2153-04-13 06:00", "2153-04-13 06:02", 226559, 240, "mL"),
        **icu,
    )
    r.add(
        "icu/procedureevents",
        "starttime endtime storetime itemid value valueuom location locationcategory orderid"
        " ordercategoryname ordercategorydescription",
        ("2153-04-12 10:20", "2153-04-12 10:21", "2153-04-12 10:49", 224385, 1, "None",
         None, None, 62000001, "Intubation/Extubation", "Task"),
        ("2153-04-12 10:20", "2153-04-13 15:45", "2153-04-13 15:46", 225792, 1765, "min",
         None, None, 62000002, "Ventilation", "ContinuousProcess"),
        ("2153-04-12 10:40", "2153-04-14 14:00", "2153-04-14 14:20", 225752, 3080, "min",
         "Right Radial", "Invasive Arterial", 62000003, "Invasive Lines", "ContinuousProcess"),
        linkorderid=62000000, statusdescription="FinishedRunning", **icu,
    )
    r.add(
        "icu/datetimeevents", "charttime storetime itemid value valueuom warning",
        ("2153-04-12 12:00", "2153-04-12 12:31", 224288, "2153-04-12 10:40", "Date and Time", 0),
        **icu,
    )

    r.add(
        "hosp/diagnoses_icd", "seq_num icd_code",
        (1, "A419"), (2, "R6521"), (3, "N179"),
        icd_version=10, **stay,
    )
    r.add(
        "hosp/procedures_icd", "seq_num chartdate icd_code",
        (1, "2153-04-12", "0BH17EZ"),
        icd_version=10, **stay,
    )
    r.add(
        "hosp/drgcodes", "drg_type drg_code description drg_severity drg_mortality",
        ("HCFA", "871", "SEPTICEMIA OR SEVERE SEPSIS W/O MV >96 HOURS W MCC", None, None),
        ("APR", "720", "SEPTICEMIA & DISSEMINATED INFECTIONS", 4, 3),
        **stay,
    )
    r.add(
        "hosp/hcpcsevents", "chartdate hcpcs_cd seq_num short_description",
        ("2153-04-12", "99291", 1, "Critical care services"),
        **stay,
    )


def died(r: Rows) -> None:
    """An infarction with cardiogenic shock. He died at 18:22: dischtime is the date of that day."""
    stay: Row = {"subject_id": DIED, "hadm_id": DIED_HADM}
    icu: Row = {"subject_id": DIED, "hadm_id": DIED_HADM, "stay_id": DIED_STAY, "caregiver_id": 90012}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group dod",
        ("M", 78, 2139, "2014 - 2016", "2139-11-07"), subject_id=DIED,
    )
    r.add(
        "hosp/admissions",
        "admittime dischtime deathtime admission_type admission_location discharge_location",
        ("2139-11-05 06:20", "2139-11-07 00:00", "2139-11-07 18:22", "URGENT", "EMERGENCY ROOM", "DIED"),
        insurance="Private", language="Portuguese", marital_status="MARRIED", race="PORTUGUESE",
        edregtime="2139-11-05 05:48", edouttime="2139-11-05 07:35", hospital_expire_flag=1, **stay,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000201, "ED", "Emergency Department", "2139-11-05 05:48:00", "2139-11-05 07:35:00"),
        (39000234, "admit", "Coronary Care Unit (CCU)", "2139-11-05 07:35:00", "2139-11-07 18:40:10"),
        (39000203, "discharge", None, "2139-11-07 18:40:10", None),
        **stay,
    )
    r.add("hosp/services", "transfertime curr_service", ("2139-11-05 06:21:40", "CMED"), **stay)
    r.add(
        "hosp/labevents", "specimen_id itemid charttime storetime value valuenum valueuom flag",
        (41000201, 51003, "2139-11-05 06:31", "2139-11-05 07:40", "3.87", 3.87, "ng/mL", "abnormal"),
        (41000202, 50813, "2139-11-07 12:10", "2139-11-07 12:13", "9.6", 9.6, "mmol/L", "abnormal"),
        # Taken before, stored after the death.
        (41000203, 50963, "2139-11-07 17:50", "2139-11-07 19:05", "21034", 21034, "pg/mL", "abnormal"),
        **stay,
    )
    r.add(
        "hosp/prescriptions",
        "pharmacy_id poe_seq starttime stoptime drug_type drug dose_val_rx dose_unit_rx",
        # Its row of the pharmacy is not there.
        (51000201, 1, "2139-11-05 07:00", "2139-11-07 19:00", "MAIN", "Aspirin", "325", "mg"),
        route="PO", **stay,
    )
    r.add(
        "icu/icustays", "stay_id first_careunit last_careunit intime outtime los",
        (DIED_STAY, "Coronary Care Unit (CCU)", "Coronary Care Unit (CCU)",
         "2139-11-05 08:10:00", "2139-11-07 18:40:10", 2.437616),
        **stay,
    )
    r.add(
        "icu/chartevents", "charttime storetime itemid value valuenum valueuom warning",
        ("2139-11-05 08:15", "2139-11-05 08:20", 220045, "131", 131, "bpm", 0),
        ("2139-11-05 08:15", "2139-11-05 08:20", 220179, "78", 78, "mmHg", 1),
        ("2139-11-07 18:22", "2139-11-07 18:30", 220045, "0", 0, "bpm", 0),
        **icu,
    )
    r.add(
        "icu/inputevents",
        "starttime endtime storetime itemid orderid linkorderid amount amountuom rate rateuom"
        " statusdescription",
        ("2139-11-05 08:30", "2139-11-07 18:22", "2139-11-05 08:41", 221662, 61000201, 61000201,
         2083.2, "mg", 8, "mcg/kg/min", "Stopped"),
        ordercategoryname="01-Drips", ordercategorydescription="Continuous Med", patientweight=75, **icu,
    )
    r.add(
        "icu/outputevents", "charttime storetime itemid value valueuom",
        ("2139-11-07 06:00", "2139-11-07 06:10", 226559, 5, "mL"),
        **icu,
    )
    r.add(
        "hosp/diagnoses_icd", "seq_num icd_code", (1, "I2109"), (2, "R570"), icd_version=10, **stay
    )
    r.add(
        "hosp/procedures_icd", "seq_num chartdate icd_code",
        (1, "2139-11-07", "5A12012"),  # resuscitation on the day of the death
        icd_version=10, **stay,
    )


def hospice(r: Rows) -> None:
    """Metastatic lung cancer: she left for a hospice, and only the date of death is known. Coded in ICD-9."""
    stay: Row = {"subject_id": HOSPICE, "hadm_id": HOSPICE_HADM}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group dod",
        ("F", 83, 2127, "2008 - 2010", "2128-03-17"), subject_id=HOSPICE,
    )
    r.add(
        "hosp/admissions", "admittime dischtime admission_type admission_location discharge_location",
        ("2128-02-03 14:10", "2128-02-09 11:30", "DIRECT EMER.", "PHYSICIAN REFERRAL", "HOSPICE"),
        insurance="Medicare", language="English", marital_status="MARRIED", race="BLACK/AFRICAN AMERICAN",
        hospital_expire_flag=0, **stay,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000301, "admit", "Hematology/Oncology", "2128-02-03 14:10:00", "2128-02-09 11:31:08"),
        (39000302, "discharge", None, "2128-02-09 11:31:08", None),
        **stay,
    )
    r.add("hosp/services", "transfertime curr_service", ("2128-02-03 14:11:00", "OMED"), **stay)
    r.add(
        "hosp/labevents", "specimen_id itemid charttime storetime value valuenum valueuom flag",
        (41000301, 50893, "2128-02-03 15:00", "2128-02-03 16:12", "12.9", 12.9, "mg/dL", "abnormal"),
        (41000302, 51222, "2128-02-04 06:00", "2128-02-04 07:01", "8.1", 8.1, "g/dL", "abnormal"),
        **stay,
    )
    r.add(
        "hosp/pharmacy",
        "pharmacy_id starttime stoptime medication proc_type status entertime verifiedtime route frequency",
        # No order is named, and it stops four hours before it starts.
        (51000301, "2128-02-05 20:00", "2128-02-05 16:00", "Morphine Sulfate", "Unit Dose", "Discontinued",
         "2128-02-05 19:48:13", "2128-02-05 19:55:00", "IV", "Q4H:PRN"),
        **stay,
    )
    r.add(
        "hosp/prescriptions", "pharmacy_id starttime stoptime drug_type drug dose_val_rx dose_unit_rx",
        (51000301, "2128-02-05 20:00", "2128-02-05 16:00", "MAIN", "Morphine Sulfate", "1-2", "mg"),
        route="IV", ndc="0", **stay,
    )
    r.add(
        "hosp/diagnoses_icd", "seq_num icd_code",
        (1, "1985"), (2, "V667"),
        icd_version=9, **stay,
    )


def oldest(r: Rows) -> None:
    """A broken hip above the age of 89, which the source gives as 91."""
    stay: Row = {"subject_id": OLDEST, "hadm_id": OLDEST_HADM}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group", ("F", 91, 2171, "2011 - 2013"),
        subject_id=OLDEST,
    )
    r.add(
        "hosp/admissions", "admittime dischtime admission_type admission_location discharge_location",
        ("2171-08-19 16:40", "2171-08-24 12:10", "EW EMER.", "EMERGENCY ROOM", "SKILLED NURSING FACILITY"),
        insurance="Medicare", language="English", marital_status=None, race="WHITE",
        edregtime="2171-08-19 11:02", edouttime="2171-08-19 17:55", hospital_expire_flag=0, **stay,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000401, "ED", "Emergency Department", "2171-08-19 11:02:00", "2171-08-19 17:55:00"),
        (39000402, "admit", "Surgery/Trauma", "2171-08-19 17:55:00", "2171-08-24 12:14:50"),
        (39000403, "discharge", None, "2171-08-24 12:14:50", None),
        **stay,
    )
    r.add("hosp/services", "transfertime curr_service", ("2171-08-19 16:41:22", "ORTHO"), **stay)
    r.add(
        "hosp/labevents", "specimen_id itemid charttime storetime value valuenum valueuom flag",
        (41000401, 51222, "2171-08-19 11:30", "2171-08-19 12:15", "11.8", 11.8, "g/dL", "abnormal"),
        (41000402, 51222, "2171-08-21 06:10", "2171-08-21 07:00", "8.9", 8.9, "g/dL", "abnormal"),
        **stay,
    )
    r.add(
        "hosp/poe", "poe_seq ordertime order_type transaction_type",
        (1, "2171-08-20 15:12:09", "Medications", "New"), order_status="Inactive", **stay,
    )
    r.add(
        "hosp/pharmacy",
        "pharmacy_id poe_id starttime stoptime medication proc_type status entertime route frequency",
        (51000401, 1, "2171-08-20 15:00", "2171-08-22 08:00", "HYDROmorphone (Dilaudid)", "Unit Dose",
         "Expired",
         "2171-08-20 15:14:30", "IVPCA", "ASDIR"),
        lockout_interval="6", basal_rate=0, one_hr_max="1.2", **stay,
    )
    r.add(
        "hosp/emar", "emar_seq poe_id pharmacy_id charttime medication event_txt scheduletime storetime",
        (1, 1, 51000401, "2171-08-20 15:40", "HYDROmorphone (Dilaudid)", "Started", None, "2171-08-20 15:41"),
        (2, 1, 51000401, "2171-08-21 09:00", "HYDROmorphone (Dilaudid)", "Hold Dose", "2171-08-21 09:00",
         "2171-08-21 09:30"),
        **stay,
    )
    r.add(
        "hosp/emar_detail", "emar_seq administration_type dose_due dose_due_unit",
        (1, "PCA", "0.12", "mg"), subject_id=OLDEST,
    )
    r.add(
        "hosp/diagnoses_icd", "seq_num icd_code", (1, "82021"), (2, "E8859"), icd_version=9, **stay
    )
    r.add(
        "hosp/procedures_icd", "seq_num chartdate icd_code",
        (1, "2171-08-20", "7935"),
        icd_version=9, **stay,
    )


def clinic(r: Rows) -> None:
    """Seen in the clinic only."""
    who: Row = {"subject_id": CLINIC}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group",
        ("M", 44, 2163, "2020 - 2022"),
        **who,
    )
    r.add(
        "hosp/labevents", "itemid value valuenum valueuom ref_range_lower ref_range_upper flag",
        (50852, "7.1", 7.1, "%", 4, 6, "abnormal"),
        (50912, "0.9", 0.9, "mg/dL", 0.5, 1.2, None),
        specimen_id=41000501, charttime="2164-05-03 08:15", storetime="2164-05-03 14:40", priority="ROUTINE",
        **who,
    )
    r.add(
        "hosp/omr", "chartdate seq_num result_name result_value",
        ("2164-05-03", 1, "Blood Pressure", "120/80"),
        ("2164-05-03", 2, "Blood Pressure", "118/76"),
        ("2164-05-03", 1, "Weight (Lbs)", "203.5"),
        ("2164-05-03", 1, "Height (Inches)", "70"),
        ("2164-05-03", 1, "BMI (kg/m2)", "29.2"),
        ("2164-05-03", 1, "eGFR", ">60"),
        ("2164-05-03", 1, "BMI (kg/m2)", "29.2"),  # the same row again
        **who,
    )


def overlap(r: Rows) -> None:
    """Moved from psychiatry to medicine and back: the second admission is within the first."""
    who: Row = {"subject_id": OVERLAP}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group",
        ("F", 38, 2160, "2017 - 2019"),
        **who,
    )
    r.add(
        "hosp/admissions", "hadm_id admittime dischtime admission_type admission_location discharge_location",
        (OVERLAP_OUTER, "2160-02-01 10:25", "2160-02-09 14:00", "DIRECT EMER.", "PHYSICIAN REFERRAL", "HOME"),
        (OVERLAP_INNER, "2160-02-05 08:40", "2160-02-07 16:30", "URGENT",
         "INTERNAL TRANSFER TO OR FROM PSYCH", "PSYCH FACILITY"),
        insurance="Medicaid", language="English", marital_status="SINGLE", race="HISPANIC OR LATINO",
        hospital_expire_flag=0, **who,
    )
    r.add(
        "hosp/transfers", "hadm_id transfer_id eventtype careunit intime outtime",
        (OVERLAP_OUTER, 39000601, "admit", "Psychiatry", "2160-02-01 10:25:00", "2160-02-09 14:02:31"),
        (OVERLAP_INNER, 39000602, "admit", "Med/Surg", "2160-02-05 08:40:00", "2160-02-07 16:30:45"),
        (OVERLAP_INNER, 39000603, "discharge", None, "2160-02-07 16:30:45", None),
        (OVERLAP_OUTER, 39000604, "discharge", None, "2160-02-09 14:02:31", None),
        **who,
    )
    r.add(
        "hosp/services", "hadm_id transfertime curr_service",
        (OVERLAP_OUTER, "2160-02-01 10:26:00", "PSYCH"), (OVERLAP_INNER, "2160-02-05 08:41:00", "MED"), **who,
    )
    r.add(
        "hosp/labevents", "specimen_id charttime storetime value valuenum",
        (41000601, "2160-02-03 07:00", "2160-02-03 09:10", "139", 139),  # in the first alone
        (41000602, "2160-02-06 07:00", "2160-02-06 09:00", "136", 136),  # in both
        (41000603, "2160-02-08 07:00", "2160-02-08 09:20", "140", 140),  # in the first alone
        (41000604, "2160-02-20 07:00", "2160-02-20 09:20", "141", 141),  # at home
        itemid=50983, valueuom="mEq/L", **who,
    )
    r.add(
        "hosp/diagnoses_icd", "hadm_id seq_num icd_code",
        (OVERLAP_OUTER, 1, "F332"), (OVERLAP_INNER, 1, "F332"), icd_version=10, **who,
    )


def borrowed(r: Rows) -> None:
    """A colonoscopy under observation. One result has the hadm_id of another patient, one that of nobody."""
    stay: Row = {"subject_id": BORROWED, "hadm_id": BORROWED_HADM}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group", ("M", 54, 2177, "2014 - 2016"),
        subject_id=BORROWED,
    )
    r.add(
        "hosp/admissions", "admittime dischtime admission_type admission_location",
        ("2177-06-14 07:55", "2177-06-15 09:20", "AMBULATORY OBSERVATION", "PROCEDURE SITE"),
        insurance="Other", language="English", marital_status="DIVORCED", race="UNKNOWN",
        hospital_expire_flag=0, **stay,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000701, "admit", "Observation", "2177-06-14 07:55:00", "2177-06-15 09:21:00"),
        (39000702, "discharge", None, "2177-06-15 09:21:00", None),
        **stay,
    )
    r.add(
        "hosp/labevents", "specimen_id hadm_id itemid value valuenum valueuom",
        (41000701, SEPSIS_HADM, 51222, "14.2", 14.2, "g/dL"),
        (41000702, NO_SUCH_HADM, 51265, "231", 231, "K/uL"),
        (41000703, BORROWED_HADM, 51237, "1.0", 1, " "),
        subject_id=BORROWED, charttime="2177-06-14 08:30", storetime="2177-06-14 09:12",
    )
    r.add(
        "hosp/hcpcsevents", "chartdate hcpcs_cd seq_num short_description",
        ("2177-06-14", "45380", 1, "Digestive system"),
        ("2177-06-15", "G0378", 2, "Hospital observation per hr"),
        **stay,
    )
    r.add("hosp/diagnoses_icd", "seq_num icd_code", (1, "K635"), icd_version=10, **stay)


def visit(r: Rows) -> None:
    """One evening in the emergency department: transfers without a hadm_id, and no admission."""
    who: Row = {"subject_id": VISIT}
    r.add(
        "hosp/patients", "gender anchor_age anchor_year anchor_year_group",
        ("F", 29, 2145, "2020 - 2022"),
        **who,
    )
    r.add(
        "hosp/transfers", "transfer_id eventtype careunit intime outtime",
        (39000801, "ED", "Emergency Department", "2145-09-02 18:12:00", "2145-09-02 22:40:00"),
        (39000802, "discharge", None, "2145-09-02 22:40:00", None),
        **who,
    )
    r.add(
        "hosp/labevents", "itemid value valuenum valueuom ref_range_lower ref_range_upper",
        (50971, "3.9", 3.9, "mEq/L", 3.3, 5.1),
        specimen_id=41000801, charttime="2145-09-02 19:05", storetime="2145-09-02 19:50", priority="STAT",
        **who,
    )


def emergency(r: Rows) -> None:
    """What the emergency department wrote down of the visits that transfers and admissions know of."""
    first: Row = {"subject_id": SEPSIS, "stay_id": SEPSIS_ED}
    second: Row = {"subject_id": VISIT, "stay_id": VISIT_ED}
    # The way out of OLDEST is an hour later than transfers and admissions say: a conflict.
    r.add(
        "ed/edstays", "subject_id hadm_id stay_id intime outtime race arrival_transport disposition",
        (SEPSIS, SEPSIS_HADM, SEPSIS_ED, "2153-04-11 20:52:00", "2153-04-12 02:41:00", "WHITE",
         "AMBULANCE", "ADMITTED"),
        (OLDEST, OLDEST_HADM, OLDEST_ED, "2171-08-19 11:02:00", "2171-08-19 18:55:00", "WHITE",
         "AMBULANCE", "ADMITTED"),
        (VISIT, None, VISIT_ED, "2145-09-02 18:12:00", "2145-09-02 22:40:00", "ASIAN", "WALK IN", "HOME"),
        gender="F",
    )
    r.add(
        "ed/triage", "temperature heartrate resprate o2sat sbp dbp pain acuity chiefcomplaint",
        (101.3, 118, 26, 93, 92, 51, "unable", 2, "Fever, Altered mental status"),
        **first,
    )
    # In Celsius; and nobody asked for the pain.
    r.add(
        "ed/triage", "temperature heartrate resprate o2sat sbp dbp pain acuity chiefcomplaint",
        (36.8, 74, 16, 99, 121, 77, None, 4, "Ankle pain"),
        **second,
    )
    r.add(
        "ed/vitalsign", "charttime temperature heartrate resprate o2sat sbp dbp rhythm pain",
        ("2153-04-11 21:30", 100.9, 112, 24, 95, 98, 55, "Sinus Tachycardia", "7"),
        ("2153-04-11 23:10", None, 9999, None, 96, 104, None, None, "10/10"),
        **first,
    )
    r.add("ed/vitalsign", "charttime pain", ("2145-09-02 20:00", "5-6"), **second)
    r.add(
        "ed/diagnosis", "seq_num icd_code icd_version icd_title",
        (1, "A419", 10, "SEPSIS, UNSPECIFIED ORGANISM"),
        (2, "N390", 10, "URINARY TRACT INFECTION, SITE NOT SPECIFIED"),
        **first,
    )
    # A code padded with blanks.
    r.add("ed/diagnosis", "seq_num icd_code icd_version icd_title", (1, "8450   ", 9, "SPRAIN OF ANKLE"), **second)
    r.add(
        "ed/medrecon", "name gsn ndc etc_rn etccode etcdescription",
        ("lisinopril", "000391", "68180098001", 1, "00000331", "ACE Inhibitors"),
        ("aspirin", "004380", "00904404073", 1, "00005843", "Platelet Aggregation Inhibitors"),
        # The same drug under a second class.
        ("aspirin", "004380", "00904404073", 2, "00000575", "Salicylate Analgesics"),
        charttime="2153-04-11 21:45", **first,
    )
    r.add(
        "ed/pyxis", "charttime med_rn name gsn_rn gsn",
        # The cabinet's clock: before the arrival.
        ("2153-04-11 20:50", 1, "Acetaminophen", 1, "004489"),
        ("2153-04-11 21:52", 2, "CeftriaXONE", 1, "009162"),
        ("2153-04-11 21:52", 2, "CeftriaXONE", 2, "009163"),
        **first,
    )


def notes(r: Rows) -> None:
    """Notes with line ends, quotes and masks; a summary and a report each have an addendum."""
    stay: Row = {"subject_id": SEPSIS, "hadm_id": SEPSIS_HADM}
    r.add(
        "note/discharge", "note_id note_type note_seq charttime storetime text",
        (f"{SEPSIS}-DS-4", "DS", 4, "2153-04-18 00:00", "2153-04-19 09:12:31", SUMMARY),
        # Stored before the day of its discharge.
        (f"{SEPSIS}-AD-5", "AD", 5, "2153-04-18 00:00", "2153-04-17 16:20:00", ADDENDUM),
        **stay,
    )
    r.add(
        "note/discharge_detail", "note_id field_name field_value field_ordinal",
        (f"{SEPSIS}-DS-4", "author", "___", 1),
        (f"{SEPSIS}-DS-4", "addendum_note_id", f"{SEPSIS}-AD-5", 1),
        (f"{SEPSIS}-AD-5", "parent_note_id", f"{SEPSIS}-DS-4", 1),
        # A field of a note that is not there.
        (f"{SEPSIS}-DS-9", "author", "___", 1),
        subject_id=SEPSIS,
    )
    r.add(
        "note/radiology", "subject_id hadm_id note_id note_type note_seq charttime storetime text",
        (SEPSIS, SEPSIS_HADM, f"{SEPSIS}-RR-7", "RR", 7, "2153-04-12 04:10", "2153-04-12 06:45", REPORT),
        (SEPSIS, SEPSIS_HADM, f"{SEPSIS}-AR-8", "AR", 8, "2153-04-12 04:10", "2153-04-12 11:00", ADDENDUM),
        (VISIT, None, f"{VISIT}-RR-1", "RR", 1, "2145-09-02 20:31", None, "No fracture.\n"),
    )
    r.add(
        "note/radiology_detail", "subject_id note_id field_name field_value field_ordinal",
        (SEPSIS, f"{SEPSIS}-RR-7", "exam_code", "C11", 1),
        (SEPSIS, f"{SEPSIS}-RR-7", "exam_name", "CHEST (PORTABLE AP)", 1),
        (SEPSIS, f"{SEPSIS}-RR-7", "cpt_code", "71045", 1),
        (SEPSIS, f"{SEPSIS}-RR-7", "author", "attending", 1),
        (SEPSIS, f"{SEPSIS}-RR-7", "addendum_note_id", f"{SEPSIS}-AR-8", 1),
        (SEPSIS, f"{SEPSIS}-AR-8", "parent_note_id", f"{SEPSIS}-RR-7", 1),
        (VISIT, f"{VISIT}-RR-1", "exam_code", "X7", 1),
    )


def dictionaries(r: Rows) -> None:
    """What the codes mean, for the items above."""
    r.add(
        "hosp/d_labitems", "itemid label fluid category",
        (50813, "Lactate", "Blood", "Blood Gas"), (50818, "pCO2", "Blood", "Blood Gas"),
        (50820, "pH", "Blood", "Blood Gas"), (50852, "% Hemoglobin A1c", "Blood", "Chemistry"),
        (50893, "Calcium, Total", "Blood", "Chemistry"), (50912, "Creatinine", "Blood", "Chemistry"),
        (50931, "Glucose", "Blood", "Chemistry"), (50963, "NTproBNP", "Blood", "Chemistry"),
        (50971, "Potassium", "Blood", "Chemistry"), (50983, "Sodium", "Blood", "Chemistry"),
        (51003, "Troponin T", "Blood", "Chemistry"), (51222, "Hemoglobin", "Blood", "Hematology"),
        (51237, "INR(PT)", "Blood", "Hematology"), (51265, "Platelet Count", "Blood", "Hematology"),
        (51301, "White Blood Cells", "Blood", "Hematology"), (51463, "Bacteria", "Urine", "Hematology"),
        (51487, "Nitrite", "Urine", "Hematology"), (51516, "WBC", "Urine", "Hematology"),
    )
    r.add(
        "icu/d_items", "itemid label abbreviation linksto category unitname param_type",
        (220001, "Problem List", "Problem List", "chartevents", "General", None, "Text"),
        (220045, "Heart Rate", "HR", "chartevents", "Routine Vital Signs", "bpm", "Numeric"),
        (220052, "Arterial Blood Pressure mean", "ABPm", "chartevents", "Routine Vital Signs", "mmHg",
         "Numeric"),
        (220179, "Non Invasive Blood Pressure systolic", "NBPs", "chartevents", "Routine Vital Signs", "mmHg",
         "Numeric"),
        (220180, "Non Invasive Blood Pressure diastolic", "NBPd", "chartevents", "Routine Vital Signs",
         "mmHg", "Numeric"),
        (220210, "Respiratory Rate", "RR", "chartevents", "Respiratory", "insp/min", "Numeric"),
        (220277, "O2 saturation pulseoxymetry", "SpO2", "chartevents", "Respiratory", "%", "Numeric"),
        (220339, "PEEP set", "PEEP set", "chartevents", "Respiratory", "cmH2O", "Numeric"),
        (220490, "Water", "H2O", "ingredientevents", "Ingredients", "mL", "Ingredient"),
        (220739, "GCS - Eye Opening", "Eye Opening", "chartevents", "Neurological", None, "Text"),
        (221662, "Dopamine", "Dopamine", "inputevents", "Medications", "mg", "Solution"),
        (221744, "Fentanyl", "Fentanyl", "inputevents", "Medications", "mg", "Solution"),
        (221906, "Norepinephrine", "Norepinephrine", "inputevents", "Medications", "mg", "Solution"),
        (223761, "Temperature Fahrenheit", "Temperature F", "chartevents", "Routine Vital Signs", "°F",
         "Numeric"),
        (223762, "Temperature Celsius", "Temperature C", "chartevents", "Routine Vital Signs", "°C",
         "Numeric"),
        (223835, "Inspired O2 Fraction", "FiO2", "chartevents", "Respiratory", None, "Numeric"),
        (223900, "GCS - Verbal Response", "Verbal Response", "chartevents", "Neurological", None, "Text"),
        (224288, "Arterial line Insertion Date", "Arterial line Insertion Date", "datetimeevents",
         "Access Lines - Invasive", None, "Date and time"),
        (224385, "Intubation", "Intubation", "procedureevents", "1-Intubation/Extubation", None, "Processes"),
        (224684, "Tidal Volume (set)", "Tidal Volume (set)", "chartevents", "Respiratory", "mL", "Numeric"),
        (225752, "Arterial Line", "Arterial Line", "procedureevents", "Access Lines - Invasive", None,
         "Processes"),
        (225792, "Invasive Ventilation", "Invasive Ventilation", "procedureevents", "2-Ventilation", None,
         "Processes"),
        (225828, "LR", "LR", "inputevents", "Fluids/Intake", "mL", "Solution"),
        (225893, "Piperacillin/Tazobactam (Zosyn)", "Piperacillin/Tazobactam (Zosyn)", "inputevents",
         "Antibiotics",
         "dose", "Solution"),
        (225943, "Solution", "Solution", "inputevents", "Fluids/Intake", "mL", "Solution"),
        (226512, "Admission Weight (Kg)", "Admission Weight (Kg)", "chartevents", "General", "kg", "Numeric"),
        (226559, "Foley", "Foley", "outputevents", "Output", "mL", "Numeric"),
        (226730, "Height (cm)", "Height (cm)", "chartevents", "General", "cm", "Numeric"),
    )
    r.add(
        "hosp/d_icd_diagnoses", "icd_version icd_code long_title",
        (9, "1985", "Secondary malignant neoplasm of bone and bone marrow"),
        (9, "82021", "Closed fracture of intertrochanteric section of neck of femur"),
        (9, "E8859", "Fall from other slipping, tripping, or stumbling"),
        (9, "V667", "Encounter for palliative care"),
        (10, "A419", "Sepsis, unspecified organism"),
        (10, "F332", "Major depressive disorder, recurrent severe without psychotic features"),
        (10, "I2109",
         "ST elevation (STEMI) myocardial infarction involving other coronary artery of anterior wall"),
        (10, "K635", "Polyp of colon"),
        (10, "N179", "Acute kidney failure, unspecified"),
        (10, "N390", "Urinary tract infection, site not specified"),
        (10, "R570", "Cardiogenic shock"),
        (10, "R6521", "Severe sepsis with septic shock"),
    )
    r.add(
        "hosp/d_icd_procedures", "icd_version icd_code long_title",
        (9, "7935", "Open reduction of fracture with internal fixation, femur"),
        (10, "0BH17EZ", "Insertion of Endotracheal Airway into Trachea, Via Natural or Artificial Opening"),
        (10, "5A12012", "Performance of Cardiac Output, Single, Manual"),
    )
    r.add(
        "hosp/d_hcpcs", "code category long_description short_description",
        ("45380", 1, None, "Digestive system"),
        ("99291", 1, None, "Critical care services"),
        ("G0378", None, "Hospital observation service, per hour", "Hospital observation per hr"),
    )
    r.add("hosp/provider", "provider_id", ("P90001",), ("P90002",))
    r.add("icu/caregiver", "caregiver_id", (90011,), (90012,))


# fmt: on
def release_rows() -> dict[str, list[Row]]:
    """All rows of the release by `module/table`; columns that are not named are empty."""
    rows = Rows()
    for part in (sepsis, died, hospice, oldest, clinic, overlap, borrowed, visit, emergency, notes, dictionaries):
        part(rows)
    return rows.tables


def _spelled(value: Value, kind: pa.DataType) -> str:
    if value is None:
        return ""
    text = str(value)
    # Times are written here to the minute; a date alone stays a date.
    return f"{text}:00" if pa.types.is_timestamp(kind) and len(text) == len("2153-04-11 21:20") else text


def write_tables(folder: Path, tables: Mapping[str, Sequence[Row]], *, plain: bool = False) -> None:
    """Write tables as MIMIC-IV lays them out. The same rows always give the same bytes.

    Args:
        folder: receives `<module>/<table>.csv.gz`.
        tables: rows by `module/table`; columns that a row does not name are empty.
        plain: write `.csv`.

    Raises:
        KeyError: if MIMIC-IV has no such table.
        ValueError: if a row names a column that the table has not.
    """
    known = packaged("mimiciv").tables
    for name, rows in tables.items():
        kinds = known[name].columns
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(kinds)
        for row in rows:
            if unknown := set(row) - set(kinds):
                raise ValueError(f"{name} has no column {', '.join(sorted(unknown))}")
            writer.writerow([_spelled(row.get(column), kind) for column, kind in kinds.items()])
        data = text.getvalue().encode()
        path = folder / f"{name}.csv{'' if plain else '.gz'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if plain else gzip.compress(data, mtime=0))


def write_release(folder: Path, *, plain: bool = False) -> None:
    """Write the complete release.

    Args:
        folder: receives `hosp/`, `icu/`, `ed/` and `note/`.
        plain: write `.csv` instead of `.csv.gz`.
    """
    write_tables(folder, release_rows(), plain=plain)


def main() -> None:
    """Write the release from the command line."""
    parser = argparse.ArgumentParser(description="Write a small, invented release laid out as MIMIC-IV 3.1.")
    parser.add_argument("folder", type=Path, metavar="OUT", help="folder that receives the modules")
    parser.add_argument("--plain", action="store_true", help="write .csv instead of .csv.gz")
    arguments = parser.parse_args()
    write_release(arguments.folder, plain=arguments.plain)


if __name__ == "__main__":
    main()
