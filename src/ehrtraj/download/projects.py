"""PhysioNet projects that can be downloaded (`projects.csv`), and their locations on the server and on disk."""

from __future__ import annotations

import csv
import ipaddress
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote, urlsplit

from ehrtraj.download.sums import SUMS_FILE
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import nearest

HOST = "physionet.org"
BASE_URL = f"https://{HOST}/files"
_RELEASE = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True)
class Project:
    """One project of PhysioNet.

    Attributes:
        name: name in its URL, such as `mimiciv`.
        release: default release, the newest known.
        modules: folders of that release.
        is_open: whether it can be downloaded without an account.
    """

    name: str
    release: str
    modules: tuple[str, ...]
    is_open: bool


@cache
def projects() -> dict[str, Project]:
    """Return all projects by name, in the order of the data file."""
    with (files("ehrtraj.download") / "projects.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    return {
        row["project"]: Project(row["project"], row["release"], tuple(row["modules"].split()), row["open"] == "yes")
        for row in rows
    }


def project(name: str) -> Project:
    """Return a project by name.

    Raises:
        SettingsError: if there is no such project.
    """
    known = projects()
    if name not in known:
        near = nearest(name.replace("_", "-"), known)
        suggestion = f". Did you mean {near[0]}?" if near else "."
        raise SettingsError(f"'{name}' is not a known project{suggestion} Known projects: {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class DownloadTarget:
    """A release with its locations on the server and on disk.

    Attributes:
        project: project of the release.
        release: version number.
        url: URL of its folder on the server, ending with `/`.
        folder: its folder on disk, the same that wget would use.
    """

    project: Project
    release: str
    url: str
    folder: Path

    @property
    def page(self) -> str:
        """URL of the page that describes the release, where users sign the data use agreement."""
        return f"https://{HOST}/content/{self.project.name}/{self.release}/"

    def file_url(self, path: str) -> str:
        """Return the URL of one of its files."""
        return self.url + quote(path)


def find_target(name: str, release: str | None, to: Path, base_url: str | None) -> DownloadTarget:
    """Return the source URL and the destination folder of a release.

    Args:
        name: name of the project.
        release: version number; the project's newest release by default.
        to: the folder in which to create `physionet.org/`, or a folder inside it down to that of the release; or any
            folder that already contains the release.
        base_url: URL of a mirror; `https://physionet.org/files` by default.

    Raises:
        SettingsError: if the project is unknown, or the release or URL is invalid.
    """
    found = project(name)
    number = release or found.release
    if not _RELEASE.fullmatch(number):
        raise SettingsError(f"--release is '{number}': it must be a version number such as {found.release}")
    url = f"{checked_base_url(base_url or BASE_URL)}/{found.name}/{number}/"
    return DownloadTarget(found, number, url, _folder(to, (HOST, "files", found.name, number)))


def _folder(to: Path, parts: tuple[str, ...]) -> Path:
    """Append to `to` those of `parts` with which it does not already end."""
    to = to.expanduser()
    if (to / SUMS_FILE).is_file():
        return to
    ending = to.absolute().parts
    for count in range(len(parts), 0, -1):
        if ending[-count:] == parts[:count]:
            return to.joinpath(*parts[count:])
    if ending[-2:] == parts[-2:]:
        return to
    return to.joinpath(*parts)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_safe(url: str) -> bool:
    """Whether data sent to a URL cannot be read in transit: https, or this machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))


def checked_base_url(url: str, option: str = "--base-url") -> str:
    """Return a valid base URL without its trailing slash.

    Raises:
        SettingsError: if the URL is neither https nor on this machine, or contains a password. A URL with a password
            is not repeated in the message.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises if the port is not a number
    except ValueError:
        raise SettingsError(f"{option} is not a valid URL: write https://HOST/FOLDER") from None
    if parts.username is not None or parts.password is not None:
        raise SettingsError(f"{option} contains a user name or password: remove them, and use --user")
    if parts.query or parts.fragment or not parts.hostname:
        raise SettingsError(f"{option} is '{url}': write https://HOST/FOLDER, without ? and #")
    if not is_safe(url):
        raise SettingsError(f"{option} is '{url}': it must begin with https:// (http:// is only for this machine)")
    return url.rstrip("/")
