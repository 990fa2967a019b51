"""Output of `ehrtraj concepts`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from ehrtraj.cli.show.screen import line, note, out, write_exact
from ehrtraj.cli.show.screen import result as print_result
from ehrtraj.cli.show.table import Column, Table, name_column, number_column, prose_column
from ehrtraj.concepts.library import Concept, ConceptLibrary
from ehrtraj.concepts.run import ConceptsResult
from ehrtraj.enrich.run import EnrichResult
from ehrtraj.format.names import CONCEPT_FOLDERS
from ehrtraj.readable import duration, size
from ehrtraj.results import BuildResult


def show_library(library: ConceptLibrary) -> None:
    """Print all concepts by group, with the first sentence of each."""
    concepts = sorted(library.concepts.values(), key=lambda concept: (concept.group, concept.name))
    table = Table(name_column("concept"), prose_column("a row is"))
    for group, members in groupby(concepts, key=lambda concept: concept.group):
        table.add((group, "bold"), "")
        for concept in members:
            table.add(f"  {concept.name}", _first_sentence(concept))
    out().print(table)


def _first_sentence(concept: Concept) -> str:
    text = " ".join(concept.header.description.split())
    return text.partition(". ")[0].removesuffix(".")


def show_concept(library: ConceptLibrary, concept: Concept) -> None:
    """Print the definition of a concept: what a row is, its columns, sources, inputs and SQL."""
    screen, header = out(), concept.header
    screen.print(line((concept.name, "bold"), f"  ({concept.group})"))
    for paragraph in header.description.split("\n\n"):
        screen.print(line(" ".join(paragraph.split())))
    screen.print()
    table = Table(name_column("column"), Column("type"), Column("unit"), prose_column("content"))
    for column in header.columns:
        table.add(column.name, column.type, column.unit, column.meaning)
    screen.print(table)
    screen.print()
    for source in header.sources:
        screen.print(line(("definition: ", "bold"), source))
    inputs = [*header.needs, *library.views_of([concept])]
    screen.print(line(("reads: ", "bold"), ", ".join(inputs)))
    for reason in header.differs:
        screen.print(line(("differs from mimic-code: ", "bold"), reason))
    screen.print()
    write_exact(f"{concept.sql}\n")


def show_computed(result: ConceptsResult) -> None:
    """Print what was computed, with the rows and the time of each concept."""
    screen = out()
    if result.computed:
        table = Table(name_column("concept"), number_column("rows"), number_column("seconds"))
        for concept in result.computed:
            table.add(concept.name, f"{concept.rows:,}", f"{result.concept_seconds.get(concept.name, 0):.1f}")
        screen.print(table)
        resumed = " (resumed an interrupted run)" if result.resumed else ""
        rows = sum(concept.rows for concept in result.computed)
        counts = f"{_count(len(result.computed))}, {rows:,} rows"
        memory = f"peak memory {size(result.peak_memory)}"
        print_result((counts, "bold"), f" in {duration(result.seconds)}{resumed}, {memory}")
    if result.existing:
        print_result(f"stored already and unchanged: {_count(len(result.existing))}")
    screen.print(f"files: {result.path}")
    names = [concept.name for concept in result.computed] or list(result.existing)
    if result.path.name == CONCEPT_FOLDERS[0]:
        screen.print(f'in Python: ehrtraj.open("{result.path.parent}").concept("{names[0]}")')
    for text in result.notes:
        note(text)


def show_added(result: EnrichResult, report: Path | None) -> None:
    """Print which events a new dataset has, and where its report is."""
    screen = out()
    if result.already_there:
        print_result(f"{result.path} is already complete: nothing to do")
    else:
        table = Table(name_column("concept"), number_column("events"))
        for concept, events in result.concepts.items():
            table.add(concept, f"{events:,}")
        screen.print(table)
        resumed = " (resumed an interrupted run)" if result.resumed else ""
        counts = f"{result.patients:,} patients, {result.events:,} events"
        memory = f"peak memory {size(result.peak_memory)}"
        print_result((counts, "bold"), f" in {duration(result.seconds)}{resumed}, {memory}")
    screen.print(f"dataset: {result.path}")
    if report is not None:
        screen.print(f"report: {report}")
    for text in result.notes:
        note(text)


def show_rows_of_concepts(result: BuildResult) -> None:
    """Print how many rows of concepts a build computed."""
    rows = sum(result.concepts.values())
    out().print(f"{_count(len(result.concepts))}, {rows:,} rows: {result.path / 'concepts'}")


def _count(concepts: int) -> str:
    return f"{concepts:,} concept{'' if concepts == 1 else 's'}"
