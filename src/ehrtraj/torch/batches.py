"""Put trajectories of different lengths into one batch: padded, or one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


class Item(TypedDict):
    """One trajectory: tensors of one length, and what belongs to all of it."""

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
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Pin every tensor; DataLoader calls this with pin_memory=True."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return type(self)(**{name: change(v) if isinstance(v, Tensor) else v for name, v in values.items()})


@dataclass(frozen=True)
class Batch(_Movable):
    """B trajectories, filled up at the end to the L events of the longest.

    Attributes:
        codes: numbers of the vocabulary, 0 where filled up. int64 [B, L].
        times: hours since the prediction time (so 0 or less), without labels since the first event of the window; 0 for
            static facts and where filled up. float64 [B, L].
        values: numeric_value as the dataset has it, 0 where there is none. float32 [B, L].
        value_mask: where there is a value. bool [B, L].
        static_mask: facts without a time. bool [B, L].
        mask: where there is an event. bool [B, L].
        lengths: events of each trajectory. int64 [B].
        subject_ids: int64 [B].
        prediction_times: microseconds since 1970 on the patient's own calendar. int64 [B]; None without labels.
        labels: float32 [B]; None without labels.
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
    """B trajectories of N events in all, one after another, as variable-length attention takes them.

    Attributes:
        codes: as in `Batch`, as are `times`, `values`, `value_mask` and `static_mask`. int64 [N].
        offsets: where each trajectory begins, and the end of the last (cu_seqlens). int32 [B + 1].
        longest: events of the longest trajectory.
        subject_ids: int64 [B]; `prediction_times` and `labels` as in `Batch`.
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


_OF_EVENTS = ("codes", "times", "values", "value_mask", "static_mask")


def pad(items: Sequence[Item]) -> Batch:
    """Make a padded batch: `DataLoader(dataset, collate_fn=pad)`."""
    lengths = torch.tensor([len(item["codes"]) for item in items])
    mask = torch.arange(int(lengths.max()))[None, :] < lengths[:, None]
    events = {name: pad_sequence([item[name] for item in items], batch_first=True) for name in _OF_EVENTS}  # type: ignore[literal-required]
    return Batch(**events, mask=mask, lengths=lengths, **_of_all(items))


def pack(items: Sequence[Item]) -> PackedBatch:
    """Make a packed batch: `DataLoader(dataset, collate_fn=pack)`."""
    lengths = [len(item["codes"]) for item in items]
    offsets = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    events = {name: torch.cat([item[name] for item in items]) for name in _OF_EVENTS}  # type: ignore[literal-required]
    return PackedBatch(**events, offsets=offsets, longest=max(lengths), **_of_all(items))


def _of_all(items: Sequence[Item]) -> dict[str, Tensor | None]:
    labels = [item["label"] for item in items]
    times = [item["prediction_time"] for item in items]
    return {
        "subject_ids": torch.tensor([item["subject_id"] for item in items]),
        "labels": None if None in labels else torch.tensor(labels, dtype=torch.float32),
        "prediction_times": None if None in times else torch.tensor(times, dtype=torch.int64),
    }
