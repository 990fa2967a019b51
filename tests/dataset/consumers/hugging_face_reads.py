"""A dataset's Parquet as Hugging Face `datasets` loads it: each split as Arrow, beside the cache.

Takes the folder of the dataset, and one for the cache, which receives <split>.parquet.
"""

import sys
from pathlib import Path

from datasets import load_dataset

dataset, cache = map(Path, sys.argv[1:])
splits = {folder.name: f"{folder}/*.parquet" for folder in (dataset / "data").iterdir()}
for split, rows in load_dataset("parquet", data_files=splits, cache_dir=str(cache)).items():
    rows.to_parquet(cache / f"{split}.parquet")
