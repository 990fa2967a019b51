"""Whether codes, splits and subjects say what the events say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj import rules
from ehrtraj.dataset.check.account import Account, CodeCount, Patient
from ehrtraj.dataset.check.findings import EXAMPLES, Findings, Place
from ehrtraj.dataset.check.official import refusal
from ehrtraj.dataset.check.rows import shown_time
from ehrtraj.dataset.names import CODES, SPLITS, SUBJECTS
from ehrtraj.pipeline import shards
from ehrtraj.pipeline.events import to_int64

_SPLIT_NAMES = (meds.train_split, meds.tuning_split, meds.held_out_split)
CODE_COLUMNS = ("code", "unit", "units", "domain", "source_table", "event_count", "subject_count")
SUBJECT_COLUMNS = ("subject_id", "split", "shard", "position", "event_count", "first_time", "last_time")


def read_table(root: Path, name: str, findings: Findings, *columns: str) -> pa.Table | None:
    """Read a table beside the data; None, and a finding, where it is not there, broken, or lacks one of `columns`."""
    try:
        table = pq.read_table(root / name)
    except FileNotFoundError:
        findings.one("readable", "is not there", name)
        return None
    except (pa.ArrowInvalid, OSError) as error:
        findings.one("readable", str(error).partition("\n")[0], name)
        return None
    if lacking := [c for c in columns if c not in table.column_names]:
        findings.one("readable", f"has no column {', '.join(lacking)}", name)
        return None
    return table


def _listed(promise: str, findings: Findings, wrong: Sequence[Any], words: str, file: str | None = None) -> None:
    findings.add(promise, [Place(words.format(one), file) for one in wrong[:EXAMPLES]], len(wrong))


def all_codes(accounts: Sequence[Account]) -> dict[str, CodeCount]:
    """What is observed of each code in all files."""
    codes: dict[str, CodeCount] = {}
    for account in accounts:
        for name, count in account.codes.items():
            codes.setdefault(name, CodeCount()).add(count)
    return codes


def check_codes(table: pa.Table, observed: Mapping[str, CodeCount], findings: Findings) -> None:
    """What MEDS asks of codes.parquet."""
    if (why := refusal(meds.CodeMetadataSchema, table)) is not None:
        findings.one("codes_schema", why, CODES)
    if "code" not in table.column_names:
        return
    counts = Counter(table["code"].drop_null().to_pylist())
    _listed("codes_unique", findings, [c for c, n in counts.items() if n > 1], "{} is there more than once", CODES)
    _listed("codes_covered", findings, sorted(set(observed) - set(counts)), "{} is not there", CODES)


def check_own_codes(
    table: pa.Table, observed: Mapping[str, CodeCount], findings: Findings, *, standardised: bool
) -> None:
    """What our codes.parquet says more: counts, units and tables."""
    if lacking := [c for c in CODE_COLUMNS if c not in table.column_names]:
        findings.one("code_counts", f"has no column {', '.join(lacking)}", CODES)
        return
    lines = {line["code"]: line for line in table.to_pylist()}
    wrong = [words for code, line in lines.items() for words in _wrong_line(code, line, observed.get(code))]
    _listed("code_counts", findings, wrong, "{}", CODES)
    known = rules.domains()
    _listed("domains", findings, sorted(c for c in observed if c.partition("//")[0] not in known), "{}: no such domain")
    if not standardised:
        findings.skip("numbers were left as written", "one_unit")
        return
    mixed = {c: sorted(o.number_units) for c, o in observed.items() if len(o.number_units) > 1}
    words = [f"{c}: {', '.join(u or 'none' for u in units)}" for c, units in sorted(mixed.items())]
    _listed("one_unit", findings, words, "{}")


def _wrong_line(code: str, line: Mapping[str, Any], seen: CodeCount | None) -> Iterator[str]:
    if seen is None:
        yield f"{code}: no event has it"
        return
    said = {"event_count": seen.events, "subject_count": seen.patients, "units": sorted(seen.units)}
    for name, value in said.items():
        if line[name] != value:
            yield f"{code}: {name} is {line[name]}, in the files {value}"
    unit = next(iter(seen.units)) if len(seen.units) == 1 else None
    if line["unit"] != unit:
        yield f"{code}: unit is {line['unit']}, in the files {unit}"
    if line["source_table"] not in seen.tables:
        yield f"{code}: source_table is {line['source_table']}, in the files {', '.join(sorted(seen.tables))}"
    if line["domain"] != code.partition("//")[0]:
        yield f"{code}: domain is {line['domain']}"


def check_one_file(accounts: Sequence[Account], findings: Findings) -> dict[int, tuple[str, Patient]]:
    """No patient is in two files.

    Returns:
        File and events of each patient.
    """
    patients: dict[int, tuple[str, Patient]] = {}
    twice = []
    for account in accounts:
        for who, patient in account.patients.items():
            if who in patients:
                twice.append(Place(f"is in {patients[who][0]} too", account.file, patient.position, who))
            else:
                patients[who] = (account.file, patient)
    findings.add("one_file", twice, len(twice))
    return patients


def check_encounters(accounts: Sequence[Account], findings: Findings) -> None:
    """No admission or stay has two patients."""
    for name in ("hadm_id", "stay_id"):
        pairs = [a.encounters[name] for a in accounts if name in a.encounters]
        if not pairs:
            continue
        pair = np.unique(np.concatenate(pairs), axis=0)
        again = np.flatnonzero(pair[1:, 0] == pair[:-1, 0]) + 1
        places = [
            Place(f"{name} {pair[i, 0]} is of patient {pair[i - 1, 1]} too", None, None, int(pair[i, 1]))
            for i in again[:EXAMPLES]
        ]
        findings.add("encounters", places, len(again))


def check_splits(
    table: pa.Table, patients: Mapping[int, tuple[str, Patient]], findings: Findings, *, ours: bool
) -> dict[int, str]:
    """What MEDS asks of subject_splits.parquet.

    Returns:
        Split of each patient; empty where the file lacks what it takes.
    """
    if (why := refusal(meds.SubjectSplitSchema, table)) is not None:
        findings.one("splits_schema", why, SPLITS)
    if not {"subject_id", "split"} <= set(table.column_names):
        return {}
    table = table.drop_null()
    subjects, names = table["subject_id"].to_pylist(), table["split"].to_pylist()
    _listed("splits_schema", findings, sorted({str(n) for n in names} - set(_SPLIT_NAMES)), "no split '{}'", SPLITS)
    again = [who for who, count in Counter(subjects).items() if count > 1]
    _listed("one_split", findings, again, "patient {} is there more than once", SPLITS)
    _listed("splits_covered", findings, sorted(set(patients) - set(subjects)), "patient {} is not there", SPLITS)
    if ours:
        more = sorted(set(subjects) - set(patients))
        _listed("splits_covered", findings, more, "patient {} has no events", SPLITS)
    return dict(zip(subjects, names, strict=True))


def check_own_splits(
    splits: Mapping[int, str], patients: Mapping[int, tuple[str, Patient]], findings: Findings, seed: int | None
) -> None:
    """Splits by the hash, and each patient in its split's folder."""
    for who, (file, patient) in patients.items():
        folder = Path(file).parent.name
        if who in splits and folder != splits[who]:
            place = Place(f"its split is {splits[who]}", file, patient.position, who)
            findings.add("split_folders", [place], 1)
    if seed is None:
        findings.skip("the manifest has no seed", "split_hash")
        return
    subjects = np.array(list(splits), np.int64)
    wanted = [shards.SPLITS[i] for i in shards.split_of(subjects, seed).tolist()]
    wrong = [(w, s, h) for w, s, h in zip(subjects.tolist(), splits.values(), wanted, strict=True) if s != h]
    places = [Place(f"split is {said}, by the hash {by_hash}", SPLITS, None, who) for who, said, by_hash in wrong]
    findings.add("split_hash", places, len(wrong))


def check_subjects(
    table: pa.Table, patients: Mapping[int, tuple[str, Patient]], splits: Mapping[int, str], findings: Findings
) -> None:
    """subjects.parquet has a row for each patient, and says where its events are."""
    again = [who for who, count in Counter(table["subject_id"].to_pylist()).items() if count > 1]
    _listed("subjects", findings, again, "patient {} is there more than once", SUBJECTS)
    times = {name: to_int64(table[name]).tolist() for name in ("first_time", "last_time")}
    wrong, known = [], set()
    for number, line in enumerate(table.select(SUBJECT_COLUMNS[:5]).to_pylist()):
        who = line["subject_id"]
        known.add(who)
        if who not in patients:
            wrong.append(Place("has no events", SUBJECTS, number, who))
            continue
        file, seen = patients[who]
        said = (f"data/{line['split']}/{line['shard']}.parquet", line["position"], line["event_count"])
        if said != (file, seen.position, seen.events):
            words = f"{said[2]:,} events from row {said[1]:,} of {said[0]} on; there are {seen.events:,} from row "
            wrong.append(Place(f"{words}{seen.position:,} of {file} on", SUBJECTS, number, who))
        if line["split"] != splits.get(who, line["split"]):
            wrong.append(Place(f"split is {line['split']}, in {SPLITS} {splits[who]}", SUBJECTS, number, who))
        for name, value in (("first_time", seen.first_time), ("last_time", seen.last_time)):
            if (saying := times[name][number]) != value:
                words = f"{name} is {shown_time(saying)}, in the file {shown_time(value)}"
                wrong.append(Place(words, SUBJECTS, number, who))
    findings.add("subjects", wrong, len(wrong))
    _listed("subjects", findings, sorted(set(patients) - known), "patient {} is not there", SUBJECTS)
