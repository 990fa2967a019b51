"""What `source.toml` declares: the roles of tables and columns, names for people, and what a build reckons with."""

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
    """A table that plays a part which the build relies on.

    Attributes:
        table: its full name.
        key: the column that tells its entries apart.
        rows: rows of all tables that come with one entry, for the size of shards.
        modules: of ICU stays, the modules whose rows name one in `stay_id`.
    """

    table: str
    key: str
    rows: int
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roles:
    """The tables that play a part.

    Attributes:
        patients: who there is. Its key is the first key column of every table of patients.
        encounters: stays in a hospital, named by `hadm_id`.
        icu_stays: stays in intensive care, named by `stay_id`.
        ed_stays: stays in an emergency department, named by `stay_id`.
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
        """Stays in a part of a hospital."""
        return tuple(role for role in (self.icu_stays, self.ed_stays) if role is not None)

    @property
    def owners(self) -> dict[str, tuple[Role, ...]]:
        """Tables that show whose each encounter and stay is, by the column of an event that names it."""
        return {"hadm_id": () if self.encounters is None else (self.encounters,), "stay_id": self.stays}

    @property
    def of_all_shards(self) -> frozenset[str]:
        """Tables of which every shard reads the rows of all shards."""
        return frozenset(role.table for roles in self.owners.values() for role in roles)


@dataclass(frozen=True)
class Demo:
    """How a release that is a demonstration is known.

    Attributes:
        file: in its folder.
        in_path: what the name of its folder, or of the one above it, fits; None where that shows nothing.
        version: where the path shows none.
    """

    file: str
    in_path: re.Pattern[str] | None
    version: str


@dataclass(frozen=True)
class SourceDeclaration:
    """The content of a `source.toml`.

    Attributes:
        title: what people call the source.
        examples: full names of tables that messages name as what a release has.
        roles: the tables that play a part.
        abouts: name, licence and addresses of a dataset, as MEDS' `dataset.json` has them: of a plain release (`""`),
            and by the first word of a version such as `demo 2.2`.
        version_in_path: what a folder's name with a version in it fits; its first group is the version.
        demo: how a demonstration is known; None where there is none.
        module_options: options of a build that name a module's folder, with the module.
        gzip_ratio_of_notes: how much smaller gzip makes the texts of notes.
        weight: column of a statement with the patient's weight in kg, which conversions of doses need.
        comments: column of a statement with what a laboratory remarks on a result.
        vocabulary_places: folders in a folder of vocabularies in which their files may lie.
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
    vocabulary_places: tuple[str, ...]


def read_declaration(folder: File) -> SourceDeclaration:
    """Read the `source.toml` of a source's folder.

    Raises:
        RecipeError: if it is not there, is not TOML, or lacks something.
    """
    file = folder / FILE
    try:
        content = tomllib.loads(read_text_file(file, "the declaration", RecipeError))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{file} is not TOML: {error}") from None
    try:
        return _declaration(content)
    except KeyError as error:
        raise RecipeError(f"{file} has no {error}") from None
    except (AttributeError, TypeError, ValueError, re.error) as error:
        raise RecipeError(f"{file} cannot be used: {error}") from None


def _declaration(content: Mapping[str, Any]) -> SourceDeclaration:
    roles = Roles(**{name: _role(role) for name, role in content["roles"].items()})
    demo, columns = content.get("demo"), content.get("columns", {})
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
        vocabulary_places=(".", *content.get("vocabulary_places", ())),
    )


def _role(content: Mapping[str, Any]) -> Role:
    modules = tuple(content.get("modules", ()))
    return Role(str(content["table"]), str(content["key"]), int(content["rows"]), modules)


def _demo(content: Mapping[str, Any]) -> Demo:
    in_path = content.get("in_path")
    return Demo(str(content["file"]), None if in_path is None else re.compile(in_path), str(content["version"]))
