"""Output of `ehrtraj plan`."""

from __future__ import annotations

from ehrtraj.cli.show.screen import line, note, out, warning
from ehrtraj.cli.show.table import Table, name_column, number_column
from ehrtraj.pipeline.plan.preview import BuildPreview
from ehrtraj.readable import release_name, rough_duration, size


def show_plan(plan: BuildPreview) -> None:
    """Print the tables that a build would read, what it needs, and what is missing."""
    screen = out()
    table = Table(name_column("table"), name_column("file"), number_column("size"), number_column("rows"))
    for one in plan.tables:
        about = "about " if one.rows_known == "estimated" else ""
        table.add(one.table, one.file, size(one.bytes), f"{about}{one.rows:,}")
    screen.print(table)
    screen.print()
    total = sum(one.bytes for one in plan.tables)
    about = "about " if any(one.rows_known == "estimated" for one in plan.tables) else ""
    name = release_name(plan.source, plan.release)
    needs = plan.estimate
    screen.print(line((f"{name}: {len(plan.tables)} tables, {size(total)}, {about}{plan.rows:,} rows", "bold")))
    if (patients := plan.patients) is not None:
        screen.print(
            f"patients: {patients.selected:,} of {patients.everyone:,}. About {patients.rows:,} of these rows are "
            "theirs, or belong to tables without patients. Time, memory and disk are estimates for them"
        )
    cores = f"{needs.cpu_cores} CPU core{'' if needs.cpu_cores == 1 else 's'}"
    for what, needed, free in (
        ("time", f"about {rough_duration(needs.seconds)} on {cores} that nothing else uses", ""),
        ("memory", f"about {size(needs.memory_bytes)}", f" ({size(plan.free_memory_bytes)} free)"),
        ("disk during the build", f"about {size(needs.build_disk_bytes)}", f" ({size(plan.free_disk_bytes)} free)"),
        ("disk for the result", f"about {size(needs.result_disk_bytes)}", ""),
    ):
        screen.print(f"{what}: {needed}{free}")
    if plan.missing_modules:
        screen.print(f"modules that are not there: {', '.join(plan.missing_modules)}")
    if plan.missing_tables:
        screen.print(f"tables that are not there: {', '.join(plan.missing_tables)}")
    screen.print(
        "Only the beginning of large files was read. To find truncated or damaged files, run: "
        f"ehrtraj verify {plan.data_dir}",
    )
    if plan.missing_modules or plan.missing_tables:
        screen.print("To download missing files, see: ehrtraj download --help")
    for text in plan.notes:
        note(text)
    for text in plan.warnings:
        warning(text)
