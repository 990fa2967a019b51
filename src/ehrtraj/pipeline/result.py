"""What a build did, and whether it was done before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.news import News
from ehrtraj.pipeline.workspace import Workspace
from ehrtraj.results import BuildResult


def already_there(
    space: Workspace, fingerprint: Mapping[str, Any], news: News, *, overwrite: bool
) -> BuildResult | None:
    """The dataset of that name if it is the one wanted.

    Raises:
        OutputError: if there is one of that name that came from other input or settings.
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
        # What was wrong with it when it was built still is.
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
    parts = [key for key in now if before.get(key) != now[key]]
    raise OutputError(
        f"{space.final} exists and was built from other input or settings ({', '.join(parts)} differ). It was left as "
        "it is: choose another --trajectory-version, or replace it with --overwrite"
    )
