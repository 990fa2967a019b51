"""`ehrtraj concepts`: compute clinical concepts of a dataset, or list and explain them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, MEMORY_HELP, SOURCE_HELP, Command, graceful_stop
from ehrtraj.cli.commands.export import KEPT_WORK

if TYPE_CHECKING:
    from ehrtraj.concepts.library import ConceptLibrary
    from ehrtraj.dataset.layout import DatasetLayout

_HELP = """Compute clinical concepts (SOFA, sepsis, first-day values, ...) and store them in the dataset.

Without NAME, all concepts are computed. Concepts that are stored already are not computed again. An interrupted run
resumes when you run the same command again.

[bold]Examples[/bold]

  ehrtraj concepts --list

  ehrtraj concepts --explain sofa

  ehrtraj concepts trajectories/v1

  ehrtraj concepts trajectories/v1 sofa sepsis3

  ehrtraj concepts trajectories/v1 sofa --clock available

  ehrtraj concepts trajectories/v1 --as-mimic-code

  ehrtraj concepts trajectories/v1 sofa sepsis3 --events --output with-sofa

The rows are in concepts/NAME/SPLIT/ of the dataset. `ds.concept("sofa")` reads them. --clock available writes to
concepts-available/, --as-mimic-code to concepts-mimic-code/.

--events writes a new dataset with all events of this one and an event for each value of the concepts, with codes such
as CONCEPT//sofa//sofa_24hours. This dataset keeps its events. The report of the new one is written next to it, such as
with-sofa-report.html, unless --no-report is given.

[bold]Exit codes[/bold]: 0 done; 2 no such concept, or an invalid setting; 4 the output cannot be written; 5 invalid SQL
of a concept; 7 the dataset cannot be read; 130 Ctrl-C.
"""


def concepts(
    dataset: Annotated[
        Path | None, typer.Argument(help="Folder of the dataset, such as trajectories/v1.", show_default=False)
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names of concepts. (default all)", show_default=False),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List all concepts.")] = False,
    explain: Annotated[
        str | None, typer.Option(help="Show the definition, columns, sources and SQL of a concept.", show_default=False)
    ] = None,
    clock: Annotated[
        str, typer.Option(help="Compute from when things happened (event) or became known (available).")
    ] = "event",
    as_mimic_code: Annotated[
        bool, typer.Option("--as-mimic-code", help="Reproduce mimic-code's tables, also where ours differ.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Write a new dataset that includes the concepts as events.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the new dataset, for --events.", show_default=False)
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report/--no-report", help="With --events, write a report next to the new dataset, or none."),
    ] = True,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder with custom concepts/, which take precedence.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help=SOURCE_HELP, show_default=False)] = None,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help=MEMORY_HELP)] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Compute stored concepts again; with --events, replace the new dataset."),
    ] = False,
) -> None:
    """Compute concepts, or list and explain them."""
    import ehrtraj
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.concepts import show_computed, show_concept, show_library
    from ehrtraj.concepts.run import compute_concepts
    from ehrtraj.concepts.session import ConceptMode
    from ehrtraj.errors import SettingsError

    if show_list:
        show_library(_library(dataset, source, overlay))
        return
    if explain is not None:
        library = _library(dataset, source, overlay)
        show_concept(library, library.find([explain])[0])
        return
    if dataset is None:
        raise SettingsError("give the folder of a dataset, or --list, or --explain NAME")
    mode = ConceptMode(clock, as_mimic_code)
    library = _library(dataset, source, overlay)
    layout = ehrtraj.open(dataset).layout
    limits = Limits(max_cpus, memory_limit)
    if output is not None or events:
        if output is None or not events:
            raise SettingsError("--events and --output belong together: they write a new dataset")
        if mode != ConceptMode():
            raise SettingsError("--events adds concepts by the clock event: omit --clock and --as-mimic-code")
        _write_events(layout, output, names or (), library, limits, overwrite=overwrite, report=report)
        return
    if not report:
        raise SettingsError("--no-report belongs to --events: only a new dataset has a report")
    with graceful_stop(KEPT_WORK), bar("computing") as show_progress:
        result = compute_concepts(
            layout,
            names or (),
            mode=mode,
            library=library,
            max_cpus=max_cpus,
            memory_limit=memory_limit,
            overwrite=overwrite,
            progress=show_progress,
        )
    show_computed(result)


class Limits(NamedTuple):
    """The limits that the user set."""

    max_cpus: int | None
    memory_limit: str | None


def _write_events(
    layout: DatasetLayout,
    output: Path,
    names: Sequence[str],
    library: ConceptLibrary,
    limits: Limits,
    *,
    overwrite: bool,
    report: bool,
) -> None:
    """Write the dataset of `--events`."""
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.concepts import show_added
    from ehrtraj.cli.show.screen import warning
    from ehrtraj.enrich.run import add_concepts
    from ehrtraj.reports.run import report_after

    with graceful_stop(KEPT_WORK):
        with bar("adding concepts") as show_progress:
            result = add_concepts(
                layout,
                output,
                names,
                library=library,
                max_cpus=limits.max_cpus,
                memory_limit=limits.memory_limit,
                overwrite=overwrite,
                progress=show_progress,
            )
        path = report_after(result.path, warning, already_there=result.already_there) if report else None
    show_added(result, path)


def _library(dataset: Path | None, source: str | None, overlay: Path | None) -> ConceptLibrary:
    """Return the concepts of a dataset's source, or of the named or default one, with the user's overlay."""
    import ehrtraj
    from ehrtraj.concepts.library import concept_library
    from ehrtraj.sources.source import find_source

    if dataset is not None and source is None:
        release = ehrtraj.open(dataset).layout.manifest["release"]
        source = release.get("source_folder", release["source"])
    return concept_library(find_source(source, overlay))


COMMAND = Command(concepts, place=105, writes=True, help=_HELP, long=True)
