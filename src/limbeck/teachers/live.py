"""A network as the teacher, frozen, with the input normalisation and resolution that it was trained with."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from limbeck.errors import UserError
from limbeck.teachers.base import Teacher

Channels = Sequence[float]
# A CPU's matrix products take other algorithms for the rows that are left over, which differ in their last bits.
_WHOLE_ROWS = 4


class InputAdapter(nn.Module):
    """Turn inputs normalised for the student into inputs as the teacher was trained with.

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
                f"teacher normalisation: got {len(teacher_mean)} means and {len(teacher_std)} deviations, "
                f"expected {len(mean)} of each, one a channel"
            )
        if min(teacher_std) <= 0:
            raise UserError(f"teacher normalisation: got std {list(teacher_std)}, expected numbers above 0")
        ratio = [own / theirs for own, theirs in zip(std, teacher_std, strict=True)]
        shift = [(own - theirs) / s for own, theirs, s in zip(mean, teacher_mean, teacher_std, strict=True)]
        self.register_buffer("ratio", torch.tensor(ratio).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", torch.tensor(shift).view(1, -1, 1, 1), persistent=False)
        self.size = size

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (N, channels, H, W) inputs of the student to those of the teacher."""
        if self.size is not None and inputs.shape[-2:] != (self.size, self.size):
            inputs = F.interpolate(
                inputs, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
        adapted: Tensor = inputs * self.ratio + self.shift
        return adapted


class LiveTeacher(Teacher):
    """A network that is run on every batch.

    It is frozen (no parameter requires gradient) and stays in eval mode whatever mode is asked of it. On a CPU a
    batch is filled up to a multiple of four rows, so that a sample's logits are the same in a batch of any size, to the
    bit.

    Args:
        network: The teacher; its output is (N, C) logits.
        adapter: Applied to the inputs first, if the teacher was trained with others than the student.
        train_mode: Keep the network in train mode instead, so that batch norm uses the batch's statistics and dropout
            is on. It stays frozen, but running statistics then move. Off unless you mean it.

    Example:
        >>> teacher = LiveTeacher(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3)))
        >>> teacher.train().network.training
        False
        >>> teacher(torch.zeros(2, 1, 2, 2), torch.tensor([0, 1])).shape
        torch.Size([2, 3])
    """

    def __init__(self, network: nn.Module, *, adapter: nn.Module | None = None, train_mode: bool = False) -> None:
        super().__init__()
        self.network, self.adapter, self.train_mode = network.requires_grad_(False), adapter, train_mode
        self.train()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - the mode asked for is refused on purpose
        """Keep the mode chosen at construction: eval, unless ``train_mode``."""
        return super().train(self.train_mode)

    def logits(self, inputs: Tensor, labels: Tensor, indices: Tensor | None = None, epoch: int = 0) -> Tensor:  # noqa: ARG002
        """Run the network on ``inputs``."""
        missing = -len(inputs) % _WHOLE_ROWS
        if not missing or self.train_mode or inputs.device.type != "cpu":
            return self._run(inputs)
        return self._run(torch.cat([inputs, inputs[:1].expand(missing, *inputs.shape[1:])]))[: len(inputs)]

    def _run(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.network(inputs if self.adapter is None else self.adapter(inputs))
        return output
