"""Select the files of a release to download or verify."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged
from ehrtraj.suggestions import did_you_mean, did_you_mean_table

TABLE_ENDINGS = (".csv.gz", ".csv")


def table_of(path: str) -> str | None:
    """Return `hosp/labevents` for `hosp/labevents.csv.gz`, or None for a file that is not a table of a module."""
    for ending in TABLE_ENDINGS:
        if path.endswith(ending) and len(PurePosixPath(path).parts) == 2:
            return path.removesuffix(ending)
    return None


def choose(
    paths: Iterable[str], tables: Iterable[str] = (), modules: Iterable[str] = (), release: str = "this release"
) -> list[str]:
    """Return the files of the requested tables and modules, or all files if none are requested.

    Files outside of the modules (licence, README, change log) are always included, because they are small.

    Args:
        paths: paths of all files of the release.
        tables: names such as `labevents` or `hosp/labevents`.
        modules: names such as `hosp`.
        release: name of the release, for the message.

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
    selected = {p for p in paths if len(PurePosixPath(p).parts) == 1}
    for module in modules:
        if module not in by_module:
            raise SettingsError(
                f"--modules: {release} has no module '{module}'{did_you_mean(module, by_module)}; it has: "
                f"{', '.join(sorted(by_module))}"
            )
        selected.update(by_module[module])
    for table in tables:
        matches = [p for name, p in by_table.items() if table in (name, name.rpartition("/")[2])]
        if not matches:
            raise SettingsError(_unknown_table(table, by_table, release))
        selected.update(matches)
    return [p for p in paths if p in selected]


def _unknown_table(table: str, by_table: Iterable[str], release: str) -> str:
    known_tables = packaged("mimiciv").tables
    is_known = any(table in (name, name.rpartition("/")[2]) for name in known_tables)
    hint = "which exists in other releases" if is_known else "and no other known release has it"
    near = "" if is_known else did_you_mean_table(table, by_table)
    return f"--tables: {release} has no table '{table}'{near}, {hint}; it has: {', '.join(sorted(by_table))}"


def listed(text: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the names in `a,b` or `["a", "b"]`."""
    names = text.split(",") if isinstance(text, str) else (text or ())
    return tuple(name.strip().strip("/") for name in names if name.strip())
