"""What a check shows on the screen."""

from __future__ import annotations

from rich.table import Table

from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.checks.run import CheckReport
from ehrtraj.cli.show.readable import duration, size
from ehrtraj.cli.show.screen import Screen, line, out


def show_report(report: CheckReport) -> None:
    """Print what does not hold and where, and a summary, to stdout."""
    screen = out()
    whose = "an ehrtraj dataset" if report.ours else "a MEDS dataset that ehrtraj did not make"
    screen.print(
        f"{report.path}: {whose}, {report.patients:,} patients, {report.events:,} events "
        f"in {report.files:,} data files",
        soft_wrap=True,
    )
    if report.broken:
        screen.print(_broken(report))
    for name in report.broken:
        screen.print()
        screen.print(line((name, "bold"), f": {INVARIANTS[name].words}. First of {report.findings.counts[name]:,}:"))
        for place in report.findings.places[name]:
            screen.print(f"  {place}", soft_wrap=True)
    _show_skipped(report, screen)
    failed = f"{len(report.broken)} failed"
    state = (failed, "bold red") if report.broken else failed
    took = f"; {duration(report.seconds)}, at most {size(report.peak_memory)} of memory"
    screen.print()
    screen.print(line((f"{len(report.kept)} checks passed", "bold"), ", ", state, took))


def _broken(report: CheckReport) -> Table:
    table = Table("broken", "what should hold", box=None, pad_edge=False, header_style="bold")
    table.add_column("times", justify="right")
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
        screen.print(f"not looked at, since {why}: {', '.join(names)}", soft_wrap=True)
