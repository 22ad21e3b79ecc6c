"""Operations on the pixels of a view: RandAugment, TrivialAugment, color jitter; torchvision's, made replayable."""

from functools import lru_cache

import torch
from torch import Tensor
from torchvision.transforms import v2

from limbeck.data.images.augment import Augment
from limbeck.randomness.hashing import derived_seed

_OPERATION_STREAM = 206


@lru_cache(maxsize=8)
def _transforms(augment: Augment) -> v2.Transform:
    transforms: list[v2.Transform] = []
    if augment.rand_augment is not None:
        operations, magnitude = augment.rand_augment
        transforms.append(v2.RandAugment(operations, magnitude))
    if augment.trivial_augment:
        transforms.append(v2.TrivialAugmentWide())
    if augment.color_jitter is not None:
        transforms.append(v2.ColorJitter(*augment.color_jitter))
    return v2.Compose(transforms)


def operate(view: Tensor, index: int, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Apply the operations of an augmentation to one view.

    torchvision draws from torch's global generator, which is seeded from (seed, epoch, index) for this and put back
    afterwards: the result depends neither on the batch nor on the process.

    Args:
        view: Pixels, uint8 (C, H, W).
        index: The sample's position in its split.
        augment: Has the operations.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        uint8 (C, H, W).

    Example:
        >>> view, augment = torch.arange(48, dtype=torch.uint8).view(3, 4, 4), Augment(trivial_augment=True)
        >>> first, again = (operate(view, 7, augment, seed=0, epoch=1) for _ in range(2))
        >>> torch.equal(first, again)
        True
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would seed the accelerators of the training as well.
        torch.default_generator.manual_seed(derived_seed(seed, epoch, index, _OPERATION_STREAM))
        changed: Tensor = _transforms(augment)(view)
    return changed


def operate_all(views: Tensor, rows: Tensor, augment: Augment, *, seed: int, epoch: int) -> Tensor:
    """Apply the operations of an augmentation to each view of a batch, as :func:`operate` does.

    Args:
        views: Pixels, uint8 (N, C, H, W).
        rows: The samples' positions in their split, int64 (N,).
        augment: Has the operations.
        seed: The run's seed.
        epoch: The epoch, from 0.

    Returns:
        uint8 (N, C, H, W) in the memory format of ``views``.

    Example:
        >>> views = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
        >>> operate_all(views, torch.arange(2), Augment(rand_augment=(2, 9)), seed=0, epoch=0).shape
        torch.Size([2, 1, 4, 4])
    """
    changed = torch.empty_like(views)
    for place, index in enumerate(rows.tolist()):
        changed[place] = operate(views[place].contiguous(), index, augment, seed=seed, epoch=epoch)
    return changed
