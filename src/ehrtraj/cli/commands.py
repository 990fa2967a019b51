"""All commands. Importing their modules adds them to `app`, in the order in which --help lists them."""

from __future__ import annotations

from ehrtraj.cli import build, check, dataset, diff, download, explain, export, label, rules, synth, tables
from ehrtraj.cli.application import app

__all__ = ["app"]

COMMANDS = (download, build, dataset, check, diff, export, label, synth, explain, rules, tables)
