"""The command line: thin over the library. One file in `commands/` for each command.

Importing this package imports next to nothing: Ctrl-C is handled before the commands and what they need are loaded.
"""

from __future__ import annotations

from ehrtraj import interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ehrtraj.cli.registry import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line: errors in plain words on stderr, exit codes as in `ehrtraj build --help`."""
    interrupt.install()
    from ehrtraj.cli.run import run

    run()


def __getattr__(name: str) -> object:
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ehrtraj.cli.registry import app

    return app
