"""Small JSON files in a storage."""

from __future__ import annotations

import json
from typing import Any

from ehrtraj.storage.base import Storage


def as_json(content: object, indent: int = 1) -> bytes:
    """Return the bytes of a JSON file. Values without a JSON type, such as paths and dates, become strings."""
    return (json.dumps(content, indent=indent, default=str) + "\n").encode()


def write_document(storage: Storage, name: str, content: object) -> None:
    """Write a JSON file, or replace it.

    Raises:
        OSError: if it cannot be written.
    """
    storage.write(name, as_json(content))


def read_document(storage: Storage, name: str) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file is missing or, after a power failure, damaged.

    Raises:
        OSError: if the file cannot be read.
    """
    data = storage.read(name)
    try:
        content = None if data is None else json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
