"""The viewer: a local web server that shows the patients of a dataset. `pip install 'ehrtraj[view]'`."""

from ehrtraj.errors import MissingExtraError

try:
    import starlette as _starlette  # noqa: F401  # imported here, so that one place reports that they are missing
    import uvicorn as _uvicorn  # noqa: F401
except ModuleNotFoundError:
    raise MissingExtraError("ehrtraj view needs Starlette and uvicorn: pip install 'ehrtraj[view]'") from None
