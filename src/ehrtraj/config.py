"""Settings of a build, and where each came from.

`Settings` declares each setting once; everything else is derived (see `declaration`). To add a setting, add a field.

A setting has the same name everywhere: `--max-cpus` on the command line, `EHRTRAJ_MAX_CPUS` in the environment,
`max_cpus` in a TOML file. The command line takes precedence over the environment, and the environment over the file.
Only the variables in `UNPREFIXED` also work without `EHRTRAJ_`: other names, such as TABLES or SEED, are too common and
may be set for other programs.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ehrtraj.declaration import PREFIX, Setting, ValueType, setting, settings_of
from ehrtraj.errors import SettingsError
from ehrtraj.exports import formats
from ehrtraj.format.names import UNITS
from ehrtraj.format.splits import DEFAULT_SPLITS, parse_splits
from ehrtraj.release.asked import number_or_file
from ehrtraj.runtime.limits import DEFAULT_MEMORY, capped_cpus, check_memory_limit, parse_size, usable_cpus
from ehrtraj.suggestions import did_you_mean, nearest

if TYPE_CHECKING:
    from ehrtraj.sources.source import Source

Clock = Literal["event", "available"]
Notes = Literal["inline", "separate", "none"]

_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

_MAX_VERSION_LENGTH = 200
"""File systems allow 255 bytes; files next to the dataset have longer names than the dataset itself."""
_ENVIRONMENT, _FILE = "environment ", "file "


def _check_version(name: str) -> None:
    if not _VERSION_NAME.fullmatch(name):
        raise SettingsError(
            f"trajectory version '{name}' is not a valid folder name: use letters, digits, '.', '_', '+' and '-', "
            "starting with a letter or digit"
        )
    if len(name) > _MAX_VERSION_LENGTH:
        raise SettingsError(
            f"the trajectory version has {len(name)} characters: use {_MAX_VERSION_LENGTH} characters or fewer"
        )


def _check_modules(modules: tuple[str, ...]) -> None:
    if malformed := [entry for entry in modules if not all(entry.partition("="))]:
        raise SettingsError(
            f"modules is '{','.join(malformed)}': write a module and its folder, such as ecg=mimic-iv-ecg/1.0. "
            "--tables chooses tables"
        )


def _check_export(export: tuple[str, ...]) -> None:
    for entry in export:
        unit, colon, file_format = entry.partition(":")
        if unit not in UNITS or (colon and file_format not in formats.names()):
            near = did_you_mean(unit, UNITS) if unit not in UNITS else did_you_mean(file_format, formats.names())
            raise SettingsError(
                f"export is '{entry}'{near}: write the unit of a file ({', '.join(UNITS)}), a colon and a format "
                f"({', '.join(formats.names())}), such as patient:jsonl"
            )


def _check_cpus(cpus: int) -> None:
    capped_cpus(cpus)


def _check_subjects(subjects: str) -> None:
    number_or_file(subjects)


def _canonical_subjects(subjects: str | None) -> str | None:
    """Return the hash of the file's content, or a number of patients as it is.

    The name of the file does not identify the patients in it.
    """
    if subjects is not None and (path := Path(subjects).expanduser()).is_file():
        return _hash_of(path)
    return subjects


def _hash_of(path: Path) -> str:
    import hashlib  # takes longer than everything else here, and only a build needs it

    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse_splits(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _check_splits(splits: str) -> None:
    parse_splits(splits)


def _canonical_splits(splits: str) -> object:
    """Return the bounds of the splits, the hash of the file's content, or the name of the method."""
    method = parse_splits(splits)
    if method.file is not None:
        return _hash_of(method.file)
    return splits if method.upper is None else list(method.upper)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a build."""

    data_dir: Path = field(
        metadata=setting(
            help="Folder of the release, or one above it.",
            changes_data=True,
            content_in="files",
            positional=True,
            unprefixed=True,
        )
    )
    output: Path = field(
        default=Path("trajectories"),
        metadata=setting(help="Folder that receives the dataset.", changes_data=False, short="-o"),
    )
    trajectory_version: str = field(
        metadata=setting(
            help="Name of the dataset, a folder in the output.",
            changes_data=False,
            check=_check_version,
            short="-t",
            unprefixed=True,
        )
    )
    max_cpus: int = field(
        default_factory=usable_cpus,
        metadata=setting(
            help="Maximum number of CPU cores to use.",
            details="The build never uses more cores than the machine has.",
            changes_data=False,
            check=_check_cpus,
            default_text="all",
            unprefixed=True,
        ),
    )
    memory_limit: int = field(
        default=DEFAULT_MEMORY,
        metadata=setting(
            help="Maximum memory of all processes together, such as 4GB or 1500MB, at least 1GB.",
            details="With less memory, fewer shards are built at the same time.",
            changes_data=False,
            kind=ValueType(parse_size, str, str | int | None),
            check=check_memory_limit,
            default_text="4GB",
        ),
    )
    tables: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Tables to build events from, such as labevents,icu/chartevents.",
            changes_data=True,
            canonical=sorted,
            default_text="all",
        ),
    )
    subjects: str | None = field(
        default=None,
        metadata=setting(
            help="Patients to build: a file of subject_ids, or the number of patients to sample.",
            details="The file has one ID per line, or is a CSV file with a column `subject_id`. IDs that are not in "
            "the release are reported.",
            changes_data=True,
            canonical=_canonical_subjects,
            kind=ValueType(str, str, str | Path | int | None),
            check=_check_subjects,
            default_text="all",
        ),
    )
    icu_only: bool = field(
        default=False,
        metadata=setting(
            help="Build only patients with an ICU stay, or all.",
            changes_data=True,
            switch="--icu-only/--all-patients",
        ),
    )
    clock: Clock = field(
        default="event",
        metadata=setting(
            help="Content of the column time: when an event happened (event) or became known (available).",
            details="`available` is for readers that support a single time column.",
            changes_data=True,
        ),
    )
    standardise: bool = field(
        default=True,
        metadata=setting(
            help="Convert numbers to their item's unit and check them, or keep them as written.",
            changes_data=True,
            switch="--standardise/--as-written",
        ),
    )
    gem: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of CMS's General Equivalence Mappings: adds ICD-10 codes as parents of ICD-9 codes.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    concept_maps: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of mimic-code's concept maps: adds LOINC, SNOMED and RxNorm codes as parents of items.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    vocabulary: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of OMOP vocabularies (CONCEPT.csv, ...): adds standard concepts as parents.",
            details="You can download them from Athena.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    ed: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of MIMIC-IV-ED, if it is not in DATA_DIR.", changes_data=True, content_in="files"
        ),
    )
    note: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of MIMIC-IV-Note, if it is not in DATA_DIR.", changes_data=True, content_in="files"
        ),
    )
    modules: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Folders of other modules outside DATA_DIR, such as ecg=mimic-iv-ecg/1.0.",
            changes_data=True,
            content_in="files",
            check=_check_modules,
        ),
    )
    notes: Notes = field(
        default="inline",
        metadata=setting(
            help="Where to store the texts of notes: in the events (inline) or in separate files (separate). `none` "
            "leaves out the note module entirely.",
            changes_data=True,
            shorthand=("--no-notes", "none"),
        ),
    )
    source: str | None = field(
        default=None,
        metadata=setting(
            help="Source of the release: a name, or the folder of a custom source.",
            details="See docs/reference/sources.md.",
            changes_data=True,
            content_in="source",
            kind=ValueType(str, str, str | Path | None),
            default_text="detected from the tables",
        ),
    )
    overlay: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder with custom recipes/ and rules/, which take precedence over those of the source.",
            changes_data=True,
            content_in="source",
        ),
    )
    splits: str = field(
        default=DEFAULT_SPLITS,
        metadata=setting(
            help="Splits of the patients: shares of train, tuning and held_out, a file, or `temporal`.",
            details="The file is a CSV or Parquet file with the columns `subject_id` and `split`. With `temporal`, "
            "patients of the latest calendar period are held_out, those of the one before it tuning, and all others "
            "train.",
            changes_data=True,
            canonical=_canonical_splits,
            kind=ValueType(_parse_splits, str, str | Path | Sequence[float] | None),
            check=_check_splits,
        ),
    )
    seed: int = field(
        default=0, metadata=setting(help="Random seed for splits and patient sampling.", changes_data=True)
    )
    overwrite: bool = field(
        default=False,
        metadata=setting(
            help="Replace a finished dataset of the same name, or stop and keep it.",
            changes_data=False,
            switch="--overwrite/--keep",
        ),
    )
    allow_incomplete: bool = field(
        default=False,
        metadata=setting(
            help="Build even if the table of patients or admissions is missing.",
            details="Otherwise the build stops.",
            # It decides whether the dataset is built, not what it contains.
            changes_data=False,
            switch="--allow-incomplete/--complete",
        ),
    )
    export: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Also export the dataset, for example as patient:jsonl. See `ehrtraj export`.",
            changes_data=False,
            check=_check_export,
        ),
    )
    concepts: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Also compute concepts: all, or names such as sofa,sepsis3. See `ehrtraj concepts`.",
            changes_data=False,
        ),
    )
    report: bool = field(
        default=True,
        metadata=setting(
            help="Write a report that can be shared next to the dataset, such as v1-report.html, or none.",
            details="See `ehrtraj report`.",
            changes_data=False,
            switch="--report/--no-report",
        ),
    )


SETTINGS = settings_of(Settings)
UNPREFIXED = tuple(s.name for s in SETTINGS if s.declared.unprefixed)
"""Settings whose environment variable also works without the prefix."""


def module_folders(settings: Settings, source: Source) -> dict[str, Path | None]:
    """Return the folder of each module that the settings name, and None for the other modules of the source.

    Raises:
        SettingsError: if an option names a module that the source does not have.
    """
    options = source.declared.module_options
    for name in ("ed", "note"):
        if getattr(settings, name) is not None and name not in options:
            raise SettingsError(f"--{name}: {source.title} has no such module")
    named_folders: dict[str, Path | None] = {}
    for entry in settings.modules:
        name, _, folder = entry.partition("=")
        named_folders[name] = Path(folder).expanduser()
    return {module: getattr(settings, name, None) for name, module in options.items()} | named_folders


def read_config_file(path: Path) -> dict[str, Any]:
    """Return the settings in a TOML file, from its top level and from `[build]`.

    Raises:
        SettingsError: if the file does not exist, is not TOML, or contains a key that is not a setting.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    under_build = content.pop("build", {})
    if not isinstance(under_build, dict):
        raise SettingsError(f"{path}: 'build' must be a table of settings: write [build]")
    content |= under_build
    names = {s.name for s in SETTINGS}
    if unknown := sorted(set(content) - names):
        raise SettingsError(
            f"{path} contains unknown settings: {', '.join(name + did_you_mean(name, names) for name in unknown)}. "
            f"The settings are: {', '.join(sorted(names))}"
        )
    return content


def resolve(
    given: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Determine the value of each setting by precedence.

    Args:
        given: settings from the command line or the library call; None means that a setting was not given.
        config: TOML file, if any.
        environ: environment variables; those of this process by default.

    Returns:
        The settings, and the origin of each value by the setting's name.

    Raises:
        SettingsError: if a required setting is missing or a value cannot be used.
    """
    environ = os.environ if environ is None else environ
    from_file = read_config_file(config) if config else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting_ in SETTINGS:
        name = setting_.name
        candidates: list[tuple[str, object]] = [
            ("command line", given.get(name)),
            *((f"{_ENVIRONMENT}{variable}", environ.get(variable)) for variable in setting_.variables),
            (f"{_FILE}{config}", from_file.get(name)),
        ]
        values[name], origins[name] = _first_value(setting_, candidates)
    for setting_ in SETTINGS:
        setting_.check(values[setting_.name])
    return Settings(**values), origins


def _first_value(setting_: Setting, candidates: list[tuple[str, object]]) -> tuple[object, str]:
    """Return the value of a setting and its origin.

    Args:
        setting_: the setting.
        candidates: pairs of origin and value, the highest precedence first.
    """
    for origin, value in candidates:
        if value is not None and value != "":
            try:
                return setting_.kind.parse(value), origin
            except SettingsError as error:
                raise SettingsError(f"{setting_.name} ({origin}): {error}") from None
    if not setting_.required:
        return setting_.default, "default"
    variable = setting_.variables[-1]
    if setting_.declared.positional:
        what, advice = "the folder of the release", f"pass it as an argument (ehrtraj build {variable})"
    else:
        what, advice = setting_.name, f"pass {setting_.option}"
    raise SettingsError(
        f"{what} is missing: {advice}, set {variable} in the environment, or set {setting_.name} in a --config file"
    )


def spell(value: object) -> str:
    """Return the value of a setting as a user would write it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def settings_news(
    settings: Settings, origins: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    """List the settings that come from the environment or a file, and the variables that are not settings.

    Args:
        settings: as returned by `resolve`.
        origins: where each setting came from.
        environ: environment variables; those of this process by default.

    Returns:
        Notes and warnings. A setting from the environment that changes the data is a warning, since the user may not
        expect it.
    """
    environ = os.environ if environ is None else environ
    notes, warnings = [], []
    variables = {name: origin.removeprefix(_ENVIRONMENT) for name, origin in origins.items() if _ENVIRONMENT in origin}
    texts = {n: f"{n} = {spell(getattr(settings, n))} ({variable})" for n, variable in variables.items()}
    # Every user sets a setting that has no default, so setting it in the environment is expected.
    surprising = {s.name for s in SETTINGS if s.declared.changes_data and not s.required}
    if harmless := [text for name, text in texts.items() if name not in surprising]:
        notes.append(f"settings from the environment: {', '.join(harmless)}")
    if serious := [text for name, text in texts.items() if name in surprising]:
        warnings.append(
            f"settings from the environment that change the data: {', '.join(serious)}. If you did not intend this, "
            "unset the variables or pass the options on the command line"
        )
    if from_file := [name for name, origin in origins.items() if origin.startswith(_FILE)]:
        listed = ", ".join(f"{name} = {spell(getattr(settings, name))}" for name in from_file)
        notes.append(f"settings from the {origins[from_file[0]]}: {listed}")
    return notes, warnings + _unknown_variables(environ)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a warning for each variable with the prefix `EHRTRAJ_` that is not a setting, most likely a typo."""
    variables = [s.variables[0] for s in SETTINGS]
    warnings = []
    for name in sorted(n for n in environ if n.startswith(PREFIX) and n not in variables):
        near = nearest(name, variables)
        suggestion = f": did you mean {near[0]}?" if near else ""
        warnings.append(f"the environment variable {name} is not a setting and has no effect{suggestion}")
    return warnings
