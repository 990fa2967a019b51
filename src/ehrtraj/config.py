"""Settings of a build, and where each came from.

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
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ehrtraj.errors import SettingsError
from ehrtraj.format.names import EXPORT_FORMATS, UNITS

Clock = Literal["event", "available"]
Notes = Literal["inline", "separate", "none"]

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_VERSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}

PREFIX = "EHRTRAJ_"
UNPREFIXED = ("data_dir", "trajectory_version", "max_cpus")
"""Settings whose environment variable also counts without the prefix."""

# Of the other settings, each changes which events a dataset has, or what is in them.
_SAME_DATA = (
    "data_dir",
    "output",
    "trajectory_version",
    "max_cpus",
    "memory_limit",
    "overwrite",
    "export",
    "allow_incomplete",
)

MIN_MEMORY = 10**9
LONGEST_NAME = 200
"""A name may have 255 bytes: what is made beside the dataset has a longer one."""
DEFAULT_MEMORY = 4 * 10**9
_ENVIRONMENT, _FILE = "environment ", "file "
# Nobody means so few bytes: the unit was left out.
_HARDLY_BYTES = 10_000


@dataclass(frozen=True)
class Settings:
    """Everything that decides a build.

    Attributes:
        data_dir: folder of the release, or one above it.
        output: folder that receives `<trajectory_version>/`.
        trajectory_version: name of this run's dataset.
        max_cpus: most processes and threads at work at once.
        memory_limit: bytes that the build may use; it plans for less and never grows with the release.
        tables: `module/table` names to make events of; empty means all.
        subjects: a file of subject_ids (one a line), or how many patients to draw; None means all.
        icu_only: only patients with an ICU stay.
        clock: which time stands in the column `time`.
        standardise: bring numbers into their item's own unit and judge them by the rule tables.
        rules: folder with own rule tables, whose lines win over the package's.
        gem: folder of the General Equivalence Mappings, which give ICD-9 codes their ICD-10 codes as parents.
        concept_maps: folder of mimic-code's concept maps, which give items LOINC, SNOMED and RxNorm parents.
        vocabulary: folder of the OMOP vocabularies, which give codes their standard concepts as parents.
        ed: folder of MIMIC-IV-ED, where it does not lie in `data_dir`.
        note: folder of MIMIC-IV-Note, where it does not lie in `data_dir`.
        modules: folders of other modules, `name=folder` each, that do not lie in `data_dir`.
        notes: where the texts of notes go: into the events, into files of their own, or nowhere.
        recipes: folder with own recipes and tables, which win over the package's.
        seed: of the split into train, tuning and held_out, and of the draw of `subjects`.
        overwrite: replace a finished dataset of the same name.
        allow_incomplete: build from a release without the tables that every build needs.
        export: files to write of the finished dataset, as `patient:jsonl`.
    """

    data_dir: Path
    output: Path
    trajectory_version: str
    max_cpus: int
    memory_limit: int = DEFAULT_MEMORY
    tables: tuple[str, ...] = ()
    subjects: str | None = None
    icu_only: bool = False
    clock: Clock = "event"
    standardise: bool = True
    rules: Path | None = None
    gem: Path | None = None
    concept_maps: Path | None = None
    vocabulary: Path | None = None
    ed: Path | None = None
    note: Path | None = None
    modules: tuple[str, ...] = ()
    notes: Notes = "inline"
    recipes: Path | None = None
    seed: int = 0
    overwrite: bool = False
    allow_incomplete: bool = False
    export: tuple[str, ...] = ()


def module_folders(settings: Settings) -> dict[str, Path | None]:
    """Folders of the modules that were named, None for those that were not."""
    own: dict[str, Path | None] = {}
    for entry in settings.modules:
        name, _, folder = entry.partition("=")
        own[name] = Path(folder).expanduser()
    return {"ed": settings.ed, "note": settings.note} | own


def usable_cpus() -> int:
    """Number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def capped_cpus(asked: int | None) -> tuple[int, str | None]:
    """Number of CPU cores to work on, and a note for the user where it is less than asked for.

    Args:
        asked: as given with `--max-cpus`; None for all usable ones.

    Raises:
        SettingsError: if it is less than 1.
    """
    usable = usable_cpus()
    if asked is None:
        return usable, None
    if asked < 1:
        raise SettingsError(f"max_cpus (--max-cpus) is {asked:,}: it takes 1 or more")
    if asked <= usable:
        return asked, None
    return usable, f"--max-cpus is {asked:,}, but {usable:,} CPU cores can be used here: using {usable:,}"


def parse_size(text: str | int) -> int:
    """Bytes of a size such as `4GB`, `512 MiB` or `1000000`.

    Raises:
        SettingsError: if it is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise SettingsError(f"'{text}' is not a size: write a number and a unit, such as 4GB or 1500MB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def check_memory_limit(size: int) -> None:
    """Refuse a memory limit (bytes) that is too small to work with.

    Raises:
        SettingsError: if it is less than `MIN_MEMORY`, with what may have been meant where it has no unit.
    """
    if size < MIN_MEMORY:
        meant = f" (did you mean {size}GB?)" if size < _HARDLY_BYTES else ""
        raise SettingsError(f"memory_limit is {size:,} bytes{meant}: it must be at least 1GB (the default is 4GB)")


def number_or_file(subjects: str | Path | int) -> int | Path:
    """What `--subjects` asks for: a number of patients to draw, or a file that is there.

    Raises:
        SettingsError: if it is neither, or a number below 1.
    """
    text = str(subjects)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if int(text) < 1:
            raise SettingsError(f"--subjects is {text}: it takes a number of patients, 1 or more, or a file")
        return int(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise SettingsError(f"--subjects is '{text}', neither a number nor a file that is there")
    return path


def _parse_bool(text: object) -> bool:
    if isinstance(text, bool):
        return text
    word = str(text).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise SettingsError(f"'{text}' is neither true nor false")


def _parse_int(text: object) -> int:
    try:
        return int(str(text))
    except ValueError:
        raise SettingsError(f"'{text}' is not a whole number") from None


def _parse_list(text: object) -> tuple[str, ...]:
    parts = text if isinstance(text, list | tuple) else str(text).split(",")
    return tuple(p.strip() for p in map(str, parts) if p.strip())


def _parse(name: str, value: object) -> object:
    if name in ("data_dir", "output", "rules", "gem", "concept_maps", "vocabulary", "ed", "note", "recipes"):
        return Path(str(value)).expanduser()
    if name == "memory_limit":
        return parse_size(str(value))
    if name in ("max_cpus", "seed"):
        return _parse_int(value)
    if name in ("icu_only", "overwrite", "standardise", "allow_incomplete"):
        return _parse_bool(value)
    if name in ("tables", "modules", "export"):
        return _parse_list(value)
    return str(value)


def _check(settings: Settings) -> None:
    if not _VERSION_NAME.fullmatch(settings.trajectory_version):
        raise SettingsError(
            f"trajectory version '{settings.trajectory_version}' cannot name a folder: use letters, digits, "
            "'.', '_', '+' and '-', starting with a letter or digit"
        )
    if len(settings.trajectory_version) > LONGEST_NAME:
        raise SettingsError(
            f"the trajectory version has {len(settings.trajectory_version)} letters: at most {LONGEST_NAME}"
        )
    if settings.subjects is not None:
        number_or_file(settings.subjects)
    capped_cpus(settings.max_cpus)
    check_memory_limit(settings.memory_limit)
    if settings.clock not in ("event", "available"):
        raise SettingsError(f"clock is '{settings.clock}': it is 'event' or 'available'")
    if wrong := [entry for entry in settings.modules if not all(entry.partition("="))]:
        raise SettingsError(f"modules is '{','.join(wrong)}': write a module and its folder, as ecg=mimic-iv-ecg/1.0")
    if settings.notes not in ("inline", "separate", "none"):
        raise SettingsError(f"notes is '{settings.notes}': it is 'inline', 'separate' or 'none'")
    for wanted in settings.export:
        unit, colon, kind = wanted.partition(":")
        if unit not in UNITS or (colon and kind not in EXPORT_FORMATS):
            raise SettingsError(
                f"export is '{wanted}': write what has a file ({', '.join(UNITS)}), a colon and a format "
                f"({', '.join(EXPORT_FORMATS)}), such as patient:jsonl"
            )


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
    names = {f.name for f in fields(Settings)}
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
    defaults: dict[str, object] = {
        f.name: f.default
        for f in fields(Settings)
        if f.name not in ("data_dir", "output", "trajectory_version", "max_cpus")
    }
    defaults |= {"output": Path("trajectories"), "max_cpus": usable_cpus()}
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for field in fields(Settings):
        name, upper = field.name, field.name.upper()
        sources: list[tuple[str, object]] = [
            ("command line", given.get(name)),
            (f"{_ENVIRONMENT}{PREFIX}{upper}", environ.get(f"{PREFIX}{upper}")),
            (f"{_ENVIRONMENT}{upper}", environ.get(upper) if name in UNPREFIXED else None),
            (f"{_FILE}{config}", from_file.get(name)),
        ]
        for origin, value in sources:
            if value is not None and value != "":
                try:
                    values[name], origins[name] = _parse(name, value), origin
                except SettingsError as error:
                    raise SettingsError(f"{name} ({origin}): {error}") from None
                break
        else:
            if name not in defaults:
                raise SettingsError(
                    f"{name} is missing: give --{name.replace('_', '-')}, set {upper} in the environment, "
                    f"or write {name} in a --config file"
                    if name != "data_dir"
                    else "the folder of the release is missing: name it (ehrtraj build DATA_DIR), set DATA_DIR in the "
                    "environment, or write data_dir in a --config file"
                )
            values[name], origins[name] = defaults[name], "default"
    settings = Settings(**values)
    _check(settings)
    return settings, origins


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
    if harmless := [text for name, text in written.items() if name in _SAME_DATA]:
        notes.append(f"settings from the environment: {', '.join(harmless)}")
    if serious := [text for name, text in written.items() if name not in _SAME_DATA]:
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
    known = [f"{PREFIX}{f.name.upper()}" for f in fields(Settings)]
    warnings = []
    for name in sorted(n for n in environ if n.startswith(PREFIX) and n not in known):
        near = difflib.get_close_matches(name, known, 1)
        meant = f": did you mean {near[0]}?" if near else ""
        warnings.append(f"the environment variable {name} is not a setting and has no effect{meant}")
    return warnings
