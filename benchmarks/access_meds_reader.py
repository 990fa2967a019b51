"""The meds_reader part of `access.py`, which runs in the environment that contains meds_reader.

    python access_meds_reader.py DATABASE SUBJECTS.json

SUBJECTS.json is a list of subject_ids. Prints, as JSON, the seconds that fetching and walking each of them takes.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import meds_reader


def main() -> None:
    database = meds_reader.SubjectDatabase(sys.argv[1])
    subjects: list[int] = json.loads(Path(sys.argv[2]).read_text())
    events = 0
    fetched, walked = [], []
    for subject_id in subjects[:20]:
        len(database[subject_id].events)
    for subject_id in subjects:
        begun = time.perf_counter()
        count = len(database[subject_id].events)
        fetched.append(time.perf_counter() - begun)
        events += count
    for subject_id in subjects:
        begun = time.perf_counter()
        for event in database[subject_id].events:
            event.time, event.code, event.numeric_value  # noqa: B018  # reading them is the work that is timed
        walked.append(time.perf_counter() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"fetch": fetched, "walk": walked, "events": events, "peak": peak}))


if __name__ == "__main__":
    main()
