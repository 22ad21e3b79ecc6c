"""A network as the teacher, frozen, with the input normalization and resolution that it was trained with."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from limbeck.data.batch import Batch, are_rows, device_of
from limbeck.errors import UserError
from limbeck.models.calling import call_network
from limbeck.precision import Precision, computing_in
from limbeck.teachers.base import Teacher
from limbeck.teachers.columns import ClassColumns

Channels = Sequence[float]
# A CPU's float32 matrix products take other algorithms for the rows that are left over, and for few rows in all, which
# differ in their last bits.
_WHOLE_ROWS, _FEWEST_ROWS = 4, 16
_HALF: dict[torch.dtype, Precision] = {torch.bfloat16: "bf16", torch.float16: "fp16"}


class InputAdapter(nn.Module):
    """Turn inputs normalized for the student into inputs as the teacher was trained with, in float32.

    Args:
        mean: The student's mean of each channel, of pixels in [0, 1].
        std: The student's standard deviation of each channel.
        teacher_mean: The teacher's mean of each channel.
        teacher_std: The teacher's standard deviation of each channel.
        size: Height and width that the teacher expects; None leaves them.

    Raises:
        UserError: If the numbers of channels differ or a deviation is not above 0.

    Example:
        >>> adapter = InputAdapter((0.5,), (0.25,), (0.0,), (1.0,), size=4)
        >>> adapter(torch.zeros(1, 1, 2, 2)).shape, float(adapter(torch.zeros(1, 1, 2, 2)).mean())
        (torch.Size([1, 1, 4, 4]), 0.5)
    """

    ratio: Tensor
    shift: Tensor

    def __init__(
        self, mean: Channels, std: Channels, teacher_mean: Channels, teacher_std: Channels, *, size: int | None = None
    ) -> None:
        super().__init__()
        if not len(mean) == len(std) == len(teacher_mean) == len(teacher_std):
            raise UserError(
                f"teacher normalization: got {len(teacher_mean)} means and {len(teacher_std)} deviations, "
                f"expected {len(mean)} of each, one a channel"
            )
        if min(teacher_std) <= 0:
            raise UserError(f"teacher normalization: got std {list(teacher_std)}, expected numbers above 0")
        ratio = [s / t for s, t in zip(std, teacher_std, strict=True)]
        shift = [(m - t) / s for m, t, s in zip(mean, teacher_mean, teacher_std, strict=True)]
        self.register_buffer("ratio", torch.tensor(ratio).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, -1, 1, 1), persistent=False)
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, channels, H, W) inputs of the student to float32 inputs of the teacher, in any autocast context."""
        with computing_in("fp32", inputs.device.type):
            return self._adapted(inputs.float())

    def _adapted(self, inputs: Tensor) -> Tensor:
        size = None if self.size is None else (self.size, self.size)
        if size is not None and inputs.shape[-2:] != size:
            inputs = F.interpolate(inputs, size=size, mode="bilinear", align_corners=False, antialias=True)
        adapted: Tensor = inputs * self.ratio + self.shift
        return adapted


class LiveTeacher(Teacher):
    """A network that is run on every batch.

    It is frozen (nothing is differentiated) and in eval mode at every call, whatever its owner does with the network
    meanwhile. On a CPU a batch is filled up to a multiple of four rows, at least 16, so that in float32 a sample's
    logits are the same in a batch of any size, to the bit. That is done for a tensor of rows, and for a mapping or
    tuple of tensors with one row a sample each; other inputs, such as a list of images, are left as they are.

    Args:
        network: The teacher.
        adapter: Applied to the inputs first, if the teacher was trained with others than the student.
        train_mode: Keep the network in train mode instead, so that batch norm uses the batch's statistics and dropout
            is on. It stays frozen, but running statistics then move.
        precision: The precision that the network computes in, ``"fp32"``, ``"bf16"`` or ``"fp16"``; None for that of
            the autocast context of the call, or of the network's weights where these are in half precision. The
            adapter computes in float32.
        device: Where the network stays, whatever moves the distiller; inputs go there and outputs come back. None to
            follow the distiller.
        call: Runs a network on inputs; a task's :meth:`limbeck.tasks.Task.call`.
        columns: The columns of the network's logits that are the student's classes, if it was trained with others.

    Example:
        >>> teacher = LiveTeacher(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3)))
        >>> teacher.train().network.training
        False
        >>> teacher(torch.zeros(2, 1, 2, 2)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        adapter: nn.Module | None = None,
        train_mode: bool = False,
        precision: Precision | None = None,
        device: torch.device | str | None = None,
        call: Callable[[nn.Module, Any], Any] = call_network,
        columns: ClassColumns | None = None,
    ) -> None:
        super().__init__()
        self.network, self.adapter, self.train_mode = network.requires_grad_(False), adapter, train_mode
        # Private: a teacher without columns has the hash, and the caches, that it had before there were any.
        self.precision, self._call, self._columns = precision, call, columns
        # Collected once: walking a deep network's modules at every call would take longer than looking at their modes.
        self._parts = tuple(network.modules())
        self._device: torch.device | None = None
        if device is not None:
            self.to(device)
            self._device = torch.device(device)
        self.train()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return self if self._device is not None else super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the mode is refused on purpose
        """Keep the mode chosen at construction: eval, unless ``train_mode``."""
        return super().train(self.train_mode)

    def keep_mode(self) -> None:
        """Put the network back in its mode, if its owner changed the mode of any part."""
        if any(part.training is not self.train_mode for part in self._parts):
            self.train()

    def why_not_recordable(self) -> str | None:
        """Return why the network cannot be recorded: what a part of it gives as ``why_not_recordable``."""
        reasons = (getattr(part, "why_not_recordable", None) for part in self._parts)
        return next((reason for reason in reasons if isinstance(reason, str)), None)

    def computing(self, device: str) -> AbstractContextManager[object]:
        """Return the context of the network's precision on a kind of device."""
        precision = self.precision or _HALF.get(next((p.dtype for p in self.network.parameters()), torch.float32))
        return nullcontext() if precision is None else computing_in(precision, device)

    def logits(self, inputs: Any, labels: Any = None, indices: Tensor | None = None, epoch: int = 0) -> Any:  # noqa: ARG002
        """Run the network on a batch's inputs and return its output."""
        rows, home = Batch(inputs, labels, indices).size, device_of(inputs)
        if self._device is not None:
            inputs = _moved(inputs, self._device)
        missing = max(_FEWEST_ROWS - rows, -rows % _WHOLE_ROWS)
        is_whole = not rows or not missing or self.train_mode
        if is_whole or (self._device or home).type != "cpu" or not are_rows(inputs, rows):
            output = self._run(inputs)
        else:
            filled = pytree.tree_map_only(Tensor, lambda part: _with_more(part, missing), inputs)
            output = _without(self._run(filled), rows, missing)
        return _moved(output, home) if self._device else output

    def _run(self, inputs: Any) -> Any:
        self.keep_mode()
        device = device_of(inputs).type
        with torch.no_grad():
            adapted = inputs if self.adapter is None else self.adapter(inputs)
            with self.computing(device):
                output = self._call(self.network, adapted)
            return self.in_classes(output)

    def in_classes(self, output: Any) -> Any:
        """Return the logits of the student's classes in the network's output; the output itself without columns."""
        return output if self._columns is None else self._columns(output)


def _mapped(work: Callable[[Tensor], Tensor], values: Any) -> Any:
    """Apply ``work`` to every tensor within ``values``; a dataclass counts as its fields."""
    if is_dataclass(values) and not isinstance(values, type):
        return replace(values, **{f.name: _mapped(work, getattr(values, f.name)) for f in fields(values)})
    return pytree.tree_map_only(Tensor, work, values)


def _moved(values: Any, device: torch.device) -> Any:
    return _mapped(lambda part: part.to(device, non_blocking=True), values)


def _with_more(part: Tensor, rows: int) -> Tensor:
    return torch.cat([part, part[:1].expand(rows, *part.shape[1:])])


def _without(output: Any, rows: int, added: int) -> Any:
    """Return an output without the rows that were added."""
    return _mapped(lambda part: part[:rows] if part.ndim and len(part) == rows + added else part, output)
