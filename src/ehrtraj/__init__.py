"""ehrtraj: patient trajectories from raw electronic health records."""

__version__ = "0.1.0"

from ehrtraj.pipeline.run import BuildResult, build
from ehrtraj.errors import EhrtrajError

__all__ = ["BuildResult", "EhrtrajError", "__version__", "build"]
