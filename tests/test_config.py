"""Settings: their origin, and the messages for invalid values."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.config import (
    UNPREFIXED,
    Settings,
    read_config_file,
    resolve,
    settings_news,
)
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.verify import verify
from ehrtraj.errors import SettingsError
from ehrtraj.runtime.limits import (
    DEFAULT_MEMORY,
    MIN_MEMORY,
    capped_cpus,
    parse_size,
    usable_cpus,
)
from ehrtraj.runtime.progress import Reporter
from ehrtraj.synth.run import SynthReporter, synth

NEEDED = {"data_dir": "release", "trajectory_version": "v1"}

# For each setting, texts and their values: on the command line, in the environment with and without the prefix, and in
# a file.
VALUES = {
    "data_dir": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "output": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "trajectory_version": [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")],
    "max_cpus": [("3", 3), ("4", 4), ("5", 5), ("6", 6)],
    "memory_limit": [("2GB", 2 * 10**9), ("3GB", 3 * 10**9), ("5GB", 5 * 10**9), ("6GB", 6 * 10**9)],
    "tables": [("a", ("a",)), ("b,c", ("b", "c")), ("d", ("d",)), ("e", ("e",))],
    "subjects": [("10", "10"), ("20", "20"), ("30", "30"), ("40", "40")],
    "icu_only": [("true", True), ("false", False), ("yes", True), ("no", False)],
    "clock": [("available", "available"), ("event", "event"), ("available", "available"), ("event", "event")],
    "standardise": [("true", True), ("false", False), ("yes", True), ("no", False)],
    "gem": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "concept_maps": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "vocabulary": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "ed": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "note": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "modules": [("a=b", ("a=b",)), ("a=b,c=d", ("a=b", "c=d")), ("d=e", ("d=e",)), ("e=f", ("e=f",))],
    "notes": [("separate", "separate"), ("inline", "inline"), ("none", "none"), ("separate", "separate")],
    "source": [("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")],
    "overlay": [("a", Path("a")), ("b", Path("b")), ("c", Path("c")), ("d", Path("d"))],
    "splits": [(text, text) for text in ("1,0,0", "0,1,0", "0,0,1", "temporal")],
    "seed": [("1", 1), ("2", 2), ("3", 3), ("4", 4)],
    "overwrite": [("true", True), ("false", False), ("yes", True), ("no", False)],
    "allow_incomplete": [("true", True), ("false", False), ("yes", True), ("no", False)],
    "export": [
        ("patient", ("patient",)),
        ("patient:csv,admission:json", ("patient:csv", "admission:json")),
        ("icustay:parquet", ("icustay:parquet",)),
        ("shard:jsonl", ("shard:jsonl",)),
    ],
    "concepts": [("all", ("all",)), ("sofa,age", ("sofa", "age")), ("sofa", ("sofa",)), ("age", ("age",))],
    "report": [("true", True), ("false", False), ("yes", True), ("no", False)],
}
BY_DEFAULT = {
    "output": Path("trajectories"),
    "max_cpus": usable_cpus(),
    "memory_limit": DEFAULT_MEMORY,
    "tables": (),
    "subjects": None,
    "icu_only": False,
    "clock": "event",
    "standardise": True,
    "gem": None,
    "concept_maps": None,
    "vocabulary": None,
    "ed": None,
    "note": None,
    "modules": (),
    "notes": "inline",
    "source": None,
    "overlay": None,
    "splits": "0.8,0.1,0.1",
    "seed": 0,
    "overwrite": False,
    "allow_incomplete": False,
    "export": (),
    "concepts": (),
    "report": True,
}


def config(folder: Path, text: str) -> Path:
    path = folder / "ehrtraj.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_setting_is_covered_here() -> None:
    assert set(VALUES) == {f.name for f in fields(Settings)}


@pytest.mark.parametrize("name", VALUES)
def test_command_line_before_environment_before_file_before_default(name: str, tmp_path: Path) -> None:
    (given, given_value), (own, own_value), (plain, plain_value), (filed, filed_value) = VALUES[name]
    upper = name.upper()
    path = config(tmp_path, f'{name} = "{filed}"\n')
    needed = {k: v for k, v in NEEDED.items() if k != name}
    both = {f"EHRTRAJ_{upper}": own, upper: plain}

    settings, origins = resolve(needed | {name: given}, path, both)
    assert (getattr(settings, name), origins[name]) == (given_value, "command line")
    settings, origins = resolve(needed | {name: None}, path, both)
    assert (getattr(settings, name), origins[name]) == (own_value, f"environment EHRTRAJ_{upper}")
    settings, origins = resolve(needed, path, {upper: plain})
    if name in UNPREFIXED:
        assert (getattr(settings, name), origins[name]) == (plain_value, f"environment {upper}")
    else:
        assert (getattr(settings, name), origins[name]) == (filed_value, f"file {path}")
    settings, origins = resolve(needed, path, {})
    assert (getattr(settings, name), origins[name]) == (filed_value, f"file {path}")
    if name in BY_DEFAULT:
        settings, origins = resolve(needed, None, {})
        assert (getattr(settings, name), origins[name]) == (BY_DEFAULT[name], "default")


def test_an_empty_variable_is_not_set() -> None:
    settings, origins = resolve(NEEDED, None, {"EHRTRAJ_CLOCK": "", "EHRTRAJ_SEED": ""})
    assert (settings.clock, origins["clock"]) == ("event", "default")
    assert (settings.seed, origins["seed"]) == (0, "default")


def test_the_environment_of_the_process_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRTRAJ_SEED", "17")
    assert resolve(NEEDED)[0].seed == 17


def test_false_on_the_command_line_wins_over_true_in_the_environment() -> None:
    assert resolve(NEEDED | {"icu_only": False}, None, {"EHRTRAJ_ICU_ONLY": "1"})[0].icu_only is False
    assert resolve(NEEDED | {"seed": 0}, None, {"EHRTRAJ_SEED": "1"})[0].seed == 0


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named_with_the_ways_to_set_it(name: str) -> None:
    with pytest.raises(SettingsError, match="missing") as raised:
        resolve({k: v for k, v in NEEDED.items() if k != name}, None, {})
    assert name.upper() in str(raised.value)
    assert "--config" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("4gb", 4 * 10**9),
        ("512 MiB", 512 * 2**20),
        ("1.5GB", 1_500_000_000),
        ("2GiB", 2 * 2**30),
        ("7KiB", 7 * 1024),
        ("9KB", 9000),
        (" 1000000 ", 10**6),
        ("1000000B", 10**6),
        (10**9, 10**9),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "four GB", "4 TBs", "-1GB", "4GB of memory", "1,5GB", "0x10"])
def test_an_invalid_size_is_named(text: str) -> None:
    with pytest.raises(SettingsError, match="not a size") as raised:
        parse_size(text)
    assert text in str(raised.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_cpus", "two"),
        ("max_cpus", "0"),
        ("max_cpus", "-1"),
        ("max_cpus", "1.5"),
        ("memory_limit", "much"),
        ("memory_limit", "999MB"),
        ("icu_only", "maybe"),
        ("overwrite", "2"),
        ("seed", "x"),
        ("clock", "both"),
        ("trajectory_version", "../up"),
        ("trajectory_version", ".hidden"),
        ("trajectory_version", "a/b"),
        ("trajectory_version", "with blank"),
        ("trajectory_version", "-v"),
    ],
)
def test_a_bad_value_is_a_settings_error_that_names_the_setting(name: str, value: str, tmp_path: Path) -> None:
    for given, environ, path in [
        ({name: value}, {}, None),
        ({name: None}, {f"EHRTRAJ_{name.upper()}": value}, None),
        ({name: None}, {}, config(tmp_path, f'{name} = "{value}"\n')),
    ]:
        with pytest.raises(SettingsError) as raised:
            resolve(NEEDED | given, path, environ)
        message = str(raised.value).lower()
        assert name in message or name.replace("_", " ") in message
        assert value.lower() in message or "999,000,000" in message
        assert raised.value.exit_code == 2


def test_the_minimum_memory_limit_is_accepted() -> None:
    assert resolve(NEEDED | {"memory_limit": MIN_MEMORY}, None, {})[0].memory_limit == MIN_MEMORY


@pytest.mark.parametrize("word", ["1", "true", "TRUE", " yes ", "on"])
def test_words_for_true(word: str) -> None:
    assert resolve(NEEDED, None, {"EHRTRAJ_ICU_ONLY": word})[0].icu_only is True


@pytest.mark.parametrize("word", ["0", "false", "No", "off"])
def test_words_for_false(word: str) -> None:
    assert resolve(NEEDED | {"icu_only": word}, None, {})[0].icu_only is False


@pytest.mark.parametrize("given", ["labevents, hosp/omr ,", ["labevents", "hosp/omr"], ("labevents", " hosp/omr", "")])
def test_tables_are_a_list_or_comma_separated_names(given: object) -> None:
    assert resolve(NEEDED | {"tables": given}, None, {})[0].tables == ("labevents", "hosp/omr")


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert resolve(NEEDED | {"output": "~/out"}, None, {})[0].output == Path("/home/somebody/out")


# Files ------------------------------------------------------------------------------------------------------


def test_a_file_has_its_settings_at_the_top_or_under_build(tmp_path: Path) -> None:
    path = config(tmp_path, 'seed = 3\ntables = ["labevents"]\n\n[build]\nclock = "available"\nicu_only = true\n')
    settings, _ = resolve(NEEDED, path, {})
    assert (settings.seed, settings.clock, settings.icu_only, settings.tables) == (
        3,
        "available",
        True,
        ("labevents",),
    )


def test_an_unknown_setting_in_a_file_is_named_with_the_known_settings(tmp_path: Path) -> None:
    path = config(tmp_path, "sede = 3\n")
    with pytest.raises(SettingsError, match="sede") as raised:
        read_config_file(path)
    assert str(path) in str(raised.value)
    assert "unknown settings: sede (did you mean seed?). The settings are: " in str(raised.value)


@pytest.mark.parametrize("content", [b"seed = \n", b"\xff\xfe", b"seed 3"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="not TOML") as raised:
        resolve(NEEDED, path, {})
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("text", ["build = 3\n", "[build]\nseed = [1]\n", "seed = 1.5\n", "[[build]]\nseed = 1\n"])
def test_a_file_with_values_of_the_wrong_kind_is_a_settings_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError):
        resolve(NEEDED, config(tmp_path, text), {})


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read") as raised:
        resolve(NEEDED, tmp_path / "none.toml", {})
    assert "none.toml" in str(raised.value)


# Notes and warnings for the user ----------------------------------------------------------------------------------


def test_only_three_variables_work_without_the_prefix() -> None:
    """Variables such as TABLES or SEED may be set for other programs: they must not change a build."""
    environ = {field.name.upper(): VALUES[field.name][0][0] for field in fields(Settings)}
    _, origins = resolve(NEEDED, None, environ)
    assert {name for name, origin in origins.items() if "environment" in origin} == {"max_cpus"}
    _, origins = resolve({}, None, environ)
    assert {name for name, origin in origins.items() if "environment" in origin} == set(UNPREFIXED)
    assert set(UNPREFIXED) == {"data_dir", "trajectory_version", "max_cpus"}


@pytest.mark.parametrize("name", sorted(set(VALUES) - set(NEEDED)))
def test_settings_from_the_environment_or_a_file_are_reported(name: str, tmp_path: Path) -> None:
    text, _ = VALUES[name][0]
    environ = {f"EHRTRAJ_{name.upper()}": text}
    notes, warnings = settings_news(*resolve(NEEDED, None, environ), environ)
    changes_nothing = name in (
        "output", "max_cpus", "memory_limit", "overwrite", "export", "concepts", "allow_incomplete",
        "report",
    )  # fmt: skip
    assert [f"EHRTRAJ_{name.upper()}" in line and f"{name} = " in line for line in notes + warnings] == [True]
    assert bool(warnings) is not changes_nothing
    path = config(tmp_path, f'{name} = "{text}"\n')
    notes, warnings = settings_news(*resolve(NEEDED, path, {}), {})
    assert [str(path) in line and f"{name} = " in line for line in notes] == [True]
    assert not warnings
    assert settings_news(*resolve(NEEDED | {name: text}, path, environ), environ) == ([], [])


def test_a_misspelt_variable_is_a_warning_that_names_the_right_one() -> None:
    environ = {"EHRTRAJ_TABELS": "patients", "EHRTRAJ_TABLES": "patients", "TABELS": "x"}
    _, warnings = settings_news(*resolve(NEEDED, None, environ), environ)
    (misspelt,) = [line for line in warnings if "EHRTRAJ_TABELS" in line]
    assert "did you mean EHRTRAJ_TABLES?" in misspelt
    assert len(warnings) == 2


def test_max_cpus_is_capped_at_the_usable_cores() -> None:
    usable = usable_cpus()
    assert capped_cpus(None) == (usable, None)
    assert capped_cpus(1) == (1, None)
    assert capped_cpus(usable) == (usable, None)
    cpus, note = capped_cpus(100_000)
    assert cpus == usable
    assert note is not None
    assert "100,000" in note
    for asked in (0, -1):
        with pytest.raises(SettingsError, match="1 or more"):
            capped_cpus(asked)


@pytest.mark.parametrize(("text", "meant"), [("4", "4GB"), ("16", "16GB"), ("900MB", ""), ("999999999", "")])
def test_a_memory_limit_below_the_minimum_is_refused_with_the_intended_unit(text: str, meant: str) -> None:
    with pytest.raises(SettingsError, match="it must be at least 1GB") as raised:
        resolve(NEEDED | {"memory_limit": text}, None, {})
    assert ("did you mean" in str(raised.value)) is bool(meant)
    assert meant in str(raised.value)


class Heard(Reporter, SynthReporter, DownloadReporter):
    """Collects the notes and warnings."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_every_function_that_takes_max_cpus_caps_it(release: Path, built: Path, tmp_path: Path) -> None:
    many = 100_000
    heard = Heard()
    result = ehrtraj.build(release, tmp_path, "v", tables="patients", max_cpus=many, standardise=False, reporter=heard)
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["settings"]["max_cpus"] == usable_cpus()
    assert [n for n in manifest["notes"] if "100,000" in n] == [n for n in heard.notes if "100,000" in n] != []
    notes = ehrtraj.export(built, tmp_path / "files", subjects=1, max_cpus=many).notes
    heard = Heard()
    synth(tmp_path / "synthetic", patients=1, max_cpus=many, reporter=heard)
    (tmp_path / "SHA256SUMS.txt").write_text(f"{hashlib.sha256(b'').hexdigest()} nothing\n")
    verify(tmp_path, max_cpus=many, reporter=heard)
    assert [text for text in (*notes, *heard.notes) if "100,000" in text] == [capped_cpus(many)[1]] * 3


def test_a_build_reports_the_settings_of_the_environment(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHRTRAJ_TABLES", "patients")
    monkeypatch.setenv("EHRTRAJ_TABELS", "patients")
    monkeypatch.setenv("EHRTRAJ_SEED", "")
    monkeypatch.setenv("SEED", "5")
    heard = Heard()
    result = ehrtraj.build(release, tmp_path, "v", max_cpus=1, standardise=False, reporter=heard)
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == 0
    assert manifest["settings_from"]["tables"] == "environment EHRTRAJ_TABLES"
    assert set(manifest["settings_from"]) == {
        "data_dir",
        "output",
        "trajectory_version",
        "max_cpus",
        "standardise",
        "tables",
    }
    assert len([w for w in result.warnings if "tables = patients (EHRTRAJ_TABLES)" in w]) == 1
    assert len([w for w in result.warnings if "EHRTRAJ_TABELS" in w]) == 1
    assert manifest["warnings"] == list(result.warnings) == heard.warnings
    again = ehrtraj.build(release, tmp_path, "v", max_cpus=1, standardise=False)
    assert again.already_there
    assert set(again.warnings) == set(result.warnings)
