"""The command line: thin over the library."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

import ehrtraj
from ehrtraj.config import Settings, resolve
from ehrtraj.errors import EhrtrajError, SettingsError
from ehrtraj.pipeline.run import run
from ehrtraj.rules.listing import about_item, all_tables, as_markdown
from ehrtraj.show import ConsoleReporter, show_result

app = typer.Typer(
    name="ehrtraj",
    help="Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
_MAX_CPUS_HELP = "Most processors at work at once. (default all)"

_BUILD_HELP = """Build a dataset of patient trajectories from a release of MIMIC-IV.

[bold]Examples[/bold]

  ehrtraj build physionet.org/files/mimiciv/3.1 --output trajectories --trajectory-version v1

  ehrtraj build mimic-iv --trajectory-version icu100 --icu-only --subjects 100

  ehrtraj build mimic-iv --trajectory-version labs --tables labevents,diagnoses_icd

  DATA_DIR=mimic-iv TRAJECTORY_VERSION=v1 MAX_CPUS=8 ehrtraj build --memory-limit 8GB

  ehrtraj build --config settings.toml --show-config

Every setting can also stand in the environment (DATA_DIR, OUTPUT, TRAJECTORY_VERSION, MAX_CPUS, MEMORY_LIMIT, ...) or
in a TOML file (data_dir = "...", max_cpus = 8, ...). The command line wins over the environment, the environment over
the file.

A build that was cut short goes on where it stopped when the same command is run again.

[bold]Exit codes[/bold]: 0 done or already there; 2 a setting; 3 the input; 4 the output; 5 a recipe; 6 the ledger;
130 Ctrl-C.
"""


def _version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ehrtraj {ehrtraj.__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and end.",
            callback=lambda v: _version(wanted=v),
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4."""


@app.command(help=_BUILD_HELP)
def build(
    data_dir: Annotated[
        str | None, typer.Argument(help="Folder of the release, or one above it.", show_default=False)
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Folder that receives the dataset. (default trajectories)"),
    ] = None,
    trajectory_version: Annotated[
        str | None,
        typer.Option("--trajectory-version", "-t", help="Name of the dataset, a folder in the output."),
    ] = None,
    max_cpus: Annotated[int | None, typer.Option(help=_MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Such as 4GB or 900MB. (default 4GB)")] = None,
    tables: Annotated[
        str | None,
        typer.Option(help="Events of these tables only, such as labevents,icu/chartevents. (default all)"),
    ] = None,
    subjects: Annotated[
        str | None,
        typer.Option(help="These patients only: a file of subject_ids, or a number to draw. (default all)"),
    ] = None,
    icu_only: Annotated[
        bool | None, typer.Option("--icu-only/--all-patients", help="Only patients with an ICU stay, or all.")
    ] = None,
    clock: Annotated[
        str | None,
        typer.Option(
            help="What stands in the column time: when it happened (event) or was known (available). (default event)"
        ),
    ] = None,
    standardise: Annotated[
        bool | None,
        typer.Option("--standardise/--as-written", help="Numbers in their item's own unit, checked; or as they are."),
    ] = None,
    rules: Annotated[
        str | None, typer.Option(help="Folder with own rule tables, whose lines win over the package's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the splits and of the draw of patients. (default 0)")] = None,
    overwrite: Annotated[
        bool | None,
        typer.Option("--overwrite/--keep", help="Replace a finished dataset of the same name, or keep it."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file with settings.")] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print every setting and where it comes from, and end.")
    ] = False,
) -> None:
    """Build a dataset of patient trajectories."""
    given: dict[str, Any] = {
        "data_dir": data_dir,
        "output": output,
        "trajectory_version": trajectory_version,
        "max_cpus": max_cpus,
        "memory_limit": memory_limit,
        "tables": tables,
        "subjects": subjects,
        "icu_only": icu_only,
        "clock": clock,
        "standardise": standardise,
        "rules": rules,
        "seed": seed,
        "overwrite": overwrite,
    }
    settings, origins = resolve(given, config)
    if show_config:
        _print_settings(settings, origins)
        return
    with _tidy_end(
        "\nstopped. Finished work is kept: run the same command again to go on (its folder is .<version>.build in the "
        "output)\n"
    ):
        result = run(settings, ConsoleReporter())
    show_result(result)


_SYNTH_HELP = """Write a synthetic release in the form of MIMIC-IV (hosp, icu, ed, note), of patients that never lived.

[bold]Examples[/bold]

  ehrtraj synth fake --patients 1000 --seed 7

  ehrtraj synth fake-2.2 --patients 5000 --release 2.2 --defects 0.01

  ehrtraj build fake --trajectory-version fake

The same settings give the same bytes, whatever the processors. With --defects, answers.parquet says which fault was
planted in which row, and what the right event is. It is not a privacy-preserving copy of real patients, and nothing
about medicine can be learned from it.

[bold]Exit codes[/bold]: 0 done; 2 a setting; 4 the output; 130 Ctrl-C.
"""

_DEMO_HELP = """Make invented patients, build them, and show one of them: no download, under a minute.

[bold]Examples[/bold]

  ehrtraj demo

  ehrtraj demo try-it --patients 500
"""


@app.command(help=_SYNTH_HELP)
def synth(
    out: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.", show_default=False)],
    patients: Annotated[int, typer.Option("--patients", "-n", help="How many patients, up to 370,000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 7,
    release: Annotated[str, typer.Option(help="Its form: 1.0, 2.2, 3.0 or 3.1.")] = "3.1",
    defects: Annotated[
        float, typer.Option(help="For each kind of fault, the share of the rows it could touch that have it.")
    ] = 0.0,
    max_cpus: Annotated[int | None, typer.Option(help=_MAX_CPUS_HELP)] = None,
) -> None:
    """Write a synthetic release."""
    from ehrtraj.synth.run import synth as write
    from ehrtraj.synth.show import ConsoleSynthReporter, show_synth

    with _tidy_end("\nstopped: nothing was left behind\n"):
        result = write(
            out,
            patients=patients,
            seed=seed,
            release=release,
            defects=defects,
            max_cpus=max_cpus,
            reporter=ConsoleSynthReporter(),
        )
    show_synth(result)


@app.command(help=_DEMO_HELP)
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the release and the dataset.")] = Path("ehrtraj-demo"),
    patients: Annotated[int, typer.Option("--patients", "-n", help="How many patients.")] = 200,
    max_cpus: Annotated[int | None, typer.Option(help=_MAX_CPUS_HELP)] = None,
) -> None:
    """Make a synthetic release, build it, and show a patient."""
    from ehrtraj.demo import demo as show

    with _tidy_end("\nstopped\n"):
        show(folder, patients, max_cpus)


@contextmanager
def _tidy_end(message: str) -> Iterator[None]:
    """Turn Ctrl-C into a line and its exit code (typer alone says nothing of what was kept)."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(message)
        raise typer.Exit(INTERRUPTED) from None


rules_app = typer.Typer(
    name="rules", help="See the rules by which numbers, units and codes are cleaned.", no_args_is_help=True
)
app.add_typer(rules_app)

_RULES_OPTION = typer.Option("--rules", help="Folder with own rule tables.")


@rules_app.command("list")
def rules_list(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """List the rule tables, with what each is for and how many lines it has."""
    tables = all_tables(rules)
    width = max(len(table.name) for table in tables)
    for table in tables:
        sys.stdout.write(f"{table.name:<{width}}  {len(table.lines):>5,}  {table.about}\n")


@rules_app.command("explain")
def rules_explain(
    item: Annotated[str, typer.Argument(help="An item (50912), a code (LAB//50912), a flag, a unit or a word.")],
    rules: Annotated[Path | None, _RULES_OPTION] = None,
) -> None:
    """Show every rule that speaks of an item, with its source.

    Examples: ehrtraj rules explain 50912; ehrtraj rules explain CHART//223762; ehrtraj rules explain unit_converted
    """
    found = about_item(item, rules)
    if not found:
        raise SettingsError(f"no rule speaks of {item}: `ehrtraj rules list` shows the tables there are")
    for table in found:
        sys.stdout.write(f"{table.name}: {table.about}\n")
        for line in table.lines:
            said = ", ".join(f"{name} {value}" for name, value in line.items() if value and name != "source")
            sys.stdout.write(f"  {said}\n      source: {line['source']}\n")


@rules_app.command("docs")
def rules_docs(rules: Annotated[Path | None, _RULES_OPTION] = None) -> None:
    """Print the page that documents every rule (docs/rules.md), made from the files."""
    sys.stdout.write(as_markdown(rules))


def _print_settings(settings: Settings, origins: Mapping[str, str]) -> None:
    rows = [("setting", "value", "from")]
    for name, origin in origins.items():
        value = getattr(settings, name)
        rows.append((name, ",".join(value) if isinstance(value, tuple) else str(value), origin))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for name, value, origin in rows:
        sys.stdout.write(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n")


def main() -> None:
    """Run the command line: errors in plain words on stderr, exit codes as in `ehrtraj build --help`."""
    # Ended by `kill` or a cluster's scheduler: the same tidy end as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app(standalone_mode=True)
    except EhrtrajError as error:
        message = Text.assemble(("error: ", "bold red"), str(error))
        Console(stderr=True, soft_wrap=True).print(message)
        sys.exit(error.exit_code)
