"""The tools that `peers.py` compares: the packages that each needs, and the command that converts a release."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ROOT / ".envs" / "peers"
_INSTALLED = "installed"
_VERSION = "peers"
_MEDS_ETL_SHARDS = 8


@dataclass(frozen=True)
class Job:
    """One conversion.

    Attributes:
        release: release to convert, with `hosp/` and `icu/`.
        concept_maps: folder with the concept maps of mimic-code.
        folder: new folder for all that is written.
    """

    release: Path
    concept_maps: Path
    folder: Path

    @property
    def output(self) -> Path:
        """Folder of the dataset. It does not exist, because meds_etl creates it."""
        return self.folder / "output"


@dataclass(frozen=True)
class Tool:
    """A tool that converts a release.

    Attributes:
        name: name in the table.
        requirements: packages that its environment contains; none if it is already installed.
        command: returns the command line of a conversion, after preparing its folder.
        data: subfolder of the output that contains the events.
    """

    name: str
    requirements: tuple[str, ...]
    command: Callable[[Job], list[str]]
    data: str = "data"

    @property
    def folder_name(self) -> str:
        """Name for folders and logs."""
        return self.name.lower().replace(" ", "-")

    @property
    def environment(self) -> Path:
        """Folder of its virtual environment."""
        return ENVIRONMENTS / self.folder_name

    def variables(self) -> dict[str, str]:
        """Return the environment variables that it needs: MIMIC_IV_MEDS starts programs of its environment."""
        return {"PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}"} if self.requirements else {}

    def install(self) -> None:
        """Create its environment, unless it has the same requirements already."""
        marker = self.environment / _INSTALLED
        pins = "\n".join(self.requirements)
        if not pins or (marker.is_file() and marker.read_text() == pins):
            return
        print(f"installing {', '.join(self.requirements)}", flush=True)
        shutil.rmtree(self.environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True)
        subprocess.run([str(self.environment / "bin/pip"), "install", "--quiet", *self.requirements], check=True)
        marker.write_text(pins)


def _build(ehrtraj: list[str], job: Job) -> list[str]:
    return [*ehrtraj, "build", str(job.release), "--output", str(job.output), "--trajectory-version", _VERSION]


def _mimic_iv_meds(job: Job) -> list[str]:
    """It looks for the release and the concept maps in one folder."""
    view = job.folder / "input"
    view.mkdir()
    for path in [*(path for path in job.release.iterdir() if path.is_dir()), *job.concept_maps.glob("*.csv")]:
        (view / path.name).symlink_to(path.resolve())
    program = MIMIC_IV_MEDS.environment / "bin/meds-extract-run"
    return [str(program), "spec=MIMIC-IV", f"output_dir={job.output}", "do_download=false", f"input_dir={view}"]


def _meds_etl(job: Job) -> list[str]:
    """It looks for the release in a subfolder `2.2`, whichever release it is."""
    view = job.folder / "input"
    view.mkdir()
    (view / "2.2").symlink_to(job.release.resolve())
    cpus = len(os.sched_getaffinity(0))
    options = ["--num_shards", str(_MEDS_ETL_SHARDS), "--num_proc", str(cpus), "--backend", "cpp"]
    return [str(MEDS_ETL.environment / "bin/meds_etl_mimic"), str(view), str(job.output), *options]


def ehrtraj(name: str, command: list[str]) -> Tool:
    """Return ehrtraj as installed in any environment.

    Args:
        name: name in the table.
        command: the program, such as `.venv/bin/ehrtraj`.
    """
    return Tool(name, (), partial(_build, command), f"{_VERSION}/data")


EHRTRAJ = ehrtraj("ehrtraj", [sys.executable, "-m", "ehrtraj"])
MIMIC_IV_MEDS = Tool("MIMIC_IV_MEDS", ("MIMIC_IV_MEDS==0.2.0",), _mimic_iv_meds)
# Later versions of polars do not have the reader that it uses.
MEDS_ETL = Tool("meds_etl", ("meds_etl[cpp]==0.3.11", "polars>=1.22,<1.30"), _meds_etl)
PEERS = {tool.name: tool for tool in (MIMIC_IV_MEDS, MEDS_ETL)}
