"""Check that a recipe uses every column of its table, or leaves it out with a reason."""

from __future__ import annotations

from collections.abc import Collection

from ehrtraj.recipes import Recipe, mentioned

_FEWEST_WORDS = 3


def problem_of_columns(recipe: Recipe, columns: Collection[str]) -> str | None:
    """Return the problem with how a recipe treats the columns of its table, or None.

    Args:
        recipe: recipe to check.
        columns: columns of its table.

    Returns:
        A sentence that names the solution, or None if every column is used or left out with a reason.
    """
    used = set().union(*(mentioned(statement.sql, columns) for statement in recipe.statements))
    if unknown := [name for name in recipe.left_out if name not in columns]:
        return f"it leaves out {', '.join(unknown)}, which is not a column of the table"
    if both := [name for name in recipe.left_out if name in used]:
        return f"it leaves out {', '.join(both)}, but uses it"
    if neither := [name for name in columns if name not in used and name not in recipe.left_out]:
        return (
            f"it neither uses nor leaves out {', '.join(neither)}: select it, or add a line "
            f"'-- left out: {', '.join(neither)} | WHY'"
        )
    if short := [name for name, why in recipe.left_out.items() if len(why.split()) < _FEWEST_WORDS]:
        return f"the reason why {', '.join(short)} is left out is too short: write a sentence"
    return None
