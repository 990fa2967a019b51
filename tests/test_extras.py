"""Features that need an optional extra name it if it is not installed."""

import importlib
import sys

import pytest

from ehrtraj.errors import MissingExtraError


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ehrtraj.torch", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ehrtraj\[torch\]'") as raised:
        importlib.import_module("ehrtraj.torch")
    assert isinstance(raised.value, ImportError)


@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_starlette_or_uvicorn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delitem(sys.modules, "ehrtraj.view", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ehrtraj\[view\]'"):
        importlib.import_module("ehrtraj.view")
