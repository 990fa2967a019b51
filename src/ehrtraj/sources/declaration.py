"""Read `source.toml`: the roles of tables and columns, names for people, and estimates for a build."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehrtraj.errors import RecipeError
from ehrtraj.files import read_text_file
from ehrtraj.user_files import File

FILE = "source.toml"


@dataclass(frozen=True)
class Role:
    """A table with a role that the build relies on.

    Attributes:
        table: full name of the table.
        key: column that identifies its entries.
        rows: average number of rows in all tables per entry, used to size shards.
        modules: for ICU stays, the modules whose rows name a stay in `stay_id`.
    """

    table: str
    key: str
    rows: int
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """The tables with a role.

    Attributes:
        patients: all patients. Its key is the first key column of every patient table.
        encounters: stays in a hospital, identified by `hadm_id`.
        icu_stays: stays in intensive care, identified by `stay_id`.
        ed_stays: stays in an emergency department, identified by `stay_id`.
    """

    patients: Role
    encounters: Role | None = None
    icu_stays: Role | None = None
    ed_stays: Role | None = None

    @property
    def needed(self) -> tuple[str, ...]:
        """Tables without which a release is incomplete."""
        return tuple(role.table for role in (self.patients, self.encounters) if role is not None)

    @property
    def stays(self) -> tuple[Role, ...]:
        """Roles of stays in a part of the hospital."""
        return tuple(role for role in (self.icu_stays, self.ed_stays) if role is not None)

    @property
    def owners(self) -> dict[str, tuple[Role, ...]]:
        """Tables that show the patient of each encounter and stay, by the event column that identifies it."""
        return {"hadm_id": () if self.encounters is None else (self.encounters,), "stay_id": self.stays}

    @property
    def of_all_shards(self) -> frozenset[str]:
        """Tables that every shard reads completely, including rows of other shards."""
        return frozenset(role.table for roles in self.owners.values() for role in roles)


@dataclass(frozen=True)
class Demo:
    """How a demo release is recognised.

    Attributes:
        file: name of a file in its folder.
        in_path: pattern of the name of its folder or the folder above; None if names are not used.
        version: version, if the path contains none.
    """

    file: str
    in_path: re.Pattern[str] | None
    version: str


@dataclass(frozen=True)
class SourceDeclaration:
    """The content of a `source.toml`.

    Attributes:
        title: name of the source as people write it.
        examples: full names of tables that messages use as examples.
        roles: the tables with a role.
        abouts: name, licence and URLs of a dataset, in the form of MEDS' `dataset.json`: for a plain release under
            `""`, for others under the first word of a version such as `demo 2.2`.
        version_in_path: pattern of a folder's name with a version in it; its first group is the version.
        demo: how a demo release is recognised; None if there is no demo.
        module_options: module by the build option that sets its folder.
        gzip_ratio_of_notes: compression ratio of the texts of notes with gzip.
        weight: column of recipes with the patient's weight in kg, which conversions of doses need.
        comments: column of recipes with the laboratory's comments on a result.
        period: table and column with the calendar period in which a patient was treated, for splits by time, if the
            source has one. Periods sort by time.
        period_event_type: event type whose item is that period.
        vocabulary_places: subfolders of a folder of vocabularies that may contain the files.
    """

    title: str
    examples: tuple[str, ...]
    roles: Roles
    abouts: Mapping[str, Mapping[str, str]]
    version_in_path: re.Pattern[str] | None
    demo: Demo | None
    module_options: Mapping[str, str]
    gzip_ratio_of_notes: float
    weight: str | None
    comments: str | None
    period: tuple[str, str] | None
    period_event_type: str | None
    vocabulary_places: tuple[str, ...]


def read_declaration(folder: File) -> SourceDeclaration:
    """Read the `source.toml` of a source's folder.

    Raises:
        RecipeError: if it does not exist, is not TOML, or is incomplete.
    """
    file = folder / FILE
    try:
        content = tomllib.loads(read_text_file(file, "the declaration", RecipeError))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{file} is not a valid TOML file: {error}") from None
    try:
        return _declaration(content)
    except KeyError as error:
        raise RecipeError(f"{file} lacks the entry {error}") from None
    except (AttributeError, TypeError, ValueError, re.error) as error:
        raise RecipeError(f"{file} cannot be used: {error}") from None


def _declaration(content: Mapping[str, Any]) -> SourceDeclaration:
    roles = Roles(**{name: _role(role) for name, role in content["roles"].items()})
    demo, columns, period = content.get("demo"), content.get("columns", {}), content.get("period")
    pattern = content.get("version_in_path")
    return SourceDeclaration(
        title=str(content["title"]),
        examples=tuple(content.get("examples", (roles.patients.table,))),
        roles=roles,
        abouts={"" if name == "release" else name: dict(about) for name, about in content["about"].items()},
        version_in_path=None if pattern is None else re.compile(pattern),
        demo=None if demo is None else _demo(demo),
        module_options={option: str(module) for option, module in content.get("module_options", {}).items()},
        gzip_ratio_of_notes=float(content.get("gzip_ratio_of_notes", 1.0)),
        weight=columns.get("weight"),
        comments=columns.get("comments"),
        period=None if period is None else (str(period["table"]), str(period["column"])),
        period_event_type=None if period is None else str(period["event_type"]),
        vocabulary_places=(".", *content.get("vocabulary_places", ())),
    )


def _role(content: Mapping[str, Any]) -> Role:
    modules = tuple(content.get("modules", ()))
    return Role(str(content["table"]), str(content["key"]), int(content["rows"]), modules)


def _demo(content: Mapping[str, Any]) -> Demo:
    in_path = content.get("in_path")
    return Demo(str(content["file"]), None if in_path is None else re.compile(in_path), str(content["version"]))
