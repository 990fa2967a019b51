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
    """Return the module of the test server."""
    path = Path(__file__).resolve().parents[1] / "tests" / "download" / "loopback_server.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def make_release(folder: Path, size: int) -> list[str]:
    """Write random files of `size` bytes in total: one with half of them, four with an eighth each."""
    parts = {"icu/chartevents.csv.gz": size // 2} | {f"hosp/table{i}.csv.gz": size // 8 for i in range(4)}
    for path, count in parts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(random.randbytes(count))
    loopback().write_sums(folder)
    return list(parts)


def serve(root: Path, speed: int, channel: Connection) -> None:
    """Serve until the message "stop" arrives; answer any other message with the number of bytes sent so far."""
    with loopback().LoopbackServer(root, password=PASSWORD, bytes_per_second=speed) as server:
        channel.send(server.url)
        while channel.recv() != "stop":
            channel.send(sum(n for path, n in server.sent.items() if not path.endswith("SHA256SUMS.txt")))


def start(url: str, to: Path, connections: int) -> subprocess.Popen[bytes]:
    """Start the download command in a separate process."""
    options = ["--to", str(to), "--base-url", url, "--user", "someone", "--connections", str(connections)]
    return subprocess.Popen(
        [sys.executable, "-m", "ehrtraj", "download", "mimiciv", *options],
        env=os.environ | {"PHYSIONET_PASSWORD": PASSWORD, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def timed(url: str, work: Path, connections: int) -> float:
    """Return the seconds that a download takes, and verify it."""
    begun = time.monotonic()
    if start(url, work, connections).wait():
        raise SystemExit("the download failed")
    seconds = time.monotonic() - begun
    if not verify(work / "physionet.org/files/mimiciv/3.1").is_complete:
        raise SystemExit("the download is incomplete")
    shutil.rmtree(work)
    return seconds


def timed_wget(url: str, work: Path, paths: list[str]) -> float:
    """Return the seconds that wget takes for the same files."""
    work.mkdir()
    begun = time.monotonic()
    credentials = ["--user", "someone", "--password", PASSWORD]
    subprocess.run(["wget", "-q", "-x", *credentials, *(f"{url}/mimiciv/3.1/{p}" for p in paths)], cwd=work, check=True)
    return time.monotonic() - begun


def download_with_kills(
    url: str, work: Path, connections: int, kills: int, expected: float, sent: Callable[[], int]
) -> int:
    """Kill the download several times, then let it finish.

    Args:
        url: URL of the server.
        work: folder to download into.
        connections: number of connections.
        kills: number of kills.
        expected: seconds that the download takes without kills.
        sent: returns the number of bytes that the server has sent.

    Returns:
        Number of bytes that the server sent for this download.
    """
    sent_at_start = sent()
    for _ in range(kills):
        before = sent()
        process = start(url, work, connections)
        while sent() == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 1.5 * expected / kills))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            print("the download ended before it could be killed: increase --megabytes", file=sys.stderr)
    if start(url, work, connections).wait() or not verify(work / "physionet.org/files/mimiciv/3.1").is_complete:
        raise SystemExit("the download is incomplete")
    return sent() - sent_at_start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--kilobytes-per-second", type=float, default=50)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--kills", type=int, default=0)
    arguments = parser.parse_args()
    size = int(arguments.megabytes * 1e6)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "server"
        paths = make_release(root / "mimiciv" / "3.1", size)
        connection, server_connection = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(
            target=serve, args=(root, int(arguments.kilobytes_per_second * 1e3), server_connection)
        )
        server.start()
        url = connection.recv()
        many = timed(url, Path(folder) / "many", arguments.connections)
        one = timed(url, Path(folder) / "one", 1)
        results: dict[str, object] = {
            "bytes": size,
            "seconds_one": round(one, 1),
            f"seconds_{arguments.connections}": round(many, 1),
            "share_of_one": round(many / one, 3),
        }
        if shutil.which("wget"):
            wget = timed_wget(url, Path(folder) / "wget", paths)
            results |= {"seconds_wget": round(wget, 1), "share_of_wget": round(many / wget, 3)}
        if arguments.kills:

            def sent() -> int:
                connection.send("how many")
                return int(connection.recv())

            fetched = download_with_kills(
                url, Path(folder) / "killed", arguments.connections, arguments.kills, many, sent
            )
            results |= {"kills": arguments.kills, "fetched_of_size": round(fetched / size, 4)}
        connection.send("stop")
        server.join()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
