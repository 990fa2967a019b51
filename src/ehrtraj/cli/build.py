"""`ehrtraj build`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, app, tidy_end
from ehrtraj.cli.show.screen import write_lines
from ehrtraj.config import Settings, resolve, spell
from ehrtraj.errors import SettingsError

_BUILD_HELP = """Build a dataset of patient trajectories from a release of MIMIC-IV.

[bold]Examples[/bold]

  ehrtraj build physionet.org/files/mimiciv/3.1 --output trajectories --trajectory-version v1

  ehrtraj build mimic-iv --trajectory-version icu100 --icu-only --subjects 100

  ehrtraj build mimic-iv --trajectory-version labs --tables labevents,diagnoses_icd

  ehrtraj build mimic-iv -t linked --gem gems --concept-maps mimic-code --vocabulary athena

  DATA_DIR=mimic-iv TRAJECTORY_VERSION=v1 MAX_CPUS=8 ehrtraj build --memory-limit 8GB

  ehrtraj build physionet.org --trajectory-version all --notes separate

  ehrtraj build mimiciv/3.1 --ed mimic-iv-ed/2.2 --note mimic-iv-note/2.2 --trajectory-version all

  ehrtraj build mimic-iv --trajectory-version v1 --export patient:jsonl

  ehrtraj build --config settings.toml --show-config

Every setting can also be set in the environment (EHRTRAJ_OUTPUT, EHRTRAJ_MEMORY_LIMIT, ...) or in a TOML file
(data_dir = "...", max_cpus = 8, ...). DATA_DIR, TRAJECTORY_VERSION and MAX_CPUS count without the prefix too. The
command line wins over the environment, the environment over the file. A build reports what it took from either.

A build that was cut short goes on where it stopped when the same command is run again.

[bold]Exit codes[/bold]: 0 done or already there; 2 a setting; 3 the input; 4 the output; 5 a recipe; 6 the ledger;
130 Ctrl-C.
"""


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
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help="Such as 4GB or 1500MB, at least 1GB. (default 4GB)")] = None,
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
    gem: Annotated[
        str | None,
        typer.Option(help="Folder of CMS' General Equivalence Mappings: ICD-10 codes as parents of ICD-9 codes."),
    ] = None,
    concept_maps: Annotated[
        str | None,
        typer.Option(help="Folder of mimic-code's concept maps: LOINC, SNOMED and RxNorm as parents of items."),
    ] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(help="Folder of OMOP vocabularies (CONCEPT.csv, ...): standard concepts as parents."),
    ] = None,
    ed: Annotated[
        str | None, typer.Option(help="Folder of MIMIC-IV-ED, where it does not lie in DATA_DIR.", show_default=False)
    ] = None,
    note: Annotated[
        str | None, typer.Option(help="Folder of MIMIC-IV-Note, where it does not lie in DATA_DIR.", show_default=False)
    ] = None,
    modules: Annotated[
        str | None,
        typer.Option(
            help="Folders of other modules that lie elsewhere, such as ecg=mimic-iv-ecg/1.0.", show_default=False
        ),
    ] = None,
    notes: Annotated[
        str | None,
        typer.Option(
            help="Texts of notes: in the events (inline), in files of their own beside them (separate), or left out "
            "with all that the note module says (none). (default inline)"
        ),
    ] = None,
    no_notes: Annotated[bool, typer.Option("--no-notes", help="The same as --notes none.")] = False,
    recipes: Annotated[
        str | None, typer.Option(help="Folder with own recipes and tables, which win over the package's.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the splits and of the draw of patients. (default 0)")] = None,
    overwrite: Annotated[
        bool | None,
        typer.Option("--overwrite/--keep", help="Replace a finished dataset of the same name, or keep it."),
    ] = None,
    allow_incomplete: Annotated[
        bool | None,
        typer.Option("--allow-incomplete/--complete", help="Build from a release without patients or admissions."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(help="Then write files of it, such as patient:jsonl, beside it. See `ehrtraj export`."),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file with settings.")] = None,
    show_config: Annotated[
        bool, typer.Option("--show-config", help="Print every setting and where it comes from, and end.")
    ] = False,
) -> None:
    """Build a dataset of patient trajectories."""
    from ehrtraj.dataset.export.show import show_export
    from ehrtraj.pipeline.run import run
    from ehrtraj.show import ConsoleReporter, show_result, show_warnings

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
        "gem": gem,
        "concept_maps": concept_maps,
        "vocabulary": vocabulary,
        "ed": ed,
        "note": note,
        "modules": modules,
        "notes": _notes(notes, no_notes=no_notes),
        "recipes": recipes,
        "seed": seed,
        "overwrite": overwrite,
        "allow_incomplete": allow_incomplete,
        "export": export,
    }
    settings, origins = resolve(given, config)
    if show_config:
        _print_settings(settings, origins)
        return
    with tidy_end(
        ". Finished work is kept: run the same command again to go on (its folder is .<version>.build in the output)"
    ):
        result = run(settings, ConsoleReporter(), origins)
    show_result(result)
    for export_result in result.exports:
        show_export(export_result)
    # Last, where they are seen.
    show_warnings(result)


def _notes(notes: str | None, *, no_notes: bool) -> str | None:
    if no_notes and notes not in (None, "none"):
        raise SettingsError(f"--no-notes and --notes {notes} contradict each other: give one of them")
    return "none" if no_notes else notes


def _print_settings(settings: Settings, origins: Mapping[str, str]) -> None:
    rows = [("setting", "value", "from")]
    for name, origin in origins.items():
        rows.append((name, spell(getattr(settings, name)), origin))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    write_lines(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for name, value, origin in rows)
