"""Print one patient's trajectory: python examples/show_patient.py DATASET [SUBJECT_ID] [--events 40]."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq


def main() -> None:
    """Read the arguments and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("subject_id", type=int, nargs="?", help="the one with most events by default")
    parser.add_argument("--events", type=int, default=40, help="how many to print")
    given = parser.parse_args()
    subjects = pq.read_table(given.dataset / "metadata" / "subjects.parquet")
    chosen = given.subject_id
    if chosen is None:
        chosen = subjects["subject_id"][
            pc.index(subjects["event_count"], pc.max(subjects["event_count"])).as_py()
        ].as_py()
    about = subjects.filter(pc.equal(subjects["subject_id"], chosen)).to_pylist()
    if not about:
        raise SystemExit(f"no patient {chosen} in {given.dataset}")
    (patient,) = about
    file = given.dataset / "data" / patient["split"] / f"{patient['shard']}.parquet"
    events = pq.read_table(file, filters=[("subject_id", "=", chosen)])
    codes = pq.read_table(given.dataset / "metadata" / "codes.parquet", columns=["code", "description"])
    described = dict(zip(codes["code"].to_pylist(), codes["description"].to_pylist(), strict=True))
    print(f"patient {chosen}: sex {patient['sex']}, born {patient['birth_year']}, {events.num_rows:,} events")
    for event in events.slice(0, given.events).to_pylist():
        value = "" if event["numeric_value"] is None else f"{event['numeric_value']:g} {event['unit'] or ''}"
        time = "always" if event["time"] is None else f"{event['time']:%Y-%m-%d %H:%M}"
        text = value or event["text_value"] or ""
        print(f"{time:>16}  {event['code'][:44]:<44}  {text[:20]:<20}  {described[event['code']][:40]}")
    if events.num_rows > given.events:
        print(f"... and {events.num_rows - given.events:,} more (--events)")


if __name__ == "__main__":
    main()
