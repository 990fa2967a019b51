"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
"""Forms in which a time is accepted."""

DATASET = Annotated[Path, typer.Argument(help="Folder of the dataset, such as trajectories/v1.", show_default=False)]

TABLES = typer.Option(help="These tables only, such as labevents,icu/chartevents. (default all)")
MODULES = typer.Option(help="These modules only, such as hosp. (default all)")
