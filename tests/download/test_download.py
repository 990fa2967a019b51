"""Downloads from a real server on loopback: complete, verified, nothing fetched twice, and no password leaked."""

from __future__ import annotations

import hashlib
import io
import os
import random
import stat
import tempfile
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrtraj.download.choose import choose
from ehrtraj.download.credentials import Credentials, find_credentials
from ehrtraj.download.errors import NetworkError, PasswordError
from ehrtraj.download.part import Identity, PartialBlock, PartialFile, block_size, journal_path, part_path
from ehrtraj.download.projects import find_target
from ehrtraj.download.run import download
from ehrtraj.download.sums import parse_sums
from ehrtraj.download.verify import verify
from ehrtraj.errors import OutputError, SettingsError

BLOCK = 256 << 10
LABS, CHART, PATIENTS = "hosp/labevents.csv.gz", "icu/chartevents.csv.gz", "hosp/patients.csv.gz"
SIZES = {
    LABS: 5 * BLOCK + 1234,
    CHART: 3 * BLOCK,
    PATIENTS: 999,
    "icu/d_items.csv.gz": BLOCK,
    "LICENSE.txt": 77,
    "empty.txt": 0,
}
FOLDER = Path("physionet.org/files/mimiciv/3.1")


@pytest.fixture
def release(loopback: ModuleType, tmp_path: Path) -> Path:
    """A release on the server's disk."""
    folder = tmp_path / "server" / "mimiciv" / "3.1"
    for path, size in SIZES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(os.urandom(size))
        os.utime(folder / path, (1_700_000_000, 1_700_000_000))
    loopback.write_sums(folder)
    return folder


@pytest.fixture
def server(loopback: ModuleType, release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server that requires a password, which is set in the environment."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PHYSIONET_PASSWORD", "p4ss-w0rd")
    with loopback.LoopbackServer(release.parents[1], password="p4ss-w0rd") as running:
        yield running


def fetch(server: Any, to: Path, **options: Any) -> Any:
    options = {"user": "someone", "retries": 3, "timeout": 20} | options
    return download("mimiciv", to=to, base_url=server.url, **options)


def same(release: Path, folder: Path, *paths: str) -> bool:
    return all((release / p).read_bytes() == (folder / p).read_bytes() for p in paths or SIZES)


def sent(server: Any) -> dict[str, int]:
    """Return the number of bytes sent for each file, without SHA256SUMS.txt."""
    return {
        path.removeprefix("/mimiciv/3.1/"): count
        for path, count in server.sent.items()
        if count and not path.endswith("SHA256SUMS.txt")
    }


def test_a_complete_release_is_stored_where_wget_would_store_it(server: Any, release: Path, tmp_path: Path) -> None:
    result = fetch(server, tmp_path / "out")
    folder = tmp_path / "out" / FOLDER
    assert result.folder == folder
    assert sorted(result.fetched) == sorted(SIZES)
    assert same(release, folder)
    assert (folder / "SHA256SUMS.txt").read_bytes() == (release / "SHA256SUMS.txt").read_bytes()
    assert sent(server) == {p: n for p, n in SIZES.items() if n}
    assert (folder / LABS).stat().st_mtime == 1_700_000_000
    assert [p.name for p in folder.rglob("*.part*")] == []
    assert verify(folder).is_complete
    modes = {stat.S_IMODE(p.stat().st_mode) & 0o077 for p in (tmp_path / "out").rglob("*")}
    assert modes == {0}


def test_the_cookie_of_the_server_is_sent_back(server: Any, tmp_path: Path) -> None:
    """PhysioNet then checks the password only once, and not for each of thousands of ranges."""
    fetch(server, tmp_path / "out")
    first, *others = [headers for _, _, headers in server.requests]
    assert "Cookie" not in first
    assert "Authorization" not in first
    assert all(headers["Cookie"] == "testcookie=1" and "Authorization" in headers for headers in others)


def test_complete_files_are_not_fetched_again(server: Any, tmp_path: Path) -> None:
    fetch(server, tmp_path / "out")
    server.sent.clear()
    server.requests.clear()
    result = fetch(server, tmp_path / "out")
    assert result.fetched == ()
    assert sorted(result.existing) == sorted(SIZES)
    assert sent(server) == {}
    assert {path for _, path, _ in server.requests} == {"/mimiciv/3.1/SHA256SUMS.txt"}


@pytest.mark.parametrize("connections", [1, 6])
def test_several_ranges_of_one_file_are_fetched_in_parallel(
    server: Any, release: Path, tmp_path: Path, connections: int
) -> None:
    server.bytes_per_second = 500_000
    fetch(server, tmp_path / "out", tables="labevents", connections=connections)
    assert server.most_at_once == connections
    ranges = [headers["Range"] for _, path, headers in server.requests if path.endswith(LABS) and "Range" in headers]
    assert len(set(ranges)) == 6
    assert same(release, tmp_path / "out" / FOLDER, LABS)


def test_selected_tables_and_modules(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    result = fetch(server, tmp_path / "out", tables="labevents")
    assert sorted(result.fetched) == ["LICENSE.txt", "empty.txt", LABS]
    assert sorted(result.not_requested) == [PATIENTS, CHART, "icu/d_items.csv.gz"]
    result = fetch(server, tmp_path / "out", modules=["icu"])
    assert sorted(result.fetched) == [CHART, "icu/d_items.csv.gz"]
    assert verify(folder, modules="icu", tables="hosp/labevents").is_complete
    assert verify(folder).missing == (PATIENTS,)
    with pytest.raises(SettingsError, match=r"no table 'labs'.* it has: .*hosp/labevents"):
        fetch(server, tmp_path / "out", tables="labs")
    with pytest.raises(SettingsError, match="no module 'ed'; it has: hosp, icu"):
        fetch(server, tmp_path / "out", modules="ed")


def test_a_table_is_selected_by_its_short_or_full_name() -> None:
    paths = ["LICENSE.txt", "hosp/a.csv.gz", "icu/a.csv.gz", "icu/b.csv"]
    assert choose(paths, ["a"]) == paths[:3]
    assert choose(paths, ["icu/a"]) == ["LICENSE.txt", "icu/a.csv.gz"]
    assert choose(paths, ["b"], ["hosp"]) == ["LICENSE.txt", "hosp/a.csv.gz", "icu/b.csv"]
    assert choose(paths) == paths


def test_an_open_release_needs_no_password(loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    def refuse(host: str, user: str | None) -> Credentials:
        raise AssertionError("asked for a password")

    release.parent.rename(release.parents[1] / "mimic-iv-demo")
    (release.parents[1] / "mimic-iv-demo" / "3.1").rename(release.parents[1] / "mimic-iv-demo" / "2.2")
    with loopback.LoopbackServer(release.parents[1]) as server:
        result = download("mimic-iv-demo", to=tmp_path / "out", base_url=server.url, credentials=refuse)
    assert result.folder == tmp_path / "out" / "physionet.org/files/mimic-iv-demo/2.2"
    assert len(result.fetched) == len(SIZES)


def test_a_download_begun_with_wget_is_completed(server: Any, release: Path, tmp_path: Path) -> None:
    """One file is complete, one is truncated in a block, one has wrong bytes, and there is a page saved by wget."""
    folder = tmp_path / "out" / FOLDER
    (folder / "hosp").mkdir(parents=True)
    (folder / "icu").mkdir()
    (folder / "index.html").write_text("<html>")
    (folder / PATIENTS).write_bytes((release / PATIENTS).read_bytes())
    (folder / LABS).write_bytes((release / LABS).read_bytes()[: 2 * BLOCK + 5])
    (folder / CHART).write_bytes(bytes(SIZES[CHART]))
    result = fetch(server, tmp_path / "out")
    assert same(release, folder)
    assert result.existing == (PATIENTS,)
    assert sent(server) == {
        LABS: SIZES[LABS] - 2 * BLOCK - 5,
        CHART: SIZES[CHART],
        "icu/d_items.csv.gz": BLOCK,
        "LICENSE.txt": 77,
    }
    assert (folder / "index.html").read_text() == "<html>"
    assert verify(folder).extra == ()


def test_a_truncated_file_with_wrong_bytes_is_fetched_again(server: Any, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    (folder / "hosp").mkdir(parents=True)
    (folder / LABS).write_bytes(b"x" * BLOCK)
    fetch(server, tmp_path / "out")
    assert same(release, folder)


def interrupted(folder: Path, release: Path, path: str, url: str, done: list[int]) -> None:
    """Create the part that a killed run leaves: the first `done` bytes of each block."""
    stat = (release / path).stat()
    sha256 = parse_sums((release / "SHA256SUMS.txt").read_text(), "")[path]
    identity = Identity(stat.st_size, sha256, url, "", formatdate(stat.st_mtime, usegmt=True))
    content = (release / path).read_bytes()
    with PartialFile(folder / path, identity) as part:
        for block, count in zip(part.blocks, done, strict=True):
            part.write(block, content[block.start : block.start + count])


def test_a_download_resumes_from_a_mirror(server: Any, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    interrupted(folder, release, LABS, "https://physionet.org/files/x", [BLOCK, 1, 5000, 0, BLOCK, 0])
    fetch(server, tmp_path / "out")
    assert sent(server)[LABS] == SIZES[LABS] - 2 * BLOCK - 5001
    assert same(release, folder)


def test_after_a_power_cut_only_what_the_disk_lost_is_fetched_again(
    loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out" / FOLDER
    with loopback.LoopbackServer(release.parents[1], etags=False) as server:
        url = f"{server.url}/mimiciv/3.1/{LABS}"
        interrupted(folder, release, LABS, url, [BLOCK, BLOCK, 5000, 0, BLOCK, 0])
        with part_path(folder / LABS).open("r+b") as handle:
            handle.seek(BLOCK + 100)
            handle.write(bytes(1000))
        fetch(server, tmp_path / "out")
        rest = SIZES[LABS] - 3 * BLOCK - 5000
        assert sent(server)[LABS] == rest + BLOCK
    assert same(release, folder)


def test_the_part_of_another_version_is_not_used(loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    with loopback.LoopbackServer(release.parents[1], etags=False) as server:
        url = f"{server.url}/mimiciv/3.1/{LABS}"
        interrupted(folder, release, LABS, url, [BLOCK, 0, 0, 0, 0, 0])
        (release / LABS).write_bytes(os.urandom(SIZES[LABS]))
        loopback.write_sums(release)
        fetch(server, tmp_path / "out")
        assert sent(server)[LABS] == SIZES[LABS]
    assert same(release, folder)


def test_a_damaged_journal_is_ignored(loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out" / FOLDER
    with loopback.LoopbackServer(release.parents[1], etags=False) as server:
        url = f"{server.url}/mimiciv/3.1/{LABS}"
        interrupted(folder, release, LABS, url, [BLOCK, 0, BLOCK, 0, 0, 0])
        journal_path(folder / LABS).write_bytes(b"\xff" * 700)
        fetch(server, tmp_path / "out")
    assert same(release, folder)


def test_a_second_download_into_the_same_folder_is_refused(server: Any, loopback: ModuleType, tmp_path: Path) -> None:
    messages: list[str] = []

    def second(handler: Any) -> None:
        with pytest.raises(OutputError) as refused:
            fetch(server, tmp_path / "out")
        messages.append(str(refused.value))
        handler.serve()

    server.faults.append(loopback.on_paths(second, PATIENTS))
    fetch(server, tmp_path / "out")
    assert len(messages) == 1
    assert "another download" in messages[0]


def test_the_folder_of_another_release_is_not_changed(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "SHA256SUMS.txt").write_text(f"{'0' * 64} other.csv\n")
    with pytest.raises(SettingsError, match="contains another release"):
        fetch(server, folder)
    assert sent(server) == {}


def test_a_release_in_a_folder_with_another_name_is_completed(server: Any, release: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "hosp").mkdir(parents=True)
    (folder / "SHA256SUMS.txt").write_bytes((release / "SHA256SUMS.txt").read_bytes())
    assert fetch(server, folder).folder == folder
    assert same(release, folder)


@pytest.mark.parametrize(
    ("to", "folder"),
    [
        ("data", "data/physionet.org/files/mimiciv/3.1"),
        ("data/physionet.org", "data/physionet.org/files/mimiciv/3.1"),
        ("data/physionet.org/files", "data/physionet.org/files/mimiciv/3.1"),
        ("data/physionet.org/files/mimiciv/3.1", "data/physionet.org/files/mimiciv/3.1"),
        ("data/mimiciv/3.1", "data/mimiciv/3.1"),
    ],
)
def test_to_may_be_any_folder_down_to_that_of_the_release(tmp_path: Path, to: str, folder: str) -> None:
    assert find_target("mimiciv", None, tmp_path / to, None).folder == tmp_path / folder


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://mirror.example/files", "must begin with https://"),
        ("ftp://127.0.0.1/files", "must begin with https://"),
        ("https://someone:hunter2@mirror.example/files", "contains a user name or password"),
        ("https://mirror.example/files?key=1", r"without \?"),
        ("mirror.example", "write https://HOST/FOLDER"),
        ("https://mirror.example:port/", "not a valid URL"),
    ],
)
def test_an_unsafe_base_url_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as refused:
        find_target("mimiciv", None, tmp_path, url)
    assert "hunter2" not in str(refused.value)


def test_safe_base_urls() -> None:
    for url in ("https://mirror.example/files/", "http://127.0.0.1:8080", "http://localhost/x", "http://[::1]:80/"):
        assert find_target("mimiciv", "2.2", Path(), url).url == f"{url.rstrip('/')}/mimiciv/2.2/"


@pytest.mark.parametrize("name", ["mimic-iv", "mimiciv_ed", "eicu"])
def test_the_error_for_an_unknown_project_lists_the_known_ones(name: str) -> None:
    with pytest.raises(SettingsError, match=r"mimiciv, mimic-iv-ed, mimic-iv-note"):
        find_target(name, None, Path(), None)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "hosp/../../x", "a\\b", "c:x", "a.part", "a\x1b[2J"])
def test_a_list_that_leads_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(NetworkError, match="outside"):
        parse_sums(f"{'0' * 64} {path}\n", "SHA256SUMS.txt")


def test_a_login_page_is_not_treated_as_a_list() -> None:
    with pytest.raises(NetworkError, match="web page"):
        parse_sums("<!DOCTYPE html>\n<html>", "SHA256SUMS.txt")


def test_a_list_is_read_in_all_its_formats() -> None:
    digest = "0123456789ABCDEF" * 4
    text = f"{digest} a.txt\n\n{digest}  b c.txt\r\n{digest} *hosp/d.csv.gz\n"
    assert parse_sums(text, "") == dict.fromkeys(("a.txt", "b c.txt", "hosp/d.csv.gz"), digest.lower())


@pytest.mark.parametrize("size", [0, 1, BLOCK, BLOCK + 1, 100 << 20, 3 << 30])
def test_blocks_cover_a_file(size: int, tmp_path: Path) -> None:
    with PartialFile(tmp_path / "x", Identity(size, "", "", "", "")) as part:
        at = 0
        for block in part.blocks:
            assert block == PartialBlock(at, min(block_size(size), size - at))
            at += block.size
        assert at == size
        assert len(part.blocks) <= 1024


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_a_part_reopened_at_any_moment_resumes(data: st.DataObject) -> None:
    """Write bytes, close the part as a killed process would, and open it again: the final file is correct."""
    size = data.draw(st.integers(1, 4 * BLOCK), "size")
    content = random.Random(size).randbytes(size)
    identity = Identity(size, hashlib.sha256(content).hexdigest(), "https://x", "", "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        is_complete = False
        while not is_complete:
            with PartialFile(path, identity) as part:
                before = part.done
                for _ in range(data.draw(st.integers(1, 6), "writes")):
                    block = data.draw(st.sampled_from([b for b in part.blocks if not b.is_complete]), "block")
                    count = data.draw(st.sampled_from([1, BLOCK // 2, BLOCK]), "count")
                    count = min(count, block.size - block.done)
                    at = block.start + block.done
                    part.write(block, content[at : at + count])
                    before += count
                    if part.is_complete:
                        break
                assert part.done == before
                assert part.damaged_blocks() == []
                is_complete = part.is_complete
        with PartialFile(path, identity) as part:
            part.finish(None)
        assert path.read_bytes() == content
        assert [p.name for p in Path(folder).iterdir()] == ["file"]


class TestCredentials:
    """The sources of user name and password."""

    HOST = "physionet.example"

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("HOME", str(tmp_path))
        return tmp_path

    def netrc(self, home: Path, text: str, mode: int = 0o600) -> None:
        (home / ".netrc").write_text(text)
        (home / ".netrc").chmod(mode)

    def found(self, user: str | None, **environ: str) -> tuple[str, str]:
        credentials = find_credentials(self.HOST, user, environ, ask=lambda prompt: f"typed for {prompt}")
        assert credentials.password not in repr(credentials)
        return credentials.user, credentials.password

    def test_environment_then_netrc_then_prompt(self, home: Path) -> None:
        assert self.found("me") == ("me", f"typed for Password for me on {self.HOST}: ")
        self.netrc(home, f"machine {self.HOST} login me password kept")
        assert self.found("me") == ("me", "kept")
        assert self.found(None) == ("me", "kept")
        assert self.found("me", PHYSIONET_PASSWORD="given") == ("me", "given")
        assert self.found(None, PHYSIONET_USERNAME="you", PHYSIONET_PASSWORD="given") == ("you", "given")
        assert self.found("other")[1].startswith("typed")

    def test_no_account(self) -> None:
        with pytest.raises(PasswordError, match="give --user NAME"):
            find_credentials(self.HOST, None, {})

    def test_no_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO())
        with pytest.raises(PasswordError, match="set PHYSIONET_PASSWORD"):
            find_credentials(self.HOST, "me", {})

    def test_a_netrc_that_others_can_read_is_not_used(self, home: Path) -> None:
        self.netrc(home, f"machine {self.HOST} login me password kept", 0o644)
        with pytest.raises(SettingsError, match="chmod 600"):
            self.found("me")

    def test_the_content_of_an_invalid_netrc_is_not_repeated(self, home: Path) -> None:
        self.netrc(home, f"machine {self.HOST} login me passwd s3cret")
        with pytest.raises(SettingsError, match=r"line \d+") as refused:
            self.found("me")
        assert "s3cret" not in str(refused.value)
