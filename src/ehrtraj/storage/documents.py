"""Small JSON files in a storage."""

from __future__ import annotations

import json
from typing import Any

from ehrtraj.storage.base import Storage


def as_json(content: object, indent: int = 1) -> bytes:
    """Bytes of a JSON file. What JSON does not know, such as paths and dates, becomes text."""
    return (json.dumps(content, indent=indent, default=str) + "\n").encode()


def write_document(storage: Storage, name: str, content: object) -> None:
    """Write a JSON file, or replace it.

    Raises:
        OSError: if it cannot be written.
    """
    storage.write(name, as_json(content))


def read_document(storage: Storage, name: str) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none, or where a power cut left something else.

    Raises:
        OSError: if it cannot be read.
    """
    data = storage.read(name)
    try:
        content = None if data is None else json.loads(data)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
