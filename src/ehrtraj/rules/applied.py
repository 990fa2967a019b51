"""What the rules did to a dataset: its `rules_applied.parquet`, read for people."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj import rules
from ehrtraj.errors import SettingsError
from ehrtraj.paths import dataset_errors

_SPELLED = "The unit is written otherwise than in the source: raw_unit has the source's"


def read_applied(dataset: Path, rule: str | None = None, item: str | None = None) -> pl.DataFrame:
    """Return what the rules did, the rule that touched most events first.

    Args:
        dataset: folder of a finished dataset.
        rule: this one only, such as `unit_converted`.
        item: codes with this part only, such as `50912` or `LAB//50912`.

    Returns:
        A row for each rule, table, code and unit as written: rule, source_table, code, raw_unit, unit, events,
        example_subject_id, example_time, example_raw_value, example_numeric_value, example_text_value, description.

    Raises:
        SettingsError: if the folder is no dataset with such an account, or nothing in it is asked for.
    """
    path = dataset / "rules_applied.parquet"
    with dataset_errors():
        if not path.is_file():
            raise SettingsError(
                f"{dataset} has no rules_applied.parquet: it is no dataset of ehrtraj, or of a version that did not "
                "count what its rules did. Build it again"
            )
        codes = pl.read_parquet(dataset / "metadata" / "codes.parquet", columns=["code", "description"], glob=False)
        rows = pl.read_parquet(path, glob=False).join(codes, on="code", how="left", maintain_order="left")
    if rule is not None:
        rows = rows.filter(pl.col("rule") == rule)
    if item is not None:
        whole = pl.concat_str(pl.lit("//"), "code", pl.lit("//"))
        rows = rows.filter(whole.str.contains(f"//{item}//", literal=True))
    if rows.is_empty():
        raise SettingsError(f"no event of {dataset} was touched by {rule or 'a rule'}{f' at {item}' if item else ''}")
    total = pl.col("events").sum().over("rule")
    return rows.sort(total, "rule", "events", "code", descending=[True, False, True, False])


def meaning_of(rule: str) -> str:
    """Return what a rule's mark says."""
    meanings = {line["flag"]: line["meaning"] for line in rules.read_general("flags")}
    return meanings.get(rule, _SPELLED)
