"""Measuring a command: all of its processes count, also those that outlive their parent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

MEGABYTES = 200
BUSY = 0.5
# A process that starts another and does not wait for it. The other one computes and uses memory and disk.
WORKER = f"""
import sys, time
begun = time.process_time()
data = bytearray(b"x") * ({MEGABYTES} << 20)
open(sys.argv[1], "wb").write(data[: 50 << 20])
while time.process_time() - begun < {BUSY}:
    pass
time.sleep(1.5)
open(sys.argv[1], "wb").close()
"""
PARENT = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]])"


def measured_in_a_process(code: str, tmp_path: Path) -> str:
    """The output of code in a separate process: measuring makes that process wait for all of its children."""
    folder = Path(__file__).parents[2] / "benchmarks"
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\nfrom pathlib import Path\nimport measured\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_descendants_that_outlive_the_command_count(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    command = [sys.executable, "-c", PARENT, WORKER, str(tmp_path / "work" / "file")]
    found = measured_in_a_process(
        f"u = measured.run({command!r}, Path('work'), Path('log')); print(u.wall, u.cpu, u.memory, u.disk)", tmp_path
    )
    wall, cpu, memory, disk = map(float, found.split())
    assert cpu >= BUSY
    assert memory >= MEGABYTES << 20
    assert 50 << 20 <= disk < 60 << 20
    assert wall > 0


def test_a_command_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    found = measured_in_a_process(f"measured.run({command!r}, Path('work'), Path('log'))", tmp_path)
    assert "failed with exit code 3: see log" in found
    assert "the reason" in (tmp_path / "log").read_text()


def test_another_child_is_not_measured_silently(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '1']); measured.run(['true'], Path('work'), Path('log'))"
    assert "other child processes" in measured_in_a_process(code, tmp_path)


def test_links_are_not_followed(measured: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x" * (1 << 20))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "outside")
    assert measured.disk_use(tmp_path / "in") < 1 << 16
    assert measured.disk_use(tmp_path) >= 1 << 20


def test_medians_are_taken_of_each_figure(measured: ModuleType) -> None:
    usages = [measured.Usage(1, 30, 5, 8), measured.Usage(2, 10, 6, 7), measured.Usage(9, 20, 4, 9)]
    assert measured.median(usages) == measured.Usage(2, 20, 5, 8)
