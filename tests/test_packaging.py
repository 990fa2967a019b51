"""The published packages: the sdist, the wheel built from it, and the wheel installed in a new environment."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

from ehrtraj.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ehrtraj"
WHEEL = f"ehrtraj-{__version__}-py3-none-any.whl"
SDIST = f"ehrtraj-{__version__}.tar.gz"

needs_build = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("build", "hatchling")),
    reason="build and hatchling are not installed: pip install '.[dev]'",
)


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without the settings of the tests and Python's paths; return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EHRTRAJ_", "PYTHON", "COV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist and the wheel built from it, as `make dist` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the commands of a new environment in which the wheel is installed.

    It uses the dependencies of the environment that runs the tests, so that nothing is downloaded. It does not use the
    ehrtraj of that environment: the new environment is first in the path, and Python does not read `.pth` files in a
    folder that another `.pth` file added.
    """
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (commands / "python", "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", "--no-compile", dist / WHEEL, cwd=folder)
    site = run(commands / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    shared = [path for path in sys.path if Path(path).name == "site-packages"]
    (Path(site) / "dependencies.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    return commands


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@needs_build
def test_the_wheel_contains_the_complete_package(dist: Path) -> None:
    packaged = {name: data for name, data in contents(dist / WHEEL).items() if name.startswith("ehrtraj/")}
    expected = {
        f"ehrtraj/{path.relative_to(PACKAGE).as_posix()}": path.read_bytes()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packaged == expected
    assert {Path(name).suffix for name in packaged} >= {".csv", ".py", ".sql", ".toml", ".txt", ".typed", ".yaml"}


@needs_build
def test_the_sdist_and_the_clone_build_the_same_wheel(dist: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    assert contents(tmp_path / WHEEL) == contents(dist / WHEEL)


@needs_build
def test_the_sdist_contains_only_the_listed_files(dist: Path) -> None:
    with tarfile.open(dist / SDIST) as file:
        top = {Path(name).parts[1] for name in file.getnames()}
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(config["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"])
    always = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
    assert top - always == listed


@needs_build
def test_an_installed_wheel_runs_the_demo_and_opens_its_dataset(installed: Path, tmp_path: Path) -> None:
    output = run(installed / "ehrtraj", "demo", "--patients", "40", "--max-cpus", "1", cwd=tmp_path)
    assert "ehrtraj-demo" in output
    opened = run(
        installed / "python",
        "-c",
        "import ehrtraj; print(ehrtraj.__file__); print(len(ehrtraj.open('ehrtraj-demo/trajectories/v1')))",
        cwd=tmp_path,
    )
    file, patients = opened.splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert int(patients) == 40


def test_the_citation_file_describes_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["title"] == project["name"]
    assert citation["license"] == project["license"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in project["authors"]]
    assert citation["keywords"] == project["keywords"]
