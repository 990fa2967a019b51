"""The static files of the pages: style, scripts, and the drawing of the timeline."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from ehrtraj.timeline import static as timeline

_HERE = Path(__file__).parent / "static"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


def _listed(folder: Path, prefix: str) -> dict[str, Path]:
    files = (path for path in folder.rglob("*") if path.suffix in _TYPES)
    return {prefix + path.relative_to(folder).as_posix(): path for path in files}


# Only the files in this list are served, so that no address leads out of the folders.
FILES = _listed(_HERE, "") | _listed(timeline.FOLDER, "timeline/")


def _file(request: Request) -> Response:
    path = FILES.get(request.path_params["name"])
    if path is None:
        raise HTTPException(404)
    return FileResponse(path, media_type=_TYPES[path.suffix])


ROUTES: list[BaseRoute] = [Route("/static/{name:path}", _file)]
