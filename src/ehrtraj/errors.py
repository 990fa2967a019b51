"""Errors that a user can act on: each has a message with the way out, and an exit code."""


class EhrtrajError(Exception):
    """Base of all errors that ehrtraj reports in plain words, without a traceback."""

    exit_code = 1


class SettingsError(EhrtrajError):
    """A setting is missing, malformed or contradicts another one."""

    exit_code = 2


class MissingExtraError(SettingsError, ImportError):
    """What is asked for needs an extra of the package that is not installed."""


class ReleaseError(EhrtrajError):
    """The input is not a release, or a file of it cannot be used."""

    exit_code = 3


class OutputError(EhrtrajError):
    """The output cannot be written: it exists, is in use, is read-only, or the disk is full."""

    exit_code = 4


class RecipeError(EhrtrajError):
    """A recipe or rule table breaks its contract."""

    exit_code = 5


class LedgerError(EhrtrajError):
    """Rows read are not rows that became events plus rejected rows."""

    exit_code = 6


class DatasetError(EhrtrajError):
    """What lies there is not a dataset, not all of one, of a newer format, or damaged."""

    exit_code = 7


class UnknownSubjectError(DatasetError, KeyError):
    """A patient who is not in the dataset."""

    def __str__(self) -> str:
        # KeyError would show the message in quotes.
        return str(self.args[0])
