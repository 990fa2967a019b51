"""The program of the guide to the classic study, on a synthetic release and on the demo."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.labels import label
from ehrtraj.synth.run import synth

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guides" / "classic-study.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
(PRINTED,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(autouse=True)
def packages() -> None:
    for package in ("sklearn", "tableone"):
        pytest.importorskip(package, reason=f"{package} is in the extra [dev]")


def run_program(dataset: Path, folder: Path) -> tuple[str, dict[str, object]]:
    """Return what the program prints, and its variables."""
    (folder / "trajectories").mkdir()
    (folder / "trajectories" / "v1").symlink_to(dataset)
    variables: dict[str, object] = {}
    printed = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="tableone")
        exec(compile(PROGRAM, "<page>", "exec"), variables)
    return re.sub(r"[ \t]+$", "", printed.getvalue(), flags=re.M), variables


def test_the_program_is_short() -> None:
    lines = [line for line in PROGRAM.splitlines() if line.strip()]
    assert len(lines) <= 15
    assert max(map(len, lines)) <= 100
    assert not any(";" in line for line in lines)
    # Each line is a statement.
    for line in lines:
        compile(line, "<line>", "single")


def test_the_page_shows_what_the_program_prints_on_the_demo(demo_built: Path, tmp_path: Path) -> None:
    printed, variables = run_program(demo_built, tmp_path)
    assert printed == PRINTED
    cohort = variables["cohort"]
    labels = label(ehrtraj.open(demo_built), "in_hospital_mortality_first_icu").with_stays
    found = cohort.frame.select("subject_id", "hadm_id", "stay_id", "hospital_died")
    assert found.rows() == labels.select("subject_id", "hadm_id", "stay_id", "boolean_value").rows()
    assert (found.height, found["hospital_died"].sum()) == (98, 10)


def test_the_program_runs_on_a_synthetic_release(tmp_path: Path) -> None:
    release = synth(tmp_path / "release", patients=300, max_cpus=1).path
    built = ehrtraj.build(release, tmp_path / "built", "v1", max_cpus=2).path
    (tmp_path / "run").mkdir()
    printed, variables = run_program(built, tmp_path / "run")
    assert re.search(r"^ICU stays +\d+ stays of \d+ patients$", printed, re.M)
    assert 0 <= float(re.search(r"^AUROC ([\d.]+)$", printed, re.M)[1]) <= 1
    features, cohort = variables["X"], variables["cohort"]
    assert features.shape == (len(cohort), 51)
    assert features["heart_rate_count"].sum() > len(cohort)
    assert 0 < cohort.frame["hospital_died"].sum() < len(cohort)
