"""Find out whether a dataset was already built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.format.workspace import Workspace
from ehrtraj.pipeline.news import News
from ehrtraj.results import BuildResult


def already_there(
    space: Workspace, fingerprint: Mapping[str, Any], news: News, *, overwrite: bool
) -> BuildResult | None:
    """Return the result of an existing dataset with the same fingerprint; None if there is none or it is overwritten.

    Raises:
        OutputError: if a dataset with this name was built from other input or settings.
    """
    if overwrite or not space.final.exists():
        return None
    manifest = space.final / "manifest.json"
    if not manifest.is_file():
        raise OutputError(
            f"{space.final} exists and was not made by ehrtraj: choose another --trajectory-version or --output"
        )
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        before, now = content["fingerprint"], json.loads(json.dumps(fingerprint))
    except (ValueError, KeyError):
        raise OutputError(
            f"{manifest} is damaged: look at the dataset, then remove it yourself or choose another "
            "--trajectory-version"
        ) from None
    if before == now:
        summary = content["summary"]
        # The warnings of the original build still apply.
        news.warn(*content.get("warnings", ()))
        return BuildResult(
            space.final,
            True,
            content["release"]["version"],
            summary["patients"],
            summary["events"],
            notes=tuple(news.notes),
            warnings=tuple(news.warnings),
        )
    differing = [key for key in now if before.get(key) != now[key]]
    raise OutputError(
        f"{space.final} exists and was built from other input or settings ({', '.join(differing)} differ). It was not "
        "changed: choose another --trajectory-version, or replace it with --overwrite"
    )
