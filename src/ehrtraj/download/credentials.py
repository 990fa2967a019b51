"""User name and password for PhysioNet, from the environment, from ~/.netrc, or from a prompt.

The password is kept only in memory. It is never an argument, never written to disk, and never part of a message.
"""

from __future__ import annotations

import getpass
import netrc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ehrtraj.download.errors import PasswordError
from ehrtraj.errors import SettingsError

USER_VARIABLE = "PHYSIONET_USERNAME"
PASSWORD_VARIABLE = "PHYSIONET_PASSWORD"  # noqa: S105  # the variable's name


@dataclass(frozen=True)
class Credentials:
    """The account that downloads the files.

    Attributes:
        user: name of the account.
        password: its password; excluded from the object's `repr`.
        origin: where the password came from, for messages.
    """

    user: str
    password: str = field(repr=False)
    origin: str = ""


def find_credentials(
    host: str,
    user: str | None,
    environ: Mapping[str, str] | None = None,
    ask: Callable[[str], str] | None = None,
) -> Credentials:
    """Return the user name and password for a server that requires them.

    Args:
        host: name of the server, for ~/.netrc and the prompt.
        user: name of the account; PHYSIONET_USERNAME or ~/.netrc by default.
        environ: environment variables; those of this process by default.
        ask: asks for a password without displaying it; by default a prompt, if there is a terminal.

    Raises:
        PasswordError: if no user name or password is found.
        SettingsError: if ~/.netrc cannot be used.
    """
    environ = os.environ if environ is None else environ
    user = user or environ.get(USER_VARIABLE) or None
    if user and (password := environ.get(PASSWORD_VARIABLE)):
        return Credentials(user, password, f"${PASSWORD_VARIABLE}")
    if (found := _from_netrc(host)) and user in (None, found[0]):
        return Credentials(*found, "~/.netrc")
    if user is None:
        raise PasswordError(
            f"{host} requires an account for these files: give --user NAME, or add it to ~/.netrc. "
            "To create an account, go to https://physionet.org/register/"
        )
    if ask is None and not sys.stdin.isatty():
        raise PasswordError(
            f"no password for {user} on {host}: set {PASSWORD_VARIABLE}, add it to ~/.netrc, or run the command in a "
            "terminal, where it asks for the password"
        )
    return Credentials(user, (ask or getpass.getpass)(f"Password for {user} on {host}: "), "the prompt")


def _from_netrc(host: str) -> tuple[str, str] | None:
    try:
        entry = netrc.netrc().authenticators(host)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        # The text of this error can contain a word of the file, which may be the password.
        if error.lineno is None:
            raise SettingsError(
                "~/.netrc is readable by other users, so it is not used: run chmod 600 ~/.netrc"
            ) from None
        raise SettingsError(f"~/.netrc cannot be read: line {error.lineno} is invalid") from None
    except (OSError, UnicodeDecodeError):
        raise SettingsError("~/.netrc cannot be read") from None
    if entry is None or not entry[0] or not entry[2]:
        return None
    return entry[0], entry[2]
