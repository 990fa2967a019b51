"""Output of `ehrtraj check`."""

from __future__ import annotations

from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.checks.run import CheckReport
from ehrtraj.cli.show.screen import Screen, line, out, result
from ehrtraj.cli.show.table import Table, name_column, number_column, prose_column
from ehrtraj.readable import duration, size


def show_report(report: CheckReport) -> None:
    """Print the failed checks with the location of their violations, and a summary, to stdout."""
    screen = out()
    kind = "an ehrtraj dataset" if report.ours else "a MEDS dataset that ehrtraj did not write"
    screen.print(
        f"{report.path}: {kind}, {report.patients:,} patients, {report.events:,} events in {report.files:,} data files"
    )
    if report.broken:
        screen.print(_failed_checks(report))
    for name in report.broken:
        screen.print()
        places, count = report.findings.places[name], report.findings.counts[name]
        shown = f"{len(places):,} of {count:,} violations shown"
        screen.print(line((name, "bold"), f": {INVARIANTS[name].words} ({shown}):"))
        for place in places:
            screen.print(f"  {place}")
    _show_skipped(report, screen)
    if report.foreign:
        screen.print()
        names = ", ".join(report.foreign)
        screen.print(f"not checked, because other programs keep it in the folder: {names}")
    failed = f"{len(report.broken)} failed"
    state = (failed, "bold red") if report.broken else failed
    took = f"; {duration(report.seconds)}, peak memory {size(report.peak_memory)}"
    screen.print()
    result((f"{len(report.kept)} checks passed", "bold"), ", ", state, took)


def _failed_checks(report: CheckReport) -> Table:
    table = Table(name_column("failed check"), prose_column("invariant"), number_column("violations"))
    for broken in report.broken:
        table.add(broken, INVARIANTS[broken].words, f"{report.findings.counts[broken]:,}")
    return table


def _show_skipped(report: CheckReport, screen: Screen) -> None:
    reasons: dict[str, list[str]] = {}
    for name, why in report.findings.skipped.items():
        if name not in report.findings.counts:
            reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        screen.print()
        screen.print(f"not checked, because {why}: {', '.join(names)}")
