"""Shards are committed: a marker is written when its files are complete and synced."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.pipeline.layout import new_attempt, shard_marker
from ehrtraj.pipeline.shard.commit import commit
from ehrtraj.pipeline.shard.task import ShardResult
from ehrtraj.storage.local import LocalStorage


def test_files_are_synced_before_their_shard_is_marked_as_finished(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []

    class Recording(LocalStorage):
        def move(self, source: str, target: str) -> None:
            calls.append(("move", target))
            super().move(source, target)

        def sync(self, name: str = "") -> None:
            calls.append(("sync", name))
            super().sync(name)

        def put_if_absent(self, name: str, data: bytes) -> bool:
            calls.append(("put", name))
            return super().put_if_absent(name, data)

    storage, folder = Recording(tmp_path), new_attempt("00007")
    names = ["dataset/data/train/00007.parquet", "shards/00007.codes.arrow"]
    for name in names:
        storage.write(f"{folder}/{name}", b"rows")
    record = {"shard": 7, "files": dict.fromkeys(names, 4)}
    assert commit(storage, ShardResult(folder, record)) == record
    for name in names:
        assert calls.index(("move", name)) < calls.index(("sync", name)) < calls.index(("put", shard_marker(7)))
