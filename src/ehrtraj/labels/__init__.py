"""Labels for prediction: task files in the language of ACES, read over a dataset."""

from ehrtraj.labels.derive import derived_events
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.ready import ready_tasks
from ehrtraj.labels.run import Labels, label

__all__ = ["Labels", "TaskError", "derived_events", "label", "ready_tasks"]
