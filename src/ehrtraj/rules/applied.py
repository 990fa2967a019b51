"""Read `rules_applied.parquet`, which records what the rules changed in a dataset."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj import rules
from ehrtraj.errors import SettingsError
from ehrtraj.paths import dataset_errors
from ehrtraj.suggestions import did_you_mean


def read_applied(dataset: Path, rule: str | None = None, item: str | None = None) -> pl.DataFrame:
    """Return what the rules did, beginning with the rule that affected most events.

    Args:
        dataset: folder of a complete dataset.
        rule: return only this rule, such as `unit_converted`.
        item: return only codes with this part, such as `50912` or `LAB//50912`.

    Returns:
        A row for each rule, table, code and unit as written: rule, source_table, code, raw_unit, unit, events,
        example_subject_id, example_time, example_raw_value, example_numeric_value, example_text_value, description.

    Raises:
        SettingsError: if the folder is not a dataset with such a file, or no row matches.
    """
    path = dataset / "rules_applied.parquet"
    with dataset_errors():
        if not path.is_file():
            raise SettingsError(
                f"{dataset} has no rules_applied.parquet: it is not a dataset of ehrtraj, or was built by a version "
                "that did not record what its rules did. Build it again"
            )
        codes = pl.read_parquet(dataset / "metadata" / "codes.parquet", columns=["code", "description"], glob=False)
        rows = pl.read_parquet(path, glob=False).join(codes, on="code", how="left", maintain_order="left")
    if rule is not None:
        known = [line["flag"] for line in rules.read_general("flags")]
        if rule not in known and rule not in rows["rule"]:
            raise SettingsError(f"there is no rule '{rule}'{did_you_mean(rule, known)}: `ehrtraj flags` lists all")
        rows = rows.filter(pl.col("rule") == rule)
    if item is not None:
        delimited = pl.concat_str(pl.lit("//"), "code", pl.lit("//"))
        rows = rows.filter(delimited.str.contains(f"//{item}//", literal=True))
    if rows.is_empty():
        raise SettingsError(f"{rule or 'a rule'} affected no event{f' of {item}' if item else ''} in {dataset}")
    total = pl.col("events").sum().over("rule")
    return rows.sort(total, "rule", "events", "code", descending=[True, False, True, False])


def meaning_of(rule: str) -> str:
    """Return the meaning of a rule's flag."""
    meanings = {line["flag"]: line["meaning"] for line in rules.read_general("flags")}
    return meanings.get(rule, rules.SPELLED)
