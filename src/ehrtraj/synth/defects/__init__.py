"""Plants the defects of the real MIMIC-IV into synthetic tables, and says what the right event is for each.

The kinds are described in catalog/defects.csv; each theme's module says which rows a kind can hit, what it writes, and
what a reader should make of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth.defects import clocks, codes, drugs, files, links, numbers, people, results
from ehrtraj.synth.defects.canvas import ANSWERS, KEYS, Canvas
from ehrtraj.synth.defects.kinds import Kind
from ehrtraj.synth.defects.world import FIRST, World


@cache
def all_kinds() -> tuple[Kind, ...]:
    """Return every kind of defect in every table, in the order in which they are planted.

    A row takes one defect at most, so kinds that few rows can have come before those that any row can have.
    """
    themes = (people, links, codes, drugs, numbers, results, files, clocks)
    every = [kind for theme in themes for kind in theme.kinds()]
    return tuple(sorted(every, key=lambda kind: (kind.together is None, kind.one_per is None)))


def plant(
    tables: dict[str, pl.DataFrame], rng: np.random.Generator, rate: float
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Plant every kind of defect into the tables of one block of patients.

    Args:
        tables: by name, "hosp/labevents"; tables may be missing or without rows.
        rng: decides which rows are hit; the same stream gives the same defects.
        rate: for each kind, the share of the rows it can hit that it hits: 0 for none.

    Returns:
        The tables, in the same order, and the answers: a line for each defect. A column that now holds something its
        type cannot hold is text, as the file is to have it.

    Raises:
        ValueError: if the rate is not a share.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate of defects is a share between 0 and 1, not {rate}")
    world = World(tables)
    answers: dict[str, list[str | int | None]] = {name: [] for name in ANSWERS}
    if rate > 0:
        for table in [*FIRST, *(name for name in tables if name not in FIRST)]:
            if table in KEYS and table in tables and tables[table].height:
                for name, part in _plant_table(world, table, rng, rate).items():
                    answers[name] += part
    return {name: world.frames[name] for name in tables}, pl.DataFrame(answers, schema=ANSWERS)


def _plant_table(world: World, table: str, rng: np.random.Generator, rate: float) -> dict[str, list[str | int | None]]:
    canvas = Canvas(table, world.frames[table])
    for kind in all_kinds():
        if kind.table == table:
            canvas.plant(kind, rng, rate, world)
    world.finish(table, canvas.finish())
    return canvas.answers


__all__ = ["ANSWERS", "KEYS", "Kind", "all_kinds", "plant"]
