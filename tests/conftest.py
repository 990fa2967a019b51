"""What tests share: the hand-made release and its dataset, the demo, and a way to look up events."""

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
from ehrtraj.config import Settings
from ehrtraj.pipeline.plan.shards import plan_shards

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = [field.name.upper() for field in fields(Settings)]

Event = dict[str, Any]

# Files that take a minute or more, the slowest first. A file stays in one process, so one of them that began last would
# leave the other processors idle.
SLOW_FILES = ("test_interrupted.py", "test_faults.py", "test_fuzz.py", "test_consumers.py", "test_download_killed.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files."""
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
    """No setting of the shell that runs the tests reaches a build.

    Numbers and units are those of the source unless a test says `standardise=True`: most are about the recipes alone.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in SETTINGS:
            patch.delenv(name, raising=False)
            patch.delenv(f"EHRTRAJ_{name}", raising=False)
        patch.setenv("EHRTRAJ_STANDARDISE", "false")
        yield


@pytest.fixture(autouse=True)
def same_signals() -> Iterator[None]:
    """The command line, run in this process, handles Ctrl-C for good: no later test may end by that."""
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
    """The module `generated_pages.py`: what the generated pages of the documentation should be."""
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
    """The module `loopback_server.py`: a server that behaves as PhysioNet's, with faults on demand."""
    return _load(ROOT / "tests" / "download" / "loopback_server.py")


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
    """The hand-made release on disk, as .csv.gz. Not to be changed."""
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
    """The events of all files, in their order, files in the order of split and shard."""
    files = sorted((dataset / "data").rglob("*.parquet"))
    return pa.concat_tables([pq.read_table(f) for f in files])


@pytest.fixture(scope="session")
def read_events() -> Callable[[Path], pa.Table]:
    """Function that reads all events of a dataset as one table, in order."""
    return read_all_events


class Trajectories:
    """The events of a dataset, to be looked up. `attributes` is parsed, `flags` is a set of names."""

    def __init__(self, dataset: Path) -> None:
        self.dataset = dataset
        flags = json.loads((dataset / "metadata" / "flags.json").read_text())
        bits = {name: flag["value"] for name, flag in flags.items()}
        self.events: list[Event] = read_all_events(dataset).to_pylist()
        for event in self.events:
            event["flags"] = {name for name, bit in bits.items() if event["flags"] & bit}
            event["attributes"] = _object(event["attributes"])

    def of(self, subject: int, code: str | None = None, **equal: object) -> list[Event]:
        """A patient's events in order, of one code (ending in `//`: of all that begin so), as described."""
        return [e for e in self.events if e["subject_id"] == subject and _matches(e, code, equal)]

    def one(self, subject: int, code: str, **equal: object) -> Event:
        """The only such event."""
        found = self.of(subject, code, **equal)
        assert len(found) == 1, f"{len(found)} events {code} {equal} of {subject}: {found}"
        return found[0]


def _object(text: str | None) -> Any:
    """The JSON object of an event's attributes; what is none stays text, for a test to say so."""
    try:
        return {} if text is None else json.loads(text)
    except json.JSONDecodeError:
        return text


def _matches(event: Event, code: str | None, equal: dict[str, object]) -> bool:
    wanted = code is None or event["code"] == code or (code.endswith("//") and event["code"].startswith(code))
    return wanted and all(event[name] == value for name, value in equal.items())


@pytest.fixture(scope="session")
def trajectories_of() -> Callable[[Path], Trajectories]:
    """Function that reads a dataset to look up its events."""
    return Trajectories


@pytest.fixture(scope="session")
def built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the hand-made release, as the recipes alone make it. Not to be changed."""
    return ehrtraj.build(release, tmp_path_factory.mktemp("built"), "handmade", max_cpus=1).path


@pytest.fixture(scope="session")
def several_shards_built(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the hand-made release, standardised, in several shards. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_shards, "__defaults__", (4000,))
        built = ehrtraj.build(release, tmp_path_factory.mktemp("several"), "v1", max_cpus=1, standardise=True)
    return built.path


@pytest.fixture(scope="session")
def consumers() -> Path:
    """The `bin` folder of the environment that holds the readers of the field, which hold polars below 2."""
    folder = Path(os.environ.get("EHRTRAJ_CONSUMERS", ROOT / ".envs" / "consumers")) / "bin"
    if not (folder / "aces-cli").is_file():
        pytest.skip(f"no ACES in {folder}: `make consumers` installs it")
    return folder


@pytest.fixture(scope="session")
def demo_built(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the MIMIC-IV demo. Not to be changed."""
    return ehrtraj.build(demo, tmp_path_factory.mktemp("demo_built"), "demo", max_cpus=2, standardise=True).path


@pytest.fixture(scope="session")
def trajectories(built: Path) -> Trajectories:
    """The events of the hand-made release."""
    return Trajectories(built)


@pytest.fixture
def build_rows(handmade: ModuleType, tmp_path: Path) -> Callable[..., Trajectories]:
    """Function that builds a release of a few rows, given by table, and returns its events."""

    def build(tables: dict[str, Iterable[dict[str, Any]]], **settings: object) -> Trajectories:
        handmade.write_tables(tmp_path / "rows", tables)
        settings = {"max_cpus": 1, "overwrite": True, "allow_incomplete": True} | settings
        return Trajectories(ehrtraj.build(tmp_path / "rows", tmp_path / "out", "rows", **settings).path)

    return build
