"""Use the numbers of rows read to determine the version of the release and to report missing rows."""

from __future__ import annotations

from collections.abc import Mapping

from ehrtraj.format.ledger import TableLedger
from ehrtraj.pipeline.news import News
from ehrtraj.pipeline.publish.ledger import compare_with_published, rows_read
from ehrtraj.release.found import Release
from ehrtraj.release.versions import UNKNOWN, Version, known_errata, mixed, settle
from ehrtraj.sources.source import Source


def settle_versions(release: Release, ledger: Mapping[str, TableLedger], news: News) -> dict[str, Version]:
    """Determine the version of each download from its rows, and report notes and warnings that this adds.

    Args:
        release: release as detected before its rows were read.
        ledger: ledger of the build.
        news: receives notes and warnings.
    """
    source, settled = release.source, {}
    for project, before in release.versions.items():
        version = settled[project] = settle(before, rows_read(ledger, project, source), source)
        if version is not before:
            news.note(*version.notes)
        if version is not before or version.number == UNKNOWN:
            notes, warnings = known_errata(version, {n: entry.read for n, entry in ledger.items()}, source)
            news.note(*notes)
            news.warn(*warnings)
    if settled != release.versions:
        news.warn(*mixed(settled, {}, source))
    return settled


def report_losses(
    ledger: Mapping[str, TableLedger], versions: Mapping[str, Version], source: Source, news: News
) -> None:
    """Report tables whose number of rows differs from the published one, and tables with mostly rejected rows.

    Args:
        ledger: ledger of the build.
        versions: version of each download, from `settle_versions`.
        source: source with the published numbers of rows.
        news: receives notes and warnings.
    """
    for version in versions.values():
        counts = compare_with_published(ledger, version, source)
        fewer = [f"{table} {read:,} of {rows:,}" for table, (read, rows) in counts.items() if read < rows]
        more = [f"{table} {read:,}, not {rows:,}" for table, (read, rows) in counts.items() if read > rows]
        if fewer:
            news.warn(f"the release is incomplete: fewer rows than release {version.text} has: {', '.join(fewer)}")
        if more:
            news.note(f"more rows than release {version.text} has: {', '.join(more)}")
    for name, entry in ledger.items():
        rejected = sum(entry.rejected.values())
        if entry.read and rejected > entry.read // 2:
            news.warn(
                f"{name}: {rejected:,} of {entry.read:,} rows were rejected: look at rejected/ before you use the "
                "dataset"
            )
