"""Errors of downloads. Most have a separate exit code, listed in docs/guides/download.md."""

from __future__ import annotations

from ehrtraj.errors import EhrtrajError


class NetworkError(EhrtrajError):
    """The server cannot be reached, drops the connection repeatedly, or sends an answer that cannot be understood."""

    exit_code = 10


class MissingOnServerError(NetworkError):
    """The server does not have a file that its SHA256SUMS.txt lists."""


class BadSizeError(NetworkError):
    """The server reports a size that no file of a release can have."""


class PasswordError(EhrtrajError):
    """The server does not accept the user name or password, or there is none."""

    exit_code = 11


class NoAccessError(EhrtrajError):
    """The account exists, but has no access to these files: the data use agreement is not signed."""

    exit_code = 12


class NoSuchReleaseError(EhrtrajError):
    """The server does not have the release."""

    exit_code = 13


class DiskSpaceError(EhrtrajError):
    """The disk does not have enough space for the download."""

    exit_code = 14


class CertificateError(EhrtrajError):
    """The server's certificate cannot be verified."""

    exit_code = 15


class RangeIgnoredError(EhrtrajError):
    """The server sends the complete file when a range of it was requested."""

    exit_code = 16


class ChangedOnServerError(EhrtrajError):
    """A file changed on the server while it was being fetched."""

    exit_code = 17


class WrongHashError(EhrtrajError):
    """A complete file does not have its published hash, even after a second attempt."""

    exit_code = 18


class ServerBusyError(EhrtrajError):
    """The server is busy (429, 503), or asks to retry later than the download waits."""

    exit_code = 19


class IncompleteDownloadError(EhrtrajError):
    """A download on disk has missing or broken files."""

    exit_code = 20
