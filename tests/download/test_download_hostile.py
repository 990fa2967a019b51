"""Malicious servers, lists and folders: memory is bounded, no other files are changed, and the download always ends."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from ehrtraj.download import errors, web
from ehrtraj.download.concept_maps import concept_maps, fetch_concept_maps
from ehrtraj.download.part import Identity, PartialFile, block_size, journal_path, part_path
from ehrtraj.download.remote import MOST_FILE_BYTES
from ehrtraj.download.run import download
from ehrtraj.download.space import check_room
from ehrtraj.download.sums import LOCK_FILE, MOST_LIST_BYTES, parse_sums, read_sums
from ehrtraj.download.verify import find_releases, verify
from ehrtraj.errors import EhrtrajError, OutputError, ReleaseError

BLOCK = 256 << 10
LABS, LICENCE = "hosp/labevents.csv.gz", "LICENSE.txt"
SIZES = {LABS: BLOCK + 1234, LICENCE: 77}
FOLDER = Path("physionet.org/files/mimiciv/3.1")
HUGE = 1 << 60
PRIVATE = b"must not be changed"


@pytest.fixture
def release(loopback: ModuleType, tmp_path: Path) -> Path:
    """A release on the server's disk."""
    folder = tmp_path / "server" / "mimiciv" / "3.1"
    for path, size in SIZES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(random.randbytes(size))
    loopback.write_sums(folder)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypass proxies, and shorten the waits between retries."""
    monkeypatch.setattr(web, "_FIRST_BACKOFF", 0.02)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server(loopback: ModuleType, release: Path) -> Iterator[Any]:
    """A server without a password."""
    with loopback.LoopbackServer(release.parents[1]) as running:
        yield running


def fetch(server: Any, to: Path, **settings: Any) -> Any:
    settings = {"retries": 3, "timeout": 10, "connections": 3} | settings
    return download("mimiciv", to=to, base_url=server.url, **settings)


def raw(text: str, more: bytes = b"", times: int = 0) -> Callable[[Any], None]:
    """Return a fault that answers with these bytes, and then closes the connection."""

    def answer(handler: Any) -> None:
        handler.wfile.write(text.encode("latin-1"))
        for _ in range(times):
            handler.wfile.write(more)
            handler.server.sent["raw"] += len(more)
        handler.close_connection = True

    return answer


class TestSizes:
    """Sizes that the server reports."""

    @pytest.mark.parametrize("size", [1, BLOCK, 3 << 30, 16 << 30, 1 << 40, HUGE])
    def test_the_number_of_blocks_is_bounded(self, size: int) -> None:
        step = block_size(size)
        assert -(-size // step) <= 4096
        assert step <= 4 << 20 or size > 16 << 30

    def test_a_part_of_any_size_is_resumed(self, tmp_path: Path) -> None:
        identity = Identity(MOST_FILE_BYTES, "", "", "", "")
        with PartialFile(tmp_path / "x", identity) as part:
            part.write(part.blocks[1], b"abc")
        with PartialFile(tmp_path / "x", identity) as part:
            assert [(b.start, b.done) for b in part.blocks if b.done] == [(block_size(MOST_FILE_BYTES), 3)]
        assert journal_path(tmp_path / "x").stat().st_size < 100_000

    @pytest.mark.parametrize("size", [HUGE, 10**19, MOST_FILE_BYTES + 1])
    def test_a_file_with_an_impossible_size_is_refused_and_the_others_are_fetched(
        self, server: Any, loopback: ModuleType, tmp_path: Path, size: int
    ) -> None:
        absurd = raw(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")
        server.faults.append(loopback.on_paths(absurd, LABS, times=9, method="HEAD"))
        with pytest.raises(errors.BadSizeError, match=rf"{size}.*labevents.*The other 1 of 2 files") as refused:
            fetch(server, tmp_path / "out")
        assert refused.value.exit_code == 10
        found = verify(tmp_path / "out" / FOLDER)
        assert (found.verified, found.missing, found.unfinished) == ((LICENCE,), (LABS,), ())

    def test_disk_space_is_checked_before_anything_is_written(
        self, server: Any, loopback: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
        server.faults.append(
            loopback.on_paths(raw(f"HTTP/1.1 200 OK\r\nContent-Length: {1 << 37}\r\n\r\n"), LABS, method="HEAD")
        )
        need = f"{(1 << 37) + SIZES[LICENCE]:,}"
        with pytest.raises(
            errors.DiskSpaceError, match=rf" {need} bytes .*are needed, and 1,000,000,000 bytes .*are free.*--to"
        ):
            fetch(server, tmp_path / "out")
        assert not list((tmp_path / "out").rglob("*.part*"))

    def test_each_disk_is_checked_separately(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A module's folder may be a link to another disk."""
        other = Path("/dev/shm")  # another disk; nothing is written there
        if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("this test needs a second disk")
        (tmp_path / "hosp").symlink_to(other)
        usage = shutil.disk_usage(tmp_path)
        free = {tmp_path.stat().st_dev: 10, other.stat().st_dev: 1000}
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free[Path(path).stat().st_dev]))
        check_room([(tmp_path / "hosp" / "a", 1000), (tmp_path / "icu" / "b", 10)])
        with pytest.raises(errors.DiskSpaceError, match=r"1,000 bytes .*are free"):
            check_room([(tmp_path / "hosp" / "a", 1000), (tmp_path / "hosp" / "c", 1)])

    def test_the_gaps_of_a_part_need_space_and_its_bytes_do_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        size = 64 << 20
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size // 2))
        with PartialFile(tmp_path / "x", Identity(size, "", "", "", "")) as part:
            part.write(part.blocks[-1], bytes(10))
        with pytest.raises(errors.DiskSpaceError):
            check_room([(tmp_path / "x", size)])
        part_path(tmp_path / "x").write_bytes(random.randbytes(size // 2))
        check_room([(tmp_path / "x", size)])


PART_OF = f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes %s\r\nContent-Length: %s\r\n\r\n{'x' * 100}"
TOTAL = SIZES[LABS]
CONTRADICTIONS = {
    "another total": (PART_OF % (f"0-9/{HUGE}", 10), "changed on the server|different range"),
    "more digits than Python reads": (PART_OF % (f"0-9/{'9' * 5000}", 10), "different range"),
    "a superscript digit": (PART_OF % (f"0-\xb2/{TOTAL}", 10), "different range"),
    "an end before its start": (PART_OF % (f"0--1/{TOTAL}", 10), "different range"),
    "more than was requested": (PART_OF % (f"0-{TOTAL - 1}/{TOTAL}", TOTAL), "different range"),
    "fewer bytes than its range": (PART_OF % (f"0-9/{TOTAL}", HUGE), "contradicts itself"),
    "two lengths": ("HTTP/1.1 206 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "not valid .*conflicting"),
    "a length of 30 digits": (f"HTTP/1.1 206 x\r\nContent-Length: 1{'0' * 29}\r\n\r\n", "not valid"),
    "a wait that is not a number": ("HTTP/1.1 503 x\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n", "is busy"),
    "a wait in the year 10000": (
        "HTTP/1.1 503 x\r\nRetry-After: Fri, 31 Dec 9999 23:59:59 -9999\r\nContent-Length: 0\r\n\r\n",
        "is busy",
    ),
    "an invalid address": ("HTTP/1.1 302 x\r\nLocation: javascript:1\r\nContent-Length: 0\r\n\r\n", "invalid address"),
    "half an address": ("HTTP/1.1 302 x\r\nLocation: https://[::1\r\nContent-Length: 0\r\n\r\n", "not valid HTTP"),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_an_answer_that_contradicts_itself_is_refused(
    server: Any, loopback: ModuleType, tmp_path: Path, case: str
) -> None:
    answer, message = CONTRADICTIONS[case]
    server.faults.append(loopback.on_paths(raw(answer), LABS, times=99))
    with pytest.raises(EhrtrajError, match=message):
        fetch(server, tmp_path / "out", connections=1)


ENDLESS = {
    "a header": raw("HTTP/1.1 200 OK\r\nX: ", b"x" * 100_000, 3000),
    "headers": raw("HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000, 5000),
    "a body": raw("HTTP/1.1 200 OK\r\n\r\n", b"x" * 1_000_000, 300),
    "a chunk": raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12000000\r\n", b"x" * 1_000_000, 300),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_an_endless_answer_is_not_read_to_its_end(server: Any, loopback: ModuleType, tmp_path: Path, case: str) -> None:
    server.faults.append(loopback.on_paths(ENDLESS[case], "SHA256SUMS.txt", times=99))
    with pytest.raises(errors.NetworkError, match=r"larger than|not valid"):
        fetch(server, tmp_path / "out", retries=0)
    # The bound is above the client's limits, because the operating system also buffers data of a connection.
    assert 0 < server.sent["raw"] < 60 << 20


def test_endless_interim_answers_time_out(server: Any, loopback: ModuleType, tmp_path: Path) -> None:
    """The connection is never silent and uses no memory, so only a time limit on all headers ends it."""

    def advance(handler: Any) -> None:
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.01)

    server.faults.append(loopback.on_paths(advance, "SHA256SUMS.txt", times=99))
    with pytest.raises(errors.NetworkError, match="no complete answer in time"):
        fetch(server, tmp_path / "out", retries=0, timeout=0.1)


def test_the_number_of_cookies_is_bounded(server: Any, loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    numbers = iter(range(10**6))

    def more(handler: Any) -> None:
        ending = handler.end_headers

        def end_headers() -> None:
            for _ in range(15):
                handler.send_header("Set-Cookie", f"c{next(numbers)}=1")
            ending()

        handler.end_headers = end_headers
        handler.serve(stop_after=20_000)

    server.faults.append(loopback.on_paths(more, LABS, times=99))
    fetch(server, tmp_path / "out")
    sent = [headers.get("Cookie", "") for _, path, headers in server.requests if path.endswith(LABS)]
    assert len(sent) > 10
    assert max(cookies.count("=") for cookies in sent) <= 20


class TestLists:
    """SHA256SUMS.txt, from a server or on disk."""

    @pytest.mark.parametrize(
        "path",
        ["a" * 201, "a/" * 600 + "b", "hosp/", "a.part.journal", ".x.part.journal.new", "SHA256SUMS.txt", LOCK_FILE],
    )
    def test_an_impossible_or_reserved_path_is_refused(self, path: str) -> None:
        with pytest.raises(errors.NetworkError, match=r"the path in line 1 cannot be used") as refused:
            parse_sums(f"{'0' * 64} {path}\n", "list")
        assert len(str(refused.value)) < 400

    @pytest.mark.parametrize("path", ["../../x", "/etc/passwd", "a/../../b", "\u202ecod.exe", "a\x9b2J"])
    def test_a_path_outside_of_the_folder_or_with_control_characters_is_refused(self, path: str) -> None:
        with pytest.raises(errors.NetworkError, match="outside") as refused:
            parse_sums(f"{'0' * 64} {path}\n", "list")
        assert str(refused.value).isascii()

    @pytest.mark.parametrize(
        ("paths", "message"),
        [
            (("a.csv", "A.csv"), "same file twice: a.csv and A.csv"),
            (("a.csv", "./a.csv"), "same file twice"),
            (("hosp", "hosp/a.csv"), "hosp as a file and as the folder of hosp/a.csv"),
        ],
    )
    def test_paths_of_the_same_file_are_refused(self, paths: tuple[str, ...], message: str) -> None:
        with pytest.raises(errors.NetworkError, match=message):
            parse_sums("".join(f"{'0' * 64} {path}\n" for path in paths), "list")

    def test_two_hashes_for_one_file_are_refused(self) -> None:
        with pytest.raises(errors.NetworkError, match="second, different hash for a"):
            parse_sums(f"{'0' * 64} a\n{'1' * 64} a\n", "list")
        assert parse_sums(f"{'0' * 64} a\n{'0' * 64} a\n", "list") == {"a": "0" * 64}

    def test_more_files_than_a_release_has(self) -> None:
        with pytest.raises(errors.NetworkError, match="more than 2,000 files"):
            parse_sums("".join(f"{'0' * 64} f{i}\n" for i in range(2001)), "list")

    def test_a_huge_list_on_disk_is_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "SHA256SUMS.txt").open("wb") as handle:
            handle.truncate(1 << 40)
        with pytest.raises(ReleaseError, match=f"larger than {MOST_LIST_BYTES:,} bytes"):
            read_sums(tmp_path)

    def test_more_files_than_can_be_open_at_once(
        self, loopback: ModuleType, server: Any, release: Path, tmp_path: Path
    ) -> None:
        for number in range(40):
            (release / f"f{number}").write_bytes(b"x")
        loopback.write_sums(release)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + 40, limits[1]))
        try:
            fetch(server, tmp_path / "out")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert verify(tmp_path / "out" / FOLDER).is_complete


@pytest.mark.parametrize("content", [b"[" * 1024, b"{" * 5000, b"9" * 1024, b'{"identity": 1}'.ljust(1024)])
def test_an_invalid_journal_is_ignored(server: Any, release: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "out" / FOLDER / LABS
    path.parent.mkdir(parents=True)
    part_path(path).write_bytes(b"x" * 100)
    journal_path(path).write_bytes(content)
    os.truncate(journal_path(path), 1 << 40)
    fetch(server, tmp_path / "out")
    assert path.read_bytes() == (release / LABS).read_bytes()


def test_a_part_of_the_first_format_is_resumed(server: Any, release: Path, tmp_path: Path) -> None:
    """The journal has the format of earlier versions: 1024 bytes of JSON, then 16 bytes for each block."""
    path = tmp_path / "out" / FOLDER / LABS
    path.parent.mkdir(parents=True)
    content = (release / LABS).read_bytes()
    identity = {
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "url": "https://physionet.org/files/x",
        "etag": "",
        "last_modified": "",
    }
    header = json.dumps({"format": 1, "step": BLOCK, "identity": identity}).encode().ljust(1024)
    part_path(path).write_bytes(content[:200_000])
    journal_path(path).write_bytes(header + struct.pack("<QIIQII", 200_000, zlib.crc32(content[:200_000]), 0, 0, 0, 0))
    fetch(server, tmp_path / "out")
    assert path.read_bytes() == content
    assert server.sent[f"/mimiciv/3.1/{LABS}"] == len(content) - 200_000


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"cannot read .*too long"):
        find_releases(tmp_path / ("n" * 300))


class TestLinks:
    """A download never writes to the target of a planted link."""

    NAMES = (LABS, f"{LABS}.part", f"{LABS}.part.journal", LOCK_FILE, "SHA256SUMS.txt")
    TEMPORARY = ("hosp/.labevents.csv.gz.part.journal.new", ".SHA256SUMS.txt.new")

    @pytest.fixture
    def private(self, tmp_path: Path) -> Path:
        path = tmp_path / "private"
        path.write_bytes(PRIVATE)
        return path

    def plant(self, tmp_path: Path, name: str, target: Path) -> Path:
        link = tmp_path / "out" / FOLDER / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
        return link

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("is_dangling", [False, True], ids=["file", "nothing"])
    def test_a_link_is_refused_and_its_path_is_reported(
        self, server: Any, private: Path, tmp_path: Path, name: str, is_dangling: bool
    ) -> None:
        target = tmp_path / "nothing" if is_dangling else private
        link = self.plant(tmp_path, name, target)
        with pytest.raises(OutputError, match="symbolic link") as refused:
            fetch(server, tmp_path / "out")
        assert str(link) in str(refused.value)
        assert refused.value.exit_code == 4
        assert (private.read_bytes(), link.is_symlink()) == (PRIVATE, True)
        assert not (tmp_path / "nothing").exists()
        assert not [path for path, count in server.sent.items() if count and path.endswith(LABS)]

    @pytest.mark.parametrize("name", TEMPORARY)
    def test_a_link_at_a_temporary_name_is_removed(
        self, server: Any, release: Path, private: Path, tmp_path: Path, name: str
    ) -> None:
        link = self.plant(tmp_path, name, private)
        fetch(server, tmp_path / "out")
        assert private.read_bytes() == PRIVATE
        assert not link.is_symlink()
        assert verify(tmp_path / "out" / FOLDER).is_complete

    @pytest.mark.parametrize("name", [LABS, f"{LABS}.part"])
    def test_a_hard_link_is_refused(self, server: Any, private: Path, tmp_path: Path, name: str) -> None:
        path = tmp_path / "out" / FOLDER / name
        path.parent.mkdir(parents=True)
        os.link(private, path)
        with pytest.raises(OutputError, match="hard link") as refused:
            fetch(server, tmp_path / "out")
        assert str(path) in str(refused.value)
        assert (private.read_bytes(), path.read_bytes()) == (PRIVATE, PRIVATE)

    def test_a_complete_file_and_its_folder_may_be_links(self, server: Any, release: Path, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        self.plant(tmp_path, "hosp", tmp_path / "disk")
        fetch(server, tmp_path / "out")
        assert (tmp_path / "disk" / "labevents.csv.gz").read_bytes() == (release / LABS).read_bytes()
        (tmp_path / "disk" / "labevents.csv.gz").rename(tmp_path / "elsewhere")
        self.plant(tmp_path, LABS, tmp_path / "elsewhere")
        assert sorted(fetch(server, tmp_path / "out").existing) == [LICENCE, LABS]

    def test_a_link_at_the_path_of_a_concept_map_is_refused(self, server: Any, private: Path, tmp_path: Path) -> None:
        name = concept_maps()[-1].name
        (tmp_path / "out" / "concept_maps").mkdir(parents=True)
        (tmp_path / "out" / "concept_maps" / name).symlink_to(private)
        with pytest.raises(OutputError, match=rf"{name}: it is a symbolic link"):
            fetch_concept_maps(tmp_path / "out", url=server.url)
        assert private.read_bytes() == PRIVATE
        assert server.requests == []


@pytest.mark.parametrize("to", ["n" * 300, "file/below"])
def test_an_impossible_folder_is_reported(server: Any, tmp_path: Path, to: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to"):
        fetch(server, tmp_path / to)
