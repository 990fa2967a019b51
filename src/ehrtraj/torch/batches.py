"""Combine trajectories of different lengths into one batch, padded or packed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Item(TypedDict):
    """One trajectory: tensors of the same length, and values that belong to the complete trajectory."""

    codes: Tensor
    times: Tensor
    values: Tensor
    value_mask: Tensor
    static_mask: Tensor
    subject_id: int
    prediction_time: int | None
    label: float | None


class _Movable:
    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Move every tensor to a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Pin every tensor. DataLoader calls this method if pin_memory=True."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: change(v) if isinstance(v, Tensor) else v for name, v in values.items()})


@dataclass(frozen=True)
class Batch(_Movable):
    """B trajectories, padded at the end to the L events of the longest.

    Attributes:
        codes: token IDs of the vocabulary, 0 for padding. int64 [B, L].
        times: hours since the prediction time (so 0 or less), or, without labels, since the first event of the window;
            0 for static facts and padding. float64 [B, L].
        values: numeric_value of the dataset, 0 if there is none. float32 [B, L].
        value_mask: True if there is a value. bool [B, L].
        static_mask: True for facts without a time. bool [B, L].
        mask: True for events, False for padding. bool [B, L].
        lengths: number of events of each trajectory. int64 [B].
        subject_ids: patient of each trajectory. int64 [B].
        prediction_times: microseconds since 1970 in the patient's shifted calendar. int64 [B]; None without labels.
        labels: value of each label. float32 [B]; None without labels.
    """

    codes: Tensor
    times: Tensor
    values: Tensor
    value_mask: Tensor
    static_mask: Tensor
    mask: Tensor
    lengths: Tensor
    subject_ids: Tensor
    prediction_times: Tensor | None
    labels: Tensor | None


@dataclass(frozen=True)
class PackedBatch(_Movable):
    """B trajectories with N events in total, one after another, the format of variable-length attention.

    Attributes:
        codes: as in `Batch`; the same applies to `times`, `values`, `value_mask` and `static_mask`. int64 [N].
        offsets: start of each trajectory, and the end of the last (cu_seqlens). int32 [B + 1].
        longest: number of events of the longest trajectory.
        subject_ids: patient of each trajectory. int64 [B]; `prediction_times` and `labels` as in `Batch`.
    """

    codes: Tensor
    times: Tensor
    values: Tensor
    value_mask: Tensor
    static_mask: Tensor
    offsets: Tensor
    longest: int
    subject_ids: Tensor
    prediction_times: Tensor | None
    labels: Tensor | None


_EVENT_TENSORS = ("codes", "times", "values", "value_mask", "static_mask")


def pad(items: Sequence[Item]) -> Batch:
    """Make a padded batch: `DataLoader(dataset, collate_fn=pad)`."""
    lengths = torch.tensor([len(item["codes"]) for item in items])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    events = {name: pad_sequence([item[name] for item in items], batch_first=True) for name in _EVENT_TENSORS}  # type: ignore[literal-required]
    return Batch(**events, mask=mask, lengths=lengths, **_per_trajectory(items))


def pack(items: Sequence[Item]) -> PackedBatch:
    """Make a packed batch: `DataLoader(dataset, collate_fn=pack)`."""
    lengths = [len(item["codes"]) for item in items]
    offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    events = {name: torch.cat([item[name] for item in items]) for name in _EVENT_TENSORS}  # type: ignore[literal-required]
    return PackedBatch(**events, offsets=offsets, longest=max(lengths), **_per_trajectory(items))


def _per_trajectory(items: Sequence[Item]) -> dict[str, Tensor | None]:
    labels = [item["label"] for item in items]
    times = [item["prediction_time"] for item in items]
    return {
        "subject_ids": torch.tensor([item["subject_id"] for item in items]),
        "labels": None if None in labels else torch.tensor(labels, dtype=torch.float32),
        "prediction_times": None if None in times else torch.tensor(times, dtype=torch.int64),
    }
