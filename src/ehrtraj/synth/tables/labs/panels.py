"""Panels of laboratory items as arrays: the occasions on which they are ordered, and their tubes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.tables.labs.items import read_items

OCCASIONS = ("ed", "ed_again", "direct", "morning", "later", "icu", "line", "vent", "clinic")
"""Columns of lab_panels.csv: on arrival in the ED, and some hours later; on arrival on a ward without the ED; every
morning in hospital, and later in the day; in the ICU; from an arterial line without and with ventilation; in clinic."""
ED, ED_AGAIN, DIRECT, MORNING, LATER, ICU, LINE, VENT, CLINIC = range(len(OCCASIONS))


@dataclass(frozen=True)
class Panels:
    """The lines of lab_panels.csv."""

    chance: Floats
    """[occasions, panels]"""
    factor: Floats
    """[causes, panels]: logarithms of factors, in the order of catalog.causes()."""
    parent: Ints
    """Panel without which it is not ordered, or -1."""
    family: Bools
    """[panels, panels]: panels that may be ordered when only one panel (the row) is due."""
    every: Floats
    """[illnesses, panels]: hours between repetitions on the first day; 0 if the panel is not repeated."""
    tube: Ints
    tubes: pl.Series
    item_panel: Ints
    """The first panel that contains the item."""
    more: tuple[tuple[int, int], ...]
    """Pairs of an item and a further panel that contains it."""
    item_tube: Ints
    item_minutes: Floats
    """Typical number of minutes from taking a specimen to storing its results."""


@cache
def read_panels() -> Panels:
    """Return lab_panels.csv as arrays."""
    table = catalog.read("lab_panels.csv")
    names = {name: number for number, name in enumerate(table["panel"])}
    parent = np.array([-1 if name is None else names[name] for name in table["only_with"]], dtype=np.int64)
    family = np.eye(table.height, dtype=bool)
    for panel, above in enumerate(parent):
        if above >= 0:
            family[:, panel] |= family[:, above]
    listed = [[names[name] for name in text.split()] for text in read_items().table["panels"]]
    item_panel = np.array([panels[0] for panels in listed], dtype=np.int64)
    tubes = table["tube"].unique(maintain_order=True)
    tube = np.array([tubes.to_list().index(name) for name in table["tube"]], dtype=np.int64)
    every = np.exp(_of_causes(table["every"], catalog.illnesses(), missing=-np.inf))
    return Panels(
        chance=table.select(OCCASIONS).cast(pl.Float64).to_numpy().T,
        factor=_of_causes(table["liked_by"], catalog.causes(), missing=0.0),
        parent=parent,
        family=family,
        every=every,
        tube=tube,
        tubes=tubes,
        item_panel=item_panel,
        more=tuple((item, panel) for item, panels in enumerate(listed) for panel in panels[1:]),
        item_tube=tube[item_panel],
        item_minutes=table["minutes"].cast(pl.Float64).to_numpy()[item_panel],
    )


def _of_causes(column: pl.Series, causes: tuple[str, ...], *, missing: float) -> Floats:
    """Parse cells such as `cause:number cause:number`; return [causes, panels]: logarithms of the numbers."""
    logs = np.full((len(causes), len(column)), missing)
    for panel, text in enumerate(column.fill_null("")):
        for word in text.split():
            cause, number = word.split(":")
            logs[causes.index(cause), panel] = np.log(max(float(number), 1e-9))
    return logs
