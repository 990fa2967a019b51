"""No command deletes or replaces files that ehrtraj did not write, and none writes to its own input."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.cli.registry import all_commands
from ehrtraj.storage.owned import MARKER, claim, remove_claimed, remove_listed, unlisted_entries

FEW = ("--tables", "patients")

WRITERS = [name for name, command in all_commands().items() if command.writes]

Run = Callable[..., str]


def everything(folder: Path) -> dict[str, str]:
    """Return every path below a folder with its kind and the hash of its content or the target of its link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run(*command: str | Path, code: int) -> str:
    done = CliRunner().invoke(app, [str(c) for c in command])
    if isinstance(done.exception, ehrtraj.EhrtrajError):
        assert done.exception.exit_code == code, done.exception
        return str(done.exception)
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


def refused(place: Path, *command: str | Path) -> str:
    """Run a command that must fail without changing anything below `place`, and return its message."""
    before = everything(place)
    message = run(*command, code=4)
    assert everything(place) == before
    return message


@pytest.fixture
def place(tmp_path: Path, release: Path, built: Path) -> Path:
    """A folder with a release in `dd`, a dataset in `trajectories/v1`, and personal documents."""
    shutil.copytree(release, tmp_path / "dd")
    shutil.copytree(built, tmp_path / "trajectories" / "v1")
    documents = tmp_path / "home" / "Documents"
    documents.mkdir(parents=True)
    (documents / "thesis.txt").write_text("years of work")
    return tmp_path


def build(place: Path, output: str, version: str, *options: str) -> tuple[str | Path, ...]:
    return ("build", place / "dd", "-o", place / output, "-t", version, "--max-cpus", "1", *FEW, *options)


# For each command that writes: arguments that would overwrite a personal file, and the exit code of the refusal.
ONTO_A_FILE: dict[str, tuple[int, Callable[[Path, Path], tuple[str | Path, ...]]]] = {
    "build": (4, lambda place, file: ("build", place / "dd", "-o", file, "-t", "v1", *FEW, "--overwrite")),
    "export": (4, lambda place, file: ("export", place / "trajectories" / "v1", "-o", file, "--overwrite")),
    "report": (4, lambda place, file: ("report", place / "trajectories" / "v1", "-o", file)),
    "diff": (4, lambda place, file: ("diff", *[place / "trajectories" / "v1"] * 2, "--html", file)),
    "concepts": (7, lambda place, file: ("concepts", file, "--overwrite")),
    "label": (4, lambda place, file: label(place, file.relative_to(place).as_posix(), "--overwrite")),
    "synth": (4, lambda place, file: ("synth", file, "--patients", "1")),
    "demo": (4, lambda place, file: ("demo", file, "--patients", "1")),
    # No server listens there, and no file is created before something is received.
    "download": (
        10,
        lambda place, file: (
            ("download", "mimiciv", "--to", file, "--base-url", "http://127.0.0.1:9", "--retries", "0")
        ),
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_no_command_writes_over_a_file(place: Path, name: str) -> None:
    """Every command that declares that it writes is tested; a new command needs a line in the table above."""
    before = everything(place)
    code, command = ONTO_A_FILE[name]
    run(*command(place, place / "home" / "Documents" / "thesis.txt"), code=code)
    assert everything(place) == before


@pytest.mark.parametrize("version", ["hosp", "icu"])
def test_a_build_never_replaces_a_module_of_its_release(place: Path, version: str) -> None:
    message = refused(place, *build(place, "dd", version, "--overwrite"))
    assert str(place / "dd" / version) in message
    refused(place, *build(place, "dd", version))


def test_a_build_never_writes_into_a_module_of_its_release(place: Path) -> None:
    (place / "link").symlink_to(place / "dd" / "hosp")
    for output in ("dd/hosp", "dd/icu/new", "link"):
        assert "folder of the input" in refused(place, *build(place, output, "v1"))


def test_a_dataset_with_concepts_replaces_only_a_dataset(place: Path) -> None:
    dataset = place / "trajectories" / "v1"
    for target in (
        "home/Documents",
        "home/Documents/thesis.txt",
        "trajectories/v1",
        "trajectories",
        "trajectories/v1/new",
    ):
        refused(place, "concepts", dataset, "vitalsign", "--events", "--overwrite", "-o", place / target)


def test_a_build_may_be_beside_the_modules_of_its_release(place: Path) -> None:
    run(*build(place, "dd", "v1"), code=0)
    assert (place / "dd" / "v1" / "manifest.json").is_file()
    assert {p.name for p in (place / "dd" / "hosp").iterdir()} == {p.name for p in (place / "dd" / "hosp").iterdir()}


def test_a_build_never_replaces_a_folder_that_contains_what_it_reads(place: Path) -> None:
    message = refused(place, *build(place, ".", "dd", "--overwrite"))
    assert "contains the input" in message
    # The list of patients is inside the dataset that would be replaced.
    chosen = place / "trajectories" / "v1" / "chosen.csv"
    chosen.write_text("subject_id\n10900116\n")
    assert "chosen.csv" in refused(place, *build(place, "trajectories", "v1", "--overwrite", "--subjects", str(chosen)))


def test_overwrite_replaces_only_a_dataset(place: Path) -> None:
    assert "not made by ehrtraj" in refused(place, *build(place, "home", "Documents", "--overwrite"))
    (place / "home" / "v1").write_text("a plain file")
    assert "is a file" in refused(place, *build(place, "home", "v1", "--overwrite"))
    (place / "home" / "v2").symlink_to(place / "trajectories" / "v1")
    assert "symbolic link" in refused(place, *build(place, "home", "v2", "--overwrite"))
    (place / "home" / "v3").symlink_to(place / "nowhere")
    assert "symbolic link" in refused(place, *build(place, "home", "v3", "--overwrite"))
    for name, content in (("v4", "{}"), ("v5", '{"contents": {"thesis.txt": {}}}'), ("v6", "not JSON")):
        (place / "home" / name).mkdir()
        (place / "home" / name / "manifest.json").write_text(content)
        (place / "home" / name / "thesis.txt").write_text("years of work")
        assert "not made by ehrtraj" in refused(place, *build(place, "home", name, "--overwrite"))


@pytest.mark.parametrize("other", ["notes.txt", "data/mine.parquet", "data/train/mine/a.txt", "figures/"])
def test_overwrite_keeps_a_dataset_with_other_files_in_it(place: Path, other: str) -> None:
    path = place / "trajectories" / "v1" / other
    path.parent.mkdir(parents=True, exist_ok=True)
    if other.endswith("/"):
        path.mkdir()
    else:
        path.write_text("mine")
    message = refused(place, *build(place, "trajectories", "v1", "--overwrite"))
    assert other.split("/a.txt")[0] in message


def test_overwrite_keeps_a_dataset_with_a_link_in_it(place: Path) -> None:
    (place / "trajectories" / "v1" / "notes").symlink_to(place / "home" / "Documents")
    assert "notes" in refused(place, *build(place, "trajectories", "v1", "--overwrite"))


def test_overwrite_replaces_an_old_or_damaged_dataset(place: Path) -> None:
    dataset = place / "trajectories" / "v1"
    (dataset / "ledger.parquet").unlink()
    (dataset / "metadata" / "codes.parquet").write_bytes(b"damaged")
    manifest = json.loads((dataset / "manifest.json").read_text())
    (dataset / "manifest.json").write_text(json.dumps(manifest | {"format": 0}))
    run(*build(place, "trajectories", "v1", "--overwrite"), code=0)
    run("check", dataset, code=0)
    assert not list((place / "trajectories").glob(".v1.build"))


def test_a_manifest_that_lists_outside_files_does_not_delete_them(place: Path) -> None:
    dataset = place / "trajectories" / "v1"
    manifest = json.loads((dataset / "manifest.json").read_text())
    for name in ("../../home/Documents/thesis.txt", str(place / "home" / "Documents" / "thesis.txt")):
        manifest["contents"][name] = {"bytes": 13}
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    run(*build(place, "trajectories", "v1", "--overwrite"), code=0)
    assert (place / "home" / "Documents" / "thesis.txt").read_text() == "years of work"


def test_a_foreign_working_folder_is_left_alone(place: Path) -> None:
    work = place / "out" / ".v1.build"
    work.mkdir(parents=True)
    (work / "thesis.txt").write_text("years of work")
    assert str(work) in refused(place, *build(place, "out", "v1"))
    shutil.rmtree(work)
    work.write_text("a plain file")
    assert str(work) in refused(place, *build(place, "out", "v1"))
    work.unlink()
    work.symlink_to(place / "home" / "Documents")
    assert "symbolic link" in refused(place, *build(place, "out", "v1"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can change the owner of a folder")
def test_a_working_folder_of_another_user_is_left_alone(place: Path) -> None:
    work = place / "out" / ".v1.build"
    work.parent.mkdir()
    claim(work, "build")
    os.chown(work, 65534, 65534)
    assert "another user" in refused(place, *build(place, "out", "v1"))


def test_a_lock_that_is_a_link_is_not_followed(place: Path) -> None:
    (place / "out").mkdir()
    (place / "out" / ".v1.lock").symlink_to(place / "home" / "Documents" / "thesis.txt")
    assert "symbolic link" in refused(place, *build(place, "out", "v1"))
    (place / "out" / ".v1.lock").unlink()
    (place / "out" / ".v1.lock").symlink_to(place / "created")
    assert "symbolic link" in refused(place, *build(place, "out", "v1"))


def test_nothing_is_built_into_a_dataset(place: Path) -> None:
    assert "must stay as it was built" in refused(place, *build(place, "trajectories/v1", "v2"))


# Exports -------------------------------------------------------------------------------------------------------


def export(place: Path, output: str, *options: str) -> tuple[str | Path, ...]:
    return ("export", place / "trajectories" / "v1", "-o", place / output, "--max-cpus", "1", *options)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_an_export_leaves_a_foreign_folder_alone(place: Path, overwrite: tuple[str, ...]) -> None:
    assert "not an export" in refused(place, *export(place, "home/Documents", *overwrite))
    (place / "home" / "Documents" / ".export").mkdir()
    (place / "home" / "Documents" / ".export" / "state.json").write_text('{"theirs": 1}')
    refused(place, *export(place, "home/Documents", *overwrite))
    for number, content in enumerate(("{}", '{"fingerprint": {}}', "[]", "not JSON")):
        folder = place / "home" / str(number)
        folder.mkdir()
        (folder / "export.json").write_text(content)
        (folder / "thesis.txt").write_text("years of work")
        assert "not an export" in refused(place, *export(place, f"home/{number}", *overwrite))


def test_an_export_with_other_files_in_it_is_left_alone(place: Path) -> None:
    run(*export(place, "files"), code=0)
    (place / "files" / "p109" / "thesis.txt").write_text("years of work")
    message = refused(place, *export(place, "files", "--per", "admission", "--overwrite"))
    assert "p109/thesis.txt" in message
    refused(place, *export(place, "files", "--per", "admission"))


def test_an_export_is_replaced_according_to_its_list_of_files(place: Path) -> None:
    run(*export(place, "files"), code=0)
    run(*export(place, "files", "--per", "admission", "--overwrite"), code=0)
    run(*export(place, "fresh", "--per", "admission"), code=0)
    assert everything(place / "files").keys() == everything(place / "fresh").keys()


def test_an_export_never_contains_or_enters_its_dataset(place: Path) -> None:
    for output in ("trajectories", "trajectories/v1", "trajectories/v1/files", "."):
        for options in ((), ("--overwrite",)):
            before = everything(place)
            assert run(*export(place, output, *options), code=2 if "v1" in output else 4)
            assert everything(place) == before


def test_links_planted_in_an_export_are_not_followed(place: Path) -> None:
    (place / "files").mkdir()
    (place / "files" / "p109").symlink_to(place / "home" / "Documents")
    refused(place, *export(place, "files"))
    (place / "files" / "p109").unlink()
    (place / "files" / ".export").symlink_to(place / "home" / "Documents")
    assert "symbolic link" in refused(place, *export(place, "files"))
    (place / "linked").symlink_to(place / "home" / "Documents")
    refused(place, *export(place, "linked", "--overwrite"))


# Labels, synthetic releases, the demo, downloads ---------------------------------------------------------------


def label(place: Path, output: str, *options: str) -> tuple[str | Path, ...]:
    return ("label", place / "trajectories" / "v1", "in_hospital_mortality", "-o", place / output, *options)


def test_labels_replace_only_labels(place: Path) -> None:
    for name in ("home/Documents/thesis.txt", "trajectories/v1/ledger.parquet", "trajectories/v1/labels.parquet"):
        refused(place, *label(place, name, "--overwrite"))
    shutil.copy(place / "trajectories" / "v1" / "ledger.parquet", place / "ledger.parquet")
    assert "not a file of labels" in refused(place, *label(place, "ledger.parquet", "--overwrite"))
    (place / "link.parquet").symlink_to(place / "ledger.parquet")
    assert "symbolic link" in refused(place, *label(place, "link.parquet", "--overwrite"))
    run(*label(place, "labels.parquet"), code=0)
    run(*label(place, "labels.parquet", "--overwrite"), code=0)


def test_a_synthetic_release_replaces_nothing(place: Path) -> None:
    refused(place, "synth", place / "home" / "Documents", "--patients", "1")
    refused(place, "synth", place / "trajectories" / "v1" / "new", "--patients", "1")
    # The remains of a killed run are recognised by their content.
    (place / "home" / ".new.999999.unfinished").mkdir()
    (place / "home" / ".new.999999.unfinished" / "thesis.txt").write_text("years of work")
    ours = place / "home" / ".new.999998.unfinished"
    claim(ours, "synth")
    run("synth", place / "home" / "new", "--patients", "1", "--max-cpus", "1", code=0)
    assert (place / "home" / ".new.999999.unfinished" / "thesis.txt").is_file()
    assert not ours.exists()
    assert not (place / "home" / "new" / MARKER).exists()


def test_the_demo_replaces_nothing(place: Path) -> None:
    for name in ("home/Documents/release", "home/Documents/trajectories/v1"):
        (place / name).mkdir(parents=True)
        (place / name / "thesis.txt").write_text("years of work")
    before = everything(place / "home")
    run("demo", place / "home" / "Documents", "--patients", "2", code=4)
    assert everything(place / "home") == before


# The lists themselves ------------------------------------------------------------------------------------------


def test_only_listed_files_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("a", "b/c", "b/d/e", "f/g"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (tmp_path / "outside").write_text("")
    (root / "h").symlink_to(tmp_path / "outside")
    assert unlisted_entries(root, {"a", "b/c"}) == ["b/d/", "f/", "h"]
    assert not remove_listed(root, {"a", "b/c", "../outside", "h/x", str(tmp_path / "outside"), "nowhere/x"})
    assert everything(root).keys() == {"b", "b/d", "b/d/e", "f", "f/g", "h"}
    assert (tmp_path / "outside").exists()
    assert remove_listed(root, {"b/d/e", "f/g", "h"})
    assert (tmp_path / "outside").exists()
    assert not root.exists()


def test_a_working_folder_is_removed_with_its_marker_last(tmp_path: Path) -> None:
    work = tmp_path / "work"
    assert not claim(work, "build")
    (work / "deep" / "er").mkdir(parents=True)
    assert claim(work, "build")
    with pytest.raises(ehrtraj.EhrtrajError, match="did not create it"):
        claim(work, "export")
    for cut_short in ("", "b", "buil"):
        (work / MARKER).write_text(cut_short)
        assert claim(work, "build")
    remove_claimed(work)
    assert not work.exists()
