"""Mixup and CutMix: every sample of a batch mixed with another one of it, replayable."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from limbeck.data.batch import Batch
from limbeck.errors import UserError
from limbeck.randomness.hashing import derived_seed
from limbeck.tasks import Task
from limbeck.training.settings import MixSettings

_MIX_STREAM = 207


class Mixed(NamedTuple):
    """How a batch is mixed.

    Attributes:
        share: How much of each sample is its own, from 0 to 1, before a pasted rectangle is cut off at the edges.
        center: Where CutMix's rectangle has its center, as shares of height and width; None for mixup.
    """

    share: float
    center: tuple[float, float] | None = None


class Mixer:
    """Mixes sample i of a batch of N with sample N - 1 - i, inputs and ground truth by the same shares.

    A share is drawn for each batch from Beta(alpha, alpha). As the pair of i and j holds both mixtures of the two, the
    rows are put in the order in which each sample has at least half of its own: labels by the larger share, positions
    and selections stay right, and the mixtures of the batch are the same. It is a function of (seed, epoch, step).

    Args:
        settings: What is mixed.
        task: Mixes the ground truth; it has its number of classes.
        seed: The run's seed.

    References:
        Zhang et al.: mixup, ICLR 2018. Yun et al.: CutMix, ICCV 2019. The order of the rows is ours.

    Example:
        >>> from limbeck.tasks import Classification
        >>> mixer = Mixer(MixSettings(mixup=1.0), Classification(2))
        >>> mixed = mixer(Batch(torch.tensor([[0.], [1.]]), torch.tensor([0, 1])), epoch=0, step=1)
        >>> torch.equal(mixed.inputs[:, 0], mixed.targets[:, 1]), bool((mixed.targets.diagonal() >= 0.5).all())
        (True, True)
    """

    def __init__(self, settings: MixSettings, task: Task, *, seed: int = 0) -> None:
        self.settings, self.task, self.seed = settings, task, seed

    def check(self, inputs: Any) -> None:
        """Check that inputs and ground truth can be mixed.

        Args:
            inputs: Those of any batch.

        Raises:
            UserError: If the inputs are no tensor of numbers, or no images for CutMix, or the task mixes no labels.
        """
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            got = f"{inputs.dtype}" if isinstance(inputs, Tensor) else type(inputs).__name__
            raise UserError(f"training.mix: got inputs of {got}, expected a tensor of float numbers, such as images")
        if self.settings.cutmix and inputs.ndim != 4:
            raise UserError(f"training.mix.cutmix: got inputs {tuple(inputs.shape)}, expected images (N, C, H, W)")
        self.task.check_mixed()

    def draw(self, epoch: int, step: int) -> Mixed:
        """Draw how a batch is mixed.

        Args:
            epoch: The epoch, from 0.
            step: The batch's number in it.
        """
        settings, generator = self.settings, np.random.default_rng(derived_seed(self.seed, epoch, step, _MIX_STREAM))
        mixes, switches, *center = generator.random(4).tolist()
        if mixes >= settings.probability:
            return Mixed(1.0)
        cuts = settings.cutmix > 0 and (settings.mixup == 0 or switches < settings.switch)
        alpha = settings.cutmix if cuts else settings.mixup
        return Mixed(float(generator.beta(alpha, alpha)), (center[0], center[1]) if cuts else None)

    @torch.no_grad()
    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Return the mixed batch, with soft labels also where it is not mixed.

        Args:
            batch: Inputs and ground truth; nothing is written to them.
            epoch: The epoch, from 0.
            step: The batch's number in it.

        Raises:
            UserError: As for :meth:`check`, or if a label is absent.
        """
        self.check(batch.inputs)
        drawn = self.draw(epoch, step)
        inputs, share = _mix(batch.inputs, drawn)
        if share < 0.5:
            inputs, share = inputs.flip(0), 1 - share
        return batch._replace(inputs=inputs, targets=self.task.mixed(batch.targets, share))


def _mix(inputs: Tensor, drawn: Mixed) -> tuple[Tensor, float]:
    if drawn.share == 1:
        return inputs, 1.0
    if drawn.center is None:
        return inputs * drawn.share + inputs.flip(0) * (1 - drawn.share), drawn.share
    height, width = inputs.shape[2:]
    top, bottom = _span(drawn.center[0], drawn.share, height)
    left, right = _span(drawn.center[1], drawn.share, width)
    mixed = inputs.clone()
    mixed[..., top:bottom, left:right] = inputs.flip(0)[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(center: float, share: float, side: int) -> tuple[int, int]:
    """Return where a rectangle with the other sample's share of the area begins and ends on a side, as torchvision."""
    middle, half = int(center * side), int(0.5 * (1 - share) ** 0.5 * side)
    return max(middle - half, 0), min(middle + half, side)
