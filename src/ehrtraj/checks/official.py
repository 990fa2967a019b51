"""The official schemas of MEDS, asked why they refuse something."""

from __future__ import annotations

from typing import Any

from flexible_schema.exceptions import SchemaValidationError, TableValidationError


def refusal(schema: Any, content: Any) -> str | None:  # noqa: ANN401  # classes of meds, which has no types
    """Why a schema of MEDS does not take something; None if it does.

    Args:
        schema: such as `meds.DataSchema`.
        content: an Arrow table or schema, or what a JSON file holds.
    """
    try:
        schema.validate(content)
    except (SchemaValidationError, TableValidationError) as error:
        return str(error.__cause__ or error).partition("\n")[0]
    return None
