"""Seeded damage to small releases: a build ends with a message, or with a dataset whose undamaged rows are right.

EHRTRAJ_FUZZ_SECONDS sets the duration (20 by default), EHRTRAJ_FUZZ_SEED the first seed.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.checks.run import check
from ehrtraj.errors import EhrtrajError, ReleaseError
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.synth.run import synth

Build = Callable[..., ehrtraj.BuildResult]

# So that the eight patients are in several shards.
SMALL = Sizes(shard_rows=4000)
SECONDS = float(os.environ.get("EHRTRAJ_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("EHRTRAJ_FUZZ_SEED", "1"))
# Minimum share of builds that must give a dataset; otherwise the mutations would test only messages.
DATASETS = 0.7
REASONS = {
    "broken_quote",
    "exact_duplicate",
    "not_a_number",
    "not_a_time",
    "no_subject_id",
    "not_utf8",
    "nul_byte",
    "wrong_number_of_fields",
}
"""Reasons for rejected rows that the mutations must cause, each at least once."""

VARIANTS: tuple[dict[str, Any], ...] = (
    {"standardise": True},
    {"standardise": False, "notes": "separate"},
    {"standardise": True, "clock": "available"},
)


@dataclass
class Base:
    """A clean release with its dataset."""

    mutator: Any
    events: dict[int, dict[int, pl.DataFrame]]


@dataclass
class Tally:
    """Counts of the results of many builds."""

    builds: int = 0
    datasets: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


def events_by_patient(dataset: Path) -> dict[int, pl.DataFrame]:
    files = [pl.read_parquet(path) for path in sorted((dataset / "data").rglob("*.parquet"))]
    return {key[0]: rows for key, rows in pl.concat(files).partition_by("subject_id", as_dict=True).items()}


@pytest.fixture(scope="module")
def bases(
    handmade: ModuleType,
    release_mutations: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
    build_sized: Build,
) -> list[Base]:
    """The hand-made release, and a synthetic one with many more rows and notes per patient."""
    folder = tmp_path_factory.mktemp("fuzz")
    handmade.write_release(folder / "handmade", plain=True)
    packed = synth(folder / "packed", patients=5, seed=SEED, max_cpus=1).path
    for path in packed.rglob("*.csv.gz"):
        target = folder / "synth" / path.relative_to(packed).with_suffix("")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(gzip.decompress(path.read_bytes()))
    return [
        _base(release_mutations, build_sized, folder / name, folder / f"{name}-built") for name in ("handmade", "synth")
    ]


def _base(release_mutations: ModuleType, build: Build, release: Path, output: Path) -> Base:
    events = {}
    for number, settings in enumerate(VARIANTS):
        built = build(SMALL, release, output, f"v{number}", max_cpus=1, **settings)
        assert not check(built.path, max_cpus=1).broken
        events[number] = events_by_patient(built.path)
    return Base(release_mutations.Mutator(release_mutations.read_release(release), random.Random(SEED)), events)


def _rounds(kinds_there_are: list[str], dice: random.Random) -> Iterator[list[str]]:
    """Yield the mutations of each build: in every round, each kind once, alone or with others."""
    while True:
        kinds = list(kinds_there_are)
        # Cells can be broken in many ways, and quotes are the most difficult damage.
        kinds += ["cell"] * 6 + ["stray_quote"] * 4 + ["identifier"] * 2
        dice.shuffle(kinds)
        while kinds:
            yield [kinds.pop() for _ in range(min(len(kinds), dice.choice([1, 1, 2, 4])))]


def test_damaged_releases(bases: list[Base], release_mutations: ModuleType, build_sized: Build, tmp_path: Path) -> None:
    dice, tally, begun = random.Random(SEED), Tally(), time.monotonic()
    rounds = _rounds(list(release_mutations.KINDS), dice)
    # Even a slow machine must run enough builds for every kind of damage.
    while time.monotonic() - begun < SECONDS or tally.builds < 32:
        base, variant = dice.choice(bases), dice.randrange(len(VARIANTS))
        _build_damaged(build_sized, base, variant, next(rounds), tmp_path / "work", tally)
    print(f"{tally}")
    assert tally.datasets >= DATASETS * tally.builds, tally
    assert tally.errors[ReleaseError.__name__], tally
    assert not REASONS - set(tally.reasons), tally


def _build_damaged(build: Build, base: Base, variant: int, kinds: list[str], work: Path, tally: Tally) -> None:
    shutil.rmtree(work, ignore_errors=True)
    damage, records = base.mutator.damage(kinds, work / "release")
    tally.builds += 1
    settings = {"max_cpus": 1, "allow_incomplete": True} | VARIANTS[variant]
    try:
        result = build(SMALL, work / "release", work, "v1", **settings)
    except EhrtrajError as error:
        tally.errors[type(error).__name__] += 1
        assert damage.everyone or _may_fail(str(error)), (damage.did, str(error))
        assert not (work / "v1").exists()
        return
    tally.datasets += 1
    report = check(result.path, max_cpus=1)
    assert not report.broken, (damage.did, report.broken)
    for name, count in records.items():
        if name in result.ledger and name not in damage.raw:
            assert result.ledger[name].read == count, (damage.did, name)
    for entry in result.ledger.values():
        tally.reasons.update(entry.rejected)
    if not damage.everyone:
        _compare(base, variant, result.path, damage)


def _may_fail(message: str) -> bool:
    """Return whether damage to rows may end a build: only if a key table has no rows left, or the file is truncated."""
    return "ends early" in message or "no patient" in message


def _compare(base: Base, variant: int, dataset: Path, damage: Any) -> None:
    """Check that patients without damage keep every event, in every column."""
    built = events_by_patient(dataset)
    clean = base.events[variant]
    untouched = clean.keys() - damage.touched
    for subject in untouched:
        assert subject in built, (damage.did, subject)
        assert built[subject].equals(clean[subject]), (damage.did, subject)
