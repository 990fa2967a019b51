"""Plant defects of the real MIMIC-IV into synthetic tables, and record the correct event for each.

catalog/defects.csv describes the kinds of defects. The module of each theme defines which rows a kind can affect, what
it writes, and which event a correct build makes of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth.defects import clocks, codes, drugs, files, links, numbers, people, results
from ehrtraj.synth.defects.kinds import DefectKind
from ehrtraj.synth.defects.planter import ANSWERS, KEYS, TablePlanter
from ehrtraj.synth.defects.world import PLANTED_FIRST, World


@cache
def all_kinds() -> tuple[DefectKind, ...]:
    """Return every kind of defect in every table, in the order in which they are planted.

    A row gets at most one defect. Kinds with few eligible rows therefore come before kinds that suit any row.
    """
    themes = (people, links, codes, drugs, numbers, results, files, clocks)
    kinds = [kind for theme in themes for kind in theme.kinds()]
    return tuple(sorted(kinds, key=lambda kind: (kind.together is None, kind.one_per is None)))


def plant(
    tables: dict[str, pl.DataFrame], rng: np.random.Generator, rate: float
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Plant every kind of defect into the tables of one block of patients.

    Args:
        tables: tables by name, such as "hosp/labevents". Tables may be missing or empty.
        rng: chooses the affected rows. The same stream gives the same defects.
        rate: for each kind, the share of eligible rows that get it; 0 plants none.

    Returns:
        The tables in the same order, and the answers with one row for each defect. If a new cell does not fit the type
        of its column, the column becomes text, as it is written to the file.

    Raises:
        ValueError: if the rate is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of defects must be a share between 0 and 1, not {rate}")
    world = World(tables)
    answers: dict[str, list[str | int | None]] = {name: [] for name in ANSWERS}
    if rate > 0:
        for table in [*PLANTED_FIRST, *(name for name in tables if name not in PLANTED_FIRST)]:
            if table in KEYS and table in tables and tables[table].height:
                for name, part in _plant_table(world, table, rng, rate).items():
                    answers[name] += part
    return {name: world.frames[name] for name in tables}, pl.DataFrame(answers, schema=ANSWERS)


def _plant_table(world: World, table: str, rng: np.random.Generator, rate: float) -> dict[str, list[str | int | None]]:
    planter = TablePlanter(table, world.frames[table])
    for kind in all_kinds():
        if kind.table == table:
            planter.plant(kind, rng, rate, world)
    world.finish(table, planter.finish())
    return planter.answers


__all__ = ["ANSWERS", "KEYS", "DefectKind", "all_kinds", "plant"]
