"""Why an event is as it is, on the screen."""

from __future__ import annotations

from ehrtraj.cli.show.screen import Screen, line
from ehrtraj.dataset.explain import Explanation


def show_explanation(screen: Screen, one: Explanation) -> None:
    """Print an event, the rows of the source that it was made from, and the rules that marked it."""
    event = one.event
    when = "always true" if event["time"] is None else f"{event['time']}"
    screen.print()
    screen.print(line((f"{when}  {event['code']}", "bold"), f"  {one.description or ''}"), soft_wrap=True)
    shown = {
        name: value for name, value in event.items() if value is not None and name not in ("time", "code", "flags")
    }
    _print_pairs(screen, "event", shown)
    for row in one.rows:
        _print_pairs(screen, "row of the source", {name: value for name, value in row.items() if value is not None})
    if len(one.rows) > 1:
        screen.print("  (several rows fit equally well)", style="dim")
    for mark in one.marks:
        screen.print(line("  ", (mark.flag, "yellow"), f": {mark.meaning}"), soft_wrap=True)
        screen.print(line((f"      source: {mark.source}", "dim")), soft_wrap=True)
    for table in one.rules:
        for rule in table.lines:
            said = ", ".join(f"{name} {value}" for name, value in rule.items() if value and name != "source")
            screen.print(line(f"  rule in {table.name}: {said}"), soft_wrap=True)
            screen.print(line((f"      source: {rule['source']}", "dim")), soft_wrap=True)


def _print_pairs(screen: Screen, what: str, pairs: dict[str, object]) -> None:
    said = ", ".join(f"{name} {value}" for name, value in pairs.items())
    screen.print(line("  ", (f"{what}: ", "cyan"), said), soft_wrap=True)
