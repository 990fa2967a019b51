"""Output of `ehrtraj check`."""

from __future__ import annotations

from rich.table import Table

from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.checks.run import CheckReport
from ehrtraj.cli.show.screen import Screen, line, out, result
from ehrtraj.readable import duration, size


def show_report(report: CheckReport) -> None:
    """Print the failed checks with the location of their violations, and a summary, to stdout."""
    screen = out()
    kind = "an ehrtraj dataset" if report.ours else "a MEDS dataset that ehrtraj did not write"
    screen.print(
        f"{report.path}: {kind}, {report.patients:,} patients, {report.events:,} events in {report.files:,} data files",
        soft_wrap=True,
    )
    if report.broken:
        screen.print(_failed_checks(report))
    for name in report.broken:
        screen.print()
        places, count = report.findings.places[name], report.findings.counts[name]
        shown = f"{len(places):,} of {count:,} violations shown"
        screen.print(line((name, "bold"), f": {INVARIANTS[name].words} ({shown}):"), soft_wrap=True)
        for place in places:
            screen.print(f"  {place}", soft_wrap=True)
    _show_skipped(report, screen)
    if report.foreign:
        screen.print()
        names = ", ".join(report.foreign)
        screen.print(f"not checked, because other programs keep it in the folder: {names}", soft_wrap=True)
    failed = f"{len(report.broken)} failed"
    state = (failed, "bold red") if report.broken else failed
    took = f"; {duration(report.seconds)}, peak memory {size(report.peak_memory)}"
    screen.print()
    result((f"{len(report.kept)} checks passed", "bold"), ", ", state, took)


def _failed_checks(report: CheckReport) -> Table:
    table = Table("failed check", "invariant", box=None, pad_edge=False, header_style="bold")
    table.add_column("violations", justify="right")
    for name in report.broken:
        table.add_row(name, INVARIANTS[name].words, f"{report.findings.counts[name]:,}")
    return table


def _show_skipped(report: CheckReport, screen: Screen) -> None:
    reasons: dict[str, list[str]] = {}
    for name, why in report.findings.skipped.items():
        if name not in report.findings.counts:
            reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        screen.print()
        screen.print(f"not checked, because {why}: {', '.join(names)}", soft_wrap=True)
