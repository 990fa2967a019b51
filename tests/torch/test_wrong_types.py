"""Arguments of a wrong type are explained.

PyTorch is in the environment that `make consumers` creates, in which `make test` runs this file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.errors import EhrtrajError

pytest.importorskip("torch", reason="PyTorch is in the environment of `make consumers`")

from ehrtraj.torch import TokenDataset, TokenForm, TokenVocabulary, TrajectoryDataset, Vocabulary

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "TrajectoryDataset": TrajectoryDataset,
    "TokenDataset": TokenDataset,
    "TokenForm": TokenForm,
    "Vocabulary.fit": Vocabulary.fit,
    "Vocabulary.load": Vocabulary.load,
    "TokenVocabulary.fit": TokenVocabulary.fit,
    "TokenVocabulary.load": TokenVocabulary.load,
}
CASES = [
    (name, parameter) for name, function in FUNCTIONS.items() for parameter in inspect.signature(function).parameters
]


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_wrong_type_is_explained(name: str, parameter: str, built: Path) -> None:
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    needed = {one: ehrtraj.open(built) for one in parameters if one == "dataset"}
    refused = 0
    for value in (None, object(), 1.5, [object()], pl.DataFrame({"code": ["a"]})):
        if value is parameters[parameter].default:
            continue
        try:
            FUNCTIONS[name](**needed | {parameter: value})
        except EhrtrajError as error:
            refused += 1
            assert parameter in str(error), f"{value!r}: {error}"
    assert refused, "nothing is checked"


def test_the_lengths_of_a_split_are_checked() -> None:
    with pytest.raises(EhrtrajError, match=r"split of 'LAB//\*' is 3: it must be a list of whole numbers"):
        TokenForm(split={"LAB//*": 3})
