"""Verification of a download, the notes of a build about an incomplete one, and the concept maps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.download.concept_maps import LICENCE, concept_maps, fetch_concept_maps
from ehrtraj.download.errors import MissingOnServerError, WrongHashError
from ehrtraj.download.run import download
from ehrtraj.download.verify import find_releases, verify
from ehrtraj.errors import ReleaseError, SettingsError
from ehrtraj.runtime.progress import Reporter


@pytest.fixture
def complete_release(release: Path, loopback: ModuleType, tmp_path: Path) -> Path:
    """The hand-made release as a download, with its SHA256SUMS.txt."""
    folder = tmp_path / "physionet.org" / "files" / "mimiciv" / "3.1"
    shutil.copytree(release, folder)
    loopback.write_sums(folder)
    return folder


def test_a_complete_download_passes(complete_release: Path) -> None:
    found = verify(complete_release)
    assert found.is_complete
    assert len(found.verified) == len(list(complete_release.rglob("*.csv.gz")))
    assert (found.missing, found.broken, found.extra, found.unfinished) == ((), (), (), ())
    assert found.bytes == sum(p.stat().st_size for p in complete_release.rglob("*.csv.gz"))


def test_missing_broken_and_extra_files_are_found(complete_release: Path) -> None:
    (complete_release / "hosp" / "labevents.csv.gz").unlink()
    (complete_release / "hosp" / "patients.csv.gz").rename(complete_release / "hosp" / "patients.csv.gz.part")
    with (complete_release / "icu" / "d_items.csv.gz").open("r+b") as handle:
        handle.seek(30)
        handle.write(b"?")
    (complete_release / "mine.txt").write_text("mine")
    (complete_release / "hosp" / "index.html").write_text("<html>")
    (complete_release / ".hidden").mkdir()
    (complete_release / ".hidden" / "x").write_text("x")
    found = verify(complete_release, max_cpus=2)
    assert not found.is_complete
    assert set(found.missing) == {"hosp/labevents.csv.gz", "hosp/patients.csv.gz"}
    assert found.unfinished == ("hosp/patients.csv.gz",)
    assert found.broken == ("icu/d_items.csv.gz",)
    assert found.extra == ("mine.txt",)
    assert verify(complete_release, tables="chartevents").is_complete
    assert not verify(complete_release, modules="icu").is_complete


def test_the_real_demo_agrees_with_its_published_list(demo: Path) -> None:
    """Only icu/chartevents has another hash, because it is a copy made from another edition, as it declares."""
    found = verify(demo)
    assert found.missing == ()
    assert set(found.broken) <= {"icu/chartevents.csv.gz"}
    assert len(found.verified) >= 33


def test_releases_are_found_below_a_folder(complete_release: Path, tmp_path: Path) -> None:
    assert find_releases(tmp_path) == [complete_release]
    assert find_releases(complete_release) == [complete_release]
    with pytest.raises(ReleaseError, match=r"no SHA256SUMS\.txt"):
        find_releases(complete_release / "hosp")
    with pytest.raises(ReleaseError, match="no such folder"):
        find_releases(tmp_path / "nowhere")


def test_an_invalid_list_is_reported(complete_release: Path) -> None:
    (complete_release / "SHA256SUMS.txt").write_text("<html>")
    with pytest.raises(ReleaseError, match="not a list"):
        verify(complete_release)


class Notes(Reporter):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def notes_of_build(folder: Path, out: Path) -> str:
    reporter = Notes()
    ehrtraj.build(folder, out, "v1", max_cpus=1, reporter=reporter)
    return "\n".join(reporter.notes)


def test_a_build_lists_the_missing_files_of_a_download(complete_release: Path, tmp_path: Path) -> None:
    (complete_release / "hosp" / "pharmacy.csv.gz").unlink()
    (complete_release / "icu" / "chartevents.csv.gz").rename(complete_release / "icu" / "chartevents.csv.gz.part")
    notes = notes_of_build(complete_release, tmp_path / "out")
    assert "Missing files: hosp/pharmacy.csv.gz, icu/chartevents.csv.gz (1 partly downloaded)" in notes
    command = re.search(r"To fetch them, run: ehrtraj (download .*)", notes)[1]
    assert command == (
        f"download mimiciv --release 3.1 --user NAME --to {complete_release} --tables hosp/pharmacy,icu/chartevents"
    )


def test_the_command_that_a_build_suggests_completes_the_download(
    complete_release: Path, loopback: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server_folder = tmp_path / "server" / "mimiciv" / "3.1"
    shutil.copytree(complete_release, server_folder)
    (complete_release / "icu" / "chartevents.csv.gz").unlink()
    notes = notes_of_build(complete_release, tmp_path / "out")
    command = re.search(r"To fetch them, run: ehrtraj (download .*)", notes)[1]
    _, name, _, release, _, _, _, to, _, tables = command.split()
    with loopback.LoopbackServer(server_folder.parents[1]) as server:
        result = download(name, release=release, to=to, tables=tables, base_url=server.url)
    assert result.fetched == ("icu/chartevents.csv.gz",)
    assert verify(complete_release).is_complete
    assert "download is incomplete" not in notes_of_build(complete_release, tmp_path / "again")


def test_a_build_of_a_complete_or_unpacked_or_unlisted_download_prints_no_note(
    complete_release: Path, tmp_path: Path
) -> None:
    packed = complete_release / "hosp" / "services.csv.gz"
    import gzip

    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert "download is incomplete" not in notes_of_build(complete_release, tmp_path / "out")
    (complete_release / "SHA256SUMS.txt").unlink()
    (complete_release / "icu" / "chartevents.csv.gz").unlink()
    assert "download is incomplete" not in notes_of_build(complete_release, tmp_path / "other")


def test_the_error_of_a_build_lists_the_missing_files_of_the_download(complete_release: Path, tmp_path: Path) -> None:
    (complete_release / "icu" / "chartevents.csv.gz").unlink()
    with pytest.raises(ReleaseError, match=r"has no icu/chartevents.*To fetch them, run: ehrtraj download mimiciv"):
        ehrtraj.build(complete_release, tmp_path / "out", "v1", tables="chartevents")
    for module in ("hosp", "icu", "ed", "note"):
        shutil.rmtree(complete_release / module)
    with pytest.raises(ReleaseError, match=r"is not a MIMIC-IV release.*and \d+ more.*--modules ed,hosp,icu,note"):
        ehrtraj.build(tmp_path / "physionet.org", tmp_path / "out", "v1")


class TestConceptMaps:
    """mimic-code's maps, from a mirror on loopback."""

    @pytest.fixture
    def maps(self) -> Path:
        folder = Path(__file__).parents[2].parent / "shared" / "concept_maps"
        if not folder.is_dir():
            pytest.skip(f"the concept maps are not in {folder}: get them with `ehrtraj download --concept-maps`")
        return folder

    @pytest.fixture
    def mirror(
        self, maps: Path, loopback: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[Any]:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        for each in concept_maps():
            path = tmp_path / "mirror" / each.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes((maps / each.name).read_bytes())
        with loopback.LoopbackServer(tmp_path / "mirror") as running:
            yield running

    def test_the_pinned_maps_are_fetched_once(self, mirror: Any, maps: Path, tmp_path: Path) -> None:
        result = fetch_concept_maps(tmp_path / "out", url=mirror.url)
        assert result.folder == tmp_path / "out" / "concept_maps"
        assert set(result.fetched) == {each.name for each in concept_maps()}
        for each in concept_maps():
            assert (result.folder / each.name).read_bytes() == (maps / each.name).read_bytes()
        assert result.licence.startswith("MIT License")
        mirror.requests.clear()
        assert fetch_concept_maps(tmp_path / "out", url=mirror.url).fetched == ()
        assert mirror.requests == []

    def test_a_build_can_use_the_downloaded_folder(self, mirror: Any, release: Path, tmp_path: Path) -> None:
        maps = fetch_concept_maps(tmp_path / "out", url=mirror.url).folder

        def origins(version: str, **settings: Any) -> set[str]:
            path = ehrtraj.build(release, tmp_path / "built", version, max_cpus=1, **settings).path
            return set(pq.read_table(path / "metadata" / "parent_codes.parquet")["origin"].to_pylist())

        assert "d_labitems_to_loinc.csv" in origins("with", concept_maps=maps) - origins("without")

    def test_a_file_with_another_hash_is_not_kept(self, mirror: Any, tmp_path: Path) -> None:
        path = next(each.path for each in concept_maps() if each.name != LICENCE)
        (tmp_path / "mirror" / path).write_text("itemid,loinc\n")
        with pytest.raises(WrongHashError, match=r"not the file of mimic-code v2\.4\.0"):
            fetch_concept_maps(tmp_path / "out", url=mirror.url)
        assert not (tmp_path / "out" / "concept_maps" / Path(path).name).exists()

    def test_a_mirror_without_the_maps_is_reported(self, mirror: Any, tmp_path: Path) -> None:
        with pytest.raises(MissingOnServerError):
            fetch_concept_maps(tmp_path / "out", url=f"{mirror.url}/other")
        with pytest.raises(SettingsError, match="--maps-url"):
            fetch_concept_maps(tmp_path / "out", url="http://mirror.example")


def test_every_map_has_a_hash_and_a_source() -> None:
    lines = (Path(ehrtraj.__file__).parent / "download" / "concept_maps.csv").read_text().splitlines()
    assert len(lines) == 12
    for line in lines[1:]:
        name, path, size, sha256, source = line.split(",")
        assert path.endswith(name)
        assert int(size) > 0
        assert re.fullmatch("[0-9a-f]{64}", sha256)
        assert source == f"https://github.com/MIT-LCP/mimic-code/blob/v2.4.0/{path}"
