"""The tutorial notebook: it runs from the first cell to the last, and shows objects as HTML."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = ROOT / "examples" / "tutorial.ipynb"


def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    notebook = nbformat.read(TUTORIAL, as_version=4)
    folder = tmp_path / "notebook"
    folder.mkdir()
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in cells if not cell.outputs] == []
    shown = [output.data["text/html"] for cell in cells for output in cell.outputs if "data" in output]
    for title in ("Build of v1", "patients by split", "Patient 1000", "<iframe", "Cohort of"):
        assert any(title in html for html in shown), title
    assert [path.name for path in folder.iterdir()] == ["tutorial"]


def test_the_tutorial_is_stored_without_outputs() -> None:
    text = TUTORIAL.read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if "outputs" in cell)
    assert text == nbformat.writes(notebook, indent=1) + "\n"
