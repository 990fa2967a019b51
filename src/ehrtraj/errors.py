"""Errors that a user can act on. Each has an exit code and a message that explains how to fix the problem."""


class EhrtrajError(Exception):
    """Base class of all errors that ehrtraj reports as a message without a traceback."""

    exit_code = 1


class SettingsError(EhrtrajError):
    """A setting is missing, malformed or contradicts another one."""

    exit_code = 2


class MissingExtraError(SettingsError, ImportError):
    """The requested operation needs an optional extra of the package that is not installed."""


class ReleaseError(EhrtrajError):
    """The input is not a release, or one of its files cannot be used."""

    exit_code = 3


class OutputError(EhrtrajError):
    """The output cannot be written: it exists, is in use, is read-only, or the disk is full."""

    exit_code = 4


class RecipeError(EhrtrajError):
    """A recipe or rule table breaks its contract."""

    exit_code = 5


class LedgerError(EhrtrajError):
    """The rows that were read are not all accounted for."""

    exit_code = 6


class DatasetError(EhrtrajError):
    """The folder is not a dataset, or the dataset is incomplete, damaged or in a newer format."""

    exit_code = 7


class UnknownSubjectError(DatasetError, KeyError):
    """The patient is not in the dataset."""

    def __str__(self) -> str:
        # KeyError would print the message in quotes.
        return str(self.args[0])
