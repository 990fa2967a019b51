"""Read a tensorised dataset with meds-torch-data: prints JSON with patients, measurements and labels by split.

Arguments: the folder that MTD_preprocess wrote, and a folder of labels.
"""

import json
import sys
from pathlib import Path

from meds_torchdata import MEDSPytorchDataset, MEDSTorchDataConfig

tensors, labels = map(Path, sys.argv[1:])
result = {}
for split in ("train", "held_out"):
    plain = MEDSPytorchDataset(MEDSTorchDataConfig(tensors, max_seq_len=100_000, batch_mode="SM"), split=split)
    labelled = MEDSPytorchDataset(
        MEDSTorchDataConfig(
            tensors, max_seq_len=100_000, batch_mode="SM", task_labels_dir=labels, seq_sampling_strategy="to_end"
        ),
        split=split,
    )
    batch = plain.collate([plain[i] for i in range(len(plain))])
    targets = labelled.collate([labelled[i] for i in range(len(labelled))]).boolean_value if len(labelled) else []
    result[split] = {
        "patients": sorted(plain.schema_df["subject_id"].to_list()),
        "measurements": int((batch.code != 0).sum()),
        "labels": [bool(value) for value in targets],
    }
print(json.dumps(result))
