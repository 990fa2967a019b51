"""Compute labels with ACES for many tasks and files in one process, because its command takes seconds to start.

Reads lines of JSON: {"events": file of MEDS events, "task": .yaml file, "out": file of labels to write}, and optionally
"predicates", a .yaml file with predicates of the task.
"""

import json
import logging
import sys
from pathlib import Path

import polars as pl
from aces import config, predicates, query
from omegaconf import OmegaConf

logging.disable(logging.CRITICAL)
EMPTY = {"subject_id": pl.Int64, "index_timestamp": pl.Datetime("us"), "label": pl.Int64}

for line in sys.stdin:
    work = json.loads(line)
    predicates_path = Path(work["predicates"]) if "predicates" in work else None
    task = config.TaskExtractorConfig.load(config_path=Path(work["task"]), predicates_path=predicates_path)
    data = OmegaConf.create({"standard": "meds", "path": work["events"], "ts_format": None})
    found = query.query(task, predicates.get_predicates_df(task, data))
    if found.is_empty():
        found = pl.DataFrame(schema=EMPTY)
    found.select("subject_id", "index_timestamp", pl.col("label") > 0).write_parquet(work["out"])
