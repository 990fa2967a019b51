"""Join labels to the stays of a cohort."""

from __future__ import annotations

import polars as pl

from ehrtraj.errors import SettingsError

_LABEL = ("prediction_time", "boolean_value")
_NARROWEST_FIRST = ("stay_id", "hadm_id")


def join_labels(frame: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return the stays with their labels; see `Cohort.with_labels`.

    Raises:
        SettingsError: if a stay has several labels, or stays and labels have no common column.
    """
    if missing := [name for name in ("subject_id", *_LABEL) if name not in labels.columns]:
        raise SettingsError(f"the labels have no column {missing[0]}: pass label(ds, task).with_stays")
    key = next((name for name in _NARROWEST_FIRST if _has(frame, name) and _has(labels, name)), None)
    if key is None:
        raise SettingsError(
            "stays and labels have neither stay_id nor hadm_id in common: pass label(ds, task).with_stays"
        )
    keys = ["subject_id", key]
    used = labels.filter(pl.col(key).is_not_null()).select(*keys, *_LABEL).join(frame, on=keys, how="semi")
    if (twice := used.filter(pl.struct(keys).is_duplicated())).height:
        raise SettingsError(f"{key} {twice[key][0]} has several labels: keep one label of each stay")
    return frame.drop(_LABEL, strict=False).join(used, on=keys, how="left", maintain_order="left")


def _has(frame: pl.DataFrame, name: str) -> bool:
    return name in frame.columns and frame[name].null_count() < frame.height
