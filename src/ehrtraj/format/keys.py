"""Integers for text keys: events identify patients, encounters and rows by int64, whatever type the source uses.

A key's number is the lowest 53 bits of its MD5: the same in every release and on every machine, and exact as a float64,
into which pandas turns integer columns with nulls. Two of a million keys share a number with a probability of 6e-5,
two of ten million with 0.6 %; for patients, the build refuses that.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MACRO = "CREATE OR REPLACE MACRO number_of(txt) AS CAST(md5_number_lower(txt) & 9007199254740991 AS BIGINT)"
"""The same in SQL, for recipes: `number_of(visit_id) AS hadm_id`."""

_MASK = (1 << 53) - 1


def number_of(key: str) -> int:
    """Return the number of one key."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[8:], "little") & _MASK


def numbers_of(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the int64 of each key: the number of a text, an integer as it is, null for null."""
    if not pa.types.is_string(keys.type):
        return keys.cast(pa.int64())
    # Rows of a patient are usually next to each other, so each distinct key of a block is hashed only once.
    encoded = keys.combine_chunks().dictionary_encode()
    numbers = pa.array(np.array([number_of(key) for key in encoded.dictionary.to_pylist()], np.int64))
    return pa.chunked_array([pc.take(numbers, encoded.indices)])
