"""Validation with the official schemas of MEDS."""

from __future__ import annotations

from typing import Any

from flexible_schema.exceptions import SchemaValidationError, TableValidationError


def refusal(schema: Any, content: Any) -> str | None:  # noqa: ANN401  # classes of meds, which has no types
    """Return why a schema of MEDS rejects something, or None if it is valid.

    Args:
        schema: a schema such as `meds.DataSchema`.
        content: an Arrow table or schema, or the content of a JSON file.
    """
    try:
        schema.validate(content)
    except (SchemaValidationError, TableValidationError) as error:
        return str(error.__cause__ or error).partition("\n")[0]
    return None
