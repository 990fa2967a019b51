"""Output of `ehrtraj explain`."""

from __future__ import annotations

from ehrtraj.cli.show.screen import Screen, line
from ehrtraj.dataset.explain import Explanation


def show_explanation(screen: Screen, explanation: Explanation) -> None:
    """Print an event, the source rows from which it was made, and the rules that changed or flagged it."""
    event = explanation.event
    when = "static" if event["time"] is None else f"{event['time']}"
    screen.print()
    screen.print(line((f"{when}  {event['code']}", "bold"), f"  {explanation.description or ''}"))
    shown = {
        name: value for name, value in event.items() if value is not None and name not in ("time", "code", "flags")
    }
    _print_pairs(screen, "event", shown)
    for row in explanation.rows:
        _print_pairs(screen, "source row", {name: value for name, value in row.items() if value is not None})
    if len(explanation.rows) > 1:
        screen.print("  (these rows match equally well)", style="dim")
    for mark in explanation.marks:
        screen.print(line("  ", (mark.flag, "yellow"), f": {mark.meaning}"))
        screen.print(line((f"      source: {mark.source}", "dim")))
    for table in explanation.rules:
        for rule in table.lines:
            columns = ", ".join(f"{name} {value}" for name, value in rule.items() if value and name != "source")
            screen.print(line(f"  rule in {table.name}: {columns}"))
            screen.print(line((f"      source: {rule['source']}", "dim")))


def _print_pairs(screen: Screen, title: str, pairs: dict[str, object]) -> None:
    text = ", ".join(f"{name} {value}" for name, value in pairs.items())
    screen.print(line("  ", (f"{title}: ", "cyan"), text))
