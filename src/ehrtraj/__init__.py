"""ehrtraj: patient trajectories from raw electronic health records."""

__version__ = "0.1.0"

from ehrtraj.errors import EhrtrajError
from ehrtraj.pipeline.run import BuildResult, build

__all__ = ["BuildResult", "EhrtrajError", "__version__", "build"]
