"""Trajectories for PyTorch: `pip install 'ehrtraj[torch]'`."""

from ehrtraj.errors import MissingExtraError

try:
    import torch as _torch  # noqa: F401  # imported here, so that one place reports that it is missing
except ModuleNotFoundError:
    raise MissingExtraError("ehrtraj.torch needs PyTorch: pip install 'ehrtraj[torch]'") from None

from ehrtraj.torch.batches import Batch, PackedBatch, pack, pad
from ehrtraj.torch.dataset import TrajectoryDataset
from ehrtraj.torch.sequences import TokenDataset
from ehrtraj.torch.tokens import TokenForm, TokenVocabulary
from ehrtraj.torch.vocabulary import Vocabulary

__all__ = [
    "Batch",
    "PackedBatch",
    "TokenDataset",
    "TokenForm",
    "TokenVocabulary",
    "TrajectoryDataset",
    "Vocabulary",
    "pack",
    "pad",
]
