"""Time a download over one connection and over several from a server that throttles each, in turn, in one run.

    python benchmarks/download.py [--megabytes 10] [--kilobytes-per-second 50] [--connections 8] [--kills 0]

The server is tests/download/loopback_server.py in a separate process. Each of its connections is as slow as PhysioNet's
were measured to be. One half of the release is one large file, which is downloaded in several ranges at once; the other
half is smaller files. If wget is installed, it downloads the same files for comparison. With --kills N the command is
killed N times by SIGKILL at random moments, and the bytes that the server sent are compared with the size. Quote the
ratios. With few megabytes, the start and the last block weigh more than they would in a real release.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from ehrtraj.download.verify import verify

PASSWORD = "not-a-secret"


def loopback() -> ModuleType:
    """The module of the tests' server."""
    path = Path(__file__).resolve().parents[1] / "tests" / "download" / "loopback_server.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def make_release(folder: Path, size: int) -> list[str]:
    """Random files of `size` bytes together: one half, four eighths."""
    parts = {"icu/chartevents.csv.gz": size // 2} | {f"hosp/table{i}.csv.gz": size // 8 for i in range(4)}
    for path, count in parts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(random.randbytes(count))
    loopback().write_sums(folder)
    return list(parts)


def serve(root: Path, speed: int, channel: Connection) -> None:
    """Serve until told to stop; answers each other word with the bytes sent so far."""
    with loopback().LoopbackServer(root, password=PASSWORD, bytes_per_second=speed) as server:
        channel.send(server.url)
        while channel.recv() != "stop":
            channel.send(sum(n for path, n in server.sent.items() if not path.endswith("SHA256SUMS.txt")))


def start(url: str, to: Path, connections: int) -> subprocess.Popen[bytes]:
    """The command as a process."""
    options = ["--to", str(to), "--base-url", url, "--user", "someone", "--connections", str(connections)]
    return subprocess.Popen(
        [sys.executable, "-m", "ehrtraj", "download", "mimiciv", *options],
        env=os.environ | {"PHYSIONET_PASSWORD": PASSWORD, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def timed(url: str, work: Path, connections: int) -> float:
    """Seconds of one download, which is verified."""
    begun = time.monotonic()
    if start(url, work, connections).wait():
        raise SystemExit("the download failed")
    seconds = time.monotonic() - begun
    if not verify(work / "physionet.org/files/mimiciv/3.1").is_complete:
        raise SystemExit("the download is not whole")
    shutil.rmtree(work)
    return seconds


def timed_wget(url: str, work: Path, paths: list[str]) -> float:
    """Seconds of wget with the same files."""
    work.mkdir()
    begun = time.monotonic()
    account = ["--user", "someone", "--password", PASSWORD]
    subprocess.run(["wget", "-q", "-x", *account, *(f"{url}/mimiciv/3.1/{p}" for p in paths)], cwd=work, check=True)
    return time.monotonic() - begun


def killed(url: str, work: Path, connections: int, kills: int, expected: float, sent: Callable[[], int]) -> int:
    """Kill it so often, then let it end.

    Args:
        url: of the server.
        work: folder to fetch into.
        connections: open at once.
        kills: how many.
        expected: seconds that it takes when it is left alone.
        sent: how many bytes of files the server has sent.

    Returns:
        Bytes that the server sent for it.
    """
    at_first = sent()
    for _ in range(kills):
        before = sent()
        process = start(url, work, connections)
        while sent() == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 1.5 * expected / kills))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            print("it ended before it could be killed: more megabytes are needed", file=sys.stderr)
    if start(url, work, connections).wait() or not verify(work / "physionet.org/files/mimiciv/3.1").is_complete:
        raise SystemExit("the download is not whole")
    return sent() - at_first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--kilobytes-per-second", type=float, default=50)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    size = int(given.megabytes * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "server"
        paths = make_release(root / "mimiciv" / "3.1", size)
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve, args=(root, int(given.kilobytes_per_second * 1e3), theirs))
        server.start()
        url = ours.recv()
        many = timed(url, Path(folder) / "many", given.connections)
        one = timed(url, Path(folder) / "one", 1)
        found: dict[str, object] = {
            "bytes": size,
            "seconds_one": round(one, 1),
            f"seconds_{given.connections}": round(many, 1),
            "share_of_one": round(many / one, 3),
        }
        if shutil.which("wget"):
            wget = timed_wget(url, Path(folder) / "wget", paths)
            found |= {"seconds_wget": round(wget, 1), "share_of_wget": round(many / wget, 3)}
        if given.kills:

            def sent() -> int:
                ours.send("how many")
                return int(ours.recv())

            fetched = killed(url, Path(folder) / "killed", given.connections, given.kills, many, sent)
            found |= {"kills": given.kills, "fetched_of_size": round(fetched / size, 4)}
        ours.send("stop")
        server.join()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
