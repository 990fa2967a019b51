"""What can go wrong in a download. Each has an exit code of its own (docs/guides/download.md lists them)."""

from __future__ import annotations

from ehrtraj.errors import EhrtrajError


class NetworkError(EhrtrajError):
    """The server cannot be reached, drops the line again and again, or answers what cannot be understood."""

    exit_code = 10


class MissingOnServerError(NetworkError):
    """The server does not have a file that its own list names."""


class BadSizeError(NetworkError):
    """The server gives a size that no file of a release has."""


class PasswordError(EhrtrajError):
    """The server does not accept the user's name or password, or none is at hand."""

    exit_code = 11


class NoAccessError(EhrtrajError):
    """The account is right, but may not have these files: the data use agreement is not signed."""

    exit_code = 12


class NoSuchReleaseError(EhrtrajError):
    """The server has no such release."""

    exit_code = 13


class DiskSpaceError(EhrtrajError):
    """The disk has no room for the download."""

    exit_code = 14


class CertificateError(EhrtrajError):
    """The server's certificate cannot be verified."""

    exit_code = 15


class RangeIgnoredError(EhrtrajError):
    """The server sends a whole file where a part of it was asked for."""

    exit_code = 16


class ChangedOnServerError(EhrtrajError):
    """A file became another one on the server while it was fetched."""

    exit_code = 17


class WrongHashError(EhrtrajError):
    """A file is whole and is not what its published hash says, twice."""

    exit_code = 18


class ServerBusyError(EhrtrajError):
    """The server asks to come back later (429, 503), for longer than is waited."""

    exit_code = 19


class IncompleteDownloadError(EhrtrajError):
    """A download on disk lacks files, or has broken ones."""

    exit_code = 20
