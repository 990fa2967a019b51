"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
"""Accepted formats of a time."""

DATASET = Annotated[Path, typer.Argument(help="Folder of the dataset, such as trajectories/v1.", show_default=False)]

TABLES = typer.Option(help="Only these tables, such as labevents,icu/chartevents. (default all)")
MODULES = typer.Option(help="Only these modules, such as hosp. (default all)")
