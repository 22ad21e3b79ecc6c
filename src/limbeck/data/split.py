"""Seeded choices of samples, per class: the same in any process and with any version of the libraries."""

import torch
from torch import Tensor

from limbeck.errors import UserError, shortened
from limbeck.randomness.hashing import random_bits

_HOLD_OUT_STREAM = 301
_LIMIT_STREAM = 302


def strata(labels: Tensor) -> Tensor:
    """Return the groups that a choice of samples is made in: their classes, or one for all where each has several.

    Args:
        labels: (N,) class numbers, or (N, C) of 1, 0 and -1.

    Returns:
        int64 (N,).

    Example:
        >>> strata(torch.tensor([2, 0])), strata(torch.tensor([[1, 1], [0, 1]]))
        (tensor([2, 0]), tensor([0, 0]))
    """
    return labels if labels.ndim == 1 else labels.new_zeros(len(labels))


def hold_out(labels: Tensor, share: float, *, seed: int) -> tuple[Tensor, Tensor]:
    """Cut a share of each class off.

    Args:
        labels: Class numbers, int64 (N,), or (N, C) where a sample has several, which are drawn from all alike.
        share: How much of each class to cut off, in (0, 1); rounded, but one sample of a class always stays.
        seed: The seed of the choice.

    Returns:
        The sorted positions that stay and those that are cut off, int64.

    Raises:
        UserError: If the share is not in (0, 1), or so small that nothing is cut off.

    Example:
        >>> stay, cut = hold_out(torch.tensor([0] * 10 + [1] * 20), 0.2, seed=0)
        >>> len(stay), (cut < 10).sum().item(), (cut >= 10).sum().item()
        (24, 2, 4)
    """
    if not 0 < share < 1:
        raise UserError(f"got a share of {share}, expected one between 0 and 1")
    labels = strata(labels)
    counts = labels.bincount()
    quota = torch.minimum((counts * share + 0.5).long(), (counts - 1).clamp(min=0))
    chosen = _ranks(labels, seed, _HOLD_OUT_STREAM) < quota[labels]
    if not bool(chosen.any()):
        raise UserError(f"got a share of {share} of {len(labels)} samples, expected one that gives a class a sample")
    return (~chosen).nonzero().squeeze(1), chosen.nonzero().squeeze(1)


def limit(
    labels: Tensor, count: int, *, seed: int, key: str = "data.train_limit", named: str = "the samples"
) -> Tensor:
    """Choose ``count`` samples, as evenly over the classes as there are samples for it.

    Args:
        labels: As for :func:`hold_out`.
        count: How many to keep.
        seed: The seed of the choice.
        key: The setting that ``count`` is from, for the error.
        named: What the samples are called there.

    Returns:
        The sorted positions to keep, int64 (count,).

    Raises:
        UserError: If there are fewer samples than ``count``, or more classes.

    Example:
        >>> labels = torch.tensor([0] * 10 + [1] * 3 + [2] * 10)
        >>> labels[limit(labels, 15, seed=0)].bincount()
        tensor([6, 3, 6])
    """
    labels = strata(labels)
    classes = int(labels.bincount().count_nonzero())
    if not classes <= count <= len(labels):
        expected = f"expected {classes} (the classes) to {len(labels)} ({named})"
        raise UserError(f"{key}: got {shortened(count, 20)}, {expected}")
    # Whole rounds through the classes come first; the seeded key decides which classes get one more.
    by_key = _keys(labels, seed, _LIMIT_STREAM).argsort(stable=True)
    rounds = _ranks(labels, seed, _LIMIT_STREAM)[by_key].argsort(stable=True)
    return by_key[rounds[:count]].sort().values


def _keys(labels: Tensor, seed: int, stream: int) -> Tensor:
    return random_bits(torch.arange(len(labels)), seed=seed, epoch=0, stream=stream)


def _ranks(labels: Tensor, seed: int, stream: int) -> Tensor:
    """Give each sample its place in a random order of its own class, from 0."""
    by_key = _keys(labels, seed, stream).argsort(stable=True)
    order = by_key[labels[by_key].argsort(stable=True)]
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    ranks = torch.empty_like(labels)
    ranks[order] = torch.arange(len(labels)) - starts[labels[order]]
    return ranks
