"""The control of a scorer: the same weights, on other rows."""

import torch
from torch import Tensor

from limbeck.rows import whole_numbers
from limbeck.selection.scores import random_scores


def shuffled(weight: Tensor, indices: Tensor, *, seed: int, labels: Tensor | None = None, epoch: int = 0) -> Tensor:
    """Give the rows' weights to rows at random, so that only which row has which weight is lost.

    Args:
        weight: (N,) the rows' weights, or a mask.
        indices: (N,) positions in the training set; the result is a function of them, the seed, and the order of rows.
        seed: The run's seed.
        labels: (N,) whole numbers, the class of each row; weights then stay within their class.
        epoch: The epoch, from 0, if the order is to differ between epochs.

    Returns:
        (N,) the same weights in another order.

    Raises:
        UserError: If indices or labels are no (N,) whole numbers.

    Example:
        >>> weight, labels = torch.arange(6.0), torch.tensor([0, 1, 0, 1, 0, 1])
        >>> permuted = shuffled(weight, torch.arange(6), seed=0, labels=labels)
        >>> permuted.sort().values.equal(weight), permuted[labels == 0].sort().values
        (True, tensor([0., 2., 4.]))
    """
    whole_numbers(indices, "indices", len(weight))
    # Other draws than those of the random scorer, whose choice would be sorted by them otherwise.
    drawn = random_scores(indices, seed=seed, epoch=epoch, stream=1).argsort(stable=True)
    if labels is None:
        return torch.empty_like(weight).index_copy_(0, drawn, weight)
    whole_numbers(labels, "labels", len(weight))
    by_class, drawn_by_class = labels.argsort(stable=True), drawn[labels[drawn].argsort(stable=True)]
    return torch.empty_like(weight).index_copy_(0, drawn_by_class, weight[by_class])
