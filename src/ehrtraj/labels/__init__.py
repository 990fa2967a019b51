"""Labels for prediction: read task files in the ACES task language, and evaluate them on a dataset."""

from ehrtraj.labels.concepts import concept_values
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels, label

__all__ = ["Labels", "TaskError", "concept_values", "label", "ready_tasks"]
