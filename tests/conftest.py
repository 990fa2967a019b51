"""Shared fixtures: the hand-made release and its dataset, the demo, and a way to look up events."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.api import build_with
from ehrtraj.config import Settings, resolve
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import Sizes

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = [field.name.upper() for field in fields(Settings)]

Event = dict[str, Any]

# Files that take a minute or more, the slowest first. Each file runs in one process, so if one of them started last,
# the other CPU cores would be idle.
SLOW_FILES = (
    "test_interrupted.py",
    "test_faults.py",
    "test_fuzz.py",
    "test_browser.py",
    "test_slices.py",
    "test_consumers.py",
    "test_download_killed.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow files first."""
    places = {name: place for place, name in enumerate(SLOW_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(SLOW_FILES)))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Remove settings in the environment of the shell, so that they do not affect builds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
            patch.delenv(f"EHRTRAJ_{name}", raising=False)
        yield


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """Restore the signal handlers, since the command line installs handlers that would affect later tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def handmade() -> ModuleType:
    """The module `examples/handmade_release.py`."""
    return _load(ROOT / "examples" / "handmade_release.py")


@pytest.fixture(scope="session")
def generated_pages() -> ModuleType:
    """The module `generated_pages.py`, which generates pages of the documentation."""
    return _load(ROOT / "tests" / "generated_pages.py")


@pytest.fixture(scope="session")
def recipe_examples() -> ModuleType:
    """The module `recipe_examples.py`: reads, builds and writes the examples beside the recipes."""
    return _load(ROOT / "tests" / "sources" / "mimiciv" / "recipe_examples.py")


@pytest.fixture(scope="session")
def recipe_mutations() -> ModuleType:
    """The module `recipe_mutations.py`: recipes that lack a part."""
    return _load(ROOT / "tests" / "sources" / "mimiciv" / "recipe_mutations.py")


@pytest.fixture(scope="session")
def loopback() -> ModuleType:
    """The module `loopback_server.py`: a server that behaves like PhysioNet's, with faults on demand."""
    return _load(ROOT / "tests" / "download" / "loopback_server.py")


@pytest.fixture(scope="session")
def copies() -> ModuleType:
    """The module `benchmarks/copies.py`, which multiplies a release."""
    return _load(ROOT / "benchmarks" / "copies.py")


@pytest.fixture(scope="session")
def truth() -> ModuleType:
    """The module `benchmarks/truth.py`, which compares concepts with the truth of a synthetic release."""
    return _load(ROOT / "benchmarks" / "truth.py")


@pytest.fixture(scope="session")
def measured() -> ModuleType:
    """The module `benchmarks/measured.py`, which runs a command and measures it."""
    return _load(ROOT / "benchmarks" / "measured.py")


@pytest.fixture(scope="session")
def chromium() -> ModuleType:
    """The module `benchmarks/chromium.py`, which starts the viewer and Chromium."""
    pytest.importorskip("playwright", reason="no playwright: `make check` installs it")
    return _load(ROOT / "benchmarks" / "chromium.py")


@pytest.fixture(scope="session")
def style() -> ModuleType:
    """The module `style.py`: it finds words that the project does not use."""
    return _load(ROOT / "tests" / "style.py")


@pytest.fixture(scope="session")
def release_mutations() -> ModuleType:
    """The module `release_mutations.py`: seeded damage to the files of a release."""
    return _load(ROOT / "tests" / "release_mutations.py")


@pytest.fixture(scope="session")
def mutations() -> ModuleType:
    """The module `mutations.py`: seeded mutations of text files."""
    return _load(ROOT / "tests" / "mutations.py")


@pytest.fixture(scope="session")
def release(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made release on disk, as .csv.gz. Tests must not change it."""
    folder = tmp_path_factory.mktemp("release") / "mimiciv" / "3.1"
    handmade.write_release(folder)
    return folder


@pytest.fixture(scope="session")
def demo() -> Path:
    """The MIMIC-IV demo 2.2."""
    given = os.environ.get("EHRTRAJ_MIMIC_DEMO")
    folder = Path(given) if given else ROOT.parent / "shared" / "mimic-iv-demo"
    if not (folder / "hosp").is_dir():
        pytest.skip(
            f"the MIMIC-IV demo is not in {folder}: download it from "
            "physionet.org/content/mimic-iv-demo/2.2 and name its folder in EHRTRAJ_MIMIC_DEMO"
        )
    return folder


def read_all_events(dataset: Path) -> pa.Table:
    """Return the events of all files in order, with the files in the order of split and shard."""
    files = sorted((dataset / "data").rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(f) for f in files])


@pytest.fixture(scope="session")
def read_events() -> Callable[[Path], pa.Table]:
    """Return a function that reads all events of a dataset as one table, in order."""
    return read_all_events


class Trajectories:
    """Lookup of a dataset's events. `attributes` is parsed, `flags` is a set of names."""

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset
        flags = json.loads((dataset / "metadata" / "flags.json").read_text())
        bits = {name: flag["value"] for name, flag in flags.items()}
        self.events: list[Event] = read_all_events(dataset).to_pylist()
        for event in self.events:
            event["flags"] = {name for name, bit in bits.items() if event["flags"] & bit}
            event["attributes"] = _object(event["attributes"])

    def of(self, subject: int, code: str | None = None, **equal: object) -> list[Event]:
        """Return a patient's events in order, filtered by values and by code (a code that ends in `//` is a prefix)."""
        return [e for e in self.events if e["subject_id"] == subject and _matches(e, code, equal)]

    def one(self, subject: int, code: str, **equal: object) -> Event:
        """Return the only matching event."""
        found = self.of(subject, code, **equal)
        assert len(found) == 1, f"{len(found)} events {code} {equal} of {subject}: {found}"
        return found[0]


def _object(text: str | None) -> Any:
    """Return the JSON object of an event's attributes; invalid JSON stays text, so that a test can report it."""
    try:
        return {} if text is None else json.loads(text)
    except json.JSONDecodeError:
        return text


def _matches(event: Event, code: str | None, equal: dict[str, object]) -> bool:
    wanted = code is None or event["code"] == code or (code.endswith("//") and event["code"].startswith(code))
    return wanted and all(event[name] == value for name, value in equal.items())


@pytest.fixture(scope="session")
def trajectories_of() -> Callable[[Path], Trajectories]:
    """Return a function that reads a dataset to look up its events."""
    return Trajectories


@pytest.fixture(scope="session")
def built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the hand-made release. Tests must not change it."""
    return ehrtraj.build(release, tmp_path_factory.mktemp("built"), "handmade", max_cpus=1).path


def _build_sized(
    sizes: Sizes, data_dir: Path, output: Path, trajectory_version: str, **settings: object
) -> ehrtraj.BuildResult:
    given = {"data_dir": data_dir, "output": output, "trajectory_version": trajectory_version}
    resolved, origins = resolve(given | settings)
    return build_with(resolved, Reporter(), origins, sizes=sizes)


@pytest.fixture(scope="session")
def build_sized() -> Callable[..., ehrtraj.BuildResult]:
    """Function that builds as `ehrtraj.build` does, with `Sizes` before all other arguments."""
    return _build_sized


@pytest.fixture(scope="session")
def several_shards_built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the hand-made release, in several shards. Tests must not change it."""
    output = tmp_path_factory.mktemp("several")
    return _build_sized(Sizes(shard_rows=4000), release, output, "v1", max_cpus=1).path


@pytest.fixture(scope="session")
def consumers() -> Path:
    """The `bin` folder of the environment with other MEDS tools, which require polars below 2."""
    folder = Path(os.environ.get("EHRTRAJ_CONSUMERS", ROOT / ".envs" / "consumers")) / "bin"
    if not (folder / "aces-cli").is_file():
        pytest.skip(f"no ACES in {folder}: `make consumers` installs it")
    return folder


@pytest.fixture(scope="session")
def neighbours() -> Path:
    """The `bin` folder of the environment with larger MEDS tools, which is not part of `make test`."""
    folder = Path(os.environ.get("EHRTRAJ_NEIGHBOURS", ROOT / ".envs" / "neighbours")) / "bin"
    if not (folder / "MEDS_transform-pipeline").is_file():
        pytest.skip(f"no MEDS-transforms in {folder}: `make neighbours` installs it")
    return folder


@pytest.fixture(scope="session")
def demo_built(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the MIMIC-IV demo. Tests must not change it."""
    return ehrtraj.build(demo, tmp_path_factory.mktemp("demo_built"), "demo", max_cpus=2).path


@pytest.fixture(scope="session")
def trajectories(built: Path) -> Trajectories:
    """The events of the hand-made release."""
    return Trajectories(built)


@pytest.fixture
def build_rows(handmade: ModuleType, tmp_path: Path) -> Callable[..., Trajectories]:
    """Return a function that builds a release with a few rows, given by table, and returns its events."""

    def build(tables: dict[str, Iterable[dict[str, Any]]], **settings: object) -> Trajectories:
        handmade.write_tables(tmp_path / "rows", tables)
        settings = {"max_cpus": 1, "overwrite": True, "allow_incomplete": True} | settings
        return Trajectories(ehrtraj.build(tmp_path / "rows", tmp_path / "out", "rows", **settings).path)

    return build
