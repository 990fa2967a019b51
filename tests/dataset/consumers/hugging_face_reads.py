"""Load a dataset's Parquet files with Hugging Face `datasets`, and write each split next to the cache.

Arguments: the folder of the dataset, and a folder for the cache and the files <split>.parquet.
"""

import sys
from pathlib import Path

from datasets import load_dataset

dataset, cache = map(Path, sys.argv[1:])
splits = {folder.name: f"{folder}/*.parquet" for folder in (dataset / "data").iterdir()}
for split, rows in load_dataset("parquet", data_files=splits, cache_dir=str(cache)).items():
    rows.to_parquet(cache / f"{split}.parquet")
