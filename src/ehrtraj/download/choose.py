"""Which files of a release are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged

TABLE_ENDINGS = (".csv.gz", ".csv")


def table_of(path: str) -> str | None:
    """`hosp/labevents` of `hosp/labevents.csv.gz`; None for a file that is no table in a module's folder."""
    for ending in TABLE_ENDINGS:
        if path.endswith(ending) and len(PurePosixPath(path).parts) == 2:
            return path.removesuffix(ending)
    return None


def choose(
    paths: Iterable[str], tables: Iterable[str] = (), modules: Iterable[str] = (), what: str = "this release"
) -> list[str]:
    """The files of some tables and modules; all files where neither is given.

    Files outside of the modules (licence, README, change log) always belong to it: they are small.

    Args:
        paths: of all files of the release.
        tables: names such as `labevents` or `hosp/labevents`.
        modules: names such as `hosp`.
        what: the release, for the message.

    Raises:
        SettingsError: if the release has no such table or module.
    """
    paths = list(paths)
    tables, modules = list(tables), list(modules)
    if not tables and not modules:
        return paths
    by_table = {name: p for p in paths if (name := table_of(p))}
    by_module: dict[str, list[str]] = {}
    for path in paths:
        if len(parts := PurePosixPath(path).parts) > 1:
            by_module.setdefault(parts[0], []).append(path)
    wanted = {p for p in paths if len(PurePosixPath(p).parts) == 1}
    for module in modules:
        if module not in by_module:
            raise SettingsError(f"--modules: {what} has no module '{module}'; it has: {', '.join(sorted(by_module))}")
        wanted.update(by_module[module])
    for table in tables:
        found = [p for name, p in by_table.items() if table in (name, name.rpartition("/")[2])]
        if not found:
            raise SettingsError(_no_table(table, by_table, what))
        wanted.update(found)
    return [p for p in paths if p in wanted]


def _no_table(table: str, by_table: Iterable[str], what: str) -> str:
    known = packaged("mimiciv").tables
    in_others = any(table in (name, name.rpartition("/")[2]) for name in known)
    why = "which other releases have" if in_others else "nor do others that are known"
    return f"--tables: {what} has no table '{table}', {why}; it has: {', '.join(sorted(by_table))}"


def listed(text: str | Iterable[str] | None) -> tuple[str, ...]:
    """The names in `a,b` or `["a", "b"]`."""
    given = text.split(",") if isinstance(text, str) else (text or ())
    return tuple(name.strip().strip("/") for name in given if name.strip())
