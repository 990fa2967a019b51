"""Name and password for PhysioNet: from the environment, from ~/.netrc, or asked for.

The password is held in memory alone. It is never an argument, never written, and never part of a message.
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
    """Who asks for the files.

    Attributes:
        user: name of the account.
        password: of it; left out of the object's text.
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
    """Name and password for a server that wants them.

    Args:
        host: the server's name, for ~/.netrc and the prompt.
        user: name of the account; PHYSIONET_USERNAME or ~/.netrc by default.
        environ: environment variables; this process's own by default.
        ask: asks for a password without showing it; a prompt where there is a terminal by default.

    Raises:
        PasswordError: if there is none.
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
            f"{host} wants an account for these files: give --user NAME, or write ~/.netrc. "
            "An account is made at https://physionet.org/register/"
        )
    if ask is None and not sys.stdin.isatty():
        raise PasswordError(
            f"no password for {user} on {host}: set {PASSWORD_VARIABLE}, write ~/.netrc, or run it in a terminal, "
            "where it asks"
        )
    return Credentials(user, (ask or getpass.getpass)(f"Password for {user} on {host}: "), "the prompt")


def _from_netrc(host: str) -> tuple[str, str] | None:
    try:
        entry = netrc.netrc().authenticators(host)
    except FileNotFoundError:
        return None
    except netrc.NetrcParseError as error:
        # The error's own text can hold a word of the file, which may be the password.
        if error.lineno is None:
            raise SettingsError("~/.netrc can be read by others, so it is not used: chmod 600 ~/.netrc") from None
        raise SettingsError(f"~/.netrc cannot be read: line {error.lineno} is not as it should be") from None
    except (OSError, UnicodeDecodeError):
        raise SettingsError("~/.netrc cannot be read") from None
    if entry is None or not entry[0] or not entry[2]:
        return None
    return entry[0], entry[2]
