"""The projects of PhysioNet that can be fetched (`projects.csv`), and where they lie on disk and on the server."""

from __future__ import annotations

import csv
import difflib
import ipaddress
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, urlsplit

from ehrtraj.download.sums import SUMS_FILE
from ehrtraj.errors import SettingsError

HOST = "physionet.org"
BASE_URL = f"https://{HOST}/files"
_RELEASE = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Project:
    """One project of PhysioNet.

    Attributes:
        name: as in its address, such as `mimiciv`.
        release: the one fetched where none is asked for, the newest that was known.
        modules: folders of that release.
        is_open: whether it needs no account.
    """

    name: str
    release: str
    modules: tuple[str, ...]
    is_open: bool


@cache
def projects() -> dict[str, Project]:
    """All projects by name, in the order of the data file."""
    with (files("ehrtraj.download") / "projects.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return {
        row["project"]: Project(row["project"], row["release"], tuple(row["modules"].split()), row["open"] == "yes")
        for row in rows
    }


def project(name: str) -> Project:
    """The project of that name.

    Raises:
        SettingsError: if there is none.
    """
    known = projects()
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), known, 1)
        meant = f". Did you mean {near[0]}?" if near else "."
        raise SettingsError(f"'{name}' is not a project that is known{meant} There are: {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class DownloadTarget:
    """One release, on the server and on disk.

    Attributes:
        project: what it belongs to.
        release: its number.
        url: its folder on the server, ending with `/`.
        folder: its folder on disk, as wget would have made it.
    """

    project: Project
    release: str
    url: str
    folder: Path

    @property
    def page(self) -> str:
        """Address of the page that describes the release, where the agreement is signed."""
        return f"https://{HOST}/content/{self.project.name}/{self.release}/"

    def file_url(self, path: str) -> str:
        """Address of one of its files."""
        return self.url + quote(path)


def place(name: str, release: str | None, to: Path, base_url: str | None) -> DownloadTarget:
    """Where a release comes from and goes to.

    Args:
        name: of the project.
        release: its number; the project's newest by default.
        to: the folder that receives `physionet.org/`, or one in it down to the release's own; or any folder that
            holds the release already.
        base_url: of a mirror, in place of `https://physionet.org/files`.

    Raises:
        SettingsError: if the project is not known, or release or address cannot be used.
    """
    found = project(name)
    number = release or found.release
    if not _RELEASE.fullmatch(number):
        raise SettingsError(f"--release is '{number}': it is a number such as {found.release}")
    url = f"{checked_base_url(base_url or BASE_URL)}/{found.name}/{number}/"
    return DownloadTarget(found, number, url, _folder(to, (HOST, "files", found.name, number)))


def _folder(to: Path, parts: tuple[str, ...]) -> Path:
    """`to` and what of `parts` it does not already end with."""
    to = to.expanduser()
    if (to / SUMS_FILE).is_file():
        return to
    ending = to.absolute().parts
    for known in range(len(parts), 0, -1):
        if ending[-known:] == parts[:known]:
            return to.joinpath(*parts[known:])
    if ending[-2:] == parts[-2:]:
        return to
    return to.joinpath(*parts)


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_safe(url: str) -> bool:
    """Whether what is sent to an address cannot be read on the way: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def checked_base_url(url: str, option: str = "--base-url") -> str:
    """An address without its last slash.

    Raises:
        SettingsError: if it is neither https nor this machine, or holds a password. It is not repeated in the message
            then.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where it is no number
    except ValueError:
        raise SettingsError(f"{option} is not an address: write https://HOST/FOLDER") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{option} holds a name or password: leave them out, and see --user")
    if parts.query or parts.fragment or not parts.hostname:
        raise SettingsError(f"{option} is '{url}': write https://HOST/FOLDER, without ? and #")
    if not is_safe(url):
        raise SettingsError(f"{option} is '{url}': it must begin with https:// (http:// only for this machine itself)")
    return url.rstrip("/")
