"""Settings of a build, and where each came from.

`Settings` declares each of them once; everything else is derived (see `declaration`). To add one, add a field.

One setting has one name everywhere: `--max-cpus` on the command line, `EHRTRAJ_MAX_CPUS` in the environment, `max_cpus`
in a TOML file. The command line wins over the environment, which wins over the file. Only the names in `UNPREFIXED`
also count without `EHRTRAJ_`: others, such as TABLES or SEED, are set for other programs too.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ehrtraj.declaration import PREFIX, Setting, ValueType, setting, settings_of
from ehrtraj.errors import SettingsError
from ehrtraj.exports import formats
from ehrtraj.format.names import UNITS
from ehrtraj.release.asked import number_or_file
from ehrtraj.runtime.limits import DEFAULT_MEMORY, capped_cpus, check_memory_limit, parse_size, usable_cpus

if TYPE_CHECKING:
    from ehrtraj.sources.source import Source

Clock = Literal["event", "available"]
Notes = Literal["inline", "separate", "none"]

_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")

LONGEST_NAME = 200
"""A name may have 255 bytes: what is made beside the dataset has a longer one."""
_ENVIRONMENT, _FILE = "environment ", "file "


def _check_version(name: str) -> None:
    if not _VERSION_NAME.fullmatch(name):
        raise SettingsError(
            f"trajectory version '{name}' cannot name a folder: use letters, digits, '.', '_', '+' and '-', starting "
            "with a letter or digit"
        )
    if len(name) > LONGEST_NAME:
        raise SettingsError(f"the trajectory version has {len(name)} letters: at most {LONGEST_NAME}")


def _check_modules(modules: tuple[str, ...]) -> None:
    if wrong := [entry for entry in modules if not all(entry.partition("="))]:
        raise SettingsError(f"modules is '{','.join(wrong)}': write a module and its folder, as ecg=mimic-iv-ecg/1.0")


def _check_export(export: tuple[str, ...]) -> None:
    for wanted in export:
        unit, colon, kind = wanted.partition(":")
        if unit not in UNITS or (colon and kind not in formats.names()):
            raise SettingsError(
                f"export is '{wanted}': write what has a file ({', '.join(UNITS)}), a colon and a format "
                f"({', '.join(formats.names())}), such as patient:jsonl"
            )


def _check_cpus(asked: int) -> None:
    capped_cpus(asked)


def _check_subjects(subjects: str) -> None:
    number_or_file(subjects)


def _listed_subjects(subjects: str | None) -> str | None:
    """Return the hash of the file of patients: its name says nothing of who is in it."""
    if subjects is not None and (listed := Path(subjects).expanduser()).is_file():
        import hashlib  # takes longer than all else here, and only a build needs it

        return hashlib.sha256(listed.read_bytes()).hexdigest()
    return subjects


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides a build."""

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
            details="Never more than there are.",
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
            help="Events of these tables only, such as labevents,icu/chartevents.",
            changes_data=True,
            canonical=sorted,
            default_text="all",
        ),
    )
    subjects: str | None = field(
        default=None,
        metadata=setting(
            help="These patients only: a file of subject_ids, or a number to draw.",
            details="The file has one ID per line, or is a CSV file with a column `subject_id`. IDs that are not in "
            "the release are reported.",
            changes_data=True,
            canonical=_listed_subjects,
            kind=ValueType(str, str, str | Path | int | None),
            check=_check_subjects,
            default_text="all",
        ),
    )
    icu_only: bool = field(
        default=False,
        metadata=setting(
            help="Only patients with an ICU stay, or all.", changes_data=True, switch="--icu-only/--all-patients"
        ),
    )
    clock: Clock = field(
        default="event",
        metadata=setting(
            help="What the column time contains: when it happened (event) or was known (available).",
            details="`available` is for readers that know one clock.",
            changes_data=True,
        ),
    )
    standardise: bool = field(
        default=True,
        metadata=setting(
            help="Numbers in their item's own unit, checked; or as they are.",
            changes_data=True,
            switch="--standardise/--as-written",
        ),
    )
    gem: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of CMS' General Equivalence Mappings: ICD-10 codes as parents of ICD-9 codes.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    concept_maps: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of mimic-code's concept maps: LOINC, SNOMED and RxNorm as parents of items.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    vocabulary: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of OMOP vocabularies (CONCEPT.csv, ...): standard concepts as parents.",
            details="Athena offers them for download.",
            changes_data=True,
            content_in="vocabularies",
        ),
    )
    ed: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of MIMIC-IV-ED, where it is not in DATA_DIR.", changes_data=True, content_in="files"
        ),
    )
    note: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder of MIMIC-IV-Note, where it is not in DATA_DIR.", changes_data=True, content_in="files"
        ),
    )
    modules: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Folders of other modules that are elsewhere, such as ecg=mimic-iv-ecg/1.0.",
            changes_data=True,
            content_in="files",
            check=_check_modules,
        ),
    )
    notes: Notes = field(
        default="inline",
        metadata=setting(
            help="Texts of notes: in the events (inline), in files of their own beside them (separate), or left out "
            "with everything else in the note module (none).",
            changes_data=True,
            shorthand=("--no-notes", "none"),
        ),
    )
    source: str | None = field(
        default=None,
        metadata=setting(
            help="Source of the release: a name, or the folder of your own.",
            details="See docs/reference/sources.md.",
            changes_data=True,
            content_in="source",
            default_text="found by its tables",
        ),
    )
    overlay: Path | None = field(
        default=None,
        metadata=setting(
            help="Folder with your own recipes/ and rules/, which win over those of the source.",
            changes_data=True,
            content_in="source",
        ),
    )
    seed: int = field(
        default=0, metadata=setting(help="Random seed for splits and patient sampling.", changes_data=True)
    )
    overwrite: bool = field(
        default=False,
        metadata=setting(
            help="Replace a finished dataset of the same name, or keep it.",
            changes_data=False,
            switch="--overwrite/--keep",
        ),
    )
    allow_incomplete: bool = field(
        default=False,
        metadata=setting(
            help="Build from a release without patients or admissions.",
            details="Otherwise the build stops.",
            # It decides whether there is a dataset, not what is in it.
            changes_data=False,
            switch="--allow-incomplete/--complete",
        ),
    )
    export: tuple[str, ...] = field(
        default=(),
        metadata=setting(
            help="Also write files of the dataset beside it, such as patient:jsonl. See `ehrtraj export`.",
            changes_data=False,
            check=_check_export,
        ),
    )


SETTINGS = settings_of(Settings)
UNPREFIXED = tuple(s.name for s in SETTINGS if s.declared.unprefixed)
"""Settings whose environment variable also counts without the prefix."""


def module_folders(settings: Settings, source: Source) -> dict[str, Path | None]:
    """Folders of the modules that were named, None for those that were not.

    Raises:
        SettingsError: if an option names a module that the source does not have.
    """
    options = source.declared.module_options
    for name in ("ed", "note"):
        if getattr(settings, name) is not None and name not in options:
            raise SettingsError(f"--{name}: {source.title} has no such module")
    own: dict[str, Path | None] = {}
    for entry in settings.modules:
        name, _, folder = entry.partition("=")
        own[name] = Path(folder).expanduser()
    return {module: getattr(settings, name, None) for name, module in options.items()} | own


def read_config_file(path: Path) -> dict[str, Any]:
    """Settings of a TOML file, at its top level or under `[build]`.

    Raises:
        SettingsError: if the file is not there, is not TOML, or has a key that is no setting.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the settings file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    under_build = content.pop("build", {})
    if not isinstance(under_build, dict):
        raise SettingsError(f"{path}: 'build' is not a table of settings: write [build]")
    content |= under_build
    names = {s.name for s in SETTINGS}
    if unknown := sorted(set(content) - names):
        raise SettingsError(f"{path} has no setting named {', '.join(unknown)}; there are: {', '.join(sorted(names))}")
    return content


def resolve(
    given: Mapping[str, object],
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """Settle every setting by precedence.

    Args:
        given: settings from the command line or the library call; None counts as not given.
        config: TOML file, if any.
        environ: environment variables; this process's own by default.

    Returns:
        The settings, and for each name where its value came from.

    Raises:
        SettingsError: if a required setting is missing or a value cannot be used.
    """
    environ = os.environ if environ is None else environ
    from_file = read_config_file(config) if config else {}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for wanted in SETTINGS:
        name = wanted.name
        sources: list[tuple[str, object]] = [
            ("command line", given.get(name)),
            *((f"{_ENVIRONMENT}{variable}", environ.get(variable)) for variable in wanted.variables),
            (f"{_FILE}{config}", from_file.get(name)),
        ]
        values[name], origins[name] = _first_given(wanted, sources)
    for wanted in SETTINGS:
        wanted.check(values[wanted.name])
    return Settings(**values), origins


def _first_given(wanted: Setting, sources: list[tuple[str, object]]) -> tuple[object, str]:
    """Return the value of a setting and where it came from."""
    for origin, value in sources:
        if value is not None and value != "":
            try:
                return wanted.kind.parse(value), origin
            except SettingsError as error:
                raise SettingsError(f"{wanted.name} ({origin}): {error}") from None
    if not wanted.required:
        return wanted.default, "default"
    upper = wanted.variables[-1]
    if wanted.declared.positional:
        what, way = "the folder of the release", f"name it (ehrtraj build {upper})"
    else:
        what, way = wanted.name, f"give {wanted.option}"
    raise SettingsError(
        f"{what} is missing: {way}, set {upper} in the environment, or write {wanted.name} in a --config file"
    )


def spell(value: object) -> str:
    """Write the value of a setting as a user would."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def settings_news(
    settings: Settings, origins: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    """Say which settings nobody wrote on the command line, and which variables are no settings.

    Args:
        settings: as `resolve` settled them.
        origins: where each came from.
        environ: environment variables; this process's own by default.

    Returns:
        Notes, and warnings: a setting of the environment that changes the data may be a surprise.
    """
    environ = os.environ if environ is None else environ
    notes, warnings = [], []
    variables = {name: origin.removeprefix(_ENVIRONMENT) for name, origin in origins.items() if _ENVIRONMENT in origin}
    written = {n: f"{n} = {spell(getattr(settings, n))} ({variable})" for n, variable in variables.items()}
    # A setting that has no default is given somewhere by everyone, and where is no surprise.
    surprising = {s.name for s in SETTINGS if s.declared.changes_data and not s.required}
    if harmless := [text for name, text in written.items() if name not in surprising]:
        notes.append(f"settings from the environment: {', '.join(harmless)}")
    if serious := [text for name, text in written.items() if name in surprising]:
        warnings.append(
            f"settings from the environment that change the data: {', '.join(serious)}. If you did not intend this, "
            "unset the variables or give the options on the command line"
        )
    if filed := [name for name, origin in origins.items() if origin.startswith(_FILE)]:
        listed = ", ".join(f"{name} = {spell(getattr(settings, name))}" for name in filed)
        notes.append(f"settings from the {origins[filed[0]]}: {listed}")
    return notes, warnings + _unknown_variables(environ)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Say which variables with our prefix are no settings, most likely by a slip of the pen."""
    known = [s.variables[0] for s in SETTINGS]
    warnings = []
    for name in sorted(n for n in environ if n.startswith(PREFIX) and n not in known):
        near = difflib.get_close_matches(name, known, 1)
        meant = f": did you mean {near[0]}?" if near else ""
        warnings.append(f"the environment variable {name} is not a setting and has no effect{meant}")
    return warnings
